"""What moves otherwise than the camera says: the background's depth, and things that pass in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..distance import lengths
from ..masks.flow import INVERSE_SEARCH, Floats, FlowEstimator, forward_backward_error, pixel_grid, warp
from ..optional import opencv
from .camera import PURPOSE, Matrix, Small, applied
from .membrane import spread

CONSISTENT = 0.7  # forward-backward error of flow that can be trusted
FEWEST = 30  # pixels that can tell a motion
CELL = 8  # working pixels that share one value of the parallax
PARALLAX = 0.35  # working pixels of motion beyond the camera's that are worth following
MOST_PARALLAX = 3.0  # between two frames; what moves more than this moves on its own
MOVES = 1.2  # working pixels of motion against the background from which something moves on its own
NEAR = 8  # working pixels around a hole in which flow is led astray by what is in the hole
LOOKS_DIFFERENT = 14.0  # of 255


@dataclass(frozen=True)
class Comparison:
    """`beyond` [h / CELL, w / CELL, 2]: the background's motion beyond the camera's, continued into what hides it; None
    if there is none worth following. `moving` [h, w]: where something moves on its own. `drift` (x, y): how far what
    hides the background went against it, NaN if that can't be told."""

    beyond: Floats | None
    moving: NDArray[np.bool_]
    drift: NDArray[np.floating]


def parallax(here: Small, there: Small, matrix: Matrix, flow: FlowEstimator = INVERSE_SEARCH) -> Comparison:
    """Compare two frames that lie `matrix` (here to there) apart."""
    grid = pixel_grid(here.gray.shape[1], here.gray.shape[0])
    camera = applied(matrix, grid)
    forth, back = flow.both_ways(here.colour, there.colour)
    error = forward_backward_error(forth, back)
    beyond = grid + forth - camera
    seen = (here.seen > 0) & (warp(there.seen, grid + forth, "zero") > 250)
    completed = _completed(here, beyond, seen & (error < CONSISTENT) & (lengths(beyond) < MOST_PARALLAX))
    if completed is not None:
        follows = warp(completed, (grid + 0.5) / CELL - 0.5)
        beyond -= follows
        camera = camera + follows
    hiding = (here.seen == 0) & (error < CONSISTENT)
    drift = np.median(beyond[hiding], axis=0) if hiding.sum() >= FEWEST else np.full(2, np.nan)
    return Comparison(completed, _moving(here, there, camera, lengths(beyond)), drift)


def _moving(here: Small, there: Small, places: Floats, length: Floats) -> NDArray[np.bool_]:
    """Near a hole only pictures tell what is background, elsewhere flow does too."""
    cv2 = opencv(PURPOSE)
    change = cv2.absdiff(here.colour, warp(there.colour, places)).max(-1)
    comparable = warp(there.seen, places, "zero") > 250
    differs = (cv2.blur(change.astype(np.float32), (3, 3)) > LOOKS_DIFFERENT) & comparable
    near = cv2.dilate(255 - here.seen, np.ones((2 * NEAR + 1,) * 2, np.uint8)) > 0
    moving = (differs | ((length > MOVES) & ~near)) & (here.seen > 0)
    specks = cv2.morphologyEx(moving.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.dilate(specks, np.ones((5, 5), np.uint8)) > 0


def _completed(here: Small, beyond: Floats, trusted: NDArray[np.bool_]) -> Floats | None:
    """The trusted motion, averaged over cells and continued smoothly; None if it is negligible around the holes."""
    cv2 = opencv(PURPOSE)
    rim = cv2.dilate(255 - here.seen, np.ones((61, 61), np.uint8)) > 0
    if (trusted & rim).sum() < 200:
        return None
    height, width = trusted.shape
    size = (-(-width // CELL), -(-height // CELL))
    edges = ((0, size[1] * CELL - height), (0, size[0] * CELL - width))
    mass = cv2.resize(np.pad(trusted.astype(np.float32), edges), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.pad(beyond * trusted[..., None], (*edges, (0, 0))), size, interpolation=cv2.INTER_AREA)
    mean = spread(total / np.maximum(mass, 1e-6)[..., None], (mass > 0.5).astype(np.float32))
    steady = np.dstack([cv2.medianBlur(np.ascontiguousarray(mean[..., axis]), 5) for axis in (0, 1)])
    near = cv2.resize(rim.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    if float(np.quantile(lengths(steady)[near], 0.8)) < PARALLAX:
        return None
    return cv2.GaussianBlur(steady, (0, 0), 1.0)
