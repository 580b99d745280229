"""DDIM up and down one list of times is what diffusers' scheduler does, and its own inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from branching import asking, drawn, image_unet, text, times
from cancelling import CancelAfter, CancelledError
from torch import Tensor

from vivid_core.diffusion.ddim import WHOLE, NoiseSchedule, Times, invert, reconstruct
from vivid_core.runtime import Runtime

SCHEDULES = (
    NoiseSchedule(),
    NoiseSchedule(first_alpha=1.0, offset=0, prediction="v_prediction"),
    NoiseSchedule(betas="linear", spacing="linspace", first_alpha=1.0),
    NoiseSchedule(betas="linear", start=0.0001, end=0.02, spacing="trailing"),
)
every_schedule = pytest.mark.parametrize("noise", SCHEDULES, ids=lambda noise: f"{noise.betas}-{noise.spacing}")


def of_diffusers(noise: NoiseSchedule, **more: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule=noise.betas,
        beta_start=noise.start,
        beta_end=noise.end,
        timestep_spacing=noise.spacing,
        steps_offset=noise.offset,
        set_alpha_to_one=noise.first_alpha is not None,
        prediction_type=noise.prediction,
        clip_sample=False,
        **more,
    )


def blind(latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
    """A noise that depends on the time and not on the latents."""
    return drawn(*latents.shape, seed=int(timestep)).to(latents)


@every_schedule
@pytest.mark.parametrize("steps", (1, 2, 7, 20, 50))
def test_times_are_those_of_diffusers_the_other_way_round(noise: NoiseSchedule, steps: int) -> None:
    scheduler = of_diffusers(noise)
    scheduler.set_timesteps(steps)
    made = Times.make(noise, steps)
    assert list(made.timesteps) == scheduler.timesteps.tolist()[::-1]
    theirs = [float(scheduler.final_alpha_cumprod), *(float(scheduler.alphas_cumprod[t]) for t in made.timesteps)]
    assert torch.allclose(torch.tensor(made.alphas), torch.tensor(theirs), rtol=1e-4, atol=0)
    assert list(made.alphas[1:]) == sorted(made.alphas[1:], reverse=True)


@pytest.mark.parametrize("steps", (2, 20, 50))
@every_schedule
def test_going_down_is_diffusers_ddim(noise: NoiseSchedule, steps: int) -> None:
    if noise.spacing == "linspace":
        # diffusers looks abar up at even gaps, though these times aren't evenly spaced; ours are those of the list.
        noise = NoiseSchedule(betas="linear", first_alpha=1.0)
    scheduler, made = of_diffusers(noise), Times.make(noise, steps)
    scheduler.set_timesteps(steps)
    ours = theirs = drawn(1, 4, 2, 4, 4, dtype=torch.float64)
    for k in reversed(range(1, steps + 1)):
        time = made.timestep(k)
        predicted = torch.sin(3 * theirs + time / 300)
        ours = made.down(k, ours, noise.epsilon(torch.sin(3 * ours + time / 300), ours, time))
        theirs = scheduler.step(predicted, time, theirs, return_dict=False)[0]
    assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()
    assert (ours - drawn(1, 4, 2, 4, 4)).abs().max() > 0.1


def test_going_up_is_diffusers_inverse_ddim_with_its_times_shifted() -> None:
    from diffusers import DDIMInverseScheduler

    noise, steps = NoiseSchedule(), 20
    scheduler, made = DDIMInverseScheduler.from_config(of_diffusers(noise).config), Times.make(noise, steps)
    scheduler.set_timesteps(steps)
    ours = theirs = drawn(1, 4, 2, 4, 4, dtype=torch.float64)
    for k in range(1, steps + 1):
        ours = made.up(k, ours, torch.sin(3 * ours + k))
        theirs = scheduler.step(torch.sin(3 * theirs + k), made.timestep(k), theirs, return_dict=False)[0]
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@every_schedule
@pytest.mark.parametrize("steps", (1, 3, 50))
def test_inverting_and_denoising_is_the_identity_for_a_noise_that_ignores_the_latents(
    noise: NoiseSchedule, steps: int
) -> None:
    latents = drawn(1, 4, 3, 4, 4, dtype=torch.float64)
    inversion = invert(blind, latents, text(), Times.make(noise, steps))
    assert len(inversion.latents) == steps + 1 and torch.equal(inversion.latents[0], latents)
    made = reconstruct(blind, inversion, text())
    assert (made.latents_bcfhw - latents).abs().max() <= 1e-10
    assert made.error <= 1e-10
    assert (inversion.noisiest - latents).abs().max() > 0.01


def test_the_network_is_asked_at_the_time_that_the_step_leads_to_in_both_directions() -> None:
    asked: list[int | float] = []

    def noting(latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        asked.append(timestep)
        return torch.zeros_like(latents)

    inversion = invert(noting, drawn(1, 4, 1, 2, 2), text(), times(5))
    assert asked == list(times(5).timesteps) == [1, 201, 401, 601, 801]
    reconstruct(noting, inversion, text())
    assert asked[5:] == asked[:5][::-1]


def test_the_reconstruction_error_is_the_distance_as_a_share_of_the_clips_size() -> None:
    def wrong(latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        return 0.1 * latents

    latents = drawn(1, 4, 3, 4, 4)
    made = reconstruct(wrong, invert(wrong, latents, text(), times(8)), text())
    away = (made.latents_bcfhw - latents).norm() / latents.norm()
    assert made.error == pytest.approx(float(away), rel=1e-4)
    assert made.error > 0.001


def test_frames_in_parts_are_inverted_as_all_at_once() -> None:
    unet, latents = image_unet(), drawn(1, 4, 5, 8, 8)
    for_each = torch.cat([text(seed) for seed in range(5)])
    whole = invert(asking(unet), latents, for_each, times(3))
    for chunk in (1, 2, 5, 9):
        parts = invert(asking(unet), latents, for_each, times(3), chunk=chunk)
        assert all((a - b).abs().max() <= 1e-4 for a, b in zip(whole.latents, parts.latents))
    alone = invert(asking(unet), latents[:, :, 3:4], for_each[3:4], times(3))
    assert (alone.noisiest - whole.noisiest[:, :, 3:4]).abs().max() <= 1e-4
    assert whole.noisiest.std() > 0.1


@pytest.mark.parametrize("prediction", ("epsilon", "v_prediction"))
def test_the_noise_is_found_in_what_either_kind_of_model_predicts(prediction: Any) -> None:
    noise = NoiseSchedule(prediction=prediction)
    clip, eps, time = drawn(1, 4, 2, 2, 2, seed=1), drawn(1, 4, 2, 2, 2, seed=2), 500
    alpha = float(noise.alphas()[time])
    noisy = alpha**0.5 * clip + (1 - alpha) ** 0.5 * eps
    predicted = eps if prediction == "epsilon" else alpha**0.5 * eps - (1 - alpha) ** 0.5 * clip
    assert (noise.epsilon(predicted, noisy, time) - eps).abs().max() <= 1e-5


def test_each_step_counts_one_and_a_cancel_passes_through() -> None:
    runtime = Runtime()
    runtime.begin(12)
    inversion = invert(blind, drawn(1, 4, 3, 2, 2), text(), times(6), runtime, chunk=2)
    assert runtime.done == 6
    reconstruct(blind, inversion, text(), runtime)
    assert runtime.done == 12
    with pytest.raises(CancelledError):
        invert(blind, drawn(1, 4, 3, 2, 2), text(), times(6), CancelAfter(3))


@pytest.mark.parametrize(
    ("steps", "noise", "sentence"),
    (
        (0, NoiseSchedule(), "Steps: got 0; use 1 to 1000"),
        (1001, NoiseSchedule(), "Steps: got 1001"),
        (1000, NoiseSchedule(), "times end at 1000"),
    ),
)
def test_steps_that_there_are_not_are_refused(steps: int, noise: NoiseSchedule, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Times.make(noise, steps)


def test_a_model_that_returns_nan_is_told_of() -> None:
    def broken(latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        return latents * float("nan")

    with pytest.raises(ValueError, match="NaN"):
        invert(broken, drawn(1, 4, 1, 2, 2), text(), times(3))


def test_parts_of_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="Frames at once: got 0"):
        invert(blind, drawn(1, 4, 3, 2, 2), text(), times(3), chunk=0)
