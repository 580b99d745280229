"""DDIM in both directions on one list of times: a clip to noise and back, every latent on the way kept.

Times are counted from the clean end: k = 1..S, with z_0 the clip itself and z_S the noisiest latents. Steps are counted
from the noisy end: step = S - k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from ..runtime import Runtime
from .denoise import MOST_STEPS, check_finite

Betas = Literal["scaled_linear", "linear"]
Spacing = Literal["leading", "linspace", "trailing"]
Prediction = Literal["epsilon", "v_prediction"]


WHOLE = slice(None)


class Ask(Protocol):
    """Ask a U-Net for the noise in latents: whatever the model predicts and however it is folded, this gives eps."""

    def __call__(
        self, latents_bcfhw: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE
    ) -> Tensor:
        """The noise in `latents_bcfhw` [B, C, F, h, w], of the same shape.

        `texts` has one text for each row, [1, L, D] for its whole clip or [frames of the clip, L, D]. `frames` says
        which frames of the clip the latents are of, where they aren't all: texts for each frame are cut alike.
        """
        ...


@dataclass(frozen=True)
class NoiseSchedule:
    """How a model was noised in training, and which of its times a run of few steps visits.

    `first_alpha` is the abar of the clean end: 1, or None for the model's own first one (`set_alpha_to_one` False in
    diffusers). `spacing` and `offset` mean what they mean in diffusers' schedulers.
    """

    betas: Betas = "scaled_linear"
    start: float = 0.00085
    end: float = 0.012
    spacing: Spacing = "leading"
    offset: int = 1
    first_alpha: float | None = None
    prediction: Prediction = "epsilon"
    trained: int = 1000

    def alphas(self) -> Tensor:
        """abar at each time of training, float64 [trained], falling."""
        if self.betas == "linear":
            betas = torch.linspace(self.start, self.end, self.trained, dtype=torch.float64)
        else:
            betas = torch.linspace(self.start**0.5, self.end**0.5, self.trained, dtype=torch.float64) ** 2
        return (1 - betas).cumprod(0)

    def timesteps(self, steps: int) -> tuple[int, ...]:
        """The `steps` times of a run, rising, as diffusers spaces them (there they fall).

        Raises ValueError when `steps` is no number from 1 to as many as there were in training.
        """
        most = min(self.trained, MOST_STEPS)
        if not 1 <= steps <= most:
            raise ValueError(f"Steps: got {steps}; use 1 to {most}.")
        gap = self.trained / steps
        if self.spacing == "leading":
            times = [index * int(gap) + self.offset for index in range(steps)]
        elif self.spacing == "trailing":
            times = [round(self.trained - index * gap) - 1 for index in reversed(range(steps))]
        else:
            times = [round(float(time)) for time in torch.linspace(0, self.trained - 1, steps, dtype=torch.float64)]
        if times[-1] >= self.trained:
            raise ValueError(
                f"Steps: got {steps}, with which this model's times end at {times[-1]}, but it was trained up to "
                f"{self.trained - 1}; use fewer steps."
            )
        return tuple(times)

    def epsilon(self, predicted: Tensor, noisy: Tensor, timestep: int | float) -> Tensor:
        """What the model `predicted` about `noisy` latents at a time of training, as their noise."""
        if self.prediction == "epsilon":
            return predicted
        alpha = float(self.alphas()[int(timestep)])
        return math.sqrt(alpha) * predicted + math.sqrt(1 - alpha) * noisy


@dataclass(frozen=True)
class Times:
    """The list of times that inversion and denoising share: `timesteps` t_1 < ... < t_S and `alphas` float64 [S + 1],
    abar_0 (of the clean end) first."""

    timesteps: tuple[int, ...]
    alphas: tuple[float, ...]

    @classmethod
    def make(cls, noise: NoiseSchedule, steps: int) -> Times:
        """The times of a run of `steps`. Raises ValueError as `NoiseSchedule.timesteps` does."""
        timesteps, alphas = noise.timesteps(steps), noise.alphas()
        first = float(alphas[0]) if noise.first_alpha is None else noise.first_alpha
        return cls(timesteps, (first, *(float(alphas[time]) for time in timesteps)))

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    def timestep(self, k: int) -> int:
        """t_k, for k = 1..S: what the U-Net is told between z_{k-1} and z_k, in both directions."""
        return self.timesteps[k - 1]

    def clean(self, k: int, latents: Tensor, eps: Tensor) -> Tensor:
        """The x0 that latents z_k and their noise point at."""
        alpha = self.alphas[k]
        return (latents - math.sqrt(1 - alpha) * eps) / math.sqrt(alpha)

    def noised(self, k: int, clean: Tensor, eps: Tensor) -> Tensor:
        """z_k of a clip and a noise."""
        alpha = self.alphas[k]
        return math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * eps

    def up(self, k: int, latents: Tensor, eps: Tensor) -> Tensor:
        """z_{k-1} to z_k."""
        return self.noised(k, self.clean(k - 1, latents, eps), eps)

    def down(self, k: int, latents: Tensor, eps: Tensor) -> Tensor:
        """z_k to z_{k-1}."""
        return self.noised(k - 1, self.clean(k, latents, eps), eps)


@dataclass(frozen=True)
class Inversion:
    """A clip on its way to noise: `latents` are z_0..z_S, each [1, C, F, h, w] on the CPU."""

    latents: tuple[Tensor, ...]
    times: Times

    @property
    def noisiest(self) -> Tensor:
        return self.latents[-1]

    @property
    def frames(self) -> int:
        return self.latents[0].shape[2]


@dataclass(frozen=True)
class Reconstruction:
    """What denoising makes of an inversion: `latents_bcfhw` on the CPU, and how far they are from the clip's own, as a
    share of their size (root mean squares): 0 is exact, 1 as far off as no picture at all."""

    latents_bcfhw: Tensor
    error: float


@torch.no_grad()
def invert(
    ask: Ask,
    latents_bcfhw: Tensor,
    text_bld: Tensor,
    times: Times,
    runtime: Runtime | None = None,
    *,
    chunk: int | None = None,
    modules: Sequence[nn.Module] = (),
    activations: int = 0,
    device: torch.device | str = "cpu",
) -> Inversion:
    """The noise that a clip comes from, found by DDIM at guidance 1: one prompted pass a step.

    `latents_bcfhw` [1, C, F, h, w] are the clip's. `chunk` frames are asked at once (None: all), which only a U-Net for
    single images allows. `modules` are held for the run, with room for `activations` bytes. Each step counts one on
    `runtime`, and what it raises to cancel passes through.

    Raises ValueError when the model returned NaN.
    """
    runtime = runtime or Runtime()
    latents = _floating(latents_bcfhw).to(device)
    kept = [latents.cpu().clone()]
    with runtime.hold(*modules, activations=activations):
        for k in range(1, times.steps + 1):
            eps = _asked(ask, latents, times.timestep(k), text_bld, chunk, runtime)
            clean = times.clean(k - 1, latents, eps)
            latents = times.noised(k, clean, eps)
            check_finite(latents)
            kept.append(latents.cpu().clone())
            runtime.advance(latent_cfhw=partial(clean.__getitem__, 0))
    return Inversion(tuple(kept), times)


@torch.no_grad()
def reconstruct(
    ask: Ask,
    inversion: Inversion,
    text_bld: Tensor,
    runtime: Runtime | None = None,
    *,
    chunk: int | None = None,
    modules: Sequence[nn.Module] = (),
    activations: int = 0,
    device: torch.device | str = "cpu",
) -> Reconstruction:
    """The clip again from its noise, with the text it was inverted with and guidance 1, and how far off that is.

    Arguments, counting and errors are those of `invert`.
    """
    runtime = runtime or Runtime()
    times, latents = inversion.times, inversion.noisiest.to(device)
    with runtime.hold(*modules, activations=activations):
        for k in reversed(range(1, times.steps + 1)):
            eps = _asked(ask, latents, times.timestep(k), text_bld, chunk, runtime)
            clean = times.clean(k, latents, eps)
            latents = times.noised(k - 1, clean, eps)
            check_finite(latents)
            runtime.advance(latent_cfhw=partial(clean.__getitem__, 0))
    made, wanted = latents.cpu(), inversion.latents[0]
    size = float(wanted.double().square().mean().sqrt())
    away = float((made.double() - wanted.double()).square().mean().sqrt())
    return Reconstruction(made, away / size if size else away)


def slices(frames: int, size: int | None) -> list[slice]:
    """All frames in order, in parts of at most `size`; None is one part.

    Raises ValueError for a size below 1.
    """
    if size is None or size >= frames:
        return [WHOLE]
    if size < 1:
        raise ValueError(f"Frames at once: got {size}; use 1 or more.")
    return [slice(first, min(first + size, frames)) for first in range(0, frames, size)]


def _asked(ask: Ask, latents: Tensor, timestep: int, text: Tensor, chunk: int | None, runtime: Runtime) -> Tensor:
    parts = []
    for frames in slices(latents.shape[2], chunk):
        runtime.advance(0)  # counts nothing, but a cancel arrives
        parts.append(ask(latents[:, :, frames], timestep, (text,), frames))
    return torch.cat(parts, dim=2)


def _floating(latents: Tensor) -> Tensor:
    return latents if latents.dtype == torch.float64 else latents.float()
