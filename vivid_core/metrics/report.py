"""Measure an edit, frame by frame, in one pass over the clip."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from ..checks import check_not_empty, check_same_clip, checked_frames, checked_mask_for
from ..masks.flow import INVERSE_SEARCH, FlowEstimator
from ..runtime import Runtime
from ..video.composite import outside_change
from ..video.keyframes import Keyframe, Keyframes
from .consistency import drift, region_colours, ring_flicker
from .encoders import ClipEncoder, ImageEncoder, PreferenceModel
from .judged import Judges
from .measures import EditMeasures
from .motion import motion_fidelity, warp_errors
from .preservation import background_change, ratio
from .seam import seam

__all__ = ["EditMeasures", "measure_edit"]

OF_A_FRAME = ("outside_difference", "background", "seam", "flicker", "drift", "warp_inside", "warp_outside")

Colours = dict[int, tuple[np.ndarray, np.ndarray]]


def measure_edit(
    original_fhwc: Tensor,
    edited_fhwc: Tensor,
    edit_mask_fhw: Tensor,
    blend_mask_fhw: Tensor | None = None,
    keyframes: Keyframes | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
    encoder: ImageEncoder | None = None,
    caption: str = "",
    *,
    preference: PreferenceModel | None = None,
    video_encoder: ClipEncoder | None = None,
    clip_caption: str = "",
    source_caption: str = "",
    flow: FlowEstimator | None = INVERSE_SEARCH,
) -> EditMeasures:
    """Measure an edited clip [F, H, W, 3] against its original, frame by frame.

    Outside difference and seam use the blend mask where given (the seam lies where it crosses 0.5), everything else
    the edit mask. Drift is measured against the nearest keyframe (the earlier of two at the same distance) as the
    user gave it, so that a key that was not kept shows too; without keyframes against the first masked frame.

    `encoder` gives TC and CLIPFrame, with a `caption` of the edited region TA too (if it reads texts); `preference`
    and `video_encoder` score the whole clip by `clip_caption`, or by `caption` without one; the latter also the way
    from `source_caption` to it.
    `flow` finds motion for the warp errors and motion fidelity; None leaves these out.

    Raises ValueError when clips, masks or keyframes do not fit each other, on values outside 0..1, when the edit mask
    is empty on every frame, on a caption that no model reads, and on a model without its caption.
    """
    judges = Judges(encoder, caption, preference, video_encoder, clip_caption, source_caption)
    original = checked_frames(original_fhwc, "Original", notes)
    edited = checked_frames(edited_fhwc, "Edited", notes)
    check_same_clip(original, edited, "Original", "Edited")
    edit_mask = checked_mask_for(edit_mask_fhw, original, "Edit mask", notes)
    check_not_empty(edit_mask, "Edit mask")
    blend_mask = edit_mask
    if blend_mask_fhw is not None:
        blend_mask = checked_mask_for(blend_mask_fhw, original, "Blend mask", notes)
    keys = (keyframes or Keyframes(())).fitted(original, notes)
    references = _references(original, edited, edit_mask, keys)
    runtime = runtime or Runtime()
    runtime.begin(original.shape[0] * (1 + judges.passes + (flow is not None)))
    return EditMeasures(
        width=original.shape[2],
        height=original.shape[1],
        key_indices=keys.indices,
        blend_mask_given=blend_mask_fhw is not None,
        made_from=judges.bring | ({"motion"} if flow is not None else set()),
        **_collect(original, edited, edit_mask, blend_mask, references, flow, runtime),
        motion_fidelity=_fidelity(original, edited, edit_mask, flow, runtime),
        **judges.judge(original, edited, edit_mask, runtime, notes),
    )


def _collect(
    original: Tensor,
    edited: Tensor,
    edit_mask: Tensor,
    blend_mask: Tensor,
    references: Colours,
    flow: FlowEstimator | None,
    runtime: Runtime,
) -> dict[str, Any]:
    series: dict[str, list[float]] = {key: [] for key in OF_A_FRAME}
    change = kept = share = 0.0
    masked_frames = 0
    for index in range(original.shape[0]):
        before, after, mask = original[index], edited[index], edit_mask[index]
        series["outside_difference"].append(outside_change(before, after, blend_mask[index]))
        frame_change, frame_kept = background_change(before, after, mask)
        series["background"].append(ratio(frame_change, frame_kept))
        series["seam"].append(seam(before, after, blend_mask[index]))
        for key, value in _since_the_last(original, edited, edit_mask, index, flow).items():
            series[key].append(value)
        series["drift"].append(_drift(before, after, mask, index, references))
        change, kept = change + frame_change, kept + frame_kept
        marked = float((mask > 0.5).float().mean())
        share, masked_frames = share + marked, masked_frames + (marked > 0)
        runtime.advance()
    return {
        "drift_from": tuple(references),
        "masked_frames": masked_frames,
        "mask_share": share / original.shape[0],
        "background_preservation": ratio(change, kept),
        **{key: tuple(values) for key, values in series.items()},
    }


def _since_the_last(
    original: Tensor, edited: Tensor, edit_mask: Tensor, index: int, flow: FlowEstimator | None
) -> dict[str, float]:
    found = dict.fromkeys(("flicker", "warp_inside", "warp_outside"), math.nan)
    if index == 0:
        return found
    before, after, mask = ((clip[index - 1], clip[index]) for clip in (original, edited, edit_mask))
    found["flicker"] = ring_flicker(before, after, mask)
    if flow is not None:
        found["warp_inside"], found["warp_outside"] = warp_errors(before, after, mask, flow)
    return found


def _fidelity(
    original: Tensor, edited: Tensor, edit_mask: Tensor, flow: FlowEstimator | None, runtime: Runtime
) -> tuple[float, ...]:
    if flow is None:
        return (math.nan,) * original.shape[0]
    return motion_fidelity(original, edited, edit_mask, runtime, flow)


def _drift(before: Tensor, after: Tensor, mask: Tensor, index: int, references: Colours) -> float:
    original, edited = region_colours(before, mask), region_colours(after, mask)
    if original is None or edited is None or not references:
        return math.nan
    nearest = min(references, key=lambda key: (abs(key - index), key))
    return drift(original, edited, *references[nearest])


def _references(original: Tensor, edited: Tensor, edit_mask: Tensor, keys: Keyframes) -> Colours:
    """The region's colours in the original and in the edit, at each frame that drift is measured against."""
    if len(keys):
        wanted = {key.index: _key_picture(key, original[key.index]) for key in keys}
    else:
        first = next(index for index, mask_hw in enumerate(edit_mask) if bool((mask_hw > 0.5).any()))
        wanted = {first: edited[first]}
    references: Colours = {}
    for index, picture in wanted.items():
        before, after = (region_colours(image, edit_mask[index]) for image in (original[index], picture))
        if before is not None and after is not None:
            references[index] = before, after
    return references


def _key_picture(key: Keyframe, original_hwc: Tensor) -> Tensor:
    if key.mask_hw is None:
        return key.image_hwc
    return original_hwc.where(key.mask_hw[..., None] <= 0.5, key.image_hwc)
