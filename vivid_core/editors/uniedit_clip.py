"""A clip edited by UniEdit, from its inversion to the finished frames."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..checks import check_not_empty, checked_mask_for
from ..runtime import Runtime
from ..video.crop import uncrop
from .attention_masks import THRESHOLD, looks_for, word_mask
from .backbone import Backbone
from .inverted import InvertedClip
from .put_back import blend_mask_for, put_back
from .uniedit import UniEditMasks, UniEditSettings, steps_of, uniedit

BLEND, MASK, WORD = "blend only", "mask", "word"
STEERS = (BLEND, MASK, WORD)


@dataclass(frozen=True, eq=False)
class LocalOptions:
    """Where the edit shows, and what masks its attention has.

    The edit shows where `blend_mask_fhw` is above 0, by default `mask_fhw` with a soft rim of `feather` pixels outside
    it, or everywhere. `steer` "blend only" leaves the attention without masks; "mask" gives it `mask_fhw`, or, for
    where the object will be, `motion_mask_fhw`; "word" finds the object by `word` of the source prompt, at `threshold`.
    """

    mask_fhw: Tensor | None = None
    blend_mask_fhw: Tensor | None = None
    motion_mask_fhw: Tensor | None = None
    feather: float = 8
    steer: str = BLEND
    word: str = ""
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class EditedClip:
    """The finished clip, bit-exact the original where `blend_mask_fhw` is 0.

    `object_fhw` is the object as the attention had it, None without. The reconstruction and the motion reference (None
    in appearance mode) have the size that the model sees.
    """

    frames_fhwc: Tensor
    blend_mask_fhw: Tensor
    source_fhwc: Tensor
    motion_fhwc: Tensor | None
    object_fhw: Tensor | None
    report: str


def edit_clip(
    backbone: Backbone,
    clip: InvertedClip,
    prompt: str,
    negative: str = "",
    settings: UniEditSettings | None = None,
    options: LocalOptions | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> EditedClip:
    """Edit an inverted clip by a text, inside a mask if there is one.

    Raises ValueError for masks that don't fit the clip, or are needed and not there, and as `uniedit` and `word_mask`.
    """
    settings, options = settings or UniEditSettings(), options or LocalOptions()
    runtime, notes = runtime or Runtime(), [] if notes is None else notes
    blend = blend_mask_for(clip, options.mask_fhw, options.blend_mask_fhw, options.feather, notes)
    looks = looks_for(clip.steps) if options.steer == WORD else 0
    runtime.begin(looks + steps_of(settings, clip) + clip.frame_count)
    masks = _masks(backbone, clip, options, runtime, notes)
    made = uniedit(backbone, clip, prompt, negative, settings, masks, runtime, notes)
    done = put_back(clip, made.frames_fhwc, blend, runtime, notes=notes)
    report = f"{made.report}\n{done.report}"
    found = None if masks is None else uncrop(masks.source_fhw, clip.stitch)
    return EditedClip(done.frames_fhwc, done.blend_mask_fhw, made.source_fhwc, made.motion_fhwc, found, report)


def _masks(
    backbone: Backbone, clip: InvertedClip, options: LocalOptions, runtime: Runtime, notes: list[str]
) -> UniEditMasks | None:
    if options.steer not in STEERS:
        raise ValueError(f"UniEdit: got the use {options.steer!r} of masks; use one of {', '.join(STEERS)}.")
    if options.steer == BLEND:
        return None
    motion = None if options.motion_mask_fhw is None else _seen(clip, options.motion_mask_fhw, "motion mask", notes)
    if options.steer == WORD:
        return UniEditMasks(word_mask(backbone, clip, options.word, runtime, options.threshold), motion)
    if options.mask_fhw is None:
        raise ValueError(
            "UniEdit: no mask is connected that its attention could use; connect one, or let a word find it."
        )
    return UniEditMasks(_seen(clip, options.mask_fhw, "mask", notes), motion)


def _seen(clip: InvertedClip, mask_fhw: Tensor, what: str, notes: list[str]) -> Tensor:
    mask_fhw = checked_mask_for(mask_fhw, clip.frames_fhwc, f"UniEdit, {what}", notes)
    check_not_empty(mask_fhw, f"UniEdit, {what}")
    return clip.seen(mask_fhw)
