"""The VAE of Wan 2.1, in diffusers' layout and in its own, which ComfyUI's wan_2.1_vae file has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from .family import Family, Tensors, count, from_diffusers, given_config, odd_size, width
from .files import WeightFiles
from .wan_names import vae_in_diffusers

CLASS = "AutoencoderKLWan"
LABEL = "Wan VAE"
LATENT_CHANNELS = 16  # whose means and deviations diffusers knows; Wan 2.2's small model has 48


def _detects(tensors: Tensors) -> bool:
    needed = ("encoder.mid_block.attentions.0.to_qkv.weight", "decoder.norm_out.gamma", "encoder.conv_in.weight")
    named = vae_in_diffusers(tensors)
    return all(name in named for name in needed)


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Not in the shapes, so taken from the released model: mean and deviation of each latent channel.

    Raises ValueError when the latents have other than 16 channels.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    tensors: Mapping[str, Any] = vae_in_diffusers(files.tensors)
    latents = width(tensors, "post_quant_conv.weight")
    if latents != LATENT_CHANNELS:
        raise odd_size(files, LABEL, f"its latents have {latents} channels instead of {LATENT_CHANNELS}")
    base = width(tensors, "encoder.conv_in.weight")
    blocks = [f"decoder.up_blocks.{index}." for index in range(count(tensors, "decoder.up_blocks."))]
    widths = [width(tensors, block + "resnets.0.conv1.weight") // base for block in blocks]
    return {
        "base_dim": base,
        "z_dim": latents,
        "dim_mult": widths[::-1],
        "num_res_blocks": count(tensors, "decoder.up_blocks.0.resnets.") - 1,
        "temperal_downsample": [block + "upsamplers.0.time_conv.weight" in tensors for block in blocks[-2::-1]],
    }


def _convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return vae_in_diffusers(state_dict)


FAMILY = Family(
    name="wan_vae",
    label=LABEL,
    role="vae",
    get_it="get the folder vae of Wan-AI/Wan2.1-VACE-1.3B-diffusers, or wan_2.1_vae.safetensors of "
    "Comfy-Org/Wan_2.1_ComfyUI_repackaged, on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
    convert=_convert,
)
