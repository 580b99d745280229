"""Measure Edit with ComfyUI's own CLIP models, against transformers' CLIPModel of the same weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scene
import torch
from harness import inprocess, tiny_clip

from vivid_core.metrics.alignment import image_embeddings, region, temporal_consistency
from vivid_core.metrics.transformers_clip import TransformersClip

Call = Callable[..., inprocess.Result]
VOCABULARY = 49408  # of CLIP's tokenizer, which ComfyUI brings
CAPTIONS = ["a red ring", "A (very) blue square, drifting [slowly]; (it:1.5)", "空 – déjà vu!"]


@pytest.fixture(scope="module")
def model(comfy_base: Path) -> Any:
    return tiny_clip.clip_model(vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def halves(model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("halves")
    return {"clip_vision": tiny_clip.comfy_vision(model, folder), "clip": tiny_clip.comfy_clip(model)}


@pytest.fixture(scope="module")
def theirs(model: Any) -> TransformersClip:
    """The same model asked by transformers."""
    tokenizer = tiny_clip.comfys_tokenizer()
    return TransformersClip(model, lambda text: tokenizer(text).input_ids, "tiny")


def encoder(halves: dict[str, Any]) -> Any:
    return inprocess.bridge("clip_scores").native_encoder(halves["clip_vision"], halves["clip"])


def test_native_texts_are_embedded_as_transformers_embeds_them(halves: dict[str, Any], theirs: Any) -> None:
    ours, expected = encoder(halves).texts(CAPTIONS), theirs.texts(CAPTIONS)
    assert float((ours - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("side", [tiny_clip.SIDE, 50])
def test_native_pictures_are_embedded_as_transformers_embeds_them(
    halves: dict[str, Any], theirs: Any, side: int
) -> None:
    pictures = torch.rand(3, side, 2 * side, 3, generator=torch.Generator().manual_seed(1))
    ours, expected = encoder(halves).images(pictures), theirs.images(pictures)
    assert float((ours - expected).abs().max()) < 1e-3 * float(expected.abs().max())


def test_the_node_gives_the_scores_that_transformers_gives(call: Call, halves: dict[str, Any], theirs: Any) -> None:
    inputs = scene.good_inputs()["VividMeasureEdit"]
    result = call("VividMeasureEdit", **inputs, **halves, caption=CAPTIONS[0])
    assert result.ok, result.exception
    report, text, _, chart, sheet = result.outputs["node"]
    found = json.loads(text)
    seen = image_embeddings(inputs["edited"], theirs)
    series = temporal_consistency(seen)[1:]
    assert found["per_frame"]["temporal_consistency"][1:] == pytest.approx(series, abs=1e-4)
    said = theirs.texts([CAPTIONS[0]])[0]
    parts = [region(frame, mask) for frame, mask in zip(inputs["edited"], inputs["edit_mask"])]
    crops = torch.cat([theirs.images(part[None]) for part in parts if part is not None])
    expected = 100 * torch.nn.functional.cosine_similarity(crops, said[None]).clamp(min=0)
    assert found["per_frame"]["text_alignment"] == pytest.approx(expected.tolist(), abs=0.05)
    assert found["caption"] == CAPTIONS[0] and "CLIP vision (CLIP of 2 layers" in found["models"]["encoder"]
    assert found["models"]["encoder"] in report and "same CLIP" in report  # random weights name no colours
    assert chart.shape[-1] == sheet.shape[-1] == 3


def test_without_a_caption_only_the_consistency_is_measured_and_the_report_says_so(
    call: Call, halves: dict[str, Any]
) -> None:
    inputs = scene.good_inputs()["VividMeasureEdit"]
    result = call("VividMeasureEdit", **inputs, clip_vision=halves["clip_vision"], motion=False)
    assert result.ok, result.exception
    report, text, *_ = result.outputs["node"]
    found = json.loads(text)["summary"]
    assert found["temporal_consistency"]["verdict"] == "measured"
    assert found["text_alignment"]["verdict"] == found["motion_fidelity"]["verdict"] == "not measured"
    assert "TA was not measured" in report and "Motion fidelity" not in report


def test_a_text_model_keeps_its_settings_after_it_was_asked(halves: dict[str, Any]) -> None:
    clip = halves["clip"]
    tokens = clip.tokenize(CAPTIONS[0])
    before = clip.encode_from_tokens(tokens, return_pooled=True)
    encoder(halves).texts(CAPTIONS)
    after = clip.encode_from_tokens(tokens, return_pooled=True)
    assert all(torch.equal(one, other) for one, other in zip(before, after))


def refused(call: Call, **inputs: Any) -> str:
    kind, text = call("VividMeasureEdit", **{**scene.good_inputs()["VividMeasureEdit"], **inputs}).exception
    assert kind == "ValueError", f"{kind}: {text}"
    assert "\n" not in text.strip() and text.strip().endswith(".")
    return text


def test_wrong_models_are_refused_in_one_sentence(
    call: Call, halves: dict[str, Any], model: Any, tmp_path: Path
) -> None:
    wide = tiny_clip.comfy_clip(tiny_clip.clip_model(1, width=64, vocabulary=VOCABULARY))
    bare = tiny_clip.comfy_clip(model, projected=False)
    assert "32 dimensions and clip has 64" in refused(call, **{**halves, "clip": wide}, caption="red")
    assert "without its text projection" in refused(call, **{**halves, "clip": bare}, caption="red")
    assert "got clip without clip_vision" in refused(call, clip=halves["clip"], caption="red")
    assert "no model that reads texts" in refused(call, clip_vision=halves["clip_vision"], caption="red")
    assert "no model that reads texts" in refused(call, caption="red")
    assert "at most 75 tokens" in refused(call, **halves, caption="red " * 76)
    dino = type("Vision", (), {"model": torch.nn.Linear(2, 2)})()
    assert "without a projection" in refused(call, clip_vision=dino)
