"""How the background moves and changes its brightness from frame to frame, also behind what hides it.

The camera is one homography for each frame, found on tracked features outside all masks and always against the same
anchor frame while that still overlaps, so that a still camera stays still and errors don't add up. What dense flow
sees beyond it (parallax) is completed smoothly into the holes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..masks.fields import Box, WorkingSize
from ..masks.flow import INVERSE_SEARCH, Floats, FlowEstimator, luminance, picture, resized, warp
from .camera import Matrix, Small, applied, camera_motion, difference, gain_between, shift_of
from .parallax import CELL, parallax

STILL = 0.12  # working pixels: a camera that moved less than this from its anchor has not moved
OVERLAP = 0.25  # share of the frame's diagonal; a camera further away from its anchor gets a new one
ATTACHED, ATTACHED_SHARE = 3.0, 0.06  # working pixels, or share of its size: what goes less than this stays in place
HALF_COVERED, HARDLY_COVERED = 0.5, 0.9  # share of its largest area that is left; what covers it must not be measured
ANOTHER_SCENE = 0.1  # mean colour difference from which a frame without common features is another shot


@dataclass(frozen=True)
class View:
    """One frame's camera, at working size: `to_scene` [3, 3] takes its pixels to those of the shot's first frame;
    its colours are those of the first frame times `gain` [3]."""

    shot: int
    to_scene: Matrix
    gain: Floats


class Background:
    """The background of a clip behind `hidden_fhw` (above 0 where it is not seen); call `look` for each frame first."""

    def __init__(self, frames_fhwc: Tensor, hidden_fhw: Tensor, flow: FlowEstimator = INVERSE_SEARCH) -> None:
        self._frames, self._hidden, self._flow = frames_fhwc, hidden_fhw, flow
        count, height, width = hidden_fhw.shape
        self.size = WorkingSize.of(width, height)
        self.views: list[View] = []
        self._anchor: tuple[int, Small] | None = None
        self._last: tuple[int, Small] | None = None
        self._parallax: dict[tuple[int, int], Floats] = {}
        self._drift, self._middle, self._area = np.full((count, 2), np.nan), np.zeros((count, 2)), np.zeros(count)
        self._moving = np.zeros((count, self.size.height, -(-self.size.width // 8)), np.uint8)

    def look(self) -> None:
        """Find the camera of the next frame, and what moves by itself between it and the frame before."""
        index = len(self.views)
        small = self._small(index)
        self.views.append(self._view(small))
        rows, columns = np.nonzero(small.seen == 0)
        self._area[index] = len(rows)
        if len(rows):
            middle = np.array([[[columns.mean(), rows.mean()]]], np.float32)
            self._middle[index] = applied(self.views[index].to_scene, middle)[0, 0]
        if self._last is not None and self.views[index - 1].shot == self.views[index].shot:
            self._compare(index, small, index - 1, self._last[1])
            self._compare(index - 1, self._last[1], index, small)
        if self._anchor is None or not self._is_near(self._anchor[0], index):
            self._anchor = (index, small)
        self._last = (index, small)

    def hidden(self, index: int) -> NDArray[np.bool_]:
        """Where frame `index` doesn't show the background: bool [H, W]."""
        return self._hidden[index].numpy() > 0

    def moving(self, index: int) -> NDArray[np.bool_]:
        """Where frame `index` shows something that moves in front of the background: bool [H, W]."""
        small = np.unpackbits(self._moving[index], axis=1, count=self.size.width).astype(np.float32)
        height, width = self._hidden.shape[1:]
        return warp(small, self.size.to_working(Box(0, 0, width, height).grid())) > 0

    def is_revealed(self, shot: int) -> bool:
        """Whether what hides the background moves against it in this shot, so that it is seen at other times.

        If it doesn't (a rock, a flower bed), a pixel that is not hidden any more shows not the background but
        something that passed in front of both. The way of the mask's middle tells; where the object is mostly cut
        off or covered, flow does.
        """
        members = np.array([view.shot == shot for view in self.views])
        area, drift = self._area[members], self._drift[members]
        largest = float(area.max(initial=0))
        partly = (area >= HALF_COVERED * largest) & (area > 0)
        hardly = (area >= HARDLY_COVERED * largest) & (area > 0)
        told = partly & ~np.isnan(drift[:, 0])
        if 2 * hardly.sum() >= partly.sum() or not told.any():
            way = self._middle[members][hardly]
        else:
            way = np.cumsum(drift[told], axis=0)
        limit = max(ATTACHED, ATTACHED_SHARE * float(np.sqrt(largest)))
        return len(way) > 0 and bool(np.hypot(*(way.max(0) - way.min(0))) > limit)

    def shows(self, frames: int | NDArray[np.int32], points_xy: Floats) -> NDArray[np.bool_]:
        """Whether `frames` (one, or one for each point) show the background at `points_xy` [..., 2] (whole pixels)."""
        height, width = self._hidden.shape[1:]
        x, y = points_xy[..., 0], points_xy[..., 1]
        within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        inside = np.where(within[..., None], points_xy, 0)
        columns, rows = inside[..., 0].astype(np.intp), inside[..., 1].astype(np.intp)
        small = np.rint(self.size.to_working(inside)).astype(np.intp)
        small_columns = np.clip(small[..., 0], 0, self.size.width - 1)
        small_rows = np.clip(small[..., 1], 0, self.size.height - 1)
        moves = self._moving[frames, small_rows, small_columns >> 3] >> (7 - (small_columns & 7)) & 1
        return within & (self._hidden.numpy()[frames, rows, columns] == 0) & (moves == 0)

    def source_points(self, index: int, other: int, box: Box) -> Floats | None:
        """Where frame `other` (a neighbour of `index`) has the background of `box`'s pixels: [h, w, 2].

        None when the two are of different shots.
        """
        if self.views[index].shot != self.views[other].shot:
            return None
        matrix = self._between(index, other)
        beyond = self._parallax.get((index, other))
        if beyond is None and np.array_equal(matrix, np.eye(3)):
            return box.grid()
        points = self.size.to_working(box.grid())
        moved = applied(matrix, points)
        if beyond is not None:
            moved += warp(beyond, (points + 0.5) / CELL - 0.5)
        return self.size.to_full(moved)

    def gain(self, index: int, other: int) -> Floats:
        """What the colours of frame `other` must be multiplied with to be those of frame `index`: [3]."""
        return self.views[index].gain / self.views[other].gain

    def _between(self, index: int, other: int) -> Matrix:
        first, second = self.views[index].to_scene, self.views[other].to_scene
        if np.array_equal(first, second):
            return np.eye(3)
        matrix = np.linalg.inv(second) @ first
        return matrix / matrix[2, 2]

    def _is_near(self, anchor: int, index: int) -> bool:
        if self.views[index].shot != self.views[anchor].shot:
            return False
        shift = shift_of(self._between(index, anchor), self.size.width, self.size.height)
        return shift < OVERLAP * float(np.hypot(self.size.width, self.size.height))

    def _compare(self, index: int, small: Small, other: int, other_small: Small) -> None:
        found = parallax(small, other_small, self._between(index, other), self._flow)
        if found.beyond is not None:
            self._parallax[index, other] = found.beyond
        if other < index:
            self._drift[index] = found.drift
        self._moving[index] |= np.packbits(found.moving, axis=1)

    def _view(self, small: Small) -> View:
        if self._anchor is None or self._last is None:
            return View(0, np.eye(3), np.ones(3, np.float32))
        last = self.views[self._last[0]]
        for number, other in (self._anchor, self._last):
            base = self.views[number]
            guess = np.linalg.inv(base.to_scene) @ last.to_scene
            matrix = camera_motion(small, other, guess / guess[2, 2])
            if matrix is not None:
                if shift_of(matrix, self.size.width, self.size.height) < STILL:
                    matrix = np.eye(3)
                return View(base.shot, base.to_scene @ matrix, base.gain * gain_between(small, other, matrix))
        if difference(small, self._last[1]) < ANOTHER_SCENE:
            return last
        return View(last.shot + 1, np.eye(3), np.ones(3, np.float32))

    def _small(self, index: int) -> Small:
        width, height = self.size.width, self.size.height
        colour = picture(self._frames[index], width, height)
        hidden = resized(self.hidden(index).astype(np.float32), width, height)
        return Small(colour, luminance(colour), np.where(hidden > 0, 0, 255).astype(np.uint8))
