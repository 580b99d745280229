"""Stable Diffusion's U-Net with motion modules (AnimateDiff), as diffusers saves both together."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..optional import require
from . import motion_adapter, unet2d
from .family import Family, Tensors, config_beside, from_diffusers
from .files import WeightFiles
from .sd_fit import channels_of
from .sd_names import UNET_PREFIX, in_diffusers_names
from .unet2d import NEEDED

CLASS = "UNetMotionModel"
LABEL = "motion U-Net"
MODULES = ".motion_modules."


def _detects(tensors: Tensors) -> bool:
    return all(name in tensors for name in NEEDED) and any(MODULES in name for name in tensors)


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json: heads, block types and the longest clip are not in the shapes.

    Raises ValueError where config.json is missing or of another class.
    """
    return config_beside(files, LABEL, CLASS)


def joined(unet: WeightFiles, motion: WeightFiles) -> WeightFiles:
    """A U-Net for images and motion modules as the files of one UNetMotionModel, with its settings.

    Raises ValueError as the families of both do, and when the motion modules were made for another U-Net.
    """
    of_unet, of_motion = unet2d.config(unet), motion_adapter.config(motion)
    given, made = channels_of(of_unet)
    if given != made:
        raise ValueError(
            f"{unet.path.name} has {given} input channels, and motion modules were made for models with {made}: choose "
            "a plain SD 1.5 checkpoint."
        )
    if of_unet.get("use_linear_projection"):
        raise ValueError(
            f"{unet.path.name} is an SD 2.x model, but motion modules were made for SD 1.5: choose a checkpoint of SD "
            "1.5, or none as the motion modules."
        )
    channels = list(of_unet["block_out_channels"])
    widths = motion_adapter.widths(motion)
    if channels != widths:
        raise ValueError(
            f"{motion.path.name} holds motion modules for a U-Net of {widths} channels, but {unet.path.name} has "
            f"{channels}: choose motion modules that were made for the same base, such as v3_sd15_mm.ckpt for SD 1.5."
        )
    config = _config_of_both(of_unet, of_motion)
    tensors = {**in_diffusers_names(unet.tensors, UNET_PREFIX), **motion_adapter.in_diffusers_names(motion.tensors)}
    return WeightFiles(unet.path, (*unet.parts, *motion.parts), tensors, {}, config)


def _config_of_both(of_unet: Mapping[str, Any], of_motion: Mapping[str, Any]) -> dict[str, Any]:
    diffusers = require("diffusers", f"Loading a {CLASS}")
    known = inspect.signature(diffusers.UNetMotionModel.__init__).parameters
    moving = {
        "down_block_types": [_moving(kind) for kind in of_unet["down_block_types"]],
        "up_block_types": [_moving(kind) for kind in of_unet["up_block_types"]],
        "num_attention_heads": of_unet.get("num_attention_heads") or of_unet["attention_head_dim"],
        "layers_per_block": of_motion.get("motion_layers_per_block", 2),
        "motion_num_attention_heads": of_motion.get("motion_num_attention_heads", 8),
        "motion_max_seq_length": of_motion.get("motion_max_seq_length", 32),
        "use_motion_mid_block": of_motion.get("use_motion_mid_block", True),
        "temporal_transformer_layers_per_block": of_motion.get("motion_transformer_layers_per_block", 1),
        "temporal_transformer_layers_per_mid_block": of_motion.get("motion_transformer_layers_per_mid_block", 1),
    }
    return {name: value for name, value in of_unet.items() if name in known} | moving | {"_class_name": CLASS}


def _moving(kind: str) -> str:
    return kind.removesuffix("2D") + "Motion"


def _convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Both kinds of tensors under the names of the module, from whatever layouts they come."""
    moving = {name: one for name, one in state_dict.items() if motion_adapter.PART in name}
    still = {name: one for name, one in state_dict.items() if name not in moving}
    return {**unet2d.convert(still), **motion_adapter.in_diffusers_names(moving)}


FAMILY = Family(
    name="unet_motion",
    label=LABEL,
    role="denoiser",
    get_it="save a UNetMotionModel of diffusers, made of a Stable Diffusion U-Net and a motion adapter, with "
    "save_pretrained",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
    convert=_convert,
)


def is_motion_unet(unet: nn.Module) -> bool:
    """Whether it takes clips [B, C, F, h, w], with its motion modules bypassed or not; else it takes images."""
    return next(motion_modules(unet), None) is not None


def motion_modules(unet: nn.Module) -> Iterator[nn.Module]:
    """The motion modules of a U-Net, in the order of its modules; none in one for images."""
    for block in unet.modules():
        yield from getattr(block, "motion_modules", None) or ()


@contextmanager
def bypassed(unet: nn.Module) -> Iterator[None]:
    """In this block motion modules return what they get, so that a UNetMotionModel computes what the
    UNet2DConditionModel does that it was made of. They stay in their places, and whatever moves weights finds them."""
    modules = list(motion_modules(unet))
    before = [vars(module).get("forward") for module in modules]
    for module in modules:
        module.forward = _unchanged  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module, forward in zip(modules, before):
            del module.forward
            if forward is not None:
                module.forward = forward  # type: ignore[method-assign]


def _unchanged(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states
