"""The VAE of CogVideoX in diffusers' layout."""

from __future__ import annotations

from functools import partial
from typing import Any

from .family import Family, Tensors, count, from_diffusers, given_config, odd_size, width
from .files import WeightFiles

CLASS = "AutoencoderKLCogVideoX"
LABEL = "CogVideoX VAE"
GROUPS = 32


def _detects(tensors: Tensors) -> bool:
    spatial_norm = "decoder.mid_block.resnets.0.norm1.conv_y.conv.weight"  # no other VAE norms by its latents
    return spatial_norm in tensors and "encoder.conv_in.conv.weight" in tensors


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Not in the shapes, so taken from the released model: 32 groups in each norm, 4 frames in one latent, tiles for
    480x720. The factor by which latents are scaled is not the VAE's: `cogvideox.latent_scale` tells it.

    Raises ValueError when the channels are no multiple of 32.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    tensors = files.tensors
    blocks = count(tensors, "encoder.down_blocks.")
    channels = [width(tensors, f"encoder.down_blocks.{index}.resnets.0.conv1.conv.weight") for index in range(blocks)]
    if any(one % GROUPS for one in channels):
        raise odd_size(files, LABEL, f"its channels {channels} are no multiples of {GROUPS}")
    return {
        "in_channels": width(tensors, "encoder.conv_in.conv.weight", 1),
        "out_channels": width(tensors, "decoder.conv_out.conv.weight"),
        "down_block_types": ["CogVideoXDownBlock3D"] * blocks,
        "up_block_types": ["CogVideoXUpBlock3D"] * blocks,
        "block_out_channels": channels,
        "latent_channels": width(tensors, "decoder.conv_in.conv.weight", 1),
        "layers_per_block": count(tensors, "encoder.down_blocks.0.resnets."),
        "norm_num_groups": GROUPS,
        "temporal_compression_ratio": 4,
        "sample_height": 480,
        "sample_width": 720,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
    }


FAMILY = Family(
    name="cogvideox_vae",
    label=LABEL,
    role="vae",
    get_it="get the folder vae of zai-org/CogVideoX-5b on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
)
