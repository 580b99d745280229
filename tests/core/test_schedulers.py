"""The schedulers: noised as the published configurations say, and sampled with what the family is sampled with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vivid_core.diffusion import schedulers
from vivid_core.diffusion.denoise import denoise, generator_for, noise
from vivid_core.diffusion.guidance import Guidance

FIVE_B = schedulers.cogvideox(1.0)


def test_the_schedule_of_cogvideox_ends_without_signal_and_wans_is_shifted() -> None:
    for sampler in ("dpm", "ddim"):
        assert schedulers.make(schedulers.cogvideox(), sampler).alphas_cumprod[-1] == 0
    for sampler in ("unipc", "euler"):
        scheduler = schedulers.make(schedulers.wan(5.0), sampler)
        scheduler.set_timesteps(50)
        middle = scheduler.sigmas[25]
        assert 0.8 < middle < 0.87  # 5 * 0.5 / (1 + 4 * 0.5)


@pytest.mark.parametrize("sampler", ("dpm", "ddim"))
@pytest.mark.parametrize("shift", (1.0, 3.0))
def test_cogvideox_is_noised_as_its_published_configuration_says(sampler: str, shift: float) -> None:
    """`scheduler_config.json` of the checkpoints; the end without signal after Lin et al. 2023, algorithm 1."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)
    signal = (kept / (shift + (1 - shift) * kept)).sqrt()
    signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    scheduler = schedulers.make(schedulers.cogvideox(shift), sampler)
    assert (scheduler.alphas_cumprod.double() - signal**2).abs().max() < 1e-6
    scheduler.set_timesteps(50)
    assert scheduler.timesteps.tolist() == list(range(999, 0, -20))
    assert scheduler.final_alpha_cumprod == 1, "the last step arrives at the clip itself"
    assert not scheduler.config.clip_sample, "latents go beyond -1..1"


def test_the_usual_shifts_are_those_of_the_released_checkpoints() -> None:
    assert torch.equal(*(schedulers.make(one).alphas_cumprod for one in (schedulers.cogvideox(), FIVE_B)))
    for sampler in ("unipc", "euler"):
        scheduler = schedulers.make(schedulers.wan(), sampler)
        scheduler.set_timesteps(50)
        assert scheduler.sigmas[25] == pytest.approx(3 * 0.5 / (1 + 2 * 0.5), abs=0.02)


def test_ddim_is_the_plain_one_that_fun_models_are_sampled_with() -> None:
    from diffusers import DDIMScheduler

    ours = schedulers.make(schedulers.cogvideox(default="ddim"))
    settings = {name: value for name, value in ours.config.items() if name != "snr_shift_scale" and name[0] != "_"}
    theirs = DDIMScheduler(**settings)
    made = []
    for scheduler in (ours, theirs):

        def predict(latents: Tensor, timestep: Tensor, prompted: tuple[bool, ...]) -> Tensor:
            return torch.sin(3 * latents + timestep.view(-1, 1, 1, 1, 1) / 300)

        start_noise = noise((1, 2, 16, 4, 4), generator_for(1))
        made.append(denoise(predict, scheduler, start_noise, 20, Guidance(1), generator_for(0)))
    assert (made[0] - made[1]).abs().max() <= 1e-4


def test_a_family_is_sampled_with_its_own_samplers_and_its_default_first() -> None:
    for schedule, names in (
        (schedulers.cogvideox(), ["dpm", "ddim"]),
        (schedulers.cogvideox(default="ddim"), ["ddim", "dpm"]),
        (schedulers.wan(), ["unipc", "euler"]),
    ):
        assert list(schedule.samplers) == names and schedule.default == names[0]
        assert type(schedulers.make(schedule)) is type(schedulers.make(schedule, names[0]))
        assert type(schedulers.make(schedule)) is not type(schedulers.make(schedule, names[1]))


def test_a_sampler_of_another_family_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'unipc'.*dpm or ddim") as caught:
        schedulers.make(schedulers.cogvideox(), "unipc")
    assert str(caught.value).endswith(".")
