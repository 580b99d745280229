"""Pix2Video (Ceylan et al. 2023): a frozen image model edits a clip, its frames tied together by attention.

Each frame is inverted to noise by itself. All are denoised together, step by step; on the way up of the U-Net each
frame looks at an anchor frame and at the one before it instead of at itself (section 4.1), and in the early steps it is
drawn towards what the one before it points at (section 4.2). The paper goes frame by frame and stores every feature; a
step needs those of the same step only, so going all at once gives the same without a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from torch import Tensor

from ..diffusion.attention_rules import DECODER, Attended, FramePlan, FrameRule, Order
from ..diffusion.branches import run_branches
from ..diffusion.ddim import WHOLE, Ask, invert
from ..diffusion.guidance import MOST as MOST_GUIDANCE
from ..diffusion.roles import Correct, Role, RolePlan
from ..runtime import Runtime
from ..video.crop import crop
from ..video.keyframes import Keyframes
from .backbone import Backbone
from .clip_windows import ClipAsk
from .inverted import InvertedClip

EDIT = "edit"
LAYERS = 16  # of spatial self-attention


@dataclass(frozen=True)
class Pix2VideoSettings:
    """How frames are tied together.

    In the spatial `layers` each frame looks at the `attended` ones. `update_weight` is how far a frame's latents go
    towards what the one before it points at, as a share of the difference, in the first `update_share` of the steps; 0
    is off. (The paper's weight of 100 on the mean square is 0.0122 of the difference for frames of 512x512; the share
    is what stays the same at other sizes.) The edit spreads from the frame `anchor` in `order`; None is the first frame
    in that order, or a keyframe. `chunk` frames are asked at once (None: all, or as the clip was inverted).
    """

    guidance: float = 7.5
    update_weight: float = 0.0122
    update_share: float = 0.5
    layers: tuple[int, ...] = tuple(DECODER)
    attended: tuple[Attended, ...] = ("anchor", "previous")
    anchor: int | None = None
    order: Order = "outward"
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.order not in get_args(Order):
            raise ValueError(f"Pix2Video: got the order {self.order!r}; choose one of {', '.join(get_args(Order))}.")
        if not 1 <= self.guidance <= MOST_GUIDANCE:
            raise ValueError(
                f"Pix2Video: got guidance {self.guidance:g}; use 1 (the prompt alone, half the work) to "
                f"{MOST_GUIDANCE:g} (7.5 is usual)."
            )
        if not 0 <= self.update_weight <= 1:
            raise ValueError(f"Pix2Video: got update weight {self.update_weight:g}; use 0 (off) to 1, usually 0.0122.")
        if not 0 <= self.update_share <= 1:
            raise ValueError(f"Pix2Video: got update share {self.update_share:g}; use 0 (off) to 1 (all steps).")
        if any(not 0 <= layer < LAYERS for layer in self.layers):
            raise ValueError(f"Pix2Video: got layers {self.layers}; use numbers from 0 to {LAYERS - 1}.")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"Pix2Video: got {self.chunk} frames at once; use 1 or more.")


@dataclass(frozen=True)
class Pix2Video:
    """The edited clip `frames_fhwc` at the size that the model sees, its `latents` [1, C, F, h, w], and the depth that
    the model was shown, [F, H, W] in 0..1, if any."""

    frames_fhwc: Tensor
    latents: Tensor
    depth_fhw: Tensor | None
    report: str


def pix2video(
    backbone: Backbone,
    clip: InvertedClip,
    prompt: str,
    negative: str = "",
    settings: Pix2VideoSettings | None = None,
    keyframes: Keyframes | None = None,
    runtime: Runtime | None = None,
) -> Pix2Video:
    """Edit a clip that was inverted frame by frame by `prompt`.

    `keyframes` (fitted to the clip) are frames that were edited elsewhere: each is inverted with the prompt and keeps
    the latents of its inversion at every step, and the clip follows it. The anchor is the settings', else the first
    keyframe. Steps on `runtime`: `steps_of`.

    Raises ValueError for an anchor outside of the clip, and as the inversion, the backbone and `run_branches` do.
    """
    settings, runtime = settings or Pix2VideoSettings(), runtime or Runtime()
    keys = Keyframes(()) if keyframes is None else keyframes
    plan = plan_for(settings, clip.frame_count, keys.indices)
    with clip.asked(backbone, True, "Pix2Video") as asked:
        text, negative_bld = backbone.encoded(prompt, runtime), backbone.encoded(negative, runtime)
        pinned = {key.index: _inverted_key(asked, clip, key.index, key.image_hwc, text, runtime) for key in keys}
        correct = guided_update(plan, settings, clip.steps, keys.indices)
        role = Role(
            EDIT, text, negative_bld, settings.guidance, clip.inversion.noisiest, pinned=pinned, correct=correct
        )
        latents = _denoised(asked, clip, role, rules_for(settings, plan), settings, runtime)
    report = described(settings, plan, clip.steps, keys.indices)
    return Pix2Video(backbone.decode(latents, runtime), latents, clip.depth_fhw, report)


def steps_of(clip: InvertedClip, keys: int = 0) -> int:
    """What `pix2video` counts: the steps of denoising, each frame that is decoded, and for each keyframe its encoding
    and the steps of its inversion."""
    return clip.steps + clip.frame_count + keys * (1 + clip.steps)


def plan_for(settings: Pix2VideoSettings, frames: int, keys: Sequence[int] = ()) -> FramePlan:
    """In which order frames depend on each other, with the frames of `keys` given.

    Raises ValueError for an anchor outside of the clip.
    """
    anchor = keys[0] if settings.anchor is None and keys else settings.anchor
    return FramePlan.make(frames, anchor, settings.order, keys)


def rules_for(settings: Pix2VideoSettings, plan: FramePlan) -> tuple[FrameRule, ...]:
    """The rule of a run: none where frames aren't tied by attention."""
    if not settings.layers or not settings.attended:
        return ()
    return (FrameRule(plan, (EDIT,), settings.attended, settings.layers),)


def guided_update(plan: FramePlan, settings: Pix2VideoSettings, steps: int, keys: Sequence[int] = ()) -> Correct | None:
    """Draws frames towards the x0 of the one before them; None where that is off. `keys` stay as they are."""
    weight, last = settings.update_weight, round(settings.update_share * steps)
    if not weight or not last:
        return None
    pairs = [(frame, plan.previous(frame)) for frame in range(plan.frames) if frame not in keys]
    drawn = [(frame, before) for frame, before in pairs if before is not None]
    frames, before = [frame for frame, _ in drawn], [before for _, before in drawn]

    def update(step: int, latents: Tensor, clean: Tensor) -> Tensor:
        if step >= last or not frames:
            return latents
        latents = latents.clone()
        latents[:, :, frames] -= weight * (clean[:, :, frames] - clean[:, :, before])
        return latents

    return update


def described(settings: Pix2VideoSettings, plan: FramePlan, steps: int, keys: Sequence[int] = ()) -> str:
    """For the report: how the frames were tied together."""
    last = round(settings.update_share * steps) if settings.update_weight else 0
    names = {"anchor": f"frame {plan.anchor}", "previous": "the one before it", "own": "itself"}
    seen = " and ".join(names[one] for one in settings.attended if settings.layers)
    parts = [
        f"{steps} steps, guidance {settings.guidance:g}",
        f"each frame looks at {seen} in {len(settings.layers)} layers" if seen else "each frame looks at itself",
        f"drawn to the one before it in the first {last} steps" if last else "not drawn to the one before it",
    ]
    if keys:
        parts.append(f"given: frame {', '.join(map(str, keys))}")
    return f"Pix2Video: {'; '.join(parts)}."


def _denoised(
    asked: ClipAsk,
    clip: InvertedClip,
    role: Role,
    rules: tuple[FrameRule, ...],
    settings: Pix2VideoSettings,
    runtime: Runtime,
) -> Tensor:
    chunk = asked.chunk if settings.chunk is None else settings.chunk
    rows = RolePlan.make([role], rules, clip.steps).most_rows
    model, at_once = asked.backbone, clip.frame_count if chunk is None else min(chunk, clip.frame_count)
    activations = model.footprint.denoise(rows, at_once, *asked.size)
    named = asked.named(rows) | {"activations": activations, "chunk": chunk}
    return run_branches(model.unet, asked.ask, clip.inversion.times, [role], rules, runtime, **named)[EDIT]


def _inverted_key(
    asked: ClipAsk, clip: InvertedClip, index: int, image_hwc: Tensor, text: Tensor, runtime: Runtime
) -> tuple[Tensor, ...]:
    """z_0..z_S of an edited frame, under the depth of the frame in its place."""
    as_seen = replace(clip.stitch, corners=clip.stitch.corners[index : index + 1])
    latents = asked.backbone.encode(crop(image_hwc[None], as_seen), runtime)
    inversion = invert(_about(asked.ask, index), latents, text, clip.inversion.times, runtime, **asked.named(1))
    return inversion.latents


def _about(ask: Ask, frame: int) -> Ask:
    """`ask` about one frame of the clip."""

    def asked(latents_bcfhw: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        return ask(latents_bcfhw, timestep, texts, slice(frame, frame + 1))

    return asked
