"""What is minimised: v-prediction under a mask (VIVID, equation 1, in the form CogVideoX was trained with)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..diffusion import schedulers
from ..diffusion.cogvideox_predict import OFS, padded, rotary_positions
from ..editors.adapters.cogvideox import CogVideoXAdapter, known_latents
from ..editors.contract import Place
from .tasks import Sample, stacked

TIMES = 1000
MOST_FOR_PLAIN = 4096  # latents, of which four are a token
Encode = Callable[[Tensor], Tensor]  # frames_bfhwc in 0..1 to scaled latents_bfchw


@dataclass(frozen=True)
class Batch:
    """What a pass sees, each with the samples first: clean and noise [B, f, 16, h, w], times [B], the condition
    [B, f, 17 or 32, h, w], the loss's weight [B, f, 1, h, w], and the captions."""

    clean: Tensor
    noise: Tensor
    times: Tensor
    condition: Tensor
    weight: Tensor
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)

    def part(self, start: int, stop: int) -> Batch:
        """Some of the samples."""
        return Batch(**{field.name: getattr(self, field.name)[start:stop] for field in fields(self)})


class Objective:
    """The loss of a batch. `adapter` says what the model sees, `encode` is its VAE (by default `adapter.encode`)."""

    def __init__(self, adapter: CogVideoXAdapter, encode: Encode, outside: float, last_time_share: float) -> None:
        """`outside` is the weight of what needs no edit; `last_time_share` of the samples get the last time."""
        self.adapter, self._encode = adapter, encode
        self._outside, self._last_time_share = outside, last_time_share
        self._schedule = schedulers.make(adapter.traits.schedule, "ddim")
        self._tables: dict[tuple[Any, ...], tuple[Tensor, Tensor] | None] = {}

    def batch(
        self, samples: Sequence[Sample], generator: torch.Generator, whole: int, mine: slice, device: torch.device
    ) -> Batch:
        """Samples with noise and times, which are drawn on the CPU for the `whole` step, whoever trains which part of
        it; `mine` are the places of these samples in it."""
        frames, edit, captions = stacked(list(samples))
        config, adapter = self.adapter.config, self.adapter
        clean = padded(self._encode(frames), config)
        seen = padded(self._encode(frames * (1 - edit[..., None])), config)
        known = padded(known_latents(edit, adapter.stride, adapter.traits.frame_step, pool=True), config)
        noise = torch.randn((whole, *clean.shape[1:]), generator=generator)[mine]
        times = torch.randint(0, TIMES, (whole,), generator=generator)
        last = torch.rand(whole, generator=generator) < self._last_time_share
        times = torch.where(last, TIMES - 1, times)[mine]
        told = torch.cat([self._mask(edit, known).to(clean.device), seen], dim=2)
        weight = self._outside + (1 - self._outside) * (1 - known)
        tensors = (clean, noise, times, told, weight)
        clean, noise, times, condition, weight = (tensor.to(device) for tensor in tensors)
        return Batch(clean, noise, times, condition, weight, tuple(captions))

    def loss(self, transformer: nn.Module, text_bld: Tensor, batch: Batch) -> Tensor:
        """The weighted error, summed over the batch: divide by 16 times the weight's sum for its mean."""
        config: Mapping[str, Any] = self.adapter.config
        noisy = self._schedule.add_noise(batch.clean, batch.noise, batch.times)
        wanted = self._schedule.get_velocity(batch.clean, batch.noise, batch.times)
        extra = {"ofs": noisy.new_full((1,), OFS)} if config.get("ofs_embed_dim") else {}
        predicted = transformer(
            hidden_states=torch.cat([noisy, batch.condition], dim=2),
            encoder_hidden_states=text_bld,
            timestep=batch.times,
            image_rotary_emb=self._positions(batch.clean),
            return_dict=False,
            **extra,
        )[0]
        return ((predicted.float() - wanted).square() * batch.weight).sum()

    def _mask(self, edit_bfhw: Tensor, known: Tensor) -> Tensor:
        if self.adapter.mask_encoding == "pool":
            return known * self.adapter.scale
        if self.adapter.mask_encoding == "vae":
            white = 1 - rearrange(edit_bfhw, "b f h w -> b f h w 1").expand(*edit_bfhw.shape, 3)
            return padded(self._encode(white), self.adapter.config)
        resized = known_latents(edit_bfhw, self.adapter.stride, self.adapter.traits.frame_step)
        return padded(resized, self.adapter.config) * self.adapter.scale

    def _positions(self, latents_bfchw: Tensor) -> tuple[Tensor, Tensor] | None:
        _, frames, _, height, width = latents_bfchw.shape
        size = (frames, height, width, latents_bfchw.device)
        if size not in self._tables:
            self._tables[size] = rotary_positions(self.adapter.config, *size)
        return self._tables[size]


def plain_encode(adapter: CogVideoXAdapter, vae: nn.Module, place: Place) -> Encode:
    """The VAE for whole batches, with nothing kept."""
    return lambda frames_bfhwc: adapter.encode(frames_bfhwc, vae, place)


def fastest_attention(latents_bfchw: Tensor) -> AbstractContextManager[None]:
    """On the CPU plain products are faster than the fused attention for few tokens. Go forward and backward inside:
    what is computed again must be computed in the same way."""
    _, frames, _, height, width = latents_bfchw.shape
    plain = latents_bfchw.device.type == "cpu" and frames * height * width <= MOST_FOR_PLAIN
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
