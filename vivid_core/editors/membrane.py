"""Smooth interpolation of anything known at some pixels to all the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..optional import opencv


def resize(values_hwc: NDArray[np.float32], width: int, height: int, area: bool = False) -> NDArray[np.float32]:
    """Return [height, width, C]: bilinear, or with `area` the mean over what a pixel covers. Any number of channels."""
    cv2 = opencv("Resizing")
    how = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    resized = np.empty((height, width, values_hwc.shape[2]), np.float32)
    for first in range(0, values_hwc.shape[2], 4):  # OpenCV resizes at most four channels at once
        some = np.ascontiguousarray(values_hwc[..., first : first + 4])
        resized[..., first : first + 4] = cv2.resize(some, (width, height), interpolation=how).reshape(
            height, width, -1
        )
    return resized


def fill_smoothly(image_hwc: NDArray[np.float32], known_hw: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the picture (any number of channels) with unknown pixels filled smoothly; known ones are kept exactly.

    Pull-push (Gortler et al. 1996): known values are averaged down a pyramid, then pushed back up where none are known.
    With nothing known at all, everything is 0.
    """
    smooth = spread(image_hwc, known_hw.astype(np.float32))
    return np.where(known_hw[..., None], image_hwc, smooth).astype(np.float32)


def spread(values_hwc: NDArray[np.float32], weight_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [H, W, C]: `values_hwc` weighted by `weight_hw` (0..1), continued smoothly to where the weight is 0."""
    cv2 = opencv("Filling holes")
    pulled = [(values_hwc * weight_hw[..., None], weight_hw)]
    while max(pulled[-1][1].shape) > 1 and not bool((pulled[-1][1] > 0.5).all()):
        colour, mass = pulled[-1]
        size = ((mass.shape[1] + 1) // 2, (mass.shape[0] + 1) // 2)
        smaller = resize(colour, *size, area=True)
        mass = cv2.resize(mass, size, interpolation=cv2.INTER_AREA)
        gain = np.minimum(1.0, 4.0 * mass) / np.maximum(mass, 1e-9)  # one known pixel in four is as good as four
        pulled.append((smaller * gain[..., None], mass * gain))
    smooth = np.zeros_like(pulled[-1][0])
    for colour, mass in reversed(pulled):
        smooth = resize(smooth, mass.shape[1], mass.shape[0])
        share = np.minimum(mass, 1.0)[..., None]
        smooth = colour / np.maximum(mass, 1e-9)[..., None] * share + smooth * (1 - share)
    return smooth.astype(np.float32)
