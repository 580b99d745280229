"""Training in full: it learns, it resumes bit for bit, and it stops at what is no number."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cancelling import CancelAfter, CancelledError

from vivid_core.models import embedded
from vivid_core.models.embedded_codec import load_codec
from vivid_core.training.settings import TrainSettings
from vivid_core.training.tasks import Recipe, Sample, SamplePlan
from vivid_core.training.trainer import Trainer
from vivid_core.training.workers import Workers
from vivid_core.training.world.samples import world_sample
from vivid_core.training.world.words import vocabulary

SIDE = 32
RECIPE = Recipe(images_per_video=1, image_batch=4, video_batch=4)
SETTINGS = TrainSettings(total_steps=40, warmup=4, save_every=2, bf16=False)


def source(plan: SamplePlan) -> Sample:
    return world_sample(plan, SIDE)


def trainer(
    folder: Path,
    settings: TrainSettings = SETTINGS,
    recipe: Recipe = RECIPE,
    source=source,
    workers: Workers | None = None,
) -> Trainer:
    model = embedded.build(vocabulary(), seed=0)
    return Trainer(model, load_codec(), source, folder, recipe, settings, workers=workers)


def weights(trained: Trainer) -> list[torch.Tensor]:
    models = (trained.model, trained.averaged)
    return [tensor for model in models for module in model.parts.values() for tensor in module.state_dict().values()]


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train(4)
    trainer(tmp_path / "parts").train(2)
    resumed = trainer(tmp_path / "parts")
    assert resumed.step == 2
    resumed.train(2)
    assert all(torch.equal(one, other) for one, other in zip(weights(whole), weights(resumed), strict=True))


def test_a_cancel_leaves_a_checkpoint_of_all_that_was_done(tmp_path: Path) -> None:
    with pytest.raises(CancelledError):
        trainer(tmp_path).train(10, CancelAfter(2))
    resumed = trainer(tmp_path)
    assert resumed.step == len(resumed.losses) == 3


def test_the_loss_falls_on_one_repeated_batch(tmp_path: Path) -> None:
    recipe = replace(RECIPE, images_per_video=1e9, clips=1, text_dropout=0.0, entities_per_deletion=1e9)
    settings = replace(SETTINGS, save_every=10, last_time_share=0.0)
    one = trainer(tmp_path, settings, recipe)
    first, _, last = one.train(10), one.train(15), one.train(15)
    assert last < 0.75 * first
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40]


def test_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    one = trainer(tmp_path, replace(SETTINGS, total_steps=2))
    one.train(5)
    assert one.step == 2 and math.isnan(one.train(5)) and one.step == 2


def test_another_recipe_may_not_go_on_with_the_checkpoint(tmp_path: Path) -> None:
    trainer(tmp_path).train(1)
    with pytest.raises(ValueError, match=r"another recipe or other settings \(keyframe_share\)"):
        trainer(tmp_path, recipe=replace(RECIPE, keyframe_share=0.0))


def test_a_checkpoint_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    before = trainer(tmp_path)
    before.train(2)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["losses"]
    made = json.loads(state["made_with"])
    del made["settings"]["last_time_share"]  # it had the default
    made["settings"]["total_steps"] = 7  # it was told then, and may change
    state["made_with"] = json.dumps(made)
    torch.save(state, tmp_path / "checkpoint.pt")
    after = trainer(tmp_path)
    assert after.step == 2 and after.losses == []
    assert all(torch.equal(one, other) for one, other in zip(weights(before), weights(after), strict=True))
    made["recipe"]["clips"] = 5
    torch.save({**state, "made_with": json.dumps(made)}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="\\(clips\\)"):
        trainer(tmp_path)


@pytest.mark.parametrize("share", (0, 0.5))
def test_half_a_checkpoint_is_named_and_left_alone(tmp_path: Path, share: float) -> None:
    trainer(tmp_path).save()
    file = tmp_path / "checkpoint.pt"
    half = file.read_bytes()[: int(share * file.stat().st_size)]
    file.write_bytes(half)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged or no checkpoint of this training; delete it"):
        trainer(tmp_path)
    assert file.read_bytes() == half


def test_a_checkpoint_of_something_else_is_named_and_left_alone(tmp_path: Path) -> None:
    trainer(tmp_path).save()
    file = tmp_path / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    state["model"]["transformer"]["proj_out.weight"] = torch.zeros(1)
    torch.save(state, file)
    with pytest.raises(
        ValueError, match=r"lacks 1 of the weights that are trained, or has them in another size \(proj_out"
    ):
        trainer(tmp_path)
    torch.save({"step": 1}, file)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged or no checkpoint of this training; delete it"):
        trainer(tmp_path)
    assert torch.load(file, weights_only=True) == {"step": 1}


def test_a_loss_that_is_no_number_stops_with_the_step_and_its_samples(tmp_path: Path) -> None:
    trainer(tmp_path).train(2)
    broken = trainer(tmp_path, source=lambda plan: replace(source(plan), frames_fhwc=source(plan).frames_fhwc / 0))
    with pytest.raises(ValueError, match=r"the loss of step 2 is no number \(samples world/\d+"):
        broken.train(1)
    assert trainer(tmp_path).step == 2


def test_the_learning_rate_rises_stays_and_falls() -> None:
    settings = TrainSettings(total_steps=1000, warmup=10, decay_from=0.5)
    rates = [settings.rate_at(step) for step in (0, 9, 300, 500, 750, 1000)]
    assert rates == pytest.approx([0.1, 1, 1, 1, 0.5, 0], abs=1e-6)


def test_the_command_trains_saves_a_model_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vivid_core.training import __main__ as command

    monkeypatch.setattr(command, "STEPS_AT_ONCE", 1)
    monkeypatch.setattr(command, "world_sample", source)
    for steps in (1, 2):  # the first call is out of time after one round
        command.main([str(tmp_path), "--steps", "2", "--hours", "1e-9" if steps == 1 else "1"])
    _, notes = embedded.load(tmp_path / command.MODEL)
    assert notes == {"seed": 0, "step": 2}


def test_the_command_takes_other_settings_and_refuses_what_is_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from vivid_core.training import __main__ as command

    seen: list[Trainer] = []
    monkeypatch.setattr(command, "world_sample", source)
    monkeypatch.setattr(command, "_train_some", lambda trainer: seen.append(trainer) or trainer.train(1))
    shares = ["--rate-share", "0.25", "--decay-from", "0", "--last-time-share", "0.5", "--images-per-video", "0.5"]
    command.main([str(tmp_path), "--steps", "1", *shares])
    settings, usual = seen[0].settings, TrainSettings()
    rates = (settings.learning_rate, settings.matrix_rate)
    assert rates == pytest.approx((usual.learning_rate / 4, usual.matrix_rate / 4))
    assert (settings.decay_from, settings.last_time_share, seen[0].recipe.images_per_video) == (0, 0.5, 0.5)
    wrong = {"--rate-share": ("0", "above 0"), "--decay-from": ("1", "below 1"), "--last-time-share": ("nan", "nan")}
    for option, (value, sentence) in wrong.items():
        with pytest.raises(SystemExit):
            command.main([str(tmp_path), option, value])
        said = capsys.readouterr().err
        assert option in said and sentence in said
    assert command.main([str(tmp_path / "other"), "--images-per-video", "inf"]) == 2
    assert "images_per_video is inf" in caplog.text


def test_a_run_may_begin_with_a_model_that_is_there_and_says_what_that_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from vivid_core.training import __main__ as command

    file, steps = tmp_path / "before.safetensors", []
    monkeypatch.setattr(command, "world_sample", source)
    monkeypatch.setattr(command, "_train_some", lambda trainer: steps.append(trainer.step) or trainer.train(1))
    monkeypatch.setattr(TrainSettings, "rate_at", lambda *_: 0.0)  # so that it is still what it began with
    embedded.save(embedded.build(("a", "red", "ring"), 7), file, {"seed": 7, "step": 40})
    command.main([str(tmp_path / "on"), "--steps", "1", "--seed", "3", "--begin-with", str(file)])
    (before, _), (after, notes) = embedded.load(file), embedded.load(tmp_path / "on" / command.MODEL)
    assert notes == {"seed": 3, "step": 1, "start": {"seed": 7, "step": 40}} and steps == [0]
    assert after.tokenizer.words == ("a", "red", "ring")
    for part, module in before.parts.items():
        pairs = zip(module.parameters(), after.parts[part].parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), part
    assert command.main([str(tmp_path / "on"), "--steps", "2", "--seed", "3"]) == 2  # not with what it began with
    assert "other settings" in caplog.text
