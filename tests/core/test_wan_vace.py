"""Wan VACE is shown what diffusers' own pipeline shows it, and gives what the pipeline gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import editing_models as models
import pytest
import torch
from einops import rearrange
from harness import tiny
from PIL import Image
from torch import Tensor

from vivid_core.diffusion import schedulers
from vivid_core.diffusion.denoise import denoise, generator_for, noise
from vivid_core.diffusion.guidance import Guidance
from vivid_core.diffusion.wan_predict import predictor
from vivid_core.editors.adapters.wan_vace import WanVaceAdapter, wan_vace
from vivid_core.editors.contract import Place
from vivid_core.video.composite import composite
from vivid_core.video.keyframes import Keyframe, Keyframes

PLACE = Place()
HEIGHT, WIDTH = 32, 48
NO_KEYS = Keyframes([])
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


def transformer() -> Any:
    return tiny.BY_NAME["wan_vace"].make()


def vae() -> Any:
    from diffusers import AutoencoderKLWan

    def build() -> Any:
        return AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)

    return tiny.TinyModel("vae", "vae", build, lambda *_: torch.empty(0)).make()


def adapter(**changes: Any) -> WanVaceAdapter:
    made = wan_vace(dict(transformer().config))
    return WanVaceAdapter(made.traits, made.channels, **changes)


def text(seed: int) -> Tensor:
    return tiny.noise(1, 6, 32, dtype=torch.float32, device=CPU, seed=seed)


def clip(frames: int = 9, seed: int = 1) -> Tensor:
    """Whole numbers of 255, as pictures hold them."""
    return torch.randint(0, 256, (frames, HEIGHT, WIDTH, 3), generator=torch.Generator().manual_seed(seed)) / 255


def moving_box(frames: int = 9) -> Tensor:
    mask = torch.zeros(frames, HEIGHT, WIDTH)
    for index in range(frames):
        mask[index, 5:21, 3 + index : 29 + index] = 1
    return mask


def key(index: int = 0) -> Keyframes:
    return Keyframes([Keyframe(index, clip(1, seed=7)[0])])


def pictures(frames_fhwc: Tensor) -> list[Image.Image]:
    return [Image.fromarray((frame * 255).round().byte().numpy()) for frame in frames_fhwc]


def pipeline(sampler: str) -> Any:
    from diffusers import WanVACEPipeline

    scheduler = schedulers.make(adapter().traits.schedule, sampler)
    made = WanVACEPipeline(tokenizer=None, text_encoder=None, vae=vae(), scheduler=scheduler, transformer=transformer())
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("sampler", ("unipc", "euler"))
@pytest.mark.parametrize("frames", (1, 5, 9))
def test_an_edit_is_that_of_diffusers_pipeline(frames: int, sampler: str) -> None:
    family, mask, latents = adapter(), moving_box(frames), noise((1, (frames - 1) // 4 + 1, 16, 4, 6), generator_for(3))
    grey = clip(frames).masked_fill((mask > 0.5)[..., None], 0.5)  # what a user of the pipeline has to do
    pipe = pipeline(sampler)
    # The pipeline takes pictures, in which there is no exact grey; so its tensors are given past that.
    pipe.preprocess_conditions = lambda *_: (
        channels_first(grey) * 2 - 1,
        mask[None, None].expand(1, 3, -1, -1, -1),
        [[]],
    )
    given = {
        "height": HEIGHT,
        "width": WIDTH,
        "num_frames": frames,
        "num_inference_steps": 5,
        "guidance_scale": 5.0,
        "latents": rearrange(latents, "b f c h w -> b c f h w"),
        "prompt_embeds": text(1),
        "negative_prompt_embeds": text(2),
    }
    theirs = pipe(**given, output_type="latent").frames
    their_frames = torch.from_numpy(pipe(**given, output_type="np").frames[0])
    with torch.no_grad():
        condition = family.condition(clip(frames), mask, NO_KEYS, vae(), PLACE)
    for batched in (True, False):
        predict = family.predictor(transformer(), condition, text(1), text(2), PLACE)
        scheduler = schedulers.make(family.traits.schedule, sampler)
        ours = denoise(predict, scheduler, latents, 5, Guidance(5.0, batched=batched), generator_for(0))
        assert (rearrange(ours, "b f c h w -> b c f h w") - theirs).abs().max() <= 1e-5
        assert (family.decode(ours, frames, vae(), PLACE) - their_frames).abs().max() <= 1e-5
    assert theirs.std() > 0.1 and their_frames.std() > 0.01


def channels_first(frames_fhwc: Tensor) -> Tensor:
    return rearrange(frames_fhwc, "f h w c -> 1 c f h w")


@pytest.mark.parametrize("frames", (1, 9))
def test_the_condition_is_that_of_the_pipeline_but_for_the_rounding_of_its_grey(frames: int) -> None:
    pipe, mask = pipeline("unipc"), moving_box(frames)
    grey = clip(frames).masked_fill((mask > 0.5)[..., None], 0.5)
    shown, masks, references = pipe.preprocess_conditions(
        pictures(grey),
        pictures(mask[..., None].expand(-1, -1, -1, 3)),
        None,
        1,
        HEIGHT,
        WIDTH,
        frames,
        torch.float32,
        CPU,
    )
    with torch.no_grad():
        theirs = torch.cat(
            [pipe.prepare_video_latents(shown, masks, references), pipe.prepare_masks(masks, references)], 1
        )
        ours = adapter().condition(clip(frames), mask, NO_KEYS, vae(), PLACE)
    differences = (rearrange(ours, "b f c h w -> b c f h w") - theirs).abs()
    assert differences[:, :16].max() <= 1e-5 and not differences[:, 32:].any()
    assert differences.max() < 0.1


def test_a_keyframe_is_in_the_kept_part_and_changes_no_later_frame_of_the_mask() -> None:
    plain, exact = adapter(), adapter(first_frame_mask=True)
    with torch.no_grad():
        whole = plain.encode(clip(1, seed=7)[None], vae(), PLACE)
        given = plain.condition(clip(), moving_box(), key(), vae(), PLACE)
        known = exact.condition(clip(), moving_box(), key(), vae(), PLACE)
        without = plain.condition(clip(), moving_box(), NO_KEYS, vae(), PLACE)
    assert torch.allclose(given[:, :1, :16], whole, atol=1e-5)
    assert torch.equal(given[:, 1:, 32:], without[:, 1:, 32:])
    assert given[:, 0, 32:].any(), "the family takes the first latent's mask from frame 1"
    assert not known[:, 0, 32:].any() and torch.equal(known[:, 1:], given[:, 1:])


def test_the_mask_is_taken_near_the_middle_of_each_latent_and_holds_every_pixel() -> None:
    mask = torch.rand(13, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)).round()
    latents = adapter().mask_latents(mask, vae(), PLACE)
    pixels = rearrange(latents, "1 f (p q) h w -> f (h p) (w q)", p=8)
    assert torch.equal(pixels, mask[[1, 4, 8, 11]])  # the middles of four quarters of 13, rounded down
    assert torch.equal(
        rearrange(adapter().mask_latents(mask[:1], vae(), PLACE), "1 f (p q) h w -> f (h p) (w q)", p=8), mask[:1]
    )


def test_what_lies_under_the_mask_is_never_shown() -> None:
    changed = torch.where(moving_box()[..., None] > 0.5, clip(seed=5), clip())
    with torch.no_grad():
        first, second = (
            adapter().condition(frames, moving_box(), NO_KEYS, vae(), PLACE) for frames in (clip(), changed)
        )
    assert torch.equal(first, second)


@pytest.mark.parametrize("frames", (1, 5, 9))
def test_with_nothing_to_be_edited_the_composite_is_the_clip(frames: int) -> None:
    family, mask = adapter(), torch.zeros(frames, HEIGHT, WIDTH)
    with torch.no_grad():
        condition = family.condition(clip(frames), mask, NO_KEYS, vae(), PLACE)
        predict = family.predictor(transformer(), condition, text(1), None, PLACE)
        start = noise(family.noise_shape(frames, HEIGHT, WIDTH), generator_for(1))
        scheduler = schedulers.make(family.traits.schedule)
        latents = denoise(predict, scheduler, start, 2, Guidance(1.0), generator_for(2))
        edited = family.decode(latents, frames, vae(), PLACE)
    assert edited.shape == (frames, HEIGHT, WIDTH, 3) and edited.min() >= 0 and edited.max() <= 1
    assert torch.equal(composite(clip(frames), edited, mask), clip(frames))


def test_the_family_says_its_own_constants() -> None:
    small = wan_vace(transformer().config).traits
    large = wan_vace({**transformer().config, "num_layers": 40}, shift=5.0).traits
    assert small.size_for(480, 832) == (480, 832) and large.size_for(720, 1280) == (720, 1280)
    assert (small.longest, small.text_tokens, small.fps, small.fill) == (81, 512, 16, 0.5)
    assert schedulers.make(large.schedule).config.flow_shift == 5.0
    assert schedulers.make(small.schedule, "euler").config.shift == 3.0


def test_another_number_of_control_channels_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="96 channels of control, but gets 17.*VACE.*14B[.]$"):
        predictor(transformer(), text(1), None, torch.zeros(1, 2, 17, 4, 6))
    predict = predictor(transformer(), text(1), None, torch.zeros(1, 2, 96, 4, 6))
    with pytest.raises(ValueError, match="negative prompt"):
        predict(torch.zeros(1, 2, 16, 4, 6), torch.tensor([1]), (False,))
