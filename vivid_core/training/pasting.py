"""Deletion samples from any clip: another object's mask, pasted where there is only background (VIVID section 3.2).

What lies under such a mask is true background, so the clip itself is the answer.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks.flow import dense_flow, luminance, picture, pixel_grid, warp
from ..masks.shapes import Bounds, bounds
from .draws import Draws

TRIES = 50
SCALES = (0.5, 1.5)
LEAST_BACKGROUND = 0.95  # of the pasted mask, over the clip
LEAST_LEFT = 0.2  # of the first frame's area, in every frame


def pasted_mask(
    frames_fhwc: Tensor, foreground_fhw: Tensor, donor_fhw: Tensor, motion: str, draws: Draws
) -> Tensor | None:
    """`donor_fhw` (a mask of another clip of this size) somewhere on the background: float32 [F, H, W], 0 or 1.

    `foreground_fhw` is where the clip's own objects are. `motion` is "foreground" (the donor's own, from its first
    frame that shows something on, forwards and backwards in turn when the clip is longer) or "background" (its first
    mask, carried by the optical flow of what is around it). None when no place was found in 50 tries.
    """
    shown = donor_fhw.flatten(1).any(1).nonzero()[:, 0]
    if not len(shown):
        return None
    donor_fhw = _as_long(donor_fhw[int(shown[0]) :], len(frames_fhwc))
    steps = _background_steps(frames_fhwc, foreground_fhw) if motion == "background" else None
    for _ in range(TRIES):
        placed = _placed(donor_fhw, draws)
        if placed is None or background_share(placed[:1], foreground_fhw[:1]) < LEAST_BACKGROUND:
            continue
        mask_fhw = placed if steps is None else _carried(placed[0], steps, foreground_fhw)
        areas = mask_fhw.sum((1, 2))
        if (areas >= LEAST_LEFT * areas[0]).all() and background_share(mask_fhw, foreground_fhw) >= LEAST_BACKGROUND:
            return mask_fhw
    return None


def background_share(mask_fhw: Tensor, foreground_fhw: Tensor) -> float:
    """How much of a mask, over all frames, lies off the foreground."""
    marked = mask_fhw > 0.5
    return 1 - float((marked & (foreground_fhw > 0.5)).sum()) / max(1.0, float(marked.sum()))


def _as_long(donor_fhw: Tensor, count: int) -> Tensor:
    """The donor forwards and backwards in turn, `count` frames of it."""
    turn = max(1, 2 * (len(donor_fhw) - 1))
    places = torch.arange(count) % turn
    return donor_fhw[torch.minimum(places, turn - places)]


def _placed(donor_fhw: Tensor, draws: Draws) -> Tensor | None:
    """The donor in another size, with its first mask somewhere inside the frame; None if it doesn't fit there."""
    height, width = donor_fhw.shape[1:]
    scale = draws.between(*SCALES)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    scaled = F.interpolate(donor_fhw[:, None].float(), size, mode="bilinear", antialias=True)[:, 0] > 0.5
    box = bounds(scaled[0].numpy())
    if box is None or box.bottom - box.top > height or box.right - box.left > width:
        return None
    down = draws.below(height - (box.bottom - box.top) + 1) - box.top
    right = draws.below(width - (box.right - box.left) + 1) - box.left
    return _shifted(scaled.float(), down, right, height, width)


def _shifted(mask_fhw: Tensor, down: int, right: int, height: int, width: int) -> Tensor:
    """The mask on a frame of another size, its corner at (`down`, `right`); what leaves the frame is cut off."""
    box = Bounds(
        max(0, right), max(0, down), min(width, right + mask_fhw.shape[2]), min(height, down + mask_fhw.shape[1])
    )
    result = torch.zeros(len(mask_fhw), height, width)
    if box.right > box.left and box.bottom > box.top:
        rows, columns = slice(box.top - down, box.bottom - down), slice(box.left - right, box.right - right)
        result[:, box.top : box.bottom, box.left : box.right] = mask_fhw[:, rows, columns]
    return result


def _background_steps(frames_fhwc: Tensor, foreground_fhw: Tensor) -> list[np.ndarray]:
    """The optical flow [H, W, 2] from each frame to the next one, not a number on the foreground."""
    grays = [luminance(picture(frame.float())) for frame in frames_fhwc]
    steps = []
    for before, after, objects in zip(grays, grays[1:], foreground_fhw):
        flow = dense_flow(before, after).copy()
        flow[objects.numpy() > 0.5] = np.nan
        steps.append(flow)
    return steps


def _carried(first_hw: Tensor, steps: list[np.ndarray], foreground_fhw: Tensor) -> Tensor:
    """The first mask as a part of the background: moved, as a whole, by the median of the flow inside it."""
    height, width = first_hw.shape
    grid, place = pixel_grid(width, height), np.zeros(2, np.float32)
    masks = [first_hw.numpy()]
    for flow in steps:
        inside = flow[masks[-1] > 0.5]
        inside = inside[~np.isnan(inside[:, 0])]
        if len(inside):
            place = place + np.median(inside, axis=0)
        masks.append((warp(masks[0], grid - place.astype(np.float32), "zero") > 0.5).astype(np.float32))
    return torch.from_numpy(np.stack(masks))
