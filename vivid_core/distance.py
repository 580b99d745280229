"""Lengths and distances that are the same on every run.

OpenCV's own distance transform and magnitude round differently from call to call, depending on where in memory their
answer happens to lie. One bit is enough to break "same inputs, same output", and with it ComfyUI's cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .optional import opencv


def distance_to(places_hw: NDArray[np.bool_], what_for: str) -> NDArray[np.float32]:
    """Euclidean distance in pixels from each pixel's centre to the nearest true one's: [H, W], 0 where it is true.

    At least one pixel must be true. Exact up to about 800 pixels, as the squares are whole numbers.
    """
    cv2 = opencv(what_for)
    elsewhere = np.ascontiguousarray(~places_hw).view(np.uint8)
    about = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.sqrt(np.rint(np.square(about, dtype=np.float64))).astype(np.float32)


def lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lengths of `vectors` [..., 2]: [...]."""
    x, y = vectors[..., 0], vectors[..., 1]
    return np.sqrt(x * x + y * y)
