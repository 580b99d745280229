"""The one loop that turns noise into a clip, for every family; an image is a clip with one latent frame."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from einops import rearrange
from torch import Tensor, nn

from ..runtime import Runtime
from .guidance import Guidance, guided

# What a model says about noisy latents: latents_bfchw and timestep_b, then for each equal part of the batch whether it
# gets the prompt (True) or the negative one; it returns as many latents_bfchw, in float32.
Predict: TypeAlias = Callable[[Tensor, Tensor, tuple[bool, ...]], Tensor]

MOST_STEPS = 1000  # as many as there are timesteps in training


def generator_for(seed: int) -> torch.Generator:
    """Where all noise of a run comes from. It lies on the CPU, so that every device gets the same noise.

    Raises ValueError for a seed below 0 or of more than 64 bits.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"Seed: got {seed}; use a whole number from 0 to {2**64 - 1}.")
    return torch.Generator("cpu").manual_seed(seed)


def noise(shape: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Float32 normal noise of a shape: drawn on the CPU, then moved."""
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32).to(device)


@torch.no_grad()
def denoise(
    predict: Predict,
    scheduler: Any,
    latents_bfchw: Tensor,
    steps: int,
    guidance: Guidance,
    generator: torch.Generator,
    runtime: Runtime | None = None,
    modules: Sequence[nn.Module] = (),
    activations: int = 0,
) -> Tensor:
    """Denoise `latents_bfchw` (float32 noise, on the device where the model runs) in `steps` steps.

    `scheduler` is one that `schedulers.make` gave; `generator` gives the noise that some samplers add on the way.
    `modules` are those that `predict` calls: they are held for the loop, with room for `activations` bytes. Each step
    counts one on `runtime`, whose bar the caller has begun; what it raises there to cancel passes through.

    Returns float32 latents of the same shape. Raises ValueError when `steps` is no number from 1 to 1000, or when the
    model returned NaN.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"Steps: got {steps}; use 1 to {MOST_STEPS}.")
    runtime = runtime or Runtime()
    scheduler.set_timesteps(steps)
    # Rounding makes some schedulers list one more, below 0 (at 61 steps, say), which means no time at all.
    timesteps = scheduler.timesteps[:steps]
    step = _Step(scheduler, timesteps, generator)
    latents = latents_bfchw.float()
    with runtime.hold(*modules, activations=activations):
        for index, timestep in enumerate(timesteps):
            scale = guidance.at(float(timestep), steps)
            prediction = _guided_prediction(predict, latents, timestep, guidance, scale)
            clean = _clean(scheduler, prediction, timestep, latents)
            latents = step(prediction, index, latents)
            runtime.advance(latent_cfhw=partial(_first_clip, clean))
    check_finite(latents)
    return latents


def check_finite(latents: Tensor) -> None:
    """Raise ValueError when latents hold NaN or infinite values."""
    if not torch.isfinite(latents).all():
        raise ValueError(
            "Sampling: the model returned NaN (not a number) values; run it in bf16 or fp32 instead of fp16, and check "
            "that its weights are complete."
        )


def _guided_prediction(predict: Predict, latents: Tensor, timestep: Tensor, guidance: Guidance, scale: float) -> Tensor:
    count = latents.shape[0]
    time = timestep.to(latents.device)
    if not guidance.active:
        return predict(latents, time.expand(count), (True,))
    if guidance.batched:
        both = predict(torch.cat([latents, latents]), time.expand(2 * count), (False, True))
        negative, positive = both.chunk(2)
    else:
        negative, positive = (predict(latents, time.expand(count), (prompted,)) for prompted in (False, True))
    return guided(negative, positive, scale)


class _Step:
    """One call for the differing `step` of diffusers' schedulers."""

    def __init__(self, scheduler: Any, timesteps: Tensor, generator: torch.Generator) -> None:
        wanted = inspect.signature(scheduler.step).parameters
        self._scheduler, self._timesteps = scheduler, timesteps
        self._extra = {"generator": generator} if "generator" in wanted else {}
        self._two_steps = "old_pred_original_sample" in wanted  # DPM looks back at its last clean guess
        self._last_clean: Tensor | None = None

    def __call__(self, prediction: Tensor, index: int, latents: Tensor) -> Tensor:
        timestep = self._timesteps[index]
        if not self._two_steps:
            return self._scheduler.step(prediction, timestep, latents, **self._extra, return_dict=False)[0]
        before = self._timesteps[index - 1] if index else None
        latents, self._last_clean = self._scheduler.step(
            prediction, self._last_clean, timestep, before, latents, **self._extra, return_dict=False
        )
        return latents


def _first_clip(clean: Callable[[], Tensor]) -> Tensor:
    return rearrange(clean()[0], "f c h w -> c f h w")


def _clean(scheduler: Any, prediction: Tensor, timestep: Tensor, latents: Tensor) -> Callable[[], Tensor]:
    """How to compute, for a preview, the latents that a prediction points at."""
    if hasattr(scheduler, "alphas_cumprod") and scheduler.config.prediction_type == "v_prediction":
        kept = scheduler.alphas_cumprod[timestep]
        return lambda: kept**0.5 * latents - (1 - kept) ** 0.5 * prediction
    share = timestep / scheduler.config.num_train_timesteps  # flow matching counts time in shares of noise
    return lambda: latents - share * prediction
