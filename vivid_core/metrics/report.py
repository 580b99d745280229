"""Measure an edit, frame by frame, in one pass over the clip."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from ..checks import check_not_empty, check_same_clip, checked_frames, checked_mask_for
from ..runtime import Runtime
from ..video.composite import outside_change
from ..video.keyframes import Keyframe, Keyframes
from .consistency import drift, region_colours, ring_flicker, seam
from .measures import MEASURES, EditMeasures
from .preservation import background_change, ratio

__all__ = ["EditMeasures", "measure_edit"]

Colours = dict[int, tuple[np.ndarray, np.ndarray]]


def measure_edit(
    original_fhwc: Tensor,
    edited_fhwc: Tensor,
    edit_mask_fhw: Tensor,
    blend_mask_fhw: Tensor | None = None,
    keyframes: Keyframes | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> EditMeasures:
    """Measure an edited clip [F, H, W, 3] against its original, frame by frame.

    Outside difference and seam use the blend mask where given (the seam lies where it crosses 0.5), everything else
    the edit mask. Drift is measured against the nearest keyframe (the earlier of two at the same distance) as the
    user gave it, so that a key that was not kept shows too; without keyframes against the first masked frame.

    Raises ValueError when clips, masks or keyframes do not fit each other, on values outside 0..1, and when the edit
    mask is empty on every frame.
    """
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
    runtime.begin(original.shape[0])
    return EditMeasures(
        width=original.shape[2],
        height=original.shape[1],
        key_indices=keys.indices,
        blend_mask_given=blend_mask_fhw is not None,
        **_collect(original, edited, edit_mask, blend_mask, references, runtime),
    )


def _collect(
    original: Tensor,
    edited: Tensor,
    edit_mask: Tensor,
    blend_mask: Tensor,
    references: Colours,
    runtime: Runtime,
) -> dict[str, Any]:
    series: dict[str, list[float]] = {measure.key: [] for measure in MEASURES}
    change = kept = share = 0.0
    masked_frames = 0
    for index in range(original.shape[0]):
        before, after, mask = original[index], edited[index], edit_mask[index]
        series["outside_difference"].append(outside_change(before, after, blend_mask[index]))
        frame_change, frame_kept = background_change(before, after, mask)
        series["background"].append(ratio(frame_change, frame_kept))
        series["seam"].append(seam(before, after, blend_mask[index]))
        series["flicker"].append(_flicker(original, edited, edit_mask, index))
        series["drift"].append(_drift(before, after, mask, index, references))
        change, kept = change + frame_change, kept + frame_kept
        inside = float((mask > 0.5).float().mean())
        share, masked_frames = share + inside, masked_frames + (inside > 0)
        runtime.advance()
    return {
        "drift_from": tuple(references),
        "masked_frames": masked_frames,
        "mask_share": share / original.shape[0],
        "background_preservation": ratio(change, kept),
        **{key: tuple(values) for key, values in series.items()},
    }


def _flicker(original: Tensor, edited: Tensor, edit_mask: Tensor, index: int) -> float:
    if index == 0:
        return math.nan
    original_pair, edited_pair, mask_pair = ((clip[index - 1], clip[index]) for clip in (original, edited, edit_mask))
    return ring_flicker(original_pair, edited_pair, mask_pair)


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
