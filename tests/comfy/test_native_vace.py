"""Keyframes to VACE in front of ComfyUI's own WanVaceToVideo, KSampler and VAE Decode, with Stitch Back behind them."""

from __future__ import annotations

import logging
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

pytestmark = pytest.mark.usefixtures("comfy_base")


@pytest.fixture(scope="session")
def vae(comfy_base: Any) -> Any:
    return models.wan_vae()


@pytest.fixture(scope="session")
def model(comfy_base: Any) -> Any:
    return models.wan_model("vace")


def control(call: Call, **changes: Any) -> dict[str, Any]:
    """What Keyframes to VACE gives, by the outputs' names."""
    given = {"frames": clip(), "mask": mask(), **PLAIN, **changes}
    names = ("control_video", "control_masks", "width", "height", "length", "stitch", "windows", "report")
    return dict(zip(names, returned(call("VividVaceControl", **given)), strict=True))


def conditioned(call: Call, vae: Any, made: dict[str, Any]) -> list[Any]:
    """What WanVaceToVideo gives."""
    given = {name: made[name] for name in ("control_video", "control_masks", "width", "height", "length")}
    return returned(
        call(
            "WanVaceToVideo",
            positive=models.text(1),
            negative=models.text(2),
            vae=vae,
            batch_size=1,
            strength=1.0,
            **given,
        )
    )


# ------------------------------------------------------------------------------------------ what the model sees


@pytest.mark.parametrize("keys", ["", "0", "4", "1, 6"])
def test_the_model_is_shown_what_the_packs_own_adapter_shows(call: Call, vae: Any, model: Any, keys: str) -> None:
    """The native node and model on one side, vivid_core with diffusers' VAE of the same weights on the other."""
    from diffusers import AutoencoderKLWan

    wan_names, adapters = of_pack("vivid_core.models.wan_names"), of_pack("vivid_core.editors.adapters.wan_vace")
    contract, core = of_pack("vivid_core.editors.contract"), of_pack("vivid_core.video.keyframes")
    with_keys = {"keyframes": keyframes(call, keys)} if keys else {}
    made = control(call, **with_keys)
    asked, shown = models.watched(model)
    sampled(call, asked, conditioned(call, vae, made), steps=1)

    ours = AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2)
    ours.load_state_dict(wan_names.vae_in_diffusers(vae.get_sd()))
    adapter = adapters.wan_vace({"num_layers": 30, "patch_size": (1, 2, 2), "in_channels": 16})
    anchors = core.Keyframes(
        core.Keyframe(int(at), made["control_video"][int(at)]) for at in keys.split(",") if at
    )  # composited already
    expected = adapter.condition(clip(), mask(), anchors, ours.eval(), contract.Place())
    seen = shown[0]["vace_context"][:, 0].movedim(1, 2)
    assert seen.shape == expected.shape == (1, 3, 96, HEIGHT // 8, WIDTH // 8)
    assert torch.equal(seen[:, :, 32:], expected[:, :, 32:]), "the mask, to the bit"
    assert float((seen - expected).abs().max()) <= 1e-3 * float(expected.abs().max())


def test_a_model_that_copies_its_control_shows_the_original_outside_and_grey_inside(
    call: Call, vae: Any, model: Any
) -> None:
    """Polarity and fill: the kept part is the clip where nothing is edited."""
    made = control(call)
    copy, _ = models.watched(model, lambda given: given["vace_context"][:, 0, :16])
    shown = decoded(call, vae, sampled(call, copy, conditioned(call, vae, made)))
    inside = (mask() > 0.5)[..., None]
    expected, opposite = (
        decoded(call, vae, {"samples": vae.encode(frames)})
        for frames in (torch.where(inside, 0.5, clip()), torch.where(inside, clip(), 0.5))
    )
    assert torch.allclose(shown, expected, atol=1e-4)
    assert float((shown - opposite).abs().mean()) > 100 * float((shown - expected).abs().mean())


def test_what_is_to_be_replaced_is_grey_so_that_nothing_of_the_object_is_seen(call: Call, vae: Any, model: Any) -> None:
    made = control(call, keyframes=keyframes(call, "4"))
    copy, _ = models.watched(model, lambda given: given["vace_context"][:, 0, 16:32])
    shown = decoded(call, vae, sampled(call, copy, conditioned(call, vae, made)))
    grey = decoded(call, vae, {"samples": vae.encode(torch.full_like(clip(), 0.5))})
    assert torch.allclose(shown, grey, atol=1e-4)


@pytest.mark.parametrize("at", range(COUNT))
def test_a_keyframe_on_any_frame_changes_what_the_model_makes(call: Call, vae: Any, model: Any, at: int) -> None:
    """On frames that VACE's mask doesn't read, too: its picture is in the kept part."""
    results = [
        sampled(call, model, conditioned(call, vae, control(call, **keys)))["samples"]
        for keys in ({}, {"keyframes": keyframes(call, str(at))}, {"keyframes": keyframes(call, str(at), seed=4)})
    ]
    assert all(float((one - other).abs().max()) > 1e-3 for one in results for other in results if one is not other)


def test_the_native_mask_of_the_first_latent_is_that_of_frame_1(call: Call, vae: Any) -> None:
    """So a keyframe on frame 0 is told by its picture alone, which the report says."""
    with_key, without = (
        conditioned(call, vae, control(call, **keys)) for keys in ({"keyframes": keyframes(call, "0")}, {})
    )
    masks = [given[0][0][1]["vace_mask"][0] for given in (with_key, without)]
    assert torch.equal(*masks)
    assert "Keyframe 0: its picture is shown clean" in control(call, keyframes=keyframes(call, "0"))["report"]


# ----------------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize("keys", ["", "0", "6", "2, 7"])
def test_an_edit_is_bit_exact_outside_the_mask_and_on_its_keyframes(
    call: Call, vae: Any, model: Any, keys: str
) -> None:
    with_keys = {"keyframes": keyframes(call, keys)} if keys else {}
    made = control(call, **with_keys)
    edited = decoded(call, vae, sampled(call, model, conditioned(call, vae, made)))
    frames, difference, report = stitched(call, edited, made["stitch"], **with_keys)
    assert difference == 0 and "bit-exact" in report
    assert_edited(frames, edited, keys)


def test_a_soft_rim_and_another_size_are_exact_outside_too(call: Call, vae: Any, model: Any) -> None:
    made = control(call, size="auto", crop="fine")
    assert made["width"] % 16 == made["height"] % 16 == 0 and made["control_video"].shape[1:3] != (HEIGHT, WIDTH)
    edited = decoded(call, vae, sampled(call, model, conditioned(call, vae, made)))
    edit, blend = returned(
        call("VividAugmentMask", mask=mask(), mode="expand", amount=0.02, feather=3, randomise=False, seed=0)
    )
    frames, difference, _ = stitched(call, edited, made["stitch"], edit_mask=edit, blend_mask=blend)
    assert difference == 0 and torch.equal(frames[blend == 0], clip()[blend == 0])
    assert bool((frames[blend == 1] != clip()[blend == 1]).any())


def test_a_long_clip_is_edited_window_by_window_each_anchored_on_the_one_before(
    call: Call, vae: Any, model: Any
) -> None:
    count, keys = 21, keyframes(call, "8")
    given = {"frames": clip(count), "mask": mask(count), "window": 9, "keyframes": keys}
    so_far, index, windows = clip(count), 0, 1
    while index < windows:
        made = control(call, **given, window_index=index, **({"earlier": so_far} if index else {}))
        windows = made["windows"]
        edited = decoded(call, vae, sampled(call, model, conditioned(call, vae, made)))
        so_far, difference, _ = stitched(call, edited, made["stitch"], count, original=so_far, keyframes=keys)
        assert difference == 0
        index += 1
    inside = mask(count) > 0.5
    assert windows == 3 and "backward" in made["report"] and "chained by frame 16" in made["report"]
    assert torch.equal(so_far[~inside], clip(count)[~inside])
    assert torch.equal(so_far[8][inside[8]], clip(1, 9)[0][inside[8]])
    assert all(bool((so_far[at] != clip(count)[at]).any()) for at in range(count)), "every frame is edited"


def test_the_same_inputs_give_the_same_output(call: Call) -> None:
    first, second = (control(call, keyframes=keyframes(call, "3")) for _ in range(2))
    assert torch.equal(first["control_video"], second["control_video"]) and first["report"] == second["report"]


# --------------------------------------------------------------------------------------------- bad input


def test_a_comfyui_without_the_native_node_is_told_so(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import nodes

    monkeypatch.delitem(nodes.NODE_CLASS_MAPPINGS, "WanVaceToVideo")
    text = assert_sentence(call("VividVaceControl", frames=clip(), mask=mask(), **PLAIN))
    assert "no node WanVaceToVideo" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window_index": 1}, "this clip has one window"),
        ({"mask": torch.zeros(COUNT, HEIGHT, WIDTH)}, "mask is empty"),
        ({"mask": mask()[:4]}, "4 masks for 9 frames"),
        ({"frames": clip() * 3}, "they must lie in 0..1"),
        ({"window_index": 1, "window": 5}, "connect `earlier`"),
        ({"earlier": clip(5)}, "got 5 frames"),
    ],
)
def test_bad_input_is_one_sentence(call: Call, changes: dict[str, Any], said: str) -> None:
    text = assert_sentence(call("VividVaceControl", **{"frames": clip(), "mask": mask(), **PLAIN, **changes}))
    assert said in text


def test_a_keyframe_of_another_aspect_is_refused_and_one_of_another_size_resized(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    def of_size(height: int, width: int) -> Any:
        return returned(call("VividKeyframes", images=torch.rand(1, height, width, 3), at_frames="2", strength=1.0))[0]

    given = {"frames": clip(), "mask": mask(), **PLAIN}
    text = assert_sentence(call("VividVaceControl", **given, keyframes=of_size(48, 48)))
    assert "aspect differs" in text
    with caplog.at_level(logging.INFO, logger="vivid"):
        assert "resized from 96x64" in control(call, keyframes=of_size(64, 96))["report"]
