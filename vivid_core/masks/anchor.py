"""The picture that a carry compares later frames with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..optional import opencv
from .fields import Box, Field
from .flow import PURPOSE, Bytes, Floats, warp

DIMMEST, BRIGHTEST = 0.3, 3.0  # a change of light beyond this is none: something else is seen


@dataclass(frozen=True)
class Anchor:
    """The object in working pixels on `box`: `image`, `alpha` (0..1), the way to the reference frame.

    `mask` (0..255 on `mask_box`) is the same object in full pixels. `gain` is how much brighter each channel is
    now than when the picture was taken, and `lit` the picture in the present light.
    """

    image: Bytes
    box: Box
    to_reference: Field
    alpha: Floats
    mask: Bytes
    mask_box: Box
    gain: tuple[float, ...] = (1.0, 1.0, 1.0)
    lit: Bytes | None = None

    @property
    def middle(self) -> Floats:
        """The middle of its box, as points [1, 2]."""
        return np.array([[(self.box.left + self.box.right) / 2, (self.box.top + self.box.bottom) / 2]], np.float32)

    @property
    def corners(self) -> Floats:
        """The corners of its box, as points [4, 2]."""
        left, top, right, bottom = self.box
        return np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float32)

    def seen_through(self, points_xy: Floats) -> tuple[Bytes, Floats]:
        """Its picture in the present light and its alpha, through a map to its coordinates."""
        local = points_xy - np.array([self.box.left, self.box.top], np.float32)
        return warp(self.image if self.lit is None else self.lit, local), warp(self.alpha, local, "zero")

    def full_mask_through(self, points_xy: Floats) -> Bytes:
        """Its full-size mask through a map [h, w, 2] to its full-size coordinates, given from the mask box's corner."""
        return warp(self.mask, points_xy, "zero")

    def in_light_of(self, image: Bytes, warped: Bytes, seen: NDArray[np.bool_]) -> Anchor:
        """The anchor in the light of `image`, where `warped` shows it at the `seen` pixels in the light so far."""
        cv2 = opencv(PURPOSE)
        where = seen.astype(np.uint8)
        now, before = np.array(cv2.mean(image, where)[:3]), np.array(cv2.mean(warped, where)[:3])
        gain = np.clip(np.array(self.gain) * (now + 1) / (before + 1), DIMMEST, BRIGHTEST)
        table = np.clip(np.arange(256)[:, None] * gain, 0, 255).round().astype(np.uint8)
        return replace(self, gain=tuple(float(value) for value in gain), lit=cv2.LUT(self.image, table[None]))
