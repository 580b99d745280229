"""Mask augmentation: the paper's six variants of a mask, and its size filter (VIVID section 3.3).

An exact mask tells an editor the old object's outline, and the new object is forced into it. A looser one leaves room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..checks import checked_mask
from ..optional import opencv
from ..runtime import Runtime
from .shapes import Bounds, Margins, bounds, convex_hull, dilate_ellipse, dilate_rectangle

MODES = ("original", "expand", "hull", "box", "hull+expand", "box+expand")

EXPAND_RATIO, HULL_RATIO, BOX_RATIO = 0.3, 0.2, (0.2, 0.5)  # of the box's size, the published choice
MOST_ITERATIONS = 10
SMALLEST_AREA, LARGEST_AREA, LARGEST_BOX, LEAST_FRAMES = 0.005, 0.60, 0.90, 0.50


@dataclass(frozen=True)
class Expansion:
    """How far a mask grows: parts of the object's box size to each side, reached in `iterations` steps."""

    left: float
    top: float
    right: float
    bottom: float
    iterations: int = 1


def augment_mask(
    mask_fhw: Tensor,
    mode: str,
    amount: float = 0.3,
    randomise: bool = False,
    seed: int = 0,
    runtime: Runtime | None = None,
) -> Tensor:
    """The mask (above 0.5 = object) in one of `MODES`: edit_mask_fhw, float32 [F, H, W], 0 or 1.

    "hull" is the convex hull of all pixels of a frame, "box" its bounding box; with "+expand" they grow afterwards.
    Expanding lets every side of the object's box grow by `amount` / 2 of the box's size (so the box becomes
    1 + `amount` times as large), rounded up, but at most by half the way to the frame's border. A mask or hull is
    dilated by an ellipse, which keeps its shape; a box stays a box.
    With `randomise` the paper's amounts, a weight for each side and the number of iterations are drawn once for the
    whole clip from `seed`, in place of `amount`; more iterations make rounder corners squarer. Empty frames stay empty.
    Raises ValueError on an unknown mode, a negative amount, or what is no mask.
    """
    if mode not in MODES:
        raise ValueError(f'Augment mask: got the mode "{mode}"; choose one of {", ".join(MODES)}.')
    if not 0 <= amount <= 10:
        raise ValueError(f"Augment mask: the amount is {amount:g}, but it must lie in 0..10 times the object's size.")
    mask_fhw = checked_mask(mask_fhw, "Augment mask")
    runtime = runtime or Runtime()
    runtime.begin(mask_fhw.shape[0])
    cv2 = opencv("Augment Mask") if mode not in ("original", "box") else None
    expansion = drawn_expansion(mode, seed) if randomise else Expansion(amount / 2, amount / 2, amount / 2, amount / 2)
    edit_mask_fhw = np.zeros(tuple(mask_fhw.shape), np.float32)
    for target, mask_hw in zip(edit_mask_fhw, mask_fhw):
        mask = mask_hw.numpy() > 0.5
        box = bounds(mask)
        if box is not None:
            _augment_frame(cv2, mask, box, mode, expansion, target)
        runtime.advance()
    return torch.from_numpy(edit_mask_fhw)


def drawn_expansion(mode: str, seed: int) -> Expansion:
    """The random expansion of the paper for one clip, drawn from `seed`; ValueError for one of more than 64 bits."""
    if not 0 <= seed < 2**64:
        raise ValueError(f"Augment Mask, seed: got {seed}; use a whole number from 0 to {2**64 - 1}.")
    draw = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    low, high = {"hull+expand": (HULL_RATIO,) * 2, "box+expand": BOX_RATIO}.get(mode, (EXPAND_RATIO,) * 2)
    ratio = low + (high - low) * draw[0]
    left, top, right, bottom = (ratio * weight for weight in draw[1:5])
    return Expansion(left, top, right, bottom, 1 + int(MOST_ITERATIONS * draw[5]))


def size_verdict(mask_fhw: Tensor) -> str | None:
    """Why the paper's filter would drop this mask, as one sentence; None if it passes.

    Kept are masks that are seen in at least 50 % of the frames and, on average over those, cover 0.5 % to 60 % of the
    frame with a box of at most 90 % of it.
    """
    mask_fhw = checked_mask(mask_fhw, "Mask size")
    frame = mask_fhw.shape[1] * mask_fhw.shape[2]
    areas, boxes = [], []
    for mask_hw in mask_fhw:
        mask = mask_hw.numpy() > 0.5
        if (box := bounds(mask)) is not None:
            areas.append(float(np.count_nonzero(mask)) / frame)
            boxes.append(box.area / frame)
    if len(areas) < LEAST_FRAMES * mask_fhw.shape[0]:
        return (
            f"The mask marks something on {len(areas)} of {mask_fhw.shape[0]} frames, but at least "
            f"{LEAST_FRAMES:.0%} are needed; trim the clip to where the object is seen."
        )
    area, box_area = float(np.mean(areas)), float(np.mean(boxes))
    if area < SMALLEST_AREA:
        return f"The mask covers {area:.2%} of the frame, less than {SMALLEST_AREA:.1%}; crop to the object first."
    if area > LARGEST_AREA:
        return f"The mask covers {area:.0%} of the frame, more than {LARGEST_AREA:.0%}; too little is left to keep."
    if box_area > LARGEST_BOX:
        return (
            f"The box around the mask covers {box_area:.0%} of the frame, more than {LARGEST_BOX:.0%}; remove specks "
            "or mark a smaller object."
        )
    return None


def _augment_frame(
    cv2: object, mask: np.ndarray, box: Bounds, mode: str, expansion: Expansion, target: np.ndarray
) -> None:
    """Put one frame's variant into `target` [H, W], working only on the part that can change."""
    height, width = mask.shape
    margins = _margins(box, expansion, height, width) if "expand" in mode else Margins(0, 0, 0, 0)
    place = box.grown(margins, height, width)
    if mode.startswith("box"):
        target[place.slices] = 1
        return
    part = np.zeros((place.bottom - place.top, place.right - place.left), bool)
    inner = Bounds(*(near - far for near, far in zip(box, (place.left, place.top) * 2)))
    part[inner.slices] = convex_hull(cv2, mask[box.slices]) if mode.startswith("hull") else mask[box.slices]
    for step in range(expansion.iterations):
        part = _step(cv2, part, margins, step, expansion.iterations)
    target[place.slices] = part


def _margins(box: Bounds, expansion: Expansion, height: int, width: int) -> Margins:
    across, down = box.right - box.left, box.bottom - box.top
    wanted = (expansion.left * across, expansion.top * down, expansion.right * across, expansion.bottom * down)
    room = (box.left, box.top, width - box.right, height - box.bottom)
    return Margins(*(min(math.ceil(want - 1e-9), space // 2) for want, space in zip(wanted, room)))


def _step(cv2: object, part: np.ndarray, margins: Margins, step: int, steps: int) -> np.ndarray:
    """One of `steps` dilations that together reach `margins`: in turn by an ellipse and by a rectangle."""
    share = Margins(*(margin * (step + 1) // steps - margin * step // steps for margin in margins))
    return dilate_rectangle(cv2, part, share) if step % 2 else dilate_ellipse(part, share)
