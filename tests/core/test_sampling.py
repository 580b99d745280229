"""Sampling gives what diffusers' own pipeline gives, on every family, and keeps the promises of the house."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import editing_models as models
import pytest
import torch
from torch import Tensor, nn

from vivid_core.diffusion import schedulers
from vivid_core.diffusion.cogvideox_predict import padded, padding, predictor, trimmed
from vivid_core.diffusion.denoise import denoise, generator_for, noise
from vivid_core.diffusion.guidance import Guidance
from vivid_core.models.widening import widen
from vivid_core.runtime import Runtime

STEPS = 6
GUIDANCE = {"ddim": Guidance(4.0), "dpm": Guidance(4.0, dynamic=True)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


families = pytest.mark.parametrize("family", models.FAMILIES)
samplers = pytest.mark.parametrize("sampler", ("ddim", "dpm"))


def by_diffusers(transformer: Any, sampler: str, latents: Tensor, seed: int, steps: int = STEPS) -> Tensor:
    """The latents that CogVideoXPipeline makes; the first noise is given, what it draws later comes from the seed."""
    frames, height, width = latents.shape[1], latents.shape[3], latents.shape[4]
    return models.pipeline(transformer, schedulers.make(schedulers.cogvideox(), sampler))(
        height=8 * height,
        width=8 * width,
        num_frames=4 * frames - 3,
        num_inference_steps=steps,
        guidance_scale=GUIDANCE[sampler].scale,
        use_dynamic_cfg=GUIDANCE[sampler].dynamic,
        generator=generator_for(seed),
        latents=latents.clone(),
        prompt_embeds=models.text(1),
        negative_prompt_embeds=models.text(2),
        output_type="latent",
    ).frames


def by_us(transformer: Any, sampler: str, latents: Tensor, seed: int, condition: Tensor | None = None) -> Tensor:
    predict = predictor(transformer, models.text(1), models.text(2), condition)
    scheduler = schedulers.make(schedulers.cogvideox(), sampler)
    return denoise(predict, scheduler, latents, STEPS, GUIDANCE[sampler], generator_for(seed))


def start(family: str, frames: int = 3, seed: int = 3) -> Tensor:
    shape = (1, frames, 16, 8, 12)
    return padded(noise(shape, generator_for(seed)), models.text_to_video(family).config)


@samplers
@families
def test_a_text_to_video_model_samples_as_in_diffusers_pipeline(family: str, sampler: str) -> None:
    transformer, latents = models.text_to_video(family), start(family)
    theirs = by_diffusers(transformer, sampler, latents, seed=4)
    ours = by_us(transformer, sampler, latents, seed=4)
    assert (ours - theirs).abs().max() <= 1e-5
    assert theirs.std() > 0.1


@samplers
@families
@pytest.mark.parametrize("channels", (33, 48))
def test_with_everything_to_be_edited_a_trained_model_is_the_text_to_video_model(
    family: str, sampler: str, channels: int
) -> None:
    latents = start(family)
    theirs = by_diffusers(models.text_to_video(family), sampler, latents, seed=4)
    trained = models.with_random_new_columns(widen(models.text_to_video(family), channels))
    nothing_known = torch.zeros(1, latents.shape[1], channels - 16, 8, 12)
    ours = by_us(trained, sampler, latents, 4, nothing_known)
    assert (ours - theirs).abs().max() <= 1e-5


@samplers
@families
@pytest.mark.parametrize("channels", (33, 48))
def test_at_initialisation_any_condition_gives_the_text_to_video_model(
    family: str, sampler: str, channels: int
) -> None:
    latents = start(family)
    theirs = by_diffusers(models.text_to_video(family), sampler, latents, seed=4)
    condition = noise((1, latents.shape[1], channels - 16, 8, 12), generator_for(8)) * 3
    ours = by_us(widen(models.text_to_video(family), channels), sampler, latents, 4, condition)
    assert (ours - theirs).abs().max() <= 1e-5


@samplers
@families
def test_one_latent_frame_is_image_mode_of_the_same_loop(family: str, sampler: str) -> None:
    transformer, latents = models.text_to_video(family), start(family, frames=1)
    theirs = by_diffusers(transformer, sampler, latents, seed=4)
    ours = by_us(transformer, sampler, latents, seed=4)
    assert (ours - theirs).abs().max() <= 1e-5
    assert trimmed(ours, 1).shape == (1, 1, 16, 8, 12)


def test_the_family_1_5_is_padded_in_front_to_pairs_and_trimmed_again() -> None:
    config = models.text_to_video("1.5").config
    latents = noise((1, 3, 16, 8, 12), generator_for(1))
    longer = padded(latents, config)
    assert padding(3, config) == 1 and padding(4, config) == 0
    assert torch.equal(longer[:, 0], latents[:, 0]) and torch.equal(trimmed(longer, 3), latents)
    assert padded(latents, models.text_to_video("1.0").config).shape == latents.shape


def test_both_predictions_in_one_call_or_one_after_the_other_give_the_same() -> None:
    transformer, latents = models.text_to_video(), start("1.0")
    predict = predictor(transformer, models.text(1), models.text(2))
    results = [
        denoise(
            predict,
            schedulers.make(schedulers.cogvideox(), "ddim"),
            latents,
            STEPS,
            Guidance(4.0, batched=batched),
            generator_for(0),
        )
        for batched in (True, False)
    ]
    assert (results[0] - results[1]).abs().max() <= 1e-5


def test_guidance_of_one_asks_only_the_prompt_and_needs_no_negative_one() -> None:
    asked: list[tuple[bool, ...]] = []

    def predict(latents: Tensor, timestep: Tensor, prompted: tuple[bool, ...]) -> Tensor:
        asked.append(prompted)
        return torch.zeros_like(latents)

    denoise(predict, schedulers.make(schedulers.cogvideox()), start("1.0"), 3, Guidance(1.0), generator_for(0))
    assert asked == [(True,)] * 3


def test_a_clip_that_is_known_comes_out_when_the_prediction_is_right() -> None:
    truth = noise((2, 3, 16, 4, 4), generator_for(9))
    for schedule, sampler, bound in (
        (schedulers.cogvideox(), "ddim", 1e-4),
        (schedulers.cogvideox(3.0), "dpm", 1e-4),
        (schedulers.wan(3.0), "unipc", 1e-4),
        (schedulers.wan(5.0), "euler", 1e-4),
    ):
        scheduler = schedulers.make(schedule, sampler)

        def predict(
            latents: Tensor, timestep: Tensor, prompted: tuple[bool, ...], scheduler: Any = scheduler
        ) -> Tensor:
            return right_prediction(scheduler, latents, timestep, truth)

        for steps in (1, 2, 20, 25, 50):
            made = denoise(
                predict, scheduler, noise(truth.shape, generator_for(1)), steps, Guidance(1), generator_for(2)
            )
            assert (made - truth).abs().max() <= bound, (sampler, steps)


def right_prediction(scheduler: Any, latents: Tensor, timestep: Tensor, truth: Tensor) -> Tensor:
    """What a perfect model says: the velocity from these latents to the truth."""
    if scheduler.config.get("prediction_type") == "v_prediction":
        kept = scheduler.alphas_cumprod[timestep[0]].float()
        return (kept**0.5 * latents - truth) / (1 - kept) ** 0.5
    nearest = (scheduler.timesteps - timestep[0]).abs().argmin()
    return (latents - truth) / scheduler.sigmas[nearest]


@pytest.mark.parametrize("steps", (61, 103, 769))
def test_a_step_that_rounding_puts_below_time_zero_is_not_made(steps: int) -> None:
    times: list[float] = []

    def predict(latents: Tensor, timestep: Tensor, prompted: tuple[bool, ...]) -> Tensor:
        times.append(float(timestep[0]))
        return torch.zeros_like(latents)

    scheduler = schedulers.make(schedulers.cogvideox(), "ddim")
    denoise(predict, scheduler, torch.ones(1, 1, 16, 2, 2), steps, Guidance(1), generator_for(0))
    assert len(times) == steps and min(times) >= 0 and times == sorted(times, reverse=True)


def test_all_noise_comes_from_the_seed_and_not_from_torchs_own_state() -> None:
    transformer, latents = models.text_to_video(), start("1.0")
    results = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        results.append(by_us(transformer, "dpm", latents, seed=11))
    assert torch.equal(*results)
    assert not torch.equal(results[0], by_us(transformer, "dpm", latents, seed=12))


class Watched(Runtime):
    """Notes what is held when, and the previews; stops at a step if told to."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.held: list[nn.Module] = []
        self.previews: list[Tensor] = []
        self.stop_at = stop_at

    def advance(
        self,
        steps: int = 1,
        preview: Callable[[], Tensor] | None = None,
        latent_cfhw: Callable[[], Tensor] | None = None,
    ) -> None:
        super().advance(steps)
        assert latent_cfhw is not None
        self.previews.append(latent_cfhw())
        if self.done == self.stop_at:
            raise InterruptedError

    @contextmanager
    def hold(self, *modules: nn.Module, activations: int = 0) -> Iterator[None]:
        self.held.extend(modules)
        yield
        self.held.clear()


def test_each_step_counts_one_and_shows_the_clip_as_it_will_end() -> None:
    truth, runtime, module = noise((1, 3, 16, 4, 4), generator_for(9)), Watched(), nn.Identity()
    for schedule, sampler in (
        (schedulers.cogvideox(), "dpm"),
        (schedulers.wan(), "unipc"),
        (schedulers.wan(), "euler"),
    ):
        scheduler = schedulers.make(schedule, sampler)

        def predict(
            latents: Tensor, timestep: Tensor, prompted: tuple[bool, ...], scheduler: Any = scheduler
        ) -> Tensor:
            assert runtime.held == [module]
            return right_prediction(scheduler, latents, timestep, truth)

        runtime.begin(5)
        start_noise = noise(truth.shape, generator_for(1))
        denoise(predict, scheduler, start_noise, 5, Guidance(1), generator_for(2), runtime, [module])
        assert runtime.done == 5 and not runtime.held
        for preview in runtime.previews:
            assert preview.shape == (16, 3, 4, 4)
            # UniPC rounds its times to whole numbers, the last of which stands for a very different amount of noise.
            assert (preview - truth[0].transpose(0, 1)).abs().max() < 0.05


def test_a_cancel_passes_through_at_once() -> None:
    runtime = Watched(stop_at=2)
    runtime.begin(6)
    with pytest.raises(InterruptedError):
        denoise(
            lambda latents, timestep, prompted: torch.zeros_like(latents),
            schedulers.make(schedulers.cogvideox()),
            torch.ones(1, 1, 16, 2, 2),
            6,
            Guidance(1),
            generator_for(0),
            runtime,
        )
    assert runtime.done == 2


def one_run(steps: int = 2, guidance: float = 1.0, value: float = 0.0) -> None:
    denoise(
        lambda latents, timestep, prompted: torch.full_like(latents, value),
        schedulers.make(schedulers.cogvideox()),
        torch.ones(1, 1, 16, 2, 2),
        steps,
        Guidance(guidance),
        generator_for(0),
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    (
        (lambda: one_run(steps=0), "Steps: got 0"),
        (lambda: one_run(steps=1001), "Steps: got 1001"),
        (lambda: one_run(value=float("nan")), "NaN"),
        (lambda: generator_for(-1), "Seed: got -1"),
        (lambda: predictor(models.text_to_video(), models.text(1), None, torch.zeros(1, 3, 17, 8, 12)), "16 .*33"),
        (
            lambda: predictor(models.text_to_video(), models.text(1))(start("1.0"), torch.tensor([1]), (False,)),
            "negative prompt",
        ),
    ),
)
def test_what_cannot_be_sampled_is_said_in_a_sentence(wrong: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert str(caught.value).endswith(".")
