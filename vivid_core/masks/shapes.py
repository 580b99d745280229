"""Shapes on pixels: bounding box, convex hull, and fast exact dilation, on bool arrays [H, W]."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

MOST_RUNS = 1 << 20  # that are grown at the same time: bounds the memory


class Margins(NamedTuple):
    """How many pixels to each side."""

    left: int
    top: int
    right: int
    bottom: int


class Bounds(NamedTuple):
    """The smallest box around something: pixels left..right (excluded) and top..bottom (excluded)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def area(self) -> int:
        return (self.right - self.left) * (self.bottom - self.top)

    def grown(self, margins: Margins, height: int, width: int) -> Bounds:
        """This box and `margins` around it, within a frame."""
        return Bounds(
            max(0, self.left - margins.left),
            max(0, self.top - margins.top),
            min(width, self.right + margins.right),
            min(height, self.bottom + margins.bottom),
        )


def bounds(mask: np.ndarray) -> Bounds | None:
    """The bounding box of a mask, None if it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return Bounds(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def convex_hull(cv2: Any, mask: np.ndarray) -> np.ndarray:
    """Every pixel whose centre lies in or on the convex hull of the mask's pixel centres; exact, in integers."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return mask.copy()
    first, last = mask[rows].argmax(axis=1), width - 1 - mask[rows, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([first, rows], 1), np.stack([last, rows], 1)]).astype(np.int32)
    corners = cv2.convexHull(ends)[:, 0].astype(np.int64)
    left = np.full(height, np.iinfo(np.int64).max)
    right = np.full(height, -1, np.int64)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0)):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        y = np.arange(y0, y1 + 1)
        run, rise = (y - y0) * (x1 - x0), max(1, y1 - y0)
        edge_left, edge_right = x0 - (-run // rise), x0 + run // rise  # the edge's x, rounded up and down
        left[y], right[y] = np.minimum(left[y], edge_left), np.maximum(right[y], edge_right)
    columns = np.arange(width)
    return (columns >= left[:, None]) & (columns <= right[:, None])


def dilate_rectangle(cv2: Any, mask: np.ndarray, margins: Margins) -> np.ndarray:
    """Every pixel with a pixel of the mask within `margins`: a pixel grows `right` to the right and so on."""
    if not any(margins):
        return mask.copy()
    size = (margins.left + margins.right + 1, margins.top + margins.bottom + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, size)
    # OpenCV looks up the pixels that reach a place, so the sides change over
    grown = cv2.dilate(mask.view(np.uint8), kernel, anchor=(margins.right, margins.bottom), borderValue=0)
    return grown.view(bool)


def ellipse(margins: Margins) -> np.ndarray:
    """The structuring element of `dilate_ellipse`: [top + bottom + 1, left + right + 1], origin at (top, left).

    Each quadrant is that of an ellipse with half axes `margin + 0.5`, so that it is convex, holds the origin, and ends
    exactly `margin` pixels away.
    """
    down = np.arange(-margins.top, margins.bottom + 1)[:, None]
    across = np.arange(-margins.left, margins.right + 1)[None]
    vertical = down / np.where(down < 0, margins.top + 0.5, margins.bottom + 0.5)
    horizontal = across / np.where(across < 0, margins.left + 0.5, margins.right + 0.5)
    return vertical**2 + horizontal**2 <= 1


def dilate_ellipse(mask: np.ndarray, margins: Margins) -> np.ndarray:
    """The mask with `ellipse(margins)` put on each of its pixels.

    Works on runs, the unbroken stretches of a row: each row of the element makes each run longer and moves it, and a
    running sum of where runs begin and end gives the union.
    """
    if not any(margins):
        return mask.copy()
    height, width = mask.shape
    rows, starts, stops = runs(mask)
    element = ellipse(margins)
    longer_left, longer_right = element[:, : margins.left].sum(1), element[:, margins.left + 1 :].sum(1)
    shifts = np.arange(-margins.top, margins.bottom + 1)
    changes = np.zeros(height * (width + 1), np.int32)
    at_once = max(1, MOST_RUNS // max(1, len(rows)))
    for first in range(0, len(shifts), at_once):
        part = slice(first, first + at_once)
        target = rows + shifts[part, None]
        valid = (target >= 0) & (target < height)
        begin = target * (width + 1) + np.maximum(starts - longer_left[part, None], 0)
        end = target * (width + 1) + np.minimum(stops + longer_right[part, None], width)
        changes += np.bincount(begin[valid], minlength=len(changes)).astype(np.int32)
        changes -= np.bincount(end[valid], minlength=len(changes)).astype(np.int32)
    return changes.reshape(height, width + 1).cumsum(axis=1, dtype=np.int32)[:, :width] > 0


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The unbroken stretches of each row: their row, first column, and the column after their last."""
    apart = mask.shape[1] + 2
    flat = np.pad(mask, ((0, 0), (1, 1))).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    starts, stops = edges[::2], edges[1::2]
    return starts // apart, starts % apart, stops % apart
