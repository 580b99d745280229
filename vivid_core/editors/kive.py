"""KIVE (VIVID, section 4.3): edit one frame until it is right, then carry it through the clip. Or edit by text alone.

The model works in windows (kive_plan.py), each one anchored on keyframes or on the end of the window before it, with
the true background around the edit; what it makes is shown inside the blend mask only. Keyframes come back exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..checks import check_not_empty
from ..runtime import Runtime
from .contract import EditRequest
from .engine import Engine
from .kive_plan import plan, shots_of, window_length
from .kive_run import EditOptions, KiveRun
from .local_crop import CROPS
from .propagation import Propagation

__all__ = ["CROPS", "EditOptions", "KeyframeEdit", "edit_keyframe", "edit_video", "prepared", "propagate"]


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
    if len(request.frames_fhwc.shape) == 4 and count != 1:
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


def prepared(engine: Engine, request: EditRequest, options: EditOptions, notes: list[str]) -> KiveRun:
    """The run of an edit, with or without keyframes, checked and planned; nothing of it is made yet.

    Frames and masks that are no tensors are asked for window by window. Raises ValueError as `propagate` does.
    """
    traits = engine.adapter.traits
    settled = request.settled(traits, notes)
    check_not_empty(settled.edit_mask_fhw, "Mask")
    if options.crop not in CROPS:
        raise ValueError(f"Crop: got the mode {options.crop!r}; use one of {', '.join(CROPS)}.")
    length = window_length(traits, options.window, notes)
    count, keys = len(settled.frames_fhwc), settled.keyframes.indices
    run = KiveRun(engine, settled, plan(count, traits, keys, length, options.overlap, options.cuts), options, notes)
    _tell_of_keyless_shots(keys, run, options.cuts, notes)
    return run


def _run(engine: Engine, request: EditRequest, options: EditOptions, runtime: Runtime, notes: list[str]) -> Propagation:
    return prepared(engine, request, options, notes).whole(runtime, notes)


def _tell_of_keyless_shots(keys: Sequence[int], run: KiveRun, cuts: Iterable[int], notes: list[str]) -> None:
    for first, end in shots_of(len(run.edited), cuts):
        keyed = any(first <= key < end for key in keys)
        if keys and not keyed and any(run.edited[first:end]):
            notes.append(
                f"Propagate: the shot of frames {first} to {end - 1} has no keyframe, so it is edited by the text "
                "alone; set a keyframe in it to say how it should look."
            )
