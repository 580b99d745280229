"""Making a carried map fit to carry a picture: steady where the surface shows nothing that flow could hold on to."""

from __future__ import annotations

import numpy as np

from ..masks.flow import Floats
from ..optional import opencv
from .key_edit import CELL, PURPOSE, cells
from .membrane import resize

TEXTURE = 0.02  # of a surface (square root of the structure tensor's smaller eigenvalue) that flow can hold on to
WINDOW = 7  # cells over which it is measured
REACHES = (4.0, 12.0)  # cells; how far plain surfaces look for textured ones
DOUBT = 0.02  # share of a plain surface's own say


def steadied(map_xy: Floats, confidence: Floats, image: Floats) -> Floats:
    """Return the map [h, w, 2] with its noise taken out where `image` [h, w, 3] is plain or `confidence` [h, w] low.

    What the map does beyond one affine motion for the whole is averaged there over the surroundings, textured and
    confident pixels counting most; these keep their own place.
    """
    cv2 = opencv(PURPOSE)
    gray = np.ascontiguousarray(cells(image).mean(-1))
    if min(gray.shape) < WINDOW:
        return map_xy
    texture = np.sqrt(np.maximum(cv2.cornerMinEigenVal(gray, WINDOW), 0))
    own = cells(confidence[..., None])[..., 0] * texture**4 / (texture**4 + TEXTURE**4)
    weight = np.maximum(own, DOUBT * cells(confidence[..., None])[..., 0]) + 1e-4
    rest = map_xy - _fitted_affine(map_xy, weight)
    small = cells(rest)
    calm = np.zeros_like(small)
    for reach in reversed(REACHES):
        near = cv2.GaussianBlur(weight, (0, 0), reach)[..., None]
        calm = (cv2.GaussianBlur(small * weight[..., None], (0, 0), reach) + DOUBT * calm) / (near + DOUBT)
    height, width = map_xy.shape[:2]
    whole = (gray.shape[1] * CELL, gray.shape[0] * CELL)
    both = resize(np.dstack([calm, own]), *whole)[:height, :width]
    return map_xy + (both[..., :2] - rest) * (1 - both[..., 2:])


def _fitted_affine(map_xy: Floats, weight: Floats) -> Floats:
    """The affine map [h, w, 2] closest to `map_xy`; `weight` is given for each cell."""
    height, width = weight.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) * CELL + (CELL - 1) / 2
    basis = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)
    heavy = basis * weight.reshape(-1, 1)
    solution = np.linalg.lstsq(heavy.T @ basis, heavy.T @ cells(map_xy).reshape(-1, 2), rcond=None)[0]
    full_x, full_y = np.arange(map_xy.shape[1]), np.arange(map_xy.shape[0])[:, None]
    parts = [full_x * solution[0, axis] + full_y * solution[1, axis] + solution[2, axis] for axis in (0, 1)]
    return np.stack(parts, -1).astype(np.float32)
