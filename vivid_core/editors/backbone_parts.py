"""A backbone out of the modules of a Stable Diffusion model, wherever they came from."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..diffusion.ddim import NoiseSchedule
from ..models import activations, autoencoder_kl
from ..models.sd_fit import sees_depth
from ..models.unet_motion import is_motion_unet
from .backbone import Backbone, Depth
from .contract import Place
from .engine import Footprint, TextEncoder


def backbone_of(
    unet: nn.Module,
    vae: nn.Module,
    noise: NoiseSchedule,
    identity: str,
    *,
    text: TextEncoder | None = None,
    controlnet: nn.Module | None = None,
    still_noise: NoiseSchedule | None = None,
    title: str = "the diffusion model",
    places: tuple[Place, Place, Place] | None = None,
    fused: bool = True,
) -> Backbone:
    """The backbone of modules that go together (`models.sd_fit` checks that), with what their settings say of sizes.

    `places` are those of the U-Net, the VAE and the text encoder, the CPU in fp32 if None; `fused` says whether
    attention never holds its scores.
    """
    config: Any = unet.config
    of_vae: Any = vae.config
    places = places or (Place(), Place(), Place())
    motion = is_motion_unet(unet)
    stride = 2 ** (len(of_vae.block_out_channels) - 1)
    depth: Depth = "channel" if sees_depth(config) else "none" if controlnet is None else "controlnet"
    return Backbone(
        unet=unet,
        vae=vae,
        text=text,
        controlnet=controlnet,
        noise=noise,
        identity=identity,
        latent_channels=of_vae.latent_channels,
        scale=of_vae.scaling_factor,
        stride=stride,
        multiple=stride * 2 ** (len(config.block_out_channels) - 1),
        depth=depth,
        motion=motion,
        longest=config.motion_max_seq_length if motion else None,
        still_noise=still_noise,
        title=title,
        place=places[0],
        vae_place=places[1],
        text_place=places[2],
        footprint=footprint_of(
            stride, controlnet is not None, (places[0].dtype.itemsize, places[1].dtype.itemsize), fused
        ),
    )


def footprint_of(stride: int, controlled: bool, sizes: tuple[int, int], fused: bool = True) -> Footprint:
    """What a U-Net (with a ControlNet before it, if `controlled`) and a VAE of SD 1.x or 2.x need beside their weights;
    `sizes` are the bytes of a number in both."""

    def denoise(rows: int, frames: int, height: int, width: int) -> int:
        latents = (rows * frames, height // stride, width // stride)
        unet = activations.sd_unet(*latents, element_bytes=sizes[0], controlled=controlled, attention_is_fused=fused)
        if not controlled:
            return unet
        return max(unet, activations.controlnet(*latents, element_bytes=sizes[0], attention_is_fused=fused))

    def encode(rows: int, frames: int, height: int, width: int) -> int:
        return autoencoder_kl.encode_bytes(rows * frames, height, width, sizes[1])

    def decode(rows: int, frames: int, height: int, width: int) -> int:
        return autoencoder_kl.decode_bytes(rows * frames, height, width, sizes[1])

    return Footprint(denoise, encode, decode)
