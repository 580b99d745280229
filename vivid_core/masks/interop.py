"""Marks in the forms that other nodes read: points as JSON, boxes as mappings, masks."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from .marks import Marks
from .prompts import Prompt, Prompts

EDGE = 1e-6  # of a pixel: x / width * width may come out just below x


def anchor_frame(prompts: Prompts) -> int:
    """The first frame that says where the first object is, by points on it or a box; else its first frame, else 0."""
    if not len(prompts):
        return 0
    own = prompts.of_object(prompts.object_ids[0])
    telling = [prompt.frame for prompt in own if prompt.box or any(label for _, _, label in prompt.points)]
    return min(telling or [own[0].frame])


def points_json(prompts: Prompts, frame: int, label: int, width: int, height: int) -> str:
    """The first object's points with this label on `frame`, as KJNodes and ComfyUI's SAM3 nodes read them: a JSON list
    of {"x", "y"} in whole pixels."""
    places = [
        {"x": _pixel(x, width), "y": _pixel(y, height)}
        for prompt in _first_object(prompts, frame)
        for x, y, of_label in prompt.points
        if of_label == label
    ]
    return json.dumps(places)


def bounding_boxes(prompts: Prompts, frame: int, width: int, height: int) -> Any:
    """The boxes on `frame` as a BOUNDING_BOX in whole pixels: a mapping for one, a list for each frame that holds the
    list of them for several, an empty list for none. Those are the forms that all of ComfyUI's nodes read."""
    found = []
    for prompt in prompts:
        if prompt.frame != frame or prompt.box is None:
            continue
        x0, y0, x1, y1 = (round(side * size) for side, size in zip(prompt.box, (width, height, width, height)))
        left, top = min(x0, width - 1), min(y0, height - 1)
        found.append({"x": left, "y": top, "width": max(1, x1 - left), "height": max(1, y1 - top)})
    return found[0] if len(found) == 1 else [found] if found else []


def painted_masks(marks: Marks, count: int, height: int, width: int) -> Tensor:
    """The finished masks of all objects together: mask_fhw [count, H, W], 0 on frames where nothing was painted."""
    mask_fhw = torch.zeros(count, height, width)
    for mark in marks:
        mask_hw = mark.mask(height, width)
        if mask_hw is not None:
            mask_fhw[mark.frame] = torch.maximum(mask_fhw[mark.frame], mask_hw)
    return mask_fhw


def _first_object(prompts: Prompts, frame: int) -> list[Prompt]:
    own = prompts.of_object(prompts.object_ids[0]) if len(prompts) else ()
    return [prompt for prompt in own if prompt.frame == frame]


def _pixel(place: float, size: int) -> int:
    return min(int(place * size + EDGE), size - 1)
