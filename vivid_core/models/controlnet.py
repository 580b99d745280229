"""ControlNets of Stable Diffusion, in diffusers' layout or in the original one."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from .family import Family, Tensors, count, from_diffusers, given_config, width
from .files import WeightFiles
from .sd_names import CONTROL_PREFIX, FIRST_BLOCK, in_diffusers_names
from .unet2d import levels_of

CLASS = "ControlNetModel"
LABEL = "ControlNet"
NEEDED = (
    "conv_in.weight",
    "controlnet_cond_embedding.conv_in.weight",
    "controlnet_down_blocks.0.weight",
    "controlnet_mid_block.weight",
)
ORIGINAL = (FIRST_BLOCK, "zero_convs.0.0.weight", "input_hint_block.0.weight", "middle_block_out.0.weight")
HINT = "controlnet_cond_embedding."


def _detects(tensors: Tensors) -> bool:
    moving = any("motion_modules" in name for name in tensors)  # a sparse ControlNet, of another class
    original = any(all(prefix + name in tensors for name in ORIGINAL) for prefix in ("", CONTROL_PREFIX))
    return (original or all(name in tensors for name in NEEDED)) and not moving


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Raises ValueError where config.json is of another class, or the shapes are not those of an SD 1.x or 2.x ControlNet.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    tensors = in_diffusers_names(files.tensors, CONTROL_PREFIX)
    steps = range(0, count(tensors, HINT + "blocks."), 2)
    hints = [width(tensors, f"{HINT}blocks.{step}.weight") for step in steps]
    return {
        **levels_of(files, tensors, LABEL),
        "conditioning_channels": width(tensors, HINT + "conv_in.weight", 1),
        "conditioning_embedding_out_channels": [*hints, width(tensors, HINT + "conv_out.weight", 1)],
    }


def _convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return in_diffusers_names(state_dict, CONTROL_PREFIX)


FAMILY = Family(
    name="controlnet",
    label=LABEL,
    role="controlnet",
    get_it="get a ControlNet of Stable Diffusion, such as lllyasviel/control_v11f1p_sd15_depth, on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
    convert=_convert,
)
