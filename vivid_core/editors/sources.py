"""For each pixel of a hole: which other frame shows it, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..masks.fields import Box, box_of
from ..masks.flow import Floats
from ..optional import opencv
from .background import Background
from .camera import PURPOSE
from .membrane import spread

RIM = 12  # pixels around a hole that are followed too: there both the frame and its sources are seen
NOWHERE = -1
DIFFERENT = 0.08  # a rim pixel whose source differs by more than this shows something else
CORRECTION_CELL = 4  # pixels that share one value of the colour correction


@dataclass(frozen=True)
class Sources:
    """On `box`: `frame` [h, w] is the frame that shows a pixel (or NOWHERE) and `xy` [h, w, 2] the place there."""

    index: int
    box: Box
    frame: NDArray[np.int32]
    xy: Floats

    @property
    def known(self) -> NDArray[np.bool_]:
        return self.frame != NOWHERE

    @property
    def age(self) -> NDArray[np.int32]:
        """How many frames away the source is; NOWHERE where there is none."""
        return np.where(self.known, np.abs(self.frame - self.index), NOWHERE).astype(np.int32)


def next_sources(
    background: Background, index: int, other: int, before: Sources | None, only: int | None = None
) -> Sources | None:
    """The sources of frame `index`'s hole, given those of its neighbour `other` (None: it had no hole).

    With `only`, nothing but that frame counts as a source. None when frame `index` has no hole.
    """
    cv2 = opencv(PURPOSE)
    hidden = background.hidden(index)
    inside = box_of(hidden)
    if inside is None:
        return None
    height, width = hidden.shape
    box = inside.grown(RIM, width, height)
    nowhere = np.full((box.height, box.width), NOWHERE, np.int32)
    points = background.source_points(index, other, box) if 0 <= other < len(background.views) else None
    if points is None:
        return Sources(index, box, nowhere, box.grid())
    wanted = cv2.dilate(hidden[box.slices].astype(np.uint8), np.ones((2 * RIM + 1,) * 2, np.uint8)) > 0
    near = np.rint(points)
    shown = wanted & (_within(near, width, height) if only == other else background.shows(other, near) & (only is None))
    frame = np.where(shown, other, nowhere).astype(np.int32)
    xy = points.copy()
    if before is not None:
        _inherit(background, before, points, wanted & ~shown, frame, xy, only)
    return Sources(index, box, frame, xy)


def _inherit(
    background: Background,
    before: Sources,
    points: Floats,
    wanted: NDArray[np.bool_],
    frame: NDArray[np.int32],
    xy: Floats,
    only: int | None,
) -> None:
    """Take over the neighbour frame's sources at `points`, into `frame` and `xy`.

    They are known at whole pixels; the rest of the way is the same shift. As that rest can lead into what hides the
    background there, the next of the four pixels around is tried then.
    """
    base = np.floor(points)
    rest = points - base
    nearest = (rest > 0.5).astype(np.float32)
    flips = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    for flip in flips:
        place = base + np.abs(nearest - flip)
        x, y = place[..., 0].astype(np.int32) - before.box.left, place[..., 1].astype(np.int32) - before.box.top
        rows, columns = np.nonzero(
            wanted & (frame == NOWHERE) & (x >= 0) & (x < before.box.width) & (y >= 0) & (y < before.box.height)
        )
        x, y = x[rows, columns], y[rows, columns]
        source = before.frame[y, x]
        there = before.xy[y, x] + points[rows, columns] - place[rows, columns]
        held = source != NOWHERE
        if only is None:
            held &= background.shows(source, np.rint(there))
        rows, columns = rows[held], columns[held]
        frame[rows, columns], xy[rows, columns] = source[held], there[held]


def _within(points: Floats, width: int, height: int) -> NDArray[np.bool_]:
    x, y = points[..., 0], points[..., 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def colours(background: Background, pictures: Tensor, sources: Sources, target: Floats, valid: NDArray) -> Floats:
    """What the sources show, in the exposure of frame `sources.index`: [h, w, 3]; 0 where there is no source.

    `pictures` [F, H, W, 3] are read at the sources. What is left between them and `target` [h, w, 3] on `valid`
    pixels (outside the hole, or filled already) is spread smoothly into the hole and taken out, so that no seam shows.
    """
    cv2 = opencv(PURPOSE)
    shown = np.zeros((*sources.frame.shape, 3), np.float32)
    for frame in np.unique(sources.frame):
        if frame == NOWHERE:
            continue
        rows, columns = np.nonzero(sources.frame == frame)
        found = _sampled(pictures[int(frame)].numpy(), sources.xy[rows, columns])
        shown[rows, columns] = found * background.gain(sources.index, int(frame))
    difference = target - shown
    compared = valid & sources.known & (np.abs(difference).max(-1) < DIFFERENT)
    if compared.any():
        size = tuple(max(1, side // CORRECTION_CELL) for side in (sources.box.width, sources.box.height))
        weight = compared.astype(np.float32)
        mass = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(difference * weight[..., None], size, interpolation=cv2.INTER_AREA)
        smooth = spread(mean / np.maximum(mass, 1e-6)[..., None], mass)
        smooth = cv2.GaussianBlur(smooth, (0, 0), 1.5)
        shown += cv2.resize(smooth, (sources.box.width, sources.box.height), interpolation=cv2.INTER_LINEAR)
    return np.clip(shown, 0, 1) * sources.known[..., None]


def _sampled(picture: Floats, points_xy: Floats) -> Floats:
    """[N, 3]: the picture at N points, bicubic."""
    cv2 = opencv(PURPOSE)
    count, side = len(points_xy), 1024  # a remap's sides are limited to 32767
    padded = np.zeros((-(-count // side) * side, 2), np.float32)
    padded[:count] = points_xy
    picture = np.ascontiguousarray(picture)
    found = cv2.remap(picture, padded.reshape(-1, side, 2), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 3)[:count]
