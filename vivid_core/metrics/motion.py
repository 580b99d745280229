"""Motion in an edit, found by optical flow: what jitters along it, and whether the object keeps its path.

Both compare with the same quantity in the original, so that noise, light and what flow can't follow there is not held
against the edit: an unedited clip scores exactly 0 and 1. NaN means "not defined here".
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from ..masks.fields import WorkingSize
from ..masks.flow import (
    INVERSE_SEARCH,
    Flags,
    Floats,
    FlowEstimator,
    forward_backward_error,
    picture,
    pixel_grid,
    resized,
    warp,
)
from ..masks.follower import follow
from ..runtime import Runtime

RELIABLE = 0.5  # IoU with the given mask from which a followed mask is taken for the object
FOLLOWED, SLACK = 0.01, 0.5  # when flow there and back ends where it began (Sundaram et al. 2010), in squared pixels

Pair = tuple[Tensor, Tensor]


def warp_errors(
    original_pair: Pair, edited_pair: Pair, mask_pair: Pair, flow: FlowEstimator = INVERSE_SEARCH
) -> tuple[float, float]:
    """Change along the motion since the previous frame, inside and outside the mask, beyond the original's.

    Each pair is (previous frame, this frame), images [H, W, 3] and masks [H, W]. The previous frame is warped onto
    this one (Lai et al. 2018); the mean absolute difference of the edit minus that of the original, not below 0, is
    the error, per channel on 0..255. Inside each clip follows its own motion, since an edit may move in its own way
    (that is motion fidelity's affair); outside both follow the original's. Only pixels count that were on the same
    side of the mask before, and whose motion in the original is found alike there and back. Clips are shrunk to the
    size at which flow is searched. NaN where no pixel counts.
    """
    size = WorkingSize.of(original_pair[0].shape[1], original_pair[0].shape[0])
    before, now = (_shrunk(mask, size) for mask in mask_pair)
    at_first, kept = _motion(original_pair, size, flow)
    at_first_edited, _ = _motion(edited_pair, size, flow)
    came_from = warp(before, at_first, "zero")
    inside = kept & (now > 0.5) & (came_from > 0.5)
    outside = kept & (now == 0) & (came_from == 0)
    own = _difference(original_pair, at_first, size)
    return (
        _excess(_difference(edited_pair, at_first_edited, size), own, inside),
        _excess(_difference(edited_pair, at_first, size), own, outside),
    )


def motion_fidelity(
    original_fhwc: Tensor,
    edited_fhwc: Tensor,
    mask_fhw: Tensor,
    runtime: Runtime | None = None,
    flow: FlowEstimator = INVERSE_SEARCH,
) -> tuple[float, ...]:
    """How much of the mask's path the edited object keeps, for each frame in 0..1; 1 is all of it.

    The mask of the first masked frame is followed by flow through the edited clip and through the original. A frame
    scores the overlap (IoU) of what was followed with the given mask: of the edit, as a share of the original's where
    the original can be followed (IoU at least 0.5). Elsewhere, as where an object was added, it is the edit's overlap
    by itself, and NaN if neither clip can be followed. NaN too without a mask, and on the frame that is followed from.
    A removed object has no path: the score then says nothing.
    """
    runtime = runtime or Runtime()
    scores = [math.nan] * len(mask_fhw)
    first = next((index for index, mask_hw in enumerate(mask_fhw) if bool((mask_hw > 0.5).any())), None)
    runtime.advance(len(mask_fhw) if first is None else first + 1)
    if first is None:
        return tuple(scores)
    start, order = (mask_fhw[first] > 0.5).numpy(), range(first + 1, len(mask_fhw))
    followed = (follow(clip, first, start, order, flow) for clip in (original_fhwc, edited_fhwc))
    for (index, by_original, _), (_, by_edited, _) in zip(*followed):
        scores[index] = path_share(by_original, by_edited, (mask_fhw[index] > 0.5).numpy())
        runtime.advance()
    return tuple(scores)


def path_share(followed_in_original: Flags, followed_in_edited: Flags, given: Flags) -> float:
    """The score of one frame, as `motion_fidelity` says; masks bool [H, W]."""
    if not given.any():
        return math.nan
    original, edited = (_overlap(mask, given) for mask in (followed_in_original, followed_in_edited))
    if original >= RELIABLE:
        return min(1.0, edited / original)
    return edited if edited >= RELIABLE else math.nan


def _motion(pair: Pair, size: WorkingSize, flow: FlowEstimator) -> tuple[Floats, Flags]:
    """Where in the first picture each pixel of the second is found, and where that can be trusted."""
    first, second = (picture(image, size.width, size.height) for image in pair)
    onwards, back = flow.both_ways(first, second)
    at_first = pixel_grid(size.width, size.height) + back
    length = (back**2).sum(-1) + (warp(onwards, at_first) ** 2).sum(-1)
    return at_first, forward_backward_error(back, onwards) ** 2 <= FOLLOWED * length + SLACK


def _difference(pair: Pair, at_first: Floats, size: WorkingSize) -> Floats:
    """The mean absolute difference of the warped first picture and the second at each pixel, on 0..255."""
    first, second = (_shrunk(image, size) for image in pair)
    difference: Floats = 255 * np.abs(warp(first, at_first) - second).mean(-1)
    return difference


def _excess(edited: Floats, original: Floats, where: Flags) -> float:
    if not where.any():
        return math.nan
    return max(0.0, float(edited[where].mean(dtype=np.float64)) - float(original[where].mean(dtype=np.float64)))


def _shrunk(values: Tensor, size: WorkingSize) -> Floats:
    return np.ascontiguousarray(resized(values.numpy(), size.width, size.height), np.float32)


def _overlap(first: Flags, second: Flags) -> float:
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
