"""Stable Diffusion's U-Net in diffusers' layout, for single images."""

from __future__ import annotations

from functools import partial
from typing import Any

from .family import Family, Tensors, config_beside, from_diffusers
from .files import WeightFiles

CLASS = "UNet2DConditionModel"
LABEL = "Stable Diffusion U-Net"
NEEDED = ("conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight", "up_blocks.0.resnets.0.conv1.weight")
OF_VIDEO_MODELS = ("motion_modules", "temp_convs", "temporal_transformer_block", "transformer_in")


def _detects(tensors: Tensors) -> bool:
    moving = any(part in name for name in tensors for part in OF_VIDEO_MODELS)
    return all(name in tensors for name in NEEDED) and not moving


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json: heads and block types are not in the shapes.

    Raises ValueError where config.json is missing or of another class.
    """
    return config_beside(files, LABEL, CLASS)


FAMILY = Family(
    name="unet2d",
    label=LABEL,
    role="denoiser",
    get_it="get the folder unet of a Stable Diffusion model in diffusers' layout on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
)
