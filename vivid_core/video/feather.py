"""How far a pixel is from the edit mask, and the soft rim made of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import checked_mask
from ..distance import distance_to
from ..runtime import Runtime

WIDEST = 1_000_000  # pixels, more than any frame has on a side
Box = tuple[slice, slice]
"""Rows and columns of a frame, as slices with both ends set."""


def box_of(region_hw: Tensor, margin: int = 0) -> Box | None:
    """The smallest box around the true pixels of a bool [H, W], `margin` pixels wider, inside the frame.

    None when no pixel is true.
    """
    rows, columns = region_hw.any(dim=1).nonzero(), region_hw.any(dim=0).nonzero()
    if not len(rows):
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    height, width = region_hw.shape
    return (
        slice(max(top - margin, 0), min(bottom + 1 + margin, height)),
        slice(max(left - margin, 0), min(right + 1 + margin, width)),
    )


def distance_outside(inside_hw: Tensor) -> Tensor:
    """Euclidean distance in pixels from each pixel to the nearest true one of a bool [H, W]; 0 inside.

    At least one pixel must be true. Between centres, so a direct neighbour is at distance 1.
    """
    return torch.from_numpy(distance_to(inside_hw.numpy(), "The soft rim of a mask"))


def feather_outside(edit_mask_fhw: Tensor, radius_px: float, runtime: Runtime | None = None) -> Tensor:
    """The blend mask of an edit mask: mask_fhw, a rim that lies wholly outside the edit.

    Exactly 1 where the edit mask is above 0.5; outside it falls with the Euclidean distance along a smoothstep and is
    exactly 0 from `radius_px` on. A radius up to 1 gives a hard edge. Frames with an empty mask stay empty.

    Raises ValueError when the radius is negative, beyond any frame or not a number, and as `checked_mask` does.
    """
    edit_mask_fhw = checked_mask(edit_mask_fhw, "Feather")
    if not 0 <= radius_px <= WIDEST:
        raise ValueError(f"Feather: got a radius of {radius_px} pixels; it must be a number from 0 up to {WIDEST}.")
    runtime = runtime or Runtime()
    blend_fhw = torch.zeros(edit_mask_fhw.shape, dtype=torch.float32)
    for mask_hw, blend_hw in zip(edit_mask_fhw, blend_fhw):
        inside_hw = mask_hw > 0.5
        box = box_of(inside_hw, margin=math.ceil(radius_px))
        if box is not None:
            blend_hw[box] = _rim(inside_hw[box], radius_px)
        runtime.advance()
    return blend_fhw


def _rim(inside_hw: Tensor, radius_px: float) -> Tensor:
    if radius_px <= 1:
        return inside_hw.float()
    nearness = (1 - distance_outside(inside_hw) / radius_px).clamp_(0, 1)
    return nearness * nearness * (3 - 2 * nearness)
