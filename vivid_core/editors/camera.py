"""The camera's motion and the change of brightness between two frames, told by the background only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..masks.flow import Bytes, Floats, pixel_grid, warp
from ..optional import opencv

PURPOSE = "Removing an object"
FEATURES = 600
FEWEST = 12  # tracked features below which no camera motion can be told
SAME_PLACE = 0.8  # pixels within which a feature agrees with the camera
DARK, BRIGHT = 16, 240  # of 255: beyond these a ratio of colours tells nothing
SAME_GAIN = 0.004  # a change of brightness below this is none

Matrix: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Small:
    """A frame at working size: colour [h, w, 3], grey [h, w], and 255 where the background is seen [h, w]."""

    colour: Bytes
    gray: Bytes
    seen: Bytes


def camera_motion(small: Small, other: Small, guess: Matrix) -> Matrix | None:
    """The motion from `small` to `other` that most background features follow; None if there are too few."""
    cv2 = opencv(PURPOSE)
    start = cv2.goodFeaturesToTrack(small.gray, FEATURES, 0.01, 6, mask=small.seen)
    if start is None or len(start) < FEWEST:
        return None
    gain = float(gain_between(small, other, guess).mean())  # tracking wants equal brightness, so dim the brighter
    here = cv2.convertScaleAbs(small.gray, alpha=min(1.0, 1 / gain))
    there = cv2.convertScaleAbs(other.gray, alpha=min(1.0, gain))
    expected = applied(guess, start)
    settings = {
        "winSize": (15, 15),
        "maxLevel": 3,
        "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.003),
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    end, found, _ = cv2.calcOpticalFlowPyrLK(here, there, start, expected, **settings)
    again, found_again, _ = cv2.calcOpticalFlowPyrLK(there, here, end, start.copy(), **settings)
    agrees = np.abs(again - start).max((1, 2)) < 0.5
    agrees &= (found[:, 0] > 0) & (found_again[:, 0] > 0) & (warp(other.seen, end, "zero")[:, 0] > 0)
    start, end = start[agrees], end[agrees]
    if len(start) < FEWEST:
        return None
    matrix, votes = cv2.findHomography(start, end, cv2.RANSAC, SAME_PLACE, maxIters=500, confidence=0.999)
    if matrix is None or int(votes.sum()) < max(FEWEST, 0.3 * len(start)) or not _plausible(matrix, small.gray.shape):
        return None
    agreed = votes[:, 0] > 0
    return _simplest(start[agreed, 0], end[agreed, 0])


def _simplest(start: Floats, end: Floats) -> Matrix:
    """The motion model that explains the features best for its number of parameters (Bayesian information criterion).

    A homography fitted to a plain shift bends at the corners, where there are no features to hold it.
    """
    cv2 = opencv(PURPOSE)
    mean = (end - start).mean(0)
    shift = np.array([[1, 0, mean[0]], [0, 1, mean[1]], [0, 0, 1]], np.float64)
    models = [(2, shift), (4, _least_squares(start, end, True)), (6, _least_squares(start, end, False))]
    homography, _ = cv2.findHomography(start, end, 0)
    if homography is not None:
        models.append((8, homography))

    def criterion(model: tuple[int, Matrix]) -> float:
        error = np.square(applied(model[1], start[:, None])[:, 0] - end).mean() + 1e-6
        return float(2 * len(start) * np.log(error) + model[0] * np.log(2 * len(start)))

    return min(models, key=criterion)[1]


def _least_squares(start: Floats, end: Floats, similar: bool) -> Matrix:
    """The affine motion, or with `similar` the rotation, scale and shift, that fits best: [3, 3]."""
    x, y = start.astype(np.float64).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    if similar:
        rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
        a, b, c, d = np.linalg.lstsq(rows, end.astype(np.float64).T.ravel(), rcond=None)[0]
        return np.array([[a, -b, c], [b, a, d], [0, 0, 1]])
    solution = np.linalg.lstsq(np.stack([x, y, one], 1), end.astype(np.float64), rcond=None)[0]
    return np.vstack([solution.T, [0, 0, 1]])


def gain_between(small: Small, other: Small, matrix: Matrix) -> Floats:
    """How much brighter `small` is than `other`, for each channel, on the background both show."""
    height, width = small.gray.shape
    places = applied(matrix, pixel_grid(width, height))
    both = (small.seen > 0) & (warp(other.seen, places, "zero") > 250)
    now, then = small.colour[both].astype(np.float32), warp(other.colour, places)[both].astype(np.float32)
    told = ((now > DARK) & (now < BRIGHT) & (then > DARK) & (then < BRIGHT)).all(1)
    if told.sum() < 400:
        return np.ones(3, np.float32)
    ratio = np.log(now[told] / then[told])
    middle = np.median(ratio, axis=0)
    close = np.abs(ratio - middle) < 0.1  # a mean of these is finer than the median of 8-bit ratios
    gain = np.exp((ratio * close).sum(0) / close.sum(0))
    return np.where(np.abs(gain - 1) < SAME_GAIN, 1.0, gain).astype(np.float32)


def difference(small: Small, other: Small) -> float:
    """How much two small pictures differ where both show background, and 0 if they share nothing."""
    both = (small.seen > 0) & (other.seen > 0)
    if not both.any():
        return 0.0
    return float(np.abs(small.colour[both].astype(np.float32) - other.colour[both]).mean()) / 255


def applied(matrix: Matrix, points_xy: Floats) -> Floats:
    """The points [..., 2] where the homography sends them."""
    cv2 = opencv(PURPOSE)
    shape = points_xy.shape
    return cv2.perspectiveTransform(points_xy.reshape(-1, 1, 2), matrix).reshape(shape)


def _corners(height: int, width: int) -> Floats:
    return np.array([[[0, 0], [width, 0], [0, height], [width, height], [width / 2, height / 2]]], np.float32)


def shift_of(matrix: Matrix, width: int, height: int) -> float:
    """How far the corner that moves most is moved."""
    corners = _corners(height, width)
    return float(np.abs(applied(matrix, corners) - corners).max())


def _plausible(matrix: Matrix, shape: tuple[int, ...]) -> bool:
    """No camera folds the picture over or blows it up between frames that share features."""
    height, width = shape
    moved = applied(matrix, _corners(height, width))[0]
    across, down = moved[1] - moved[0], moved[2] - moved[0]
    area = float(across[0] * down[1] - across[1] * down[0]) / (height * width)
    return 0.2 < area < 5
