"""A tiny valid input for every node of the pack, and what each one returns from it."""

from __future__ import annotations

from typing import Any

import torch
from harness.clips import BOX, HEIGHT, SIDE, START, STEP, WIDTH, moving_square

COUNT = 8
MARKS = (
    '{"version": 1, "clip": null, "objects": [{"id": 1, "name": ""}], "marks": ['
    '{"frame": 0, "object": 1, "points": [[0.28, 0.47, 1]], "box": null, "strokes": [], "painted": false}]}'
)


def clip() -> torch.Tensor:
    """frames_fhwc of the moving square."""
    return torch.stack([torch.from_numpy(frame) for frame in moving_square()[:COUNT]]).float() / 255


def mask() -> torch.Tensor:
    """mask_fhw: exactly the square."""
    mask_fhw = torch.zeros(COUNT, HEIGHT, WIDTH)
    for index in range(COUNT):
        x, y = START[0] + STEP[0] * index, START[1] + STEP[1] * index
        mask_fhw[index, y : y + SIDE, x : x + SIDE] = 1
    return mask_fhw


def edited() -> torch.Tensor:
    """The clip with the square turned blue, and nothing else changed."""
    frames, inside = clip(), mask()[..., None]
    return frames * (1 - inside) + inside * frames.mean(-1, keepdim=True) * torch.tensor([0.2, 0.4, 1.0])


def key_image() -> torch.Tensor:
    return edited()[:1]


def good_inputs() -> dict[str, dict[str, Any]]:
    """Inputs with which each node runs; made anew at each call. Sockets of our own types are left out."""
    return {
        "VividTrackMask": {
            "frames": clip(), "frame": 0, "box": BOX, "points": "", "direction": "both", "mask_frames": "",
        },
        "VividPromptEditor": {"frames": clip(), "marks": MARKS},
        "VividMaskHealth": {"mask": mask(), "frames": clip()},
        "VividTrackToMask": {"objects": "all", "start": 0, "length": 0},
        "VividRepairMask": {
            "mask": mask(), "override_frames": "", "in_between": True, "median_frames": 3, "min_speck": 0.1,
            "max_hole": 0.1,
        },
        "VividAugmentMask": {
            "mask": mask(), "mode": "expand", "amount": 0.1, "feather": 4, "randomise": False, "seed": 0,
        },
        "VividCropSubject": {
            "frames": clip(), "mask": mask(), "mode": "static", "padding": 0.25, "multiple": 16, "megapixels": 0.0,
        },
        "VividStitch": {
            "original": clip(), "edited": edited(), "edit_mask": mask(), "feather": 4, "colour_match": "none",
            "blend": "feather",
        },
        "VividKeyframes": {"images": key_image(), "at_frames": "0", "strength": 1.0},
        "VividKeyframeBoard": {"frames": clip(), "board": "", "hold": False, "candidate": key_image()},
        "VividPreviewPropagation": {"frames": clip(), "mask": mask(), "mode": "remove", "feather": 4},
        "VividMeasureEdit": {"original": clip(), "edited": edited(), "edit_mask": mask()},
        "VividCompare": {"original": clip(), "edited": edited(), "fps": 12.0, "layout": "wipe", "mask": mask()},
        "VividCompareEngines": {
            "original": clip(), "edit_mask": mask(), "edited_1": edited(), "edited_2": clip(), "blend_mask": mask(),
        },
    }  # fmt: skip
