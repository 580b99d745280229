"""Where things are: integer boxes, the size at which flow is searched, and smooth maps that are defined everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .flow import Floats, Preset, pixel_grid, resampled, warp

WORKING_SIDE = 480  # the longer side of the pictures in which flow is searched; larger ones gain little and cost much
IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float64)


class Box(NamedTuple):
    """Whole pixels: `right` and `bottom` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index a picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, margin: int, width: int, height: int) -> Box:
        """Larger by `margin` on each side, within a frame of `width` x `height`."""
        return Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin).cut(width, height)

    def cut(self, width: int, height: int) -> Box:
        """The part of it within a frame of `width` x `height`; never less than one pixel."""
        left, top = min(max(self.left, 0), width - 1), min(max(self.top, 0), height - 1)
        return Box(left, top, max(min(self.right, width), left + 1), max(min(self.bottom, height), top + 1))

    def joined(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def grid(self) -> Floats:
        """The coordinates of its pixels: [height, width, 2]."""
        return pixel_grid(self.width, self.height, self.left, self.top)


def box_of(mask: NDArray) -> Box | None:
    """The smallest box around a mask's pixels above 0.5 (or true); None if there are none."""
    inside = mask if mask.dtype == bool else mask > 0.5
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


@dataclass(frozen=True)
class WorkingSize:
    """The size of the frames and the smaller one in which flow is searched, with the way between their coordinates."""

    full_width: int
    full_height: int
    width: int
    height: int

    @classmethod
    def of(cls, full_width: int, full_height: int) -> WorkingSize:
        scale = min(1.0, WORKING_SIDE / max(full_width, full_height))
        return cls(full_width, full_height, max(1, round(full_width * scale)), max(1, round(full_height * scale)))

    @property
    def preset(self) -> Preset:
        """How flow is searched at this size: to single pixels if they stand for several of the frame's."""
        return "medium" if (self.width, self.height) == (self.full_width, self.full_height) else "fine"

    @property
    def scale(self) -> Floats:
        """Working pixels for one full pixel, (x, y)."""
        return np.array([self.width / self.full_width, self.height / self.full_height], np.float32)

    def to_working(self, full_xy: Floats) -> Floats:
        return (full_xy + 0.5) * self.scale - 0.5

    def to_full(self, working_xy: Floats) -> Floats:
        return working_xy / self.scale + (0.5 / self.scale - 0.5)

    def to_box(self, box: Box) -> NDArray[np.float64]:
        """The affine from the pixels of `full_box(box)` to those of the working `box`, each from its corner."""
        x, y = (float(value) for value in self.scale)
        full = self.full_box(box)
        return np.array(
            [[x, 0, (full.left + 0.5) * x - 0.5 - box.left], [0, y, (full.top + 0.5) * y - 0.5 - box.top]], np.float64
        )

    def enlarged(self, values: NDArray, box: Box) -> NDArray:
        """`values` [h, w] or [h, w, C], given on a working `box`, on the full pixels of `full_box(box)`."""
        full = self.full_box(box)
        if (full.width, full.height) == (box.width, box.height):
            return values
        return resampled(values, self.to_box(box), full.width, full.height)

    def shrunk(self, values: NDArray, box: Box) -> NDArray:
        """`values` on the full pixels of `full_box(box)`, sampled on the working `box`."""
        if values.shape[:2] == (box.height, box.width):
            return values
        return resampled(values, inverse_affine(self.to_box(box)), box.width, box.height)

    def full_box(self, box: Box) -> Box:
        """The full pixels that a working box covers, rounded outwards."""
        x, y = (float(value) for value in self.scale)
        outwards = Box(int(box.left / x), int(box.top / y), int(np.ceil(box.right / x)), int(np.ceil(box.bottom / y)))
        return outwards.cut(self.full_width, self.full_height)


@dataclass(frozen=True)
class Field:
    """A map that is defined everywhere: `affine` [2, 3] plus a correction [h, w, 2] given on `box`.

    Beyond the box the correction at its edge goes on, so that a hidden or departed object keeps a sensible place.
    """

    affine: NDArray[np.float64]
    box: Box
    correction: Floats

    @classmethod
    def identity(cls, box: Box) -> Field:
        return cls(IDENTITY.copy(), box, np.zeros((box.height, box.width, 2), np.float32))

    @classmethod
    def of(cls, map_xy: Floats, box: Box, affine: NDArray[np.float64]) -> Field:
        return cls(affine, box, map_xy - apply_affine(affine, box.grid()))

    def at(self, points_xy: Floats) -> Floats:
        """Where the points [h, w, 2] are mapped to."""
        corner = np.array([self.box.left, self.box.top], np.float32)
        return apply_affine(self.affine, points_xy) + warp(self.correction, points_xy - corner)

    def on(self, box: Box) -> Floats:
        """Where the pixels of `box` are mapped to: [height, width, 2]."""
        if box == self.box:
            return apply_affine(self.affine, box.grid()) + self.correction
        return self.at(box.grid())


def apply_affine(affine: NDArray[np.float64], points_xy: Floats) -> Floats:
    """`affine` [2, 3] applied to points [..., 2]."""
    matrix = affine.astype(np.float32)
    result = np.empty_like(points_xy)
    x, y = points_xy[..., 0], points_xy[..., 1]
    for row in (0, 1):
        result[..., row] = x * matrix[row, 0] + y * matrix[row, 1] + matrix[row, 2]
    return result


def inverse_affine(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine [2, 3] that undoes `affine`."""
    return np.linalg.inv(_square(affine))[:2]


def chained_affine(outer: NDArray[np.float64], inner: NDArray[np.float64]) -> NDArray[np.float64]:
    """First `inner`, then `outer`."""
    return (_square(outer) @ _square(inner))[:2]


def _square(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.vstack([affine, [0.0, 0.0, 1.0]])
