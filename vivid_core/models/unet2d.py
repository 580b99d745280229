"""Stable Diffusion's U-Net for single images, in diffusers' layout or in the original one, alone or in a checkpoint."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from .family import Family, Tensors, count, from_diffusers, given_config, odd_size, width
from .files import WeightFiles
from .sd_names import FIRST_BLOCK, UNET_PREFIX, in_diffusers_names

CLASS = "UNet2DConditionModel"
LABEL = "Stable Diffusion U-Net"
NEEDED = ("conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight", "up_blocks.0.resnets.0.conv1.weight")
OF_VIDEO_MODELS = ("motion_modules", "temp_convs", "temporal_transformer_block", "transformer_in")
ORIGINAL = (FIRST_BLOCK, "time_embed.0.weight", "out.2.weight", "output_blocks.0.0.in_layers.0.weight")
HEADS_OF_SD1, HEAD_OF_SD2 = 8, 64  # SD 1.x has 8 heads of any width, SD 2.x any number of heads of 64 channels
RELEASED_WIDTH = 320  # of the first level, in all of SD 1.x and 2.x


def _detects(tensors: Tensors) -> bool:
    moving = any(part in name for name in tensors for part in OF_VIDEO_MODELS)
    original = any(all(prefix + name in tensors for name in ORIGINAL) for prefix in ("", UNET_PREFIX))
    return (original or all(name in tensors for name in NEEDED)) and not moving


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Raises ValueError where config.json is of another class, or the shapes are not those of an SD 1.x or 2.x U-Net.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    tensors = in_diffusers_names(files.tensors, UNET_PREFIX)
    return {
        **levels_of(files, tensors, LABEL),
        "out_channels": width(tensors, "conv_out.weight"),
        "up_block_types": _up_blocks(tensors),
    }


def levels_of(files: WeightFiles, tensors: Tensors, label: str) -> dict[str, Any]:
    """The settings that a U-Net and its ControlNet share; `tensors` have diffusers' names.

    Not in the shapes, so taken from the released models: the heads, and 32 groups in the norms, which the original code
    has at any width.

    Raises ValueError when they are not those of an SD 1.x or 2.x model.
    """
    levels = count(tensors, "down_blocks.")
    channels = [width(tensors, f"down_blocks.{level}.resnets.0.conv1.weight") for level in range(levels)]
    crossing = [f"down_blocks.{level}.attentions.0.proj_in.weight" in tensors for level in range(levels)]
    strange = next((name for name in tensors if _is_of_another_base(name)), None)
    if strange is not None or not any(crossing):
        raise ValueError(
            f"{files.path.name} is a {label} of another base than SD 1.x and 2.x, such as SDXL "
            f"({strange or 'it has no cross-attention'}): choose a model that was made from SD 1.5 or 2.1."
        )
    original = any(name.endswith(FIRST_BLOCK) for name in files.tensors)
    if not original and channels[0] != RELEASED_WIDTH:
        raise odd_size(files, label, f"{channels} channels")
    first = f"down_blocks.{crossing.index(True)}.attentions.0."
    linear = len(tensors[first + "proj_in.weight"].shape) == 2
    return {
        "in_channels": width(tensors, "conv_in.weight", 1),
        "block_out_channels": channels,
        "layers_per_block": count(tensors, "down_blocks.0.resnets."),
        "down_block_types": [f"{'CrossAttnDown' if crosses else 'Down'}Block2D" for crosses in crossing],
        "cross_attention_dim": width(tensors, first + "transformer_blocks.0.attn2.to_k.weight", 1),
        "use_linear_projection": linear,
        "attention_head_dim": [max(1, size // HEAD_OF_SD2) for size in channels] if linear else HEADS_OF_SD1,
    }


def _up_blocks(tensors: Tensors) -> list[str]:
    crossing = (
        f"up_blocks.{level}.attentions.0.proj_in.weight" in tensors for level in range(count(tensors, "up_blocks."))
    )
    return [f"{'CrossAttnUp' if crosses else 'Up'}Block2D" for crosses in crossing]


def _is_of_another_base(name: str) -> bool:
    return name.startswith(("label_emb.", "add_embedding.", "class_embedding.")) or ".transformer_blocks.1." in name


def convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The U-Net's tensors, without those of the other models in a checkpoint, under diffusers' names."""
    return in_diffusers_names(state_dict, UNET_PREFIX)


FAMILY = Family(
    name="unet2d",
    label=LABEL,
    role="denoiser",
    get_it="get a checkpoint or a diffusers folder that was made from Stable Diffusion 1.5 or 2.1",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
    convert=convert,
)
