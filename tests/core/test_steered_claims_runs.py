"""The claims about steered models, run end to end on a tiny model that nobody trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vivid_core.diffusion.layer_table import LayerTable
from vivid_core.editors.embedded_backbone import embedded_backbone
from vivid_core.editors.inverted import InversionPlan, invert_clip
from vivid_core.editors.pix2video import Pix2VideoSettings, pix2video
from vivid_core.models import embedded_sd
from vivid_core.runtime import Runtime
from vivid_core.training.claims import steered_in_turn, steered_looks
from vivid_core.training.claims.__main__ import main
from vivid_core.training.claims.steered_arms import EXPERIMENTS, LOOKS, Subject, from_random_noise
from vivid_core.training.claims.steered_claims import CLAIMS
from vivid_core.training.claims.steered_trials import turned_recolouring
from vivid_core.training.sd_world.words import vocabulary

NAMES = [claim.name for claim in CLAIMS]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Models of a blink."""
    with pytest.MonkeyPatch.context() as patch:
        for settings, groups in ((embedded_sd.UNET, "norm_num_groups"), (embedded_sd.MOTION, "motion_norm_num_groups")):
            patch.setitem(settings, "block_out_channels", (8, 8, 8, 8))
            patch.setitem(settings, groups, 4)
        yield


@pytest.fixture(scope="module")
def files(small: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that nobody trained: of images alone, and whole."""
    model = embedded_sd.build(vocabulary(), 0)
    motion, wider = embedded_sd.new_motion(1), embedded_sd.with_depth_channel(model.unet)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in (*motion.parameters(), *wider.parameters()):
            weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    models = {"images": model, "whole": replace(model, motion=motion, depth=embedded_sd.depth_tensors(wider))}
    found = {name: tmp_path_factory.mktemp("models") / f"{name}.safetensors" for name in models}
    for name, one in models.items():
        embedded_sd.save(one, found[name], {})
    return found


def test_settings_differ_between_arms_numbers_of_steps_and_guidance(files: dict[str, Path]) -> None:
    path = files["images"]
    few, many, guided = Subject(path, 3), Subject(path, 4), Subject(path, 3, guidance=5.0)
    for name, about in EXPERIMENTS.items():
        own = {few.settings(name, arm) for arm in about.arms}
        assert len(own) == len(about.arms), "no two arms are the same run"
        assert not own & {many.settings(name, arm) for arm in about.arms}
        assert name == LOOKS or not own & {guided.settings(name, arm) for arm in about.arms}, "nothing is guided there"


def test_all_claims_run_end_to_end_on_a_tiny_model(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "answers.jsonl"
    command = [
        "--only",
        "steering",
        "--sd",
        str(files["whole"]),
        "--trials",
        "1",
        "--steps",
        "1",
        "--store",
        str(store),
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    said = [json.loads(line) for line in printed.splitlines()]
    assert [one["claim"] for one in said] == [*NAMES, "P5 all frames at once"]
    for one in said:
        assert one["n"] == 1 and one["measured"] is not None and "why" not in one
    assert said[-1]["holds"] is True and said[-1]["measured"] <= 1e-10
    assert not any(one["holds"] for one in said[:-1]), "one trial proves nothing"
    assert len(store.read_text().splitlines()) == sum(len(about.arms) for about in EXPERIMENTS.values())
    kept = store.read_bytes()
    assert main(command) == 0
    assert capsys.readouterr().out == printed and store.read_bytes() == kept


def test_a_model_of_images_alone_is_no_failure_and_its_lines_say_what_is_missing(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--only", "steering", "--sd", str(files["images"]), "--trials", "1", "--steps", "1"]
    assert main([*command, "--store", str(tmp_path / "answers.jsonl")]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(said) == len(CLAIMS) + 1 and all(one["holds"] is None for one in said)
    assert all(("motion" if one["claim"].startswith("U") else "depth") in one["why"] for one in said)


def test_a_file_that_is_no_model_is_one_sentence_and_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--only", "steering", "--sd", str(tmp_path / "nothing.safetensors")]
    assert main([*command, "--store", str(tmp_path / "answers.jsonl")]) == 2
    assert capsys.readouterr().out == ""


def test_without_the_packs_model_every_claim_is_listed_as_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(embedded_sd, "WEIGHTS", tmp_path / "embedded_sd.safetensors")
    page = tmp_path / "claims.md"
    command = ["--only", "steering", "--store", str(tmp_path / "answers.jsonl"), "--document", str(page)]
    assert main(command) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["claim"] for one in said] == [*NAMES, "P5 all frames at once"]
    assert all(one["holds"] is None and one["why"] == "not run: no model" for one in said)
    assert "13 claims: 0 hold, 0 don't, 13 not run." in page.read_text()


@pytest.mark.parametrize("order", ["outward", "reverse"])
def test_going_frame_after_frame_is_exact_and_would_show_another_rule(files: dict[str, Path], order: Any) -> None:
    backbone = embedded_backbone("depth", files["whole"])
    truth = turned_recolouring(0).truth
    depth = truth.depth_fhw[:3, ..., None].expand(-1, -1, -1, 3)
    plan = InversionPlan(2, still=True, checked=False)
    clip = invert_clip(backbone, truth.source_fhwc[:3], "a red ring", plan, depth_fhwc=depth).clip
    usual = Pix2VideoSettings(guidance=4.0, update_weight=0.1, order=order)
    assert steered_in_turn.difference(backbone, clip, "a blue ring", usual) <= 1e-10
    made = steered_in_turn.in_turn(backbone, clip, "a blue ring", usual)
    for other in (replace(usual, attended=("anchor",)), replace(usual, update_weight=0.0)):
        changed = pix2video(backbone, clip, "a blue ring", settings=other).latents
        assert float((changed - made).abs().max()) > 1e-4


def test_random_noise_belongs_to_its_trial_and_is_one_for_all_frames_only_if_shared(files: dict[str, Path]) -> None:
    truth, plan = turned_recolouring(0).truth, InversionPlan(1, still=True, checked=False)
    clip = invert_clip(embedded_backbone("image", files["images"]), truth.source_fhwc, "", plan).clip
    own, again, other, shared = (
        from_random_noise(clip, trial, one).inversion.noisiest
        for trial, one in (("a/1", False), ("a/1", False), ("a/2", False), ("a/1", True))
    )
    assert torch.equal(own, again) and not torch.equal(own, other)
    assert own.shape == shared.shape == clip.inversion.noisiest.shape
    assert torch.equal(shared, shared[:, :, :1].expand_as(shared)) and not torch.equal(own[:, :, 0], own[:, :, 1])
    assert abs(float(own.mean())) < 0.05 and float(own.std()) == pytest.approx(1, abs=0.05)


def test_looking_at_attention_changes_nothing_and_puts_the_processors_back(files: dict[str, Path]) -> None:
    backbone = embedded_backbone("motion", files["whole"])
    table = LayerTable.make(backbone.unet)
    layers = [one for one in (*table.spatial, *table.temporal) if one.level in steered_looks.FINE]
    before = dict(backbone.unet.attn_processors)
    latents = torch.randn(1, 16, 8, 16, 16, generator=torch.Generator().manual_seed(5))
    ask, text = backbone.ask(), (backbone.encoded("a red ring", Runtime()),)
    with steered_looks.watched(backbone.unet, layers) as maps:
        seen = ask(latents, 500, text)
    assert torch.equal(seen, ask(latents, 500, text)) and dict(backbone.unet.attn_processors) == before
    assert [layer.name for layer, _ in maps] != [] and {layer for layer, _ in maps} == set(layers)
    for layer, found in maps:
        places = 16 * 16 // 4**layer.level
        assert found.shape == (8, places) and bool((found > 0).any())
        if layer.kind == "temporal":
            assert float(found.max()) <= 1
    assert {layer.kind for layer, _ in maps} == {"spatial", "temporal"}
