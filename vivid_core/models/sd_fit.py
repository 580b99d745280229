"""Which parts of Stable Diffusion go together: told from their settings, before any weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .autoencoder_kl import SCALE

Settings = Mapping[str, Any]
SLACK = 1e-3


def check_unet(unet: Settings, name: str) -> None:
    """Raise ValueError when a U-Net is not one of SD 1.x or 2.x that makes pictures from text alone, or with depth."""
    if unet.get("addition_embed_type") or unet.get("class_embed_type") or unet.get("encoder_hid_dim_type"):
        raise ValueError(
            f"{name} is a U-Net of another base than SD 1.x and 2.x, such as SDXL "
            f"({unet.get('addition_embed_type') or unet.get('class_embed_type') or unet.get('encoder_hid_dim_type')}): "
            "choose a model that was made from SD 1.5 or 2.1."
        )
    given, made = channels_of(unet)
    if given - made not in (0, 1):
        raise ValueError(
            f"{name} has {given} input channels (an inpainting or instruction model): choose a plain SD "
            "1.x or 2.x model, or an SD 2 depth model, which has one channel more than it makes."
        )


def channels_of(unet: Settings) -> tuple[int, int]:
    """How many channels of latents it is given and how many it makes; configs leave out what is usual."""
    return int(unet.get("in_channels", 4)), int(unet.get("out_channels", 4))


def sees_depth(unet: Settings) -> bool:
    """Whether it has a channel for depth."""
    given, made = channels_of(unet)
    return given == made + 1


def check_vae(vae: Settings, unet: Settings, name: str) -> None:
    """Raise ValueError when a VAE makes other latents than a U-Net of SD 1.x or 2.x was trained with."""
    channels, made = vae.get("latent_channels", 4), channels_of(unet)[1]
    if channels != made:
        raise ValueError(
            f"{name} makes latents of {channels} channels, and the U-Net makes {made}: choose the VAE "
            "of an SD 1.x or 2.x model."
        )
    scale = vae.get("scaling_factor", SCALE)
    if abs(scale - SCALE) > SLACK:
        raise ValueError(
            f"{name} scales its latents by {scale}, as SDXL's VAE does, and SD 1.x and 2.x were trained with {SCALE}: "
            "choose the VAE of such a model."
        )


def check_text(width: int, unet: Settings, name: str) -> None:
    """Raise ValueError when a text encoder of `width` channels is not the one of a U-Net."""
    if width != unet["cross_attention_dim"]:
        raise ValueError(
            f"{name} encodes texts to {width} channels, and the U-Net takes {unet['cross_attention_dim']}: choose the "
            "text encoder of the same model."
        )


def check_controlnet(controlnet: Settings, unet: Settings, name: str, unet_name: str) -> None:
    """Raise ValueError when a ControlNet was made for another base than a U-Net, or the U-Net needs none."""
    if sees_depth(unet):
        raise ValueError(
            f"{unet_name} sees depth by itself, so {name} is one too many: choose no ControlNet, or a model without a "
            "depth channel."
        )
    for what, number in (("cross_attention_dim", "text channels"), ("block_out_channels", "channels")):
        theirs, ours = _plain(controlnet[what]), _plain(unet[what])
        if theirs != ours:
            raise ValueError(
                f"{name} is a ControlNet for another base ({number}: {theirs}) than {unet_name} ({ours}): choose one "
                "that was made for it, such as control_v11f1p_sd15_depth for SD 1.5."
            )


def base_of(unet: Settings) -> str:
    """Its name for reports."""
    return "SD 2.x" if unet.get("use_linear_projection") else "SD 1.x"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
