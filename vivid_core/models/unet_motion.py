"""Stable Diffusion's U-Net with motion modules (AnimateDiff), as diffusers saves both together."""

from __future__ import annotations

from functools import partial
from typing import Any

from .family import Family, Tensors, config_beside, from_diffusers
from .files import WeightFiles
from .unet2d import NEEDED

CLASS = "UNetMotionModel"
LABEL = "motion U-Net"


def _detects(tensors: Tensors) -> bool:
    return all(name in tensors for name in NEEDED) and any(".motion_modules." in name for name in tensors)


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json: heads, block types and the longest clip are not in the shapes.

    Raises ValueError where config.json is missing or of another class.
    """
    return config_beside(files, LABEL, CLASS)


FAMILY = Family(
    name="unet_motion",
    label=LABEL,
    role="denoiser",
    get_it="save a UNetMotionModel of diffusers, made of a Stable Diffusion U-Net and a motion adapter, with "
    "save_pretrained",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
)
