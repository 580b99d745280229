"""What the embedded Stable Diffusion is trained to do: to tell the noise in noisy latents from the picture, as v."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..diffusion.ddim import NoiseSchedule
from ..models.embedded_codec import SCALING_FACTOR
from ..models.embedded_frames import FrameCodec

MOSTLY_NOISE = 0.3  # signal's share of the variance, below which frames may be hidden
LARGEST = 5.0  # SNR + 1, the weight of a picture's own error in v: what is nearly clean must not rule the gradient


@dataclass(frozen=True)
class Noised:
    """Latents on their way: `noisy_bcfhw` at times `times_b`, one for all frames of a row, and v of them, `v_bcfhw`:
    what is to be said; `weights_bf` is how much each frame counts."""

    noisy_bcfhw: Tensor
    v_bcfhw: Tensor
    times_b: Tensor
    weights_bf: Tensor

    def loss(self, predicted_bcfhw: Tensor) -> Tensor:
        """The weighted squared error of a predicted v."""
        errors = (predicted_bcfhw - self.v_bcfhw).square().mean((1, 3, 4))
        return (errors * self.weights_bf).mean()


def noised(
    latents_bcfhw: Tensor,
    schedule: NoiseSchedule,
    generator: torch.Generator,
    lateness: float = 1.0,
    hidden: float = 0.0,
    shown: float = 0.5,
    alike: int = 1,
) -> Noised:
    """Latents at random times of `schedule`, each row its own, spread evenly so that no batch lacks a part of them.

    With `lateness` above 1 more of them are noisy: `1 - (1 - share) ** lateness` of the way are those that were at
    `share` of it. Of the rows that are mostly noise the share `hidden` loses all frames but the first: noise stands in
    their place, and what was there is to be told from the words and that frame. In the share `shown` of these rows it
    is shown clean, and doesn't count. Each `alike` rows that follow each other have the same time and noise, so that
    what they differ in stands out.
    """
    groups, frames = len(latents_bcfhw) // alike, latents_bcfhw.shape[2]
    places = (torch.arange(groups) + torch.rand(groups, generator=generator)) / groups
    places = 1 - (1 - places) ** lateness
    times = (places * schedule.trained).long().clamp_max(schedule.trained - 1).repeat_interleave(alike)
    alphas = schedule.alphas()[times]
    noise = torch.randn((groups, *latents_bcfhw.shape[1:]), generator=generator).repeat_interleave(alike, 0)
    signal, spread = (share.sqrt().float().view(-1, 1, 1, 1, 1) for share in (alphas, 1 - alphas))
    noisy, v = signal * latents_bcfhw + spread * noise, signal * noise - spread * latents_bcfhw
    weights = (LARGEST * (1 - alphas)).clamp_max(1).float()[:, None].repeat(1, frames)  # SNR + 1 = 1 / (1 - alpha)
    if hidden:
        chosen, cleaned = (torch.rand(groups, generator=generator) < chance for chance in (hidden, shown))
        chosen = chosen.repeat_interleave(alike) & (alphas < MOSTLY_NOISE)
        gone, clean = _gone_and_clean(chosen, cleaned.repeat_interleave(alike), frames)
        # What is told is v; of noise alone it is the v that leads to the same latents.
        v = torch.where(_over(gone), (signal * noise - latents_bcfhw) / spread, v)
        noisy = torch.where(_over(gone), noise, torch.where(_over(clean), latents_bcfhw, noisy))
        weights = weights.masked_fill(clean, 0.0)
    return Noised(noisy, v, times, weights)


def _gone_and_clean(chosen_b: Tensor, cleaned_b: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Which frames [B, F] noise stands in for, and which are shown clean: of the chosen rows all but the first, and the
    first where it is to be."""
    later = torch.arange(frames) > 0
    return chosen_b[:, None] & later, (chosen_b & cleaned_b)[:, None] & ~later


def _over(frames_bf: Tensor) -> Tensor:
    """A choice of frames, for latents."""
    return frames_bf[:, None, :, None, None]


@torch.no_grad()
def latents_of(codec: FrameCodec, frames_bcfhw: Tensor) -> Tensor:
    """Scaled latents [B, 16, F, h, w] of clips in -1..1, frame by frame."""
    images = frames_bcfhw.transpose(1, 2).flatten(0, 1)
    encoded: Tensor = codec.part.encode(images[:, :, None])[:, :, 0]
    return encoded.unflatten(0, (len(frames_bcfhw), -1)).transpose(1, 2) * SCALING_FACTOR


def said_of_images(unet: nn.Module, noise: Noised, text_bld: Tensor, depth_bhw: Tensor | None = None) -> Tensor:
    """What a U-Net for images says of clips of one frame, [B, C, 1, h, w]; depth in -1..1 goes in as a channel."""
    given = noise.noisy_bcfhw[:, :, 0]
    if depth_bhw is not None:
        given = torch.cat([given, depth_bhw[:, None]], 1)
    return unet(given, noise.times_b, text_bld, return_dict=False)[0][:, :, None]
