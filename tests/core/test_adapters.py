"""Each family sees the hole, the mask and the keyframes as its own training showed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import editing_models as models
import pytest
import torch
from harness import tiny
from torch import Tensor

from vivid_core.diffusion import schedulers
from vivid_core.diffusion.denoise import denoise, generator_for, noise
from vivid_core.diffusion.guidance import Guidance
from vivid_core.editors.adapters import cogvideox
from vivid_core.editors.adapters.choice import adapter_for
from vivid_core.editors.adapters.cogvideox import CogVideoXAdapter
from vivid_core.editors.contract import Adapter, EditRequest, Place, with_hole, with_keys
from vivid_core.models.trained_parts import TrainedParts
from vivid_core.models.widening import WIDTHS, widen
from vivid_core.video.composite import composite
from vivid_core.video.keyframes import Keyframe, Keyframes

PLACE = Place()
SIZE = (64, 96)
SCALE = 0.7
NO_KEYS = Keyframes([])

encodings = pytest.mark.parametrize("encoding", WIDTHS)
families = pytest.mark.parametrize("family", models.FAMILIES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


def transformer(family: str = "1.0", encoding: str = "resize") -> Any:
    return models.with_random_new_columns(widen(models.text_to_video(family), WIDTHS[encoding]))


def vivid(family: str = "1.0", encoding: str = "resize") -> CogVideoXAdapter:
    return cogvideox.vivid(dict(transformer(family, encoding).config), encoding)


def fun(**changes: Any) -> CogVideoXAdapter:
    return cogvideox.fun({**transformer().config, **changes})


def clip(frames: int = 9, seed: int = 1) -> Tensor:
    return torch.rand(frames, *SIZE, 3, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1


def moving_box(frames: int = 9) -> Tensor:
    mask = torch.zeros(frames, *SIZE)
    for index in range(frames):
        mask[index, 16:40, 8 + 2 * index : 40 + 2 * index] = 1
    return mask


def key(index: int = 0, seed: int = 7) -> Keyframes:
    return Keyframes([Keyframe(index, clip(1, seed)[0])])


def seen_mask(adapter: CogVideoXAdapter, condition: Tensor) -> Tensor:
    return condition[:, :, : WIDTHS[adapter.mask_encoding] - 32]


def seen_clip(condition: Tensor) -> Tensor:
    return condition[:, :, -16:]


@encodings
def test_a_keyframe_makes_the_first_latent_known_everywhere(encoding: str) -> None:
    adapter, codec = vivid(encoding=encoding), models.MeanCodec()
    condition = adapter.condition(clip(), moving_box(), key(), codec, PLACE)
    all_known = adapter.condition(clip(), torch.zeros(9, *SIZE), NO_KEYS, codec, PLACE)
    assert torch.equal(seen_mask(adapter, condition)[:, 0], seen_mask(adapter, all_known)[:, 0])
    assert torch.allclose(seen_clip(condition)[:, :1], adapter.encode(key_image()[None, None], codec, PLACE), atol=1e-6)
    if encoding != "vae":
        assert (seen_mask(adapter, condition)[:, 0] == SCALE).all()


def key_image() -> Tensor:
    return next(iter(key())).image_hwc


@encodings
def test_a_keyframe_changes_nothing_behind_it(encoding: str) -> None:
    adapter, codec = vivid(encoding=encoding), models.MeanCodec()
    without, with_key = (adapter.condition(clip(), moving_box(), keys, codec, PLACE) for keys in (NO_KEYS, key()))
    assert torch.equal(without[:, 1:], with_key[:, 1:])
    assert not torch.equal(without[:, :1], with_key[:, :1])


@families
@encodings
def test_with_nothing_to_be_edited_the_composite_is_the_clip(family: str, encoding: str) -> None:
    frames, mask = clip(), torch.zeros(9, *SIZE)
    edited = run(vivid(family, encoding), transformer(family, encoding), frames, mask)
    assert edited.shape == frames.shape and edited.min() >= 0 and edited.max() <= 1
    assert torch.equal(composite(frames, edited, mask), frames)


def run(adapter: Adapter, model: Any, frames: Tensor, mask: Tensor, keys: Keyframes = NO_KEYS) -> Tensor:
    """A whole edit of one window: condition, denoise, decode, with a VAE of the true architecture."""
    codec = models.vae()
    with torch.no_grad():
        condition = adapter.condition(frames, mask, keys, codec, PLACE)
        predict = adapter.predictor(model, condition, models.text(1), models.text(2), PLACE)
        start = noise(adapter.noise_shape(len(frames), *SIZE), generator_for(1))
        scheduler = schedulers.make(adapter.traits.schedule)
        latents = denoise(predict, scheduler, start, 2, adapter.traits.guidance, generator_for(2))
        return adapter.decode(latents, len(frames), codec, PLACE)


@families
@encodings
def test_an_image_is_a_clip_of_one_frame(family: str, encoding: str) -> None:
    adapter = vivid(family, encoding)
    edited = run(adapter, transformer(family, encoding), clip(1), moving_box(1))
    assert edited.shape == (1, *SIZE, 3)
    assert adapter.noise_shape(1, *SIZE)[1] == (2 if family == "1.5" else 1)


@pytest.mark.parametrize("frames", (1, 5, 9, 13))
def test_a_decoded_clip_has_the_frames_that_were_encoded(frames: int) -> None:
    adapter, codec = vivid(), models.vae()
    with torch.no_grad():
        latents = adapter.encode(clip(frames)[None], codec, PLACE)
        assert latents.shape == (1, (frames - 1) // 4 + 1, 16, 8, 12)
        assert adapter.decode(latents, frames, codec, PLACE).shape == (frames, *SIZE, 3)


def test_an_even_number_of_latents_is_decoded_as_the_start_of_an_odd_one() -> None:
    adapter, codec = vivid(), models.vae()
    latents = noise((1, 2, 16, 8, 12), generator_for(1))
    odd = torch.cat([latents, latents[:, -1:]], dim=1)
    assert torch.equal(adapter.decode(latents, 5, codec, PLACE), adapter.decode(odd, 9, codec, PLACE)[:5])
    with torch.no_grad():
        alone = codec.decode(latents.transpose(1, 2)).sample
    assert alone.shape[2] == 8, "the VAE takes the first latent for four frames; if no more, leave it to it"


@pytest.mark.parametrize("frames", (1, 5, 9, 13))
def test_each_decoded_frame_comes_from_its_own_latent(frames: int) -> None:
    adapter, codec = vivid(), models.MeanCodec()
    shades = torch.linspace(0.1, 0.9, (frames - 1) // 4 + 1)
    of_frame = [shades[0]] + [shade for shade in shades[1:] for _ in range(4)]
    flat = torch.stack(of_frame)[:, None, None, None].expand(frames, *SIZE, 3)
    decoded = adapter.decode(adapter.encode(flat[None], codec, PLACE), frames, codec, PLACE)
    assert (decoded - flat).abs().max() < 1e-6


def test_a_pixel_of_the_mask_is_known_1_and_hole_0_in_the_middle_of_its_cell() -> None:
    mask = moving_box()
    known = cogvideox.known_latents(mask[None])
    assert known.shape == (1, 3, 1, 8, 12)
    cells = mask.unflatten(2, (12, 8)).unflatten(1, (8, 8))[:, :, 3:5, :, 3:5].mean((2, 4))  # [F, 8, 12]
    assert torch.allclose(known[0, 0, 0], 1 - cells[0])
    for latent in (1, 2):
        middle = cells[4 * latent - 2 : 4 * latent]  # of frames 4j - 3 to 4j
        assert torch.allclose(known[0, latent, 0], 1 - middle.mean(0))


def test_pooling_keeps_a_mask_of_one_pixel_on_one_frame() -> None:
    mask = torch.zeros(1, 9, *SIZE)
    mask[0, 8, 63, 95] = 1
    assert (cogvideox.known_latents(mask) == 1).all()
    known = cogvideox.known_latents(mask, pool=True)
    assert known[0, 2, 0, 7, 11] == 0 and known.sum() == known.numel() - 1
    assert torch.equal(known[:, :2], torch.ones_like(known[:, :2]))


def test_the_encoded_mask_is_white_where_the_clip_is_known() -> None:
    adapter, codec = vivid(encoding="vae"), models.MeanCodec()
    condition = adapter.condition(clip(), moving_box(), NO_KEYS, codec, PLACE)
    white = (seen_mask(adapter, condition)[0, 0, 0] / SCALE + 1) / 2
    assert torch.allclose(white, 1 - moving_box()[0].unflatten(1, (12, 8)).unflatten(0, (8, 8)).mean((1, 3)), atol=1e-6)


def test_the_hole_is_black_and_what_lies_around_it_is_the_clip() -> None:
    adapter, codec, mask = vivid(), models.MeanCodec(), torch.zeros(9, *SIZE)
    mask[:, 16:40, 24:48] = 1
    seen = seen_clip(adapter.condition(clip(), mask, NO_KEYS, codec, PLACE))
    whole = adapter.encode(clip()[None], codec, PLACE)
    hole = mask[0, ::8, ::8] > 0.5
    assert torch.allclose(seen[0, :, :3, hole], torch.tensor(-SCALE))
    assert torch.equal(seen[..., ~hole], whole[..., ~hole])


@encodings
def test_with_everything_to_be_edited_the_model_sees_nothing_at_all(encoding: str) -> None:
    adapter = vivid("1.5", encoding)
    condition = adapter.condition(clip(), torch.ones(9, *SIZE), NO_KEYS, models.MeanCodec(), PLACE)
    assert condition.shape == (1, 4, WIDTHS[encoding] - 16, 8, 12) and not condition.any()
    assert adapter.condition(clip(), torch.ones(9, *SIZE), key(), models.MeanCodec(), PLACE).any()


def test_the_padding_of_1_5_shows_the_first_frame_again() -> None:
    plain, later = (
        vivid(family).condition(clip(), moving_box(), key(), models.MeanCodec(), PLACE) for family in ("1.0", "1.5")
    )
    assert torch.equal(later[:, 1:], plain) and torch.equal(later[:, 0], plain[:, 0])


@families
def test_an_edit_of_everything_is_diffusers_text_to_video(family: str) -> None:
    adapter, frames = vivid(family), clip()
    condition = adapter.condition(frames, torch.ones(9, *SIZE), NO_KEYS, models.vae(), PLACE)
    predict = adapter.predictor(transformer(family), condition, models.text(1), models.text(2), PLACE)
    start = noise(adapter.noise_shape(9, *SIZE), generator_for(3))
    scheduler = schedulers.make(adapter.traits.schedule, "dpm")
    ours = denoise(predict, scheduler, start, 4, Guidance(6.0, dynamic=True), generator_for(4))
    scheduler = schedulers.make(adapter.traits.schedule, "dpm")
    theirs = models.pipeline(models.text_to_video(family), scheduler, adapter.scale)(
        height=SIZE[0],
        width=SIZE[1],
        num_frames=9,
        num_inference_steps=4,
        guidance_scale=6.0,
        use_dynamic_cfg=True,
        generator=generator_for(4),
        latents=start,
        prompt_embeds=models.text(1),
        negative_prompt_embeds=models.text(2),
        output_type="np",
    ).frames[0]
    decoded = adapter.decode(ours, 9, models.vae(), PLACE)
    assert (decoded - torch.from_numpy(theirs)).abs().max() <= 1e-4  # of 0..1, behind a VAE of random weights


def test_in_bf16_an_edit_stays_near_the_one_in_fp32() -> None:
    adapter, results = vivid(), []
    for dtype in (torch.float32, torch.bfloat16):
        model, codec, place = transformer().to(dtype), models.vae().to(dtype), Place(dtype=dtype)
        condition = adapter.condition(clip(), moving_box(), key(), codec, place)
        predict = adapter.predictor(model, condition, models.text(1), models.text(2), place)
        start, scheduler = (
            noise(adapter.noise_shape(9, *SIZE), generator_for(1)),
            schedulers.make(adapter.traits.schedule),
        )
        latents = denoise(predict, scheduler, start, 3, Guidance(2.0), generator_for(2))
        edited = adapter.decode(latents, 9, codec, place)
        assert latents.dtype == condition.dtype == edited.dtype == torch.float32
        results.append(latents)
    assert 0 < (results[0] - results[1]).abs().mean() < 0.05 * results[0].std()


def test_fun_adds_its_noise_to_the_clip_but_not_to_holes_or_keyframes() -> None:
    codec = models.MeanCodec()
    noisy = fun(add_noise_in_inpaint_model=True)
    quiet = fun()
    mask = torch.zeros(9, *SIZE)
    mask[:, 16:40, 24:48] = 1
    clean = quiet.condition(clip(), mask, key(), codec, PLACE, generator_for(1))
    with_noise = noisy.condition(clip(), mask, key(), codec, PLACE, generator_for(1))
    hole = mask[0, ::8, ::8] > 0.5
    assert torch.equal(seen_mask(quiet, clean), seen_mask(noisy, with_noise))
    assert torch.equal(seen_clip(clean)[:, 0], seen_clip(with_noise)[:, 0])
    added = (seen_clip(with_noise) - seen_clip(clean))[:, 1:, :3]
    assert not added[..., hole].any()
    # The mean of 64 pixels in 4 frames, of which each has noise of its own.
    assert added[..., ~hole].std().item() == pytest.approx(SCALE * 0.0563 / 16, rel=0.1)
    assert torch.equal(noisy.condition(clip(), mask, key(), codec, PLACE), clean)


def test_each_family_says_its_own_constants() -> None:
    config = {**transformer().config, "sample_height": 60, "sample_width": 90, "sample_frames": 49}
    assert cogvideox.vivid(config).traits.size_for(1080, 1920) == (448, 784)
    assert cogvideox.vivid(config).traits.size_for(480, 720) == (480, 720)
    assert cogvideox.vivid(config).traits.fps is None and fun().traits.fps == 8
    assert (cogvideox.fun(config).traits.longest, fun(patch_size_t=2).traits.longest) == (49, 85)
    small = {**config, "in_channels": 33, "use_rotary_positional_embeddings": False}
    assert cogvideox.vivid(small).scale == 1.15258426
    assert cogvideox.vivid(small).traits.schedule.constants["snr_shift_scale"] == 3.0
    assert cogvideox.fun(small).traits.schedule.constants["snr_shift_scale"] == 1.0
    later = {**config, "patch_size_t": 2, "sample_height": 300, "sample_width": 300, "sample_frames": 81}
    assert cogvideox.vivid(later).traits.size_for(768, 1360) == (768, 1360)
    assert fun(in_channels=48).mask_encoding == "vae"
    embedded = {**config, "sample_height": 12, "sample_width": 12, "sample_frames": 9}
    assert cogvideox.vivid(embedded, stride=4).traits.size_for(100, 100) == (48, 48)
    for count, wanted in ((1, 1), (2, 5), (49, 49), (50, 49)):
        assert cogvideox.vivid(config).traits.frames_for(count) == wanted


def test_the_adapter_is_chosen_by_what_was_loaded() -> None:
    base, wide = dict(models.text_to_video().config), dict(transformer().config)
    parts = TrainedParts({}, {}, 48, 4, 4.0, "vae")
    assert adapter_for("cogvideox", wide).traits.name == "cogvideox_fun"
    chosen = adapter_for("cogvideox", base, parts)
    assert isinstance(chosen, CogVideoXAdapter) and chosen.traits.name == "vivid" and chosen.mask_encoding == "vae"
    assert adapter_for("wan_vace", dict(tiny.BY_NAME["wan_vace"].build().config)).traits.name == "wan_vace"
    for given, sentence in (
        (("cogvideox", base), "16 input channels, which sees no mask"),
        (("wan_vace", {}, parts), "belong to CogVideoX"),
        (("unet2d", {}), "family unet2d"),
    ):
        with pytest.raises(ValueError, match=sentence):
            adapter_for(*given)


# ------------------------------------------------------------------------------------------------------- requests


def request(**changes: Any) -> EditRequest:
    given = {
        "frames_fhwc": clip(),
        "edit_mask_fhw": moving_box(),
        "prompt_bld": models.text(1),
        "negative_bld": models.text(2),
    }
    return EditRequest(**{**given, **changes})


def test_a_request_takes_the_familys_habits_where_it_says_nothing() -> None:
    traits = fun().traits
    settled = request().settled(traits)
    assert (settled.steps, settled.guidance, settled.sampler) == (50, Guidance(6.0), "ddim")
    own = request(steps=4, guidance=Guidance(1.0), sampler="ddim", negative_bld=None).settled(traits)
    assert (own.steps, own.guidance, own.sampler) == (4, Guidance(1.0), "ddim")
    five_b, two_b = vivid("1.0").traits, vivid("2B").traits
    assert request().settled(five_b).guidance == Guidance(6.0, dynamic=True)
    assert request().settled(five_b).sampler == "dpm" and request().settled(two_b).sampler == "ddim"
    for traits, sampler in ((five_b, "ddim"), (two_b, "dpm"), (two_b, "ddim")):
        assert request(sampler=sampler).settled(traits).guidance == Guidance(6.0)


def test_a_request_is_corrected_where_it_can_be_and_that_is_said() -> None:
    notes: list[str] = []
    small = torch.rand(SIZE[0] // 2, SIZE[1] // 2, 3)
    settled = request(
        frames_fhwc=torch.cat([clip(), torch.ones(9, *SIZE, 1)], dim=3),
        edit_mask_fhw=moving_box()[:1] * 0.6,
        keyframes=Keyframes([Keyframe(-1, small)]),
    ).settled(fun().traits, notes)
    assert settled.frames_fhwc.shape == (9, *SIZE, 3) and settled.edit_mask_fhw.shape == (9, *SIZE)
    assert set(settled.edit_mask_fhw.unique().tolist()) == {0, 1}
    assert settled.keyframes.indices == (8,) and len(notes) == 3


def test_putting_in_keys_and_holes_leaves_the_given_clip_alone() -> None:
    frames, mask = clip(), moving_box()
    seen, left = with_keys(frames, mask, key(3))
    assert torch.equal(seen[3], key_image()) and not left[3].any()
    with_hole(seen, left, 0.0)
    assert torch.equal(frames, clip()) and torch.equal(mask, moving_box())
    assert with_keys(frames, mask, NO_KEYS)[0] is frames
    assert with_hole(frames, mask, None) is frames
    assert (with_hole(frames, mask, 0.5)[mask > 0.5] == 0.5).all()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    (
        (lambda: request(steps=0).settled(fun().traits), "Steps: got 0"),
        (lambda: request(seed=-1).settled(fun().traits), "Seed"),
        (lambda: request(sampler="euler").settled(fun().traits), "'euler'.*ddim or dpm"),
        (lambda: request(negative_bld=None).settled(fun().traits), "negative prompt"),
        (lambda: request(prompt_bld=torch.zeros(1, 3, 48)).settled(fun().traits), "3 tokens.* 10"),
        (lambda: request(edit_mask_fhw=moving_box()[:4]).settled(fun().traits), "4 masks for 9 frames"),
        (lambda: request(keyframes=key(9)).settled(fun().traits), "index must lie in 0..8"),
        (lambda: vivid().condition(clip(8), moving_box(8), NO_KEYS, models.MeanCodec(), PLACE), r"8 frames.*4k \+ 1"),
        (lambda: vivid().condition(clip(13), moving_box(13), NO_KEYS, models.MeanCodec(), PLACE), "at most 9"),
        (
            lambda: vivid().condition(clip()[:, :60], moving_box()[:, :60], NO_KEYS, models.MeanCodec(), PLACE),
            "96x60.*multiples of 16.*96x64",
        ),
        (lambda: vivid().condition(clip(), moving_box(5), NO_KEYS, models.MeanCodec(), PLACE), "masks of shape"),
        (lambda: vivid().condition(clip(), moving_box(), key(9), models.MeanCodec(), PLACE), "Keyframe 9"),
        (lambda: vivid().traits.size_for(0, 5), "5x0"),
        (lambda: cogvideox.vivid(dict(models.text_to_video().config)), "16 channels.*33"),
        (lambda: cogvideox.vivid(dict(transformer().config), "vae"), "33 channels.*48"),
        (lambda: cogvideox.fun(dict(models.text_to_video().config)), "16 channels"),
    ),
)
def test_what_cannot_be_edited_is_said_in_a_sentence(wrong: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert str(caught.value).endswith(".")
