"""The parts of a carry: one motion for the whole object, maps filled where nothing is seen, what is visible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..distance import lengths
from ..optional import opencv
from .fields import Box, apply_affine
from .flow import PURPOSE, Bytes, Floats

SAMPLES = 600  # pixels that vote on the object's motion
FIT_ERROR = 2.5  # pixels; a vote within this distance agrees
FEWEST_VOTES = 24
LEAST_SHARE = 0.02  # of the object's pixels: fewer votes are chance
SHIFT_SHARE, TURN_SHARE = (
    0.12,
    0.35,
)  # of the object's pixels: below, votes tell only its shift; only shift, turn, scale
FILL_RADII = (0.04, 0.16)  # of the box's longer side: how far a filled map looks for seen neighbours
TEMPLATE_SIDE = 40  # a lost object is searched at this size
FOUND_WITHIN = 0.16  # of the box's longer side: how exact the place of a lost object is before flow corrects it
FOUND = 0.6  # correlation from which a lost object counts as found


def fit_motion(
    map_xy: Floats, box: Box, weight: Floats, expected: float, prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The affine [2, 3] that most of the weighted pixels of a map follow.

    The fewer pixels vote, beside the `expected` ones, the less they may decide: a few only shift `prior`, more also
    turn and scale it. With too few, or no agreement, it is `prior`.
    """
    cv2 = opencv(PURPOSE)
    rows, columns = np.nonzero(weight > 0.5)
    share = len(rows) / max(expected, 1.0)
    if len(rows) < FEWEST_VOTES or share < LEAST_SHARE:
        return prior
    chosen = np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(np.intp)
    rows, columns = rows[chosen], columns[chosen]
    here = np.stack([columns + box.left, rows + box.top], 1).astype(np.float32)
    there = np.ascontiguousarray(map_xy[rows, columns])
    if share < SHIFT_SHARE:
        return _shifted(prior, there - apply_affine(prior, here))
    estimate = cv2.estimateAffinePartial2D if share < TURN_SHARE else cv2.estimateAffine2D
    affine, agreed = estimate(
        here, there, method=cv2.RANSAC, ransacReprojThreshold=FIT_ERROR, maxIters=300, confidence=0.995
    )
    if affine is None or agreed.sum() < FEWEST_VOTES or not _plausible(affine):
        return prior
    return affine


def _shifted(prior: NDArray[np.float64], errors: Floats) -> NDArray[np.float64]:
    middle = np.median(errors, 0)
    if (np.abs(errors - middle).max(1) < FIT_ERROR).mean() < 0.5:
        return prior
    shifted = prior.copy()
    shifted[:, 2] += middle
    return shifted


def filled(correction: Floats, weight: Floats) -> Floats:
    """`correction` [h, w, 2] where `weight` is 1; elsewhere what seen neighbours say, fading to 0 far from them."""
    cv2 = opencv(PURPOSE)
    height, width = weight.shape
    step = max(1, round(max(height, width) / 80))
    size = (max(1, width // step), max(1, height // step))
    weighted = cv2.resize(correction * weight[..., None], size, interpolation=cv2.INTER_AREA)
    mass = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    guess = np.zeros_like(weighted)
    for radius, doubt in zip(reversed(FILL_RADII), (0.05, 0.02)):
        sigma = max(0.6, radius * max(size))
        near = cv2.GaussianBlur(mass, (0, 0), sigma)[..., None]
        guess = (cv2.GaussianBlur(weighted, (0, 0), sigma) + doubt * guess) / (near + doubt)
    guess = cv2.resize(guess, (width, height), interpolation=cv2.INTER_LINEAR)
    return guess + (correction - guess) * weight[..., None]


def colour_error(image: Bytes, warped: Bytes, alpha: Floats | None = None, window: int = 5) -> Floats:
    """How much two pictures differ around each pixel: the largest channel's |a - b|, mean over a small window.

    Only pixels of the object (`alpha`, if given) count, so that what surrounds it has no say at its edge.
    """
    cv2 = opencv(PURPOSE)
    difference = cv2.absdiff(image, warped)
    largest = np.maximum(np.maximum(difference[..., 0], difference[..., 1]), difference[..., 2])
    if alpha is None:
        return cv2.blur(largest.astype(np.float32), (window, window))
    counted = np.maximum(alpha * alpha, 1e-3)
    return cv2.blur(largest * counted, (window, window)) / cv2.blur(counted, (window, window))


def is_small_and_smooth(flow: Floats, alpha: Floats, limit: float) -> NDArray[np.bool_]:
    """Where a flow is at most `limit` pixels long and close to what its surroundings on the object say."""
    cv2 = opencv(PURPOSE)
    window = (9, 9)
    around = cv2.blur(flow * alpha[..., None], window) / np.maximum(cv2.blur(alpha, window), 1e-3)[..., None]
    apart = flow - around
    small = lengths(flow) < limit
    return small & (lengths(apart) < min(0.25 * limit, 1.0))


def away_from(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`mask` without the pixels next to `other`."""
    cv2 = opencv(PURPOSE)
    return mask & (cv2.dilate(other.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)


def smooth_step(values: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def added(values: Bytes, more: Bytes, less: Bytes) -> Bytes:
    """`values` + `more` - `less`, kept within 0..255."""
    cv2 = opencv(PURPOSE)
    return cv2.subtract(cv2.add(values, more), less)


def find_shift(image: Bytes, warped: Bytes, alpha: Floats, box: Box, reach: int) -> tuple[float, float] | None:
    """How far the object lies from where `warped` (a picture of it on `box`, with its `alpha`) shows it in `image`.

    Normalised correlation at a small size, at most `reach` pixels away. None when nothing there looks like it.
    """
    cv2 = opencv(PURPOSE)
    shrink = min(1.0, TEMPLATE_SIDE / max(box.width, box.height))
    height, width = image.shape[:2]
    area = box.grown(reach, width, height)

    def small(picture: NDArray) -> NDArray:
        size = (max(4, round(picture.shape[1] * shrink)), max(4, round(picture.shape[0] * shrink)))
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    scene, template, mask = small(image[area.slices]), small(warped), small(alpha)
    mask = (mask > 0.5).astype(np.float32)
    if template.shape[0] > scene.shape[0] or template.shape[1] > scene.shape[1] or mask.sum() < 16:
        return None
    likeness = cv2.matchTemplate(
        scene.astype(np.float32), template.astype(np.float32), cv2.TM_CCOEFF_NORMED, mask=np.dstack([mask] * 3)
    )
    likeness[~np.isfinite(likeness)] = -1
    _, best, _, (x, y) = cv2.minMaxLoc(likeness)
    if best < FOUND:
        return None
    return x / shrink + area.left - box.left, y / shrink + area.top - box.top


def _plausible(affine: NDArray[np.float64]) -> bool:
    stretch = np.linalg.svd(affine[:, :2], compute_uv=False)
    return bool(stretch[1] > 0.1 and stretch[0] < 10 and np.linalg.det(affine[:, :2]) > 0)
