"""Keyframes to inpaint conditioning with CogVideoX-Fun and VOID models, where the running ComfyUI has them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from harness import native_models as models
from harness.engines import of_pack, returned
from native_scene import (
    COUNT,
    HEIGHT,
    PLAIN,
    WIDTH,
    Call,
    assert_edited,
    clip,
    decoded,
    keyframes,
    mask,
    sampled,
    stitched,
)
from test_bad_input import assert_sentence

FUN, LATER, VOID = "CogVideoX-Fun InP", "CogVideoX-Fun 1.5 InP", "VOID"
LENGTHS = {FUN: 9, LATER: 13, VOID: 13}  # of 9 frames; 1.5 takes an even number of latents
CHANNELS = {FUN: 33, LATER: 33, VOID: 48}
each_family = pytest.mark.parametrize("family", LENGTHS)
SCALE = 1.15258426  # of the latents of models of this width


@pytest.fixture(scope="module", autouse=True)
def in_this_core(comfy_base: Any) -> None:
    if not models.has_cogvideox():
        pytest.skip("this ComfyUI has no CogVideoX models; they are tested on a newer one")


@pytest.fixture(scope="module")
def vae(in_this_core: None) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        return models.cogvideox_vae(patch)


@pytest.fixture(scope="module")
def model_of(in_this_core: None) -> dict[str, Any]:
    return {family: models.cogvideox_model(channels, family != FUN) for family, channels in CHANNELS.items()}


def given(vae: Any, family: str, **changes: Any) -> dict[str, Any]:
    texts = {"positive": models.text(1), "negative": models.text(2)}
    return {**texts, "vae": vae, "family": family, "frames": clip(), "mask": mask(), **PLAIN, **changes}


def conditioned(call: Call, vae: Any, family: str, **changes: Any) -> list[Any]:
    """positive, negative, latent, stitch, windows, report."""
    return returned(call("VividInpaintConditioning", **given(vae, family, **changes)))


def seen_by(call: Call, model: Any, conditioning: list[Any]) -> torch.Tensor:
    """[1, C, f, h, w]: what the model was shown beside the noise."""
    asked, shown = models.watched(model)
    sampled(call, asked, conditioning, steps=1)
    return shown[0]["c_concat"]


@each_family
@pytest.mark.parametrize("keys", ["", "0", "2", "4"])
def test_the_model_is_shown_what_the_packs_own_adapter_shows(
    call: Call, vae: Any, model_of: dict[str, Any], family: str, keys: str
) -> None:
    """The native model on one side, vivid_core with diffusers' VAE of the same weights on the other. On 5 frames: both
    VAEs take longer clips in pieces, and not in the same ones."""
    from diffusers import AutoencoderKLCogVideoX

    adapters, core = of_pack("vivid_core.editors.adapters.cogvideox"), of_pack("vivid_core.video.keyframes")
    composite = of_pack("vivid_core.video.composite")
    changes: dict[str, Any] = {"frames": clip(5), "mask": mask(5)}
    anchors = []
    if keys:
        changes["keyframes"] = keyframes(call, keys)
        key, blend = core.Keyframe(int(keys), clip(1, 9)[0]), composite.feather_outside(mask(5), 8)[int(keys)]
        anchors.append(core.Keyframe(int(keys), composite.composite_key(clip(5)[int(keys)], key, blend)))
    seen = seen_by(call, model_of[family], conditioned(call, vae, family, **changes)).movedim(1, 2)
    ours = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=16,
        layers_per_block=1,
        norm_num_groups=2,
    )
    ours.load_state_dict(vae.get_sd())
    config = {"in_channels": CHANNELS[family], "max_text_seq_length": 226, "patch_size_t": None if family == FUN else 2}
    place = of_pack("vivid_core.editors.contract").Place()
    expected = adapters.fun(config).condition(clip(5), mask(5), core.Keyframes(anchors), ours.eval(), place)
    assert seen.shape == expected.shape
    assert float((seen - expected).abs().max()) <= 1e-3 * float(expected.abs().max())


def test_where_the_native_node_of_void_can_do_it_both_give_the_same(call: Call, vae: Any) -> None:
    texts = {"positive": models.text(1), "negative": models.text(2)}
    sizes = {"width": WIDTH, "height": HEIGHT, "length": 13, "batch_size": 1}
    theirs = returned(call("VOIDInpaintConditioning", **texts, vae=vae, video=clip(13), quadmask=mask(13), **sizes))
    ours = conditioned(call, vae, VOID, frames=clip(13), mask=mask(13))
    for one, other in zip(ours[:2], theirs[:2]):
        assert torch.equal(one[0][1]["concat_latent_image"], other[0][1]["concat_latent_image"])
    assert torch.equal(ours[2]["samples"], theirs[2]["samples"])


@pytest.mark.parametrize("family", (FUN, LATER))
def test_known_is_1_for_the_model_and_frame_0_is_a_latent_of_its_own(
    call: Call, vae: Any, model_of: dict[str, Any], family: str
) -> None:
    seen = seen_by(call, model_of[family], conditioned(call, vae, family, keyframes=keyframes(call, "0")))
    without = seen_by(call, model_of[family], conditioned(call, vae, family))
    assert torch.allclose(seen[:, 0, 0], torch.full_like(seen[:, 0, 0], SCALE)), "all of the keyframe is known"
    assert torch.equal(seen[:, 0, 1:], without[:, 0, 1:])
    assert float(without[0, 0, 0, 0, 0]) == pytest.approx(SCALE) and float(without[0, 0, 0, 2, 2]) == 0


@each_family
def test_a_model_that_copies_what_it_sees_shows_the_original_outside_and_black_inside(
    call: Call, vae: Any, model_of: dict[str, Any], family: str
) -> None:
    copy, _ = models.watched(model_of[family], lambda shown: shown["c_concat"][:, -16:])
    shown = decoded(call, vae, sampled(call, copy, conditioned(call, vae, family)))
    padding = LENGTHS[family] - COUNT
    inside = (mask() > 0.5)[..., None]
    expected, opposite = (
        decoded(call, vae, {"samples": vae.encode(torch.cat([frames, *[frames[-1:]] * padding]))})
        for frames in (torch.where(inside, 0.0, clip()), torch.where(inside, clip(), 0.0))
    )
    assert torch.allclose(shown, expected, atol=1e-4)
    assert float((shown - opposite).abs().mean()) > 100 * float((shown - expected).abs().mean())


@pytest.mark.parametrize("family", (LATER, VOID))
def test_the_frames_that_the_decoder_makes_too_many_are_those_in_front(
    call: Call, vae: Any, model_of: dict[str, Any], family: str
) -> None:
    """Of an even number of latents ComfyUI makes four frames of the first one, too, which stands for one frame. With
    one latent more it is decoded as it was trained, and tells which frames are meant."""
    made = conditioned(call, vae, family)
    samples = sampled(call, model_of[family], made)
    latents = samples["samples"]
    even = decoded(call, vae, samples)
    odd = decoded(call, vae, {"samples": torch.cat([latents, latents[:, :, -1:]], dim=2)})
    assert len(even) == LENGTHS[family] + 3 and len(odd) == LENGTHS[family] + 4
    apart = [float((even[at : at + COUNT] - odd[:COUNT]).abs().mean()) for at in range(5)]
    assert min(apart) == apart[3]
    frames, *_ = stitched(call, even, made[3])
    assert_edited(frames, even[3:])


@pytest.mark.parametrize("family", (FUN, LATER))
def test_where_nothing_is_known_the_model_sees_nothing_as_it_was_trained(
    call: Call, vae: Any, model_of: dict[str, Any], family: str
) -> None:
    whole = torch.ones(COUNT, HEIGHT, WIDTH)
    assert not seen_by(call, model_of[family], conditioned(call, vae, family, mask=whole)).any()


@each_family
@pytest.mark.parametrize("keys", ["", "0", "6"])
def test_an_edit_is_bit_exact_outside_the_mask_and_on_its_keyframes(
    call: Call, vae: Any, model_of: dict[str, Any], family: str, keys: str
) -> None:
    with_keys = {"keyframes": keyframes(call, keys)} if keys else {}
    made = conditioned(call, vae, family, **with_keys)
    edited = decoded(call, vae, sampled(call, model_of[family], made))
    frames, difference, report = stitched(call, edited, made[3], **with_keys)
    assert difference == 0 and "bit-exact" in report
    assert_edited(frames, edited[len(edited) - LENGTHS[family] :], keys)


def test_voids_own_sampler_runs_on_it(call: Call, vae: Any, model_of: dict[str, Any]) -> None:
    positive, negative, latent, stitch, *_ = conditioned(call, vae, VOID)
    sampler = returned(call("VOIDSampler"))[0]
    sigmas = returned(call("BasicScheduler", model=model_of[VOID], scheduler="ddim_uniform", steps=2, denoise=1.0))[0]
    samples = returned(
        call(
            "SamplerCustom",
            model=model_of[VOID],
            add_noise=True,
            noise_seed=5,
            cfg=1.0,
            positive=positive,
            negative=negative,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent,
        )
    )[0]
    edited = decoded(call, vae, samples)
    frames, difference, _ = stitched(call, edited, stitch)
    assert difference == 0
    assert_edited(frames, edited[3:])


def test_a_vae_of_another_family_is_told_by_its_name_though_the_latents_are_as_wide(call: Call, vae: Any) -> None:
    text = assert_sentence(call("VividInpaintConditioning", **given(models.wan_vae(), FUN)))
    assert "another family (wan's WanVAE)" in text and "CogVideoX's VAE" in text
    text = assert_sentence(call("VividInpaintConditioning", **given(vae, "Wan-Fun InP")))
    assert "another family (cogvideo's AutoencoderKLCogVideoX)" in text and "wan_2.1_vae" in text


def test_a_model_of_another_version_or_width_is_refused(call: Call, vae: Any, model_of: dict[str, Any]) -> None:
    for family, other, said in (
        (FUN, LATER, "of version 1.5 with 33"),
        (LATER, FUN, "33 channels"),
        (VOID, LATER, "33"),
    ):
        text = assert_sentence(call("VividInpaintConditioning", **given(vae, family, model=model_of[other])))
        assert said in text and family in text
        assert call("VividInpaintConditioning", **given(vae, family, model=model_of[family])).ok
