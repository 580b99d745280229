"""Stable Diffusion's VAE, in diffusers' layout or in the original one, alone or in a checkpoint."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any

from torch import Tensor

from .activations import MARGIN
from .family import Family, Tensors, count, from_diffusers, given_config, odd_size, width
from .files import WeightFiles
from .sd_names import FIRST_VAE_BLOCK, VAE_PREFIX, as_linear, renamed, vae_namer, without_prefix

CLASS = "AutoencoderKL"
LABEL = "Stable Diffusion VAE"
LATENT_CHANNELS, SCALE = 4, 0.18215  # of SD 1.x and 2.x; SDXL's has other numbers, in the same shapes
NEEDED = ("encoder.down_blocks.0.resnets.0.norm1.weight", "encoder.mid_block.resnets.0.conv1.weight")
ATTENTION = re.compile(r"mid_block\.attentions\.0\.to_(q|k|v|out\.0)\.weight")


def _detects(tensors: Tensors) -> bool:
    original = FIRST_VAE_BLOCK in tensors or VAE_PREFIX + FIRST_VAE_BLOCK in tensors
    if not original and not all(name in tensors for name in NEEDED):
        return False
    first = next(name for name in (FIRST_VAE_BLOCK, VAE_PREFIX + FIRST_VAE_BLOCK, NEEDED[1]) if name in tensors)
    flat = first.replace(".norm1.", ".conv1.")
    return flat in tensors and len(tensors[flat].shape) == 4  # those of videos have five dimensions


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Raises ValueError where config.json is of another class, or the latents are not those of SD 1.x and 2.x.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    tensors = _renamed(files.tensors)
    levels = count(tensors, "encoder.down_blocks.")
    latent = width(tensors, "decoder.conv_in.weight", 1)
    if latent != LATENT_CHANNELS:
        raise odd_size(files, LABEL, f"{latent} latent channels")
    return {
        "block_out_channels": [
            width(tensors, f"encoder.down_blocks.{n}.resnets.0.conv1.weight") for n in range(levels)
        ],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": count(tensors, "encoder.down_blocks.0.resnets."),
        "latent_channels": latent,
        "scaling_factor": SCALE,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "post_quant_conv.weight" in tensors,
    }


def _renamed(tensors: Any) -> dict[str, Any]:
    own = without_prefix(tensors, VAE_PREFIX)
    return renamed(own, vae_namer(own))


def _convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The VAE's tensors as diffusers has them, without those of other models in a checkpoint, or of its training."""
    held = _renamed(state_dict).items()
    return {
        name: as_linear(tensor) if ATTENTION.search(name) else tensor
        for name, tensor in held
        if not name.startswith(("loss.", "model_ema."))
    }


def encode_bytes(images: int, height: int, width: int, element_bytes: int) -> int:
    """Bytes for encoding pictures (images, 3, height, width), beside the weights of a released VAE. Measured: 643
    elements for each pixel."""
    return math.ceil(MARGIN * 643 * images * height * width * element_bytes)


def decode_bytes(images: int, height: int, width: int, element_bytes: int) -> int:
    """The same for decoding latents to pictures of this size. Measured: 768 elements for each pixel."""
    return math.ceil(MARGIN * 769 * images * height * width * element_bytes)


FAMILY = Family(
    name="autoencoder_kl",
    label=LABEL,
    role="vae",
    get_it="get vae-ft-mse-840000-ema-pruned.safetensors of stabilityai/sd-vae-ft-mse-original on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
    convert=_convert,
)
