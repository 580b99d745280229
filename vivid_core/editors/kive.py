"""KIVE (VIVID, section 4.3): edit one frame until it is right, then carry it through the clip. Or edit by text alone.

The model works in windows (kive_plan.py), each one anchored on keyframes or on the end of the window before it, with
the true background around the edit; what it makes is shown inside the blend mask only. Keyframes come back exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..checks import check_not_empty, checked_mask_for
from ..diffusion.guidance import Guidance
from ..runtime import Runtime
from ..video.composite import feather_outside
from .contract import EditRequest, SettledRequest
from .engine import Engine
from .kive_plan import plan, shots_of, window_length
from .kive_run import KiveRun, RunOptions
from .local_crop import CROPS
from .propagation import Propagation
from .window_store import WindowStore

__all__ = ["CROPS", "KeyframeEdit", "edit_keyframe", "edit_video", "propagate"]


@dataclass(frozen=True)
class KeyframeEdit:
    """An edited frame: `image_hwc` is the frame with the edit composited once, at full resolution."""

    image_hwc: Tensor
    blend_mask_hw: Tensor
    report: str


def edit_keyframe(
    engine: Engine,
    frame_fhwc: Tensor,
    mask_fhw: Tensor,
    prompt_bld: Tensor,
    negative_bld: Tensor | None = None,
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: Guidance | None = None,
    sampler: str | None = None,
    crop: str = "auto",
    feather: float = 8,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> KeyframeEdit:
    """Edit one frame [1, H, W, 3] inside its mask [1, H, W], in the model's image mode.

    What is None is the model's own habit; `crop` is one of `CROPS`, `feather` the soft rim outside the mask, in pixels.

    Raises ValueError, in one sentence, when there is not exactly one frame, the mask is empty, or a setting can't be
    run (`EditRequest.settled`).
    """
    if frame_fhwc.ndim == 4 and len(frame_fhwc) != 1:
        raise ValueError(f"Edit Keyframe: got {len(frame_fhwc)} frames; it edits one, so choose which.")
    request = EditRequest(
        frame_fhwc,
        mask_fhw,
        prompt_bld,
        negative_bld,
        seed=seed,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
    )
    done = edit_video(engine, request, crop=crop, feather=feather, runtime=runtime, notes=notes)
    return KeyframeEdit(done.frames_fhwc[0], done.blend_mask_fhw[0], done.report)


def propagate(
    engine: Engine,
    request: EditRequest,
    *,
    window: int | None = None,
    overlap: int = 1,
    crop: str = "auto",
    feather: float = 8,
    blend_mask_fhw: Tensor | None = None,
    colour_match: bool = True,
    cuts: Iterable[int] = (),
    store: WindowStore | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> Propagation:
    """Carry the keyframes of `request` through its clip, forward and backward in time.

    Each keyframe is composited into its frame once, at full resolution, and comes back like that to the bit; the
    result is bit-exact the original where the blend mask is 0. A shot without a keyframe (`cuts`: the first frames of
    new shots) is edited by the text alone, and a note says so.

    `window` and `overlap` are frames (None: the model's longest window), `crop` one of `CROPS`. The blend mask is by
    default the edit mask with a soft rim of `feather` pixels outside it. `colour_match` undoes what a window does to
    the colours of its anchors. Windows in `store` are not run again; a run that was killed goes on from there. Steps
    on `runtime`: those of all windows (at once for a kept one) and one for each frame of a mask and of a result.

    `confidence_f` is 1 on keyframes and where nothing is edited, 1 / (1 + n) in the n-th window from a keyframe, and 0
    where there is none.

    Raises ValueError, in one sentence, without a keyframe, with an empty mask, and as `EditRequest.settled`,
    `kive_plan.plan` and `plan_local_crop` do.
    """
    if not len(request.keyframes):
        raise ValueError(
            "Propagate: got no keyframe; set at least one edited frame with Edit Keyframe or Set Keyframes, or use "
            "Edit Video."
        )
    options = RunOptions(crop, colour_match, tuple(cuts), store)
    return _run(engine, request, options, window, overlap, feather, blend_mask_fhw, runtime, notes)


def edit_video(
    engine: Engine,
    request: EditRequest,
    *,
    window: int | None = None,
    overlap: int = 1,
    crop: str = "auto",
    feather: float = 8,
    blend_mask_fhw: Tensor | None = None,
    colour_match: bool = True,
    cuts: Iterable[int] = (),
    store: WindowStore | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> Propagation:
    """Edit a clip by text alone: each shot's first window is made from the text, later ones are chained to it.

    Options, steps and errors are those of `propagate`. Raises ValueError when `request` has keyframes.
    """
    if len(request.keyframes):
        raise ValueError("Edit Video: got keyframes, which it would not look at; use Propagate Edit.")
    options = RunOptions(crop, colour_match, tuple(cuts), store)
    return _run(engine, request, options, window, overlap, feather, blend_mask_fhw, runtime, notes)


def _run(
    engine: Engine,
    request: EditRequest,
    options: RunOptions,
    window: int | None,
    overlap: int,
    feather: float,
    blend_mask_fhw: Tensor | None,
    runtime: Runtime | None,
    notes: list[str] | None,
) -> Propagation:
    runtime, notes, traits = runtime or Runtime(), [] if notes is None else notes, engine.adapter.traits
    settled = request.settled(traits, notes)
    frames, mask, keys = settled.frames_fhwc, settled.edit_mask_fhw, settled.keyframes.indices
    check_not_empty(mask, "Edit, mask")
    if options.crop not in CROPS:
        raise ValueError(f"Crop: got the mode {options.crop!r}; use one of {', '.join(CROPS)}.")
    length = window_length(traits, window, notes)
    run = KiveRun(engine, settled, plan(len(frames), traits, keys, length, overlap, options.cuts), options)
    _tell_of_keyless_shots(settled, options.cuts, notes)
    runtime.begin(run.steps + len(frames))
    if blend_mask_fhw is None:
        blend = feather_outside(mask, feather, runtime)
    else:
        blend = checked_mask_for(blend_mask_fhw, frames, "Edit, blend mask", notes)
        runtime.advance(len(frames))
    return run.run(blend, runtime, notes)


def _tell_of_keyless_shots(request: SettledRequest, cuts: Iterable[int], notes: list[str]) -> None:
    keys = request.keyframes.indices
    for first, end in shots_of(len(request.frames_fhwc), cuts):
        keyed = any(first <= key < end for key in keys)
        if keys and not keyed and bool(request.edit_mask_fhw[first:end].any()):
            notes.append(
                f"Propagate: the shot of frames {first} to {end - 1} has no keyframe, so it is edited by the text "
                "alone; set a keyframe in it to say how it should look."
            )
