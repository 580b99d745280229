"""What every node that edits has promised, looked up on what went in and what came out.

Outside the mask nothing changed; an edited key is on its frame as it was given; and what comes out is pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

# Of each editor: where the clip goes in, and which outputs are the edited frames and the blend mask.
EDITORS = {
    "VividPropagate": ("frames", 0, 1),
    "VividEditVideo": ("frames", 0, 1),
    "VividPreviewPropagation": ("frames", 0, 1),
    "VividPix2Video": ("inversion", 0, 1),
    "VividUniEdit": ("inversion", 0, 1),
}
EXACT = "Largest difference outside the blend mask: 0."
SLACK = 1e-3  # what the checks of inputs let pass


def broken(node_id: str, given: Mapping[str, Any], made: Mapping[int, Any]) -> Iterator[str]:
    """What a node that ended well did not keep: one sentence for each. `given` are its inputs, `made` has those of its
    outputs that went on."""
    for number, value in made.items():
        if isinstance(value, Tensor):
            yield from _no_picture(node_id, number, value)
    if node_id in EDITORS and {0, 1} <= made.keys():
        yield from _changed_outside(node_id, given, made)
    if node_id == "VividStitch" and made.get(1, 0) != 0:
        yield f"it says that {made[1]} changed outside"
    if node_id == "VividEditLongVideo" and 0 in made and EXACT not in made[1]:
        yield "its report does not say that nothing changed outside"


def _no_picture(node_id: str, number: int, value: Tensor) -> Iterator[str]:
    where = f"output {number} of {node_id}, {value.dtype} {tuple(value.shape)},"
    if value.dtype != torch.float32:
        yield f"{where} is not float32"
    elif 0 in value.shape or value.ndim not in (3, 4) or (value.ndim == 4 and value.shape[-1] != 3):
        yield f"{where} is neither pictures nor masks"
    elif not bool(torch.isfinite(value).all()):
        yield f"{where} is not finite"
    elif float(value.min()) < -SLACK or float(value.max()) > 1 + SLACK:
        yield f"{where} goes from {float(value.min())} to {float(value.max())}"
    elif value.requires_grad:
        yield f"{where} wants a gradient"


def _changed_outside(node_id: str, given: Mapping[str, Any], made: Mapping[int, Any]) -> Iterator[str]:
    name, edited_at, blend_at = EDITORS[node_id]
    source = given[name]
    frames = source if isinstance(source, Tensor) else source.frames_fhwc
    edited, blend = made[edited_at], made[blend_at]
    if edited.shape[:3] != blend.shape or edited.shape[1:3] != frames.shape[1:3]:
        yield f"frames {tuple(edited.shape)} and blend mask {tuple(blend.shape)} for a clip {tuple(frames.shape)}"
        return
    before = frames[: len(edited), ..., :3].float()
    outside = blend == 0
    if not torch.equal(edited[outside], before[outside]):
        yield f"outside the blend mask {float((edited - before)[outside].abs().max())} changed"
    if given.get("mode") != "remove":  # that shows no keyframe, and says so
        yield from _lost_keys(given.get("keyframes"), edited, blend)


def _lost_keys(keys: Any, edited: Tensor, blend: Tensor) -> Iterator[str]:
    for key in keys or ():
        index = key.index % len(edited)
        inside = blend[index] == 1
        if key.mask_hw is None and key.strength == 1 and key.image_hwc.shape == edited.shape[1:]:
            picture = key.image_hwc.float()
            if not torch.equal(edited[index][inside], picture[inside]):
                yield f"keyframe {index} differs by {float((edited[index] - picture)[inside].abs().max())}"
