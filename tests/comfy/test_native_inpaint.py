"""Keyframes to inpaint conditioning with a Wan-Fun-InP model in ComfyUI's own sampler, Stitch Back behind it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from harness import native_models as models
from harness.engines import returned
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
FAMILY = "Wan-Fun InP"


@pytest.fixture(scope="session")
def vae(comfy_base: Any) -> Any:
    return models.wan_vae()


@pytest.fixture(scope="session")
def model(comfy_base: Any) -> Any:
    return models.wan_model("inpaint")


def given(vae: Any, **changes: Any) -> dict[str, Any]:
    """Inputs with which the node runs."""
    texts = {"positive": models.text(1), "negative": models.text(2)}
    return {**texts, "vae": vae, "family": FAMILY, "frames": clip(), "mask": mask(), **PLAIN, **changes}


def conditioned(call: Call, vae: Any, **changes: Any) -> list[Any]:
    """positive, negative, latent, stitch, windows, report."""
    return returned(call("VividInpaintConditioning", **given(vae, **changes)))


# ------------------------------------------------------------------------------------------ what the model sees


@pytest.mark.parametrize("keys", ["0", "8", "0, 8"])
def test_where_the_native_node_can_do_it_both_give_the_same(call: Call, vae: Any, keys: str) -> None:
    """WanFunInpaintToVideo knows a first and a last frame, and a hole that is the whole picture."""
    pictures = dict(zip(keys.split(", "), clip(2, 9)[:, None]))
    images = {name: pictures[at] for name, at in (("start_image", "0"), ("end_image", "8")) if at in pictures}
    theirs = returned(
        call(
            "WanFunInpaintToVideo",
            positive=models.text(1),
            negative=models.text(2),
            vae=vae,
            width=WIDTH,
            height=HEIGHT,
            length=COUNT,
            batch_size=1,
            **images,
        )
    )
    ours = conditioned(call, vae, mask=torch.ones(COUNT, HEIGHT, WIDTH), keyframes=keyframes(call, keys))
    for one, other in zip(ours[:2], theirs[:2]):
        assert torch.equal(one[0][0], other[0][0])
        assert torch.equal(one[0][1]["concat_mask"], other[0][1]["concat_mask"])
        assert torch.equal(one[0][1]["concat_latent_image"], other[0][1]["concat_latent_image"])
    assert torch.equal(ours[2]["samples"], theirs[2]["samples"])


@pytest.mark.parametrize("at", ["", *range(COUNT)])
def test_the_model_is_told_of_every_frame_what_is_known(call: Call, vae: Any, model: Any, at: int | str) -> None:
    """Known is 1 for the model; each latent has a channel for each of its four frames, frame 0 has four of its own."""
    keys = {} if at == "" else {"keyframes": keyframes(call, str(at))}
    asked, shown = models.watched(model)
    sampled(call, asked, conditioned(call, vae, **keys))
    seen = shown[0]["c_concat"]
    assert seen.shape == (1, 20, 3, HEIGHT // 8, WIDTH // 8)
    for frame in range(COUNT):
        centre = mask()[frame].reshape(HEIGHT // 8, 8, WIDTH // 8, 8)[:, 3:5, :, 3:5].mean((1, 3))
        known = torch.ones_like(centre) if frame == at else 1 - centre
        channels, latent = (range(4), 0) if frame == 0 else ([(frame - 1) % 4], (frame + 3) // 4)
        for channel in channels:
            assert torch.allclose(seen[0, channel, latent], known, atol=1e-6), frame


def test_a_model_that_copies_what_it_sees_shows_the_original_outside_and_grey_inside(
    call: Call, vae: Any, model: Any
) -> None:
    """Polarity and fill: what it sees is the clip where nothing is edited."""
    copy, _ = models.watched(model, lambda shown: shown["c_concat"][:, 4:])
    shown = decoded(call, vae, sampled(call, copy, conditioned(call, vae)))
    inside = (mask() > 0.5)[..., None]
    expected, opposite = (
        decoded(call, vae, {"samples": vae.encode(frames)})
        for frames in (torch.where(inside, 0.5, clip()), torch.where(inside, clip(), 0.5))
    )
    assert torch.allclose(shown, expected, atol=1e-4)
    assert float((shown - opposite).abs().mean()) > 100 * float((shown - expected).abs().mean())


@pytest.mark.parametrize("at", range(COUNT))
def test_a_keyframe_on_any_frame_changes_what_the_model_makes(call: Call, vae: Any, model: Any, at: int) -> None:
    results = [
        sampled(call, model, conditioned(call, vae, **keys))["samples"]
        for keys in ({}, {"keyframes": keyframes(call, str(at))}, {"keyframes": keyframes(call, str(at), seed=4)})
    ]
    assert all(float((one - other).abs().max()) > 1e-3 for one in results for other in results if one is not other)


def test_nothing_under_the_mask_is_seen(call: Call, vae: Any, model: Any) -> None:
    hidden = torch.where((mask() > 0.5)[..., None], clip(seed=7), clip())
    results = [sampled(call, model, conditioned(call, vae, frames=frames))["samples"] for frames in (clip(), hidden)]
    assert torch.equal(*results)


# ----------------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize("keys", ["", "0", "6", "2, 7"])
def test_an_edit_is_bit_exact_outside_the_mask_and_on_its_keyframes(
    call: Call, vae: Any, model: Any, keys: str
) -> None:
    with_keys = {"keyframes": keyframes(call, keys)} if keys else {}
    made = conditioned(call, vae, **with_keys)
    edited = decoded(call, vae, sampled(call, model, made))
    frames, difference, report = stitched(call, edited, made[3], **with_keys)
    assert difference == 0 and "bit-exact" in report
    assert_edited(frames, edited, keys)


def test_a_long_clip_runs_from_its_keyframe_both_ways(call: Call, vae: Any, model: Any) -> None:
    count, keys = 17, keyframes(call, "8")
    so_far, index, windows = clip(count), 0, 1
    while index < windows:
        changes = {"frames": clip(count), "mask": mask(count), "keyframes": keys, "from_keys": True}
        made = conditioned(call, vae, **changes, window_index=index, earlier=so_far)
        edited = decoded(call, vae, sampled(call, model, made))
        so_far, difference, _ = stitched(call, edited, made[3], count, original=so_far, keyframes=keys)
        index, windows = index + 1, made[4]
        assert difference == 0
    inside = mask(count) > 0.5
    assert windows == 2 and "backward" in made[5]
    assert torch.equal(so_far[~inside], clip(count)[~inside])
    assert torch.equal(so_far[8][inside[8]], clip(1, 9)[0][inside[8]])
    assert all(bool((so_far[at] != clip(count)[at]).any()) for at in range(count))


# --------------------------------------------------------------------------------------------- bad input


def test_a_vae_for_single_pictures_is_told_by_its_latents(call: Call) -> None:
    text = assert_sentence(call("VividInpaintConditioning", **given(models.image_vae())))
    assert "4 latent channels" in text and "wan_2.1_vae" in text


@pytest.mark.parametrize("kind", ("text", "vace"))
def test_a_model_that_would_not_look_at_the_mask_is_refused(call: Call, vae: Any, kind: str) -> None:
    text = assert_sentence(call("VividInpaintConditioning", **given(vae, model=models.wan_model(kind))))
    assert "with 16 channels in, but Wan-Fun InP has 36" in text
    text = assert_sentence(
        call("VividVaceControl", frames=clip(), mask=mask(), **PLAIN, model=models.wan_model("text"))
    )
    assert "WAN21 with 16 channels" in text and "Wan VACE" in text


def test_a_model_of_the_family_passes(call: Call, vae: Any, model: Any) -> None:
    assert call("VividInpaintConditioning", **given(vae, model=model)).ok
    vace = call("VividVaceControl", frames=clip(), mask=mask(), **PLAIN, model=models.wan_model("vace"))
    assert vace.ok, vace.exception


def test_what_clip_vision_saw_of_a_keyframe_reaches_the_model(call: Call, vae: Any, model: Any) -> None:
    import comfy.clip_vision

    saw = comfy.clip_vision.Output()
    saw.penultimate_hidden_states = torch.randn(1, 257, 1280, generator=torch.Generator().manual_seed(2))
    asked, shown = models.watched(model)
    sampled(call, asked, conditioned(call, vae, clip_vision=saw))
    assert torch.equal(shown[0]["clip_fea"], saw.penultimate_hidden_states)


def test_an_unknown_family_is_refused_with_those_that_there_are(call: Call, vae: Any) -> None:
    """Before the run where the family is a widget, in the run where it comes from another node."""
    result = call("VividInpaintConditioning", **given(vae, family="AnimateDiff"))
    kind, text = result.exception
    assert not result.ok and kind == "validation"
    assert "Family: 'AnimateDiff' is none that this node knows" in text and FAMILY in text
    linked = assert_sentence(call("VividInpaintConditioning", **given(vae, family=_Linked("AnimateDiff"))))
    assert "AnimateDiff" in linked and FAMILY in linked


class _Linked:
    """A text on its way from another node: the probes take plain strings for widgets."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return self.text == other

    def __repr__(self) -> str:
        return repr(self.text)


def test_the_list_of_families_has_what_this_comfyui_can_run() -> None:
    import nodes

    options = nodes.NODE_CLASS_MAPPINGS["VividInpaintConditioning"].INPUT_TYPES()["required"]["family"]
    listed = options[0] if isinstance(options[0], list) else options[1]["options"]
    newer = ["CogVideoX-Fun InP", "CogVideoX-Fun 1.5 InP", "VOID"] if models.has_cogvideox() else []
    assert listed == [FAMILY, *newer]


def test_a_family_that_this_comfyui_cant_run_is_told_so(call: Call, vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_base

    monkeypatch.delattr(comfy.model_base, "CogVideoX", raising=False)
    result = call("VividInpaintConditioning", **given(vae, family="VOID"))
    kind, text = result.exception
    assert kind == "validation" and "VOID needs a newer ComfyUI" in text and f"that this one has: {FAMILY}." in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window_index": 1}, "this clip has one window"),
        ({"mask": torch.zeros(COUNT, HEIGHT, WIDTH)}, "mask is empty"),
        ({"window_index": 1, "window": 5}, "connect `earlier`"),
        ({"mask": mask()[:4]}, "4 masks for 9 frames"),
    ],
)
def test_bad_input_is_one_sentence(call: Call, vae: Any, changes: dict[str, Any], said: str) -> None:
    assert said in assert_sentence(call("VividInpaintConditioning", **given(vae, **changes)))
