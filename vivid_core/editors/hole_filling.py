"""Filling the holes of one picture: each separate part by patches from its own surroundings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..optional import opencv
from ..runtime import Runtime
from .patch_fill import fill_by_patches

REACH = 0.9  # how much of a hole's shorter side its surroundings go beyond it
SMALLEST_REACH = 48  # pixels
APART = 8  # pixels; parts closer than twice this are one hole


def fill_hole(
    image_hwc: NDArray[np.float32],
    hole_hw: NDArray[np.bool_],
    usable_hw: NDArray[np.bool_],
    runtime: Runtime | None = None,
) -> NDArray[np.float32]:
    """Return `image_hwc` (float32 [H, W, 3], 0..1) with `hole_hw` filled; every other pixel stays as it is.

    `usable_hw` marks pixels that may be copied; the hole itself never is. Same inputs give the same output.
    """
    runtime = runtime or Runtime()
    filled = image_hwc.copy()
    for rows, columns, part in _parts(hole_hw):
        usable = usable_hw[rows, columns] & ~hole_hw[rows, columns]
        filled[rows, columns] = fill_by_patches(filled[rows, columns], part, usable, runtime)
    return filled


def _parts(hole: NDArray[np.bool_]) -> Iterator[tuple[slice, slice, NDArray[np.bool_]]]:
    """The hole's separate parts, each with the box that holds it and enough surroundings to copy from."""
    cv2 = opencv("Filling holes")
    joined = cv2.dilate(hole.astype(np.uint8), np.ones((2 * APART + 1,) * 2, np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    for label in range(1, count):
        x, y, width, height = (int(value) for value in boxes[label, :4])
        margin = max(SMALLEST_REACH, int(REACH * max(min(width, height), max(width, height) / 2)))
        rows = slice(max(0, y - margin), min(hole.shape[0], y + height + margin))
        columns = slice(max(0, x - margin), min(hole.shape[1], x + width + margin))
        yield rows, columns, hole[rows, columns] & (labels[rows, columns] == label)
