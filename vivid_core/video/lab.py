"""sRGB to CIE 1976 L*a*b* and back, by the formulas of IEC 61966-2-1 and CIE 15, for the white point D65."""

from __future__ import annotations

import torch
from torch import Tensor

# Rows: X, Y, Z of the sRGB primaries.
RGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
DELTA = 6 / 29  # where the cube root of L*a*b* turns into a straight line


def srgb_to_lab(image: Tensor) -> Tensor:
    """[..., 3] sRGB in 0..1 to L* (0..100), a*, b* (about -128..127), float32."""
    encoded = image.float()
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    relative = linear @ _white_scaled().T.to(linear)
    root = torch.where(relative > DELTA**3, relative.clamp_min(0) ** (1 / 3), relative / (3 * DELTA**2) + 4 / 29)
    x, y, z = root.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def lab_to_srgb(lab: Tensor) -> Tensor:
    """[..., 3] L*, a*, b* to sRGB in 0..1, float32; what no screen can show is clipped by channel."""
    lightness, a, b = lab.float().unbind(-1)
    y = (lightness + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], -1)
    relative = torch.where(root > DELTA, root**3, 3 * DELTA**2 * (root - 4 / 29))
    linear = (relative @ torch.linalg.inv(_white_scaled()).T.to(relative)).clamp_(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _white_scaled() -> Tensor:
    """The matrix from linear RGB to X/Xn, Y/Yn, Z/Zn: white, R = G = B = 1, gives exactly 1 in each row."""
    matrix = torch.tensor(RGB_TO_XYZ, dtype=torch.float64)
    return matrix / matrix.sum(1, keepdim=True)
