"""The embedded codec as an image codec: frames one at a time, under the interface of AutoencoderKL."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .embedded_codec import PATCH, SCALING_FACTOR, WEIGHTS, CodecPosterior, Decoded, Encoded, GroupCodec, load_codec


@dataclass(frozen=True)
class FrameCodecConfig:
    """What a pipeline asks of a VAE's settings. `block_out_channels` has three entries because 2 ** (3 - 1) = 4."""

    latent_channels: int = 16
    in_channels: int = 3
    scaling_factor: float = SCALING_FACTOR
    block_out_channels: tuple[int, ...] = field(default=(64, 64, 64))


class FrameCodec(nn.Module):
    """That part of the embedded codec which codes a clip's first frame, for any frame; nothing in it is new."""

    def __init__(self, part: GroupCodec) -> None:
        super().__init__()
        self.part = part
        self.config = FrameCodecConfig(latent_channels=part.project.out_channels)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.part.project.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.part.project.weight.device

    def encode(self, images_bchw: Tensor, return_dict: bool = True) -> Encoded | tuple[CodecPosterior]:
        """Images in -1..1 [B, 3, H, W] to latents [B, 16, H/4, W/4], yet to be scaled, as diffusers' VAEs return them.

        Raises ValueError when they are no RGB images with sides that are multiples of 4.
        """
        _, channels, height, width = images_bchw.shape
        if channels != 3 or height % PATCH or width % PATCH:
            raise ValueError(
                f"The embedded codec got images of {width}x{height} with {channels} channels, but it takes RGB images "
                f"with sides that are multiples of {PATCH}; pad or crop them."
            )
        posterior = CodecPosterior(self.part.encode(images_bchw[:, :, None])[:, :, 0])
        return Encoded(posterior) if return_dict else (posterior,)

    def decode(self, latents_bchw: Tensor, return_dict: bool = True) -> Decoded | tuple[Tensor]:
        """What `encode` made, back to images, about -1..1; values beyond are not cut off.

        Raises ValueError on another number of channels.
        """
        if latents_bchw.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"The embedded codec got latents of {latents_bchw.shape[1]} channels, but its own have "
                f"{self.config.latent_channels}, at position 1 of [batch, channels, height, width]."
            )
        images_bchw = self.part.decode(latents_bchw[:, :, None])[:, :, 0]
        return Decoded(images_bchw) if return_dict else (images_bchw,)


def load_frame_codec() -> FrameCodec:
    """The pack's own, in fp32, evaluation mode and without gradients."""
    return FrameCodec(load_codec(WEIGHTS).first).eval().requires_grad_(False)
