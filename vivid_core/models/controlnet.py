"""ControlNets of Stable Diffusion in diffusers' layout."""

from __future__ import annotations

from functools import partial
from typing import Any

from .family import Family, Tensors, config_beside, from_diffusers
from .files import WeightFiles

CLASS = "ControlNetModel"
LABEL = "ControlNet"
NEEDED = (
    "conv_in.weight",
    "controlnet_cond_embedding.conv_in.weight",
    "controlnet_down_blocks.0.weight",
    "controlnet_mid_block.weight",
)


def _detects(tensors: Tensors) -> bool:
    moving = any("motion_modules" in name for name in tensors)  # a sparse ControlNet, of another class
    return all(name in tensors for name in NEEDED) and not moving


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json: heads and block types are not in the shapes.

    Raises ValueError where config.json is missing or of another class.
    """
    return config_beside(files, LABEL, CLASS)


FAMILY = Family(
    name="controlnet",
    label=LABEL,
    role="controlnet",
    get_it="get a ControlNet in diffusers' layout, such as lllyasviel/control_v11f1p_sd15_depth, on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
)
