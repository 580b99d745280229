"""All six mask variants of 12 frames of 720p, against scipy doing the same as well as scipy can."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

FRAMES, HEIGHT, WIDTH = 12, 720, 1280
AMOUNT = 0.2
GOAL = 3.0
ABOUT = {
    "measures": "six mask modes on 12 frames of 720p",
    "peer": "SciPy making the same masks (distance transform, ConvexHull, slices)",
    "instead": "Grow Mask With Blur (KJNodes), which grows by pixels and has no hull or box",
    "goal": "at least 3x faster",
    "not_on_cuda": "this work is done on the CPU on every machine",
}


def run(full: bool) -> dict[str, Any]:
    from benchmarks.timing import paired
    from vivid_core.masks.augment import MODES, augment_mask

    torch.set_num_threads(1)  # as scipy
    mask_fhw = moving_figure()

    def ours() -> list[torch.Tensor]:
        return [augment_mask(mask_fhw, mode, AMOUNT) for mode in MODES]

    def peer() -> list[torch.Tensor]:
        return [with_scipy(mask_fhw, mode, AMOUNT) for mode in MODES]

    for mode, mine, theirs in zip(MODES, ours(), peer()):
        if not torch.equal(mine, theirs):
            raise RuntimeError(f"The two make different masks in mode {mode}.")
    timed = paired(ours, peer, 15 if full else 7, warm=True)
    faster, interval = timed.times_faster
    return {
        "name": "augment_clip",
        "ours": round(timed.ours_s, 4),
        "peer": round(timed.peer_s, 4),
        "ratio": round(faster, 2),
        "interval": [round(bound, 2) for bound in interval],
        "goal": GOAL,
        "met": interval[0] >= GOAL,
        "unit": "x",
        "what": f"six mask variants of {FRAMES} frames of 720p: times faster than scipy (distance transform for the "
        "dilation, ConvexHull, slices) making the same masks",
    }


def moving_figure() -> torch.Tensor:
    """A body with a head and an arm that walks through the picture: float32 [F, H, W]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    frames = []
    for frame in range(FRAMES):
        x = 420 + 20 * frame
        parts = [(x, 400, 110, 190), (x + 10, 180, 60, 70), (x + 130, 300 + 5 * frame, 90, 28)]
        discs = [((columns - cx) / rx) ** 2 + ((rows - cy) / ry) ** 2 < 1 for cx, cy, rx, ry in parts]
        frames.append(np.logical_or.reduce(discs))
    return torch.from_numpy(np.stack(frames)).float()


def with_scipy(mask_fhw: torch.Tensor, mode: str, amount: float) -> torch.Tensor:
    """The same with scipy, within the bounding box as well: an ellipse's dilation is a scaled distance of at most 1."""
    from scipy import ndimage

    out = np.zeros(mask_fhw.shape, np.float32)
    for target, mask_hw in zip(out, mask_fhw):
        mask = mask_hw.numpy() > 0.5
        rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
        grow = "expand" in mode
        top, bottom = sides(rows, HEIGHT, amount * grow)
        left, right = sides(columns, WIDTH, amount * grow)
        place = (slice(rows.start - top, rows.stop + bottom), slice(columns.start - left, columns.stop + right))
        if mode.startswith("box"):
            target[place] = 1
            continue
        inside = hull(mask[rows, columns]) if mode.startswith("hull") else mask[rows, columns]
        part = np.pad(inside, ((top, bottom), (left, right)))
        if grow:  # the figure stays away from the border, so both sides grow alike
            part = ndimage.distance_transform_edt(~part, sampling=(1 / (top + 0.5), 1 / (left + 0.5))) <= 1
        target[place] = part
    return torch.from_numpy(out)


def sides(span: slice, size: int, amount: float) -> tuple[int, int]:
    wanted = math.ceil(amount / 2 * (span.stop - span.start) - 1e-9)
    return min(wanted, span.start // 2), min(wanted, (size - span.stop) // 2)


def hull(mask: np.ndarray) -> np.ndarray:
    from scipy.spatial import ConvexHull

    filled = np.ones(mask.shape, bool)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    for across, down, offset in ConvexHull(np.argwhere(mask)[:, ::-1]).equations:
        filled &= across * columns + down * rows + offset <= 1e-9
    return filled
