"""Where a crop goes: sizes that a model takes, and a path that doesn't shake. Here everything is (x, y)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..clips import Clip
from .feather import box_of

CROP_MODES = ("static", "follow")
WIDEST = 2.0  # sides of a crop are at most 2 : 1; models are trained near the shapes of photographs
STIFFNESS = 10.0**4  # of the path: shaking faster than about 10 frames per radian is not followed
PENALTY, ROUNDS = 1000.0, 300  # of the path's solver: bounds kept to a pixel at a jump, to a hundredth in motion
STAY = 0.6  # pixels of wish before the box moves: a path that rests between two pixels must not flicker

Pair = tuple[int, int]


def subject_boxes(mask_fhw: Clip, notes: list[str]) -> Tensor:
    """The subject's box on every frame, int64 [F, 4] (left, top, right, bottom; the last two excluded).

    Frames where nothing is above 0.5 get boxes in between those of their neighbours in time, and a note.
    Raises ValueError when all frames are empty.
    """
    found: dict[int, tuple[int, int, int, int]] = {}
    for index, mask_hw in enumerate(mask_fhw):
        box = box_of(mask_hw > 0.5)
        if box is not None:
            found[index] = (box[1].start, box[0].start, box[1].stop, box[0].stop)
    count = mask_fhw.shape[0]
    if not found:
        raise ValueError(
            f"Crop: the mask is empty on all {count} frames, so there is nothing to crop around; mark the object "
            "first, or check that the mask is not inverted."
        )
    if len(found) < count:
        notes.append(
            f"Crop: the mask is empty on {count - len(found)} of {count} frames; their boxes were interpolated."
        )
    known = np.array(list(found.values()), dtype=np.float64)
    filled = np.stack([np.interp(np.arange(count), list(found), side) for side in known.T], axis=1)
    filled[:, :2], filled[:, 2:] = np.floor(filled[:, :2]), np.ceil(filled[:, 2:])
    return torch.from_numpy(filled.astype(np.int64))


def plan_sizes(
    subject: Tensor, frame: Pair, padding: float, multiple: int, megapixels: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of the box in source pixels, and of the crop that comes out."""
    needed = [int(side) for side in subject]
    wanted = [side * (1 + 2 * padding) for side in needed]
    wanted = [max(wanted[0], wanted[1] / WIDEST), max(wanted[1], wanted[0] / WIDEST)]
    if megapixels == 0:
        snapped = [_snapped(*sides, multiple) for sides in zip(wanted, needed, frame)]
        return (snapped[0], snapped[1]), (snapped[0], snapped[1])
    wanted = [min(side, limit) for side, limit in zip(wanted, frame)]
    scale = math.sqrt(megapixels * 1e6 / (wanted[0] * wanted[1]))
    out = [max(round(side * scale / multiple), 1) * multiple for side in wanted]
    # The box grows to the shape of what comes out, so that the subject isn't squeezed.
    per_pixel = max(side / out_side for side, out_side in zip(wanted, out))
    box = [min(math.ceil(out_side * per_pixel - 1e-9), limit) for out_side, limit in zip(out, frame)]
    return (box[0], box[1]), (out[0], out[1])


def static_corners(boxes: Tensor, size: Pair, frame: Pair) -> tuple[Pair]:
    """The corner (left, top) of one box around the first of `boxes`, shifted into the frame."""
    left, top = (
        _inside(round((int(boxes[0, axis]) + int(boxes[0, axis + 2]) - size[axis]) / 2), size[axis], frame[axis])
        for axis in (0, 1)
    )
    return ((left, top),)


def follow_corners(boxes: Tensor, size: Pair, frame: Pair) -> tuple[Pair, ...]:
    """The corner of a box of one size on every frame: a smooth path on which the subject always stays inside."""
    lefts, tops = (
        _path(boxes[:, axis].numpy(), boxes[:, axis + 2].numpy(), size[axis], frame[axis]) for axis in (0, 1)
    )
    return tuple(zip(lefts, tops))


def _snapped(wanted: float, needed: int, limit: int, multiple: int) -> int:
    """`wanted` as a multiple; inside the frame if the subject still fits in, else over its edge."""
    snapped = math.ceil(wanted / multiple - 1e-9) * multiple
    if snapped <= limit:
        return snapped
    largest_inside = limit // multiple * multiple
    return largest_inside if largest_inside >= needed and largest_inside > 0 else math.ceil(limit / multiple) * multiple


def _inside(corner: int, size: int, limit: int) -> int:
    return -((size - limit) // 2) if size > limit else min(max(corner, 0), limit - size)


def _path(starts: np.ndarray, ends: np.ndarray, size: int, limit: int) -> list[int]:
    """Integer positions of a box of `size` on one axis, so that `starts`..`ends` lies inside on every frame."""
    if size >= limit:
        return [_inside(0, size, limit)] * len(starts)
    lowest, highest = np.maximum(ends - size, 0), np.minimum(starts, limit - size)
    # Half of the room on each side is kept free while the path may still leave the subject's centre.
    room = (size - (ends - starts)) / 4
    low = np.clip(ends + room - size, lowest, highest)
    high = np.clip(starts - room, lowest, highest)
    return _whole_pixels(_smooth((starts + ends - size) / 2, low, high), lowest, highest)


def _smooth(wishes: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The path with the least acceleration that stays near `wishes` and, closely, in `low`..`high` on every frame.

    Minimises |path - wishes|^2 + STIFFNESS |second differences|^2 under these bounds, by alternating directions of
    multipliers. A steady motion has no acceleration and is kept as it is, up to both ends of the clip.
    """
    from scipy.linalg import cho_solve_banded, cholesky_banded

    count = len(wishes)
    bands = np.zeros((3, count))  # of the second differences' normal matrix: diagonal, first and second below it
    for row in range(count - 2):
        bands[0, row : row + 3] += (1, 4, 1)
        bands[1, row : row + 2] += (-2, -2)
        bands[2, row] += 1
    bands *= STIFFNESS
    bands[0] += 1 + PENALTY
    factor = cholesky_banded(bands, lower=True)
    bounded, multiplier = np.clip(wishes, low, high), np.zeros(count)
    path = wishes
    for _ in range(ROUNDS):
        path = cho_solve_banded((factor, True), wishes + PENALTY * (bounded - multiplier))
        bounded = np.clip(path + multiplier, low, high)
        multiplier += path - bounded
    return path


def _whole_pixels(path: np.ndarray, lowest: np.ndarray, highest: np.ndarray) -> list[int]:
    positions: list[int] = []
    current = round(float(path[0]))
    for wish, low, high in zip(path.tolist(), lowest.tolist(), highest.tolist()):
        if abs(wish - current) >= STAY:
            current = round(wish)
        current = min(max(current, low), high)
        positions.append(current)
    return positions
