"""KIVE (VIVID, section 4.3): edit one frame until it is right, then carry it through the clip. Or edit by text alone.

The model works in windows (kive_plan.py), each one anchored on keyframes or on the end of the window before it, with
the true background around the edit; what it makes is shown inside the blend mask only. Keyframes come back exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..checks import check_not_empty, checked_mask_for
from ..runtime import Runtime
from ..video.composite import feather_outside
from .contract import EditRequest, SettledRequest
from .engine import Engine
from .kive_plan import plan, shots_of, window_length
from .kive_run import EditOptions, KiveRun
from .local_crop import CROPS
from .propagation import Propagation

__all__ = ["CROPS", "EditOptions", "KeyframeEdit", "edit_keyframe", "edit_video", "propagate"]


@dataclass(frozen=True)
class KeyframeEdit:
    """An edited frame: `image_hwc` is the frame with the edit composited once, at full resolution."""

    image_hwc: Tensor
    blend_mask_hw: Tensor
    report: str


def edit_keyframe(
    engine: Engine,
    request: EditRequest,
    options: EditOptions | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> KeyframeEdit:
    """Edit the one frame of `request` inside its mask, in the model's image mode.

    Raises ValueError, in one sentence, when there is not exactly one frame, and as `edit_video` does.
    """
    count = len(request.frames_fhwc)
    if request.frames_fhwc.ndim == 4 and count != 1:
        raise ValueError(f"Edit Keyframe: got {count} frames; it edits one, so choose which.")
    done = edit_video(engine, request, options, runtime, notes)
    return KeyframeEdit(done.frames_fhwc[0], done.blend_mask_fhw[0], done.report)


def propagate(
    engine: Engine,
    request: EditRequest,
    options: EditOptions | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> Propagation:
    """Carry the keyframes of `request` through its clip, forward and backward in time.

    Each keyframe is composited into its frame once, at full resolution, and comes back like that to the bit; the
    result is bit-exact the original where the blend mask is 0. A shot without a keyframe is edited by the text alone,
    and a note says so. A run that was killed goes on from what is in its store. Steps on `runtime`: those of all
    windows (at once for a kept one) and one for each frame of a mask and of a result.

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
    return _run(engine, request, options or EditOptions(), runtime or Runtime(), [] if notes is None else notes)


def edit_video(
    engine: Engine,
    request: EditRequest,
    options: EditOptions | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> Propagation:
    """Edit a clip by text alone: each shot's first window is made from the text, later ones are chained to it.

    Steps and errors are those of `propagate`. Raises ValueError when `request` has keyframes.
    """
    if len(request.keyframes):
        raise ValueError("Edit Video: got keyframes, which it would not look at; use Propagate Edit.")
    return _run(engine, request, options or EditOptions(), runtime or Runtime(), [] if notes is None else notes)


def _run(engine: Engine, request: EditRequest, options: EditOptions, runtime: Runtime, notes: list[str]) -> Propagation:
    traits = engine.adapter.traits
    settled = request.settled(traits, notes)
    frames, mask, keys = settled.frames_fhwc, settled.edit_mask_fhw, settled.keyframes.indices
    check_not_empty(mask, "Mask")
    if options.crop not in CROPS:
        raise ValueError(f"Crop: got the mode {options.crop!r}; use one of {', '.join(CROPS)}.")
    length = window_length(traits, options.window, notes)
    windows = plan(len(frames), traits, keys, length, options.overlap, options.cuts)
    run = KiveRun(engine, settled, windows, options)
    _tell_of_keyless_shots(settled, options.cuts, notes)
    runtime.begin(run.steps + len(frames))
    if options.blend_mask_fhw is None:
        blend = feather_outside(mask, options.feather, runtime)
    else:
        blend = checked_mask_for(options.blend_mask_fhw, frames, "Blend mask", notes)
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
