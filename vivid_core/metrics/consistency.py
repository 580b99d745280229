"""How well an edit sits in its clip: ring flicker and keyframe drift. Each counts only what the edit adds.

Both compare with the same quantity in the original, so that a natural edge, a moving background or a change
of light is not held against the edit: an unedited clip scores exactly 0. One frame is worked on at a time.
NaN means "not defined here", as on a frame without a mask.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from torch import Tensor

from ..optional import opencv

RING_PX = 8

Box = tuple[slice, slice]


def box_around(inside_hw: np.ndarray, margin: int) -> Box | None:
    """The smallest box around the true pixels, `margin` wider on each side within the frame; None when all false."""
    rows, columns = np.flatnonzero(inside_hw.any(1)), np.flatnonzero(inside_hw.any(0))
    if rows.size == 0:
        return None
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def lab_colours(cv2: ModuleType, image_hwc: Tensor, box: Box) -> np.ndarray:
    """CIE Lab of the part of an image_hwc (RGB in 0..1) within `box`: float32 [h, w, 3]."""
    image = np.ascontiguousarray(image_hwc.float().numpy()[box])
    lab: np.ndarray = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    return lab


def ring_flicker(
    original_pair: tuple[Tensor, Tensor],
    edited_pair: tuple[Tensor, Tensor],
    mask_pair: tuple[Tensor, Tensor],
    ring_px: int = RING_PX,
) -> float:
    """Change since the previous frame in the ring around the mask border, beyond the original's; lower is better.

    Each pair is (previous frame, this frame). The ring holds the pixels within `ring_px` of this frame's border
    (a square window) that were on the same side of the border in the previous frame, so that the mask's own motion
    does not count. Mean absolute change of the edit minus that of the original, not below 0; per-channel mean on
    0..255. NaN without a ring.
    """
    cv2 = opencv("Measure Edit")
    inside_before, inside = ((mask_hw > 0.5).numpy() for mask_hw in mask_pair)
    box = box_around(inside, ring_px)
    if box is None:
        return math.nan
    inside_before, inside = inside_before[box], np.ascontiguousarray(inside[box]).view(np.uint8)
    square = np.ones((2 * ring_px + 1, 2 * ring_px + 1), np.uint8)
    ring = cv2.dilate(inside, square) != cv2.erode(inside, square)
    ring &= inside_before == inside.view(bool)
    if not ring.any():
        return math.nan
    return max(0.0, _change(edited_pair, box, ring) - _change(original_pair, box, ring))


def region_colours(image_hwc: Tensor, mask_hw: Tensor) -> np.ndarray | None:
    """Mean and standard deviation of the Lab colour where the mask is above 0.5: 6 values; None without a mask."""
    cv2 = opencv("Measure Edit")
    inside = (mask_hw > 0.5).numpy()
    box = box_around(inside, 0)
    if box is None:
        return None
    colours = lab_colours(cv2, image_hwc, box)[inside[box]].astype(np.float64)
    return np.concatenate([colours.mean(0), colours.std(0)])


def drift(original: np.ndarray, edited: np.ndarray, original_at_key: np.ndarray, edited_at_key: np.ndarray) -> float:
    """How far the colours of the edited region left what its keyframe promises, in CIE dE; lower is better.

    Takes the `region_colours` of one frame and of its nearest keyframe. Promised is anything between "as on the
    keyframe" and "changed since the keyframe as much as the original did" (light, pose): the drift is the distance
    to the nearest point of that segment. The distance is the 2-Wasserstein distance of two Gaussians with these
    means and deviations (Dowson and Landau, 1982; diagonal covariance).
    """
    natural = original - original_at_key
    change = edited - edited_at_key
    length = float(natural @ natural)
    followed = 0.0 if length == 0 else min(max(float(change @ natural) / length, 0.0), 1.0)
    return float(np.linalg.norm(change - followed * natural))


def _change(pair: tuple[Tensor, Tensor], box: Box, ring: np.ndarray) -> float:
    before, now = (frame.numpy()[box][ring].astype(np.float64) for frame in pair)
    return 255 * float(np.abs(now - before).mean())
