"""AnimateDiff's motion modules without a U-Net, as they were released or as diffusers saves them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from .family import Family, Tensors, count, from_diffusers, given_config, odd_size, width
from .files import WeightFiles
from .sd_names import Value, motion_name

CLASS = "MotionAdapter"
LABEL = "set of motion modules"
PART = "motion_modules."
FIRST = "down_blocks.0.motion_modules.0.norm.weight"
POSITIONS = "down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe"
LEVELS = 4  # of SD 1.x; modules for SDXL have three


def _detects(tensors: Tensors) -> bool:
    with_unet = any(name.endswith("time_embedding.linear_1.weight") for name in tensors)
    return FIRST in in_diffusers_names(tensors) and not with_unet


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes. Heads are not in these: the released ones all have 8.

    Raises ValueError for modules that were made for SDXL, or bring a first layer of their own (PIA), and where
    config.json is of another class.
    """
    if "conv_in.weight" in files.tensors:
        raise ValueError(
            f"{files.path.name} holds motion modules that begin with a picture (PIA), which are not known here: choose "
            "plain ones, such as v3_sd15_mm.ckpt of AnimateDiff."
        )
    given = given_config(files, LABEL, CLASS)
    tensors = in_diffusers_names(files.tensors)
    if count(tensors, "down_blocks.") != LEVELS:
        raise ValueError(
            f"{files.path.name} is a {LABEL} for a U-Net of {count(tensors, 'down_blocks.')} levels, such as SDXL's, "
            "and SD 1.5 has four: choose one for SD 1.5, such as v3_sd15_mm.ckpt of AnimateDiff."
        )
    if given is not None:
        return given
    if count(tensors, "down_blocks.0.motion_modules.0.transformer_blocks.") != 1:
        raise odd_size(files, LABEL, "more than one layer in a module")
    return {
        "block_out_channels": widths(files),
        "motion_layers_per_block": count(tensors, "down_blocks.0.motion_modules."),
        "motion_max_seq_length": width(tensors, POSITIONS, 1),
        "use_motion_mid_block": any(name.startswith("mid_block.") for name in tensors),
    }


def widths(files: WeightFiles) -> list[int]:
    """The channels of each level of the U-Net that they were made for."""
    tensors = in_diffusers_names(files.tensors)
    levels = range(count(tensors, "down_blocks."))
    return [width(tensors, f"down_blocks.{level}.motion_modules.0.norm.weight") for level in levels]


def in_diffusers_names(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """The tensors of motion modules, or what is known of them, under diffusers' names; others are left out."""
    return {new: one for name, one in tensors.items() if (new := motion_name(name))}


FAMILY = Family(
    name="motion_adapter",
    label=LABEL,
    role="denoiser",
    get_it="get v3_sd15_mm.ckpt of guoyww/animatediff, or the folder guoyww/animatediff-motion-adapter-v1-5-3, on "
    "Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
    convert=in_diffusers_names,
)
