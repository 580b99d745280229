"""A first guess for a hole: filled from its border inwards, ring by ring, each pixel from the patch that fits best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..masks.flow import Floats
from ..optional import opencv

RADIUS = 3  # patches of 7x7: large enough for a blade of grass, small enough to bend around corners
# Cost of copying from the far end of the surroundings, (down, across): keeps sky above and ground below.
DISTANCE_COST = np.array([2.0, 1.5], np.float32)


def peeled(image: Floats, hole: NDArray[np.bool_], sources: NDArray[np.int64]) -> Floats:
    """Return the picture [h, w, 3] with its hole filled; `sources` [N, 2] are the middles of patches to copy from.

    Patches are compared where the target is known or filled already. Meant for small pictures.
    """
    cv2 = opencv("Filling holes")
    filled, known = image * ~hole[..., None], ~hole
    every = patches(image, sources)
    squares = np.square(every)
    where = sources / float(max(hole.shape)) * DISTANCE_COST
    while not known.all():
        ring = (cv2.dilate(known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~known
        targets = np.argwhere(ring)
        told = np.tile(patches(known.astype(np.float32)[..., None], targets), (1, 3))
        fit = told @ squares.T - 2 * (patches(filled, targets) * told) @ every.T
        fit *= (told.shape[1] / told.sum(1))[:, None]  # as much as a whole patch would cost
        here = targets / float(max(hole.shape)) * DISTANCE_COST
        fit += np.square(where).sum(1) - 2 * here.astype(np.float32) @ where.T.astype(np.float32)
        best = sources[fit.argmin(1)]
        filled[targets[:, 0], targets[:, 1]] = image[best[:, 0], best[:, 1]]
        known = known | ring
    return filled


def patches(image: Floats, places: NDArray[np.int64]) -> Floats:
    """[N, C * 49]: the patches around `places` [N, 2], channel by channel; beyond the picture it is mirrored."""
    padded = np.pad(image, ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)), mode="reflect")
    side = 2 * RADIUS + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (0, 1))
    return windows[places[:, 0], places[:, 1]].reshape(len(places), -1)
