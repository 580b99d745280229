"""Training the embedded Stable Diffusion: what it is asked, its four stages, its checkpoints, its judges."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vivid_core.diffusion.ddim import NoiseSchedule
from vivid_core.editors.embedded_backbone import embedded_backbone
from vivid_core.models import embedded_sd
from vivid_core.training import sd_lessons, sd_trials
from vivid_core.training.__main__ import main
from vivid_core.training.sd_lessons import CONTROLNET, DEPTH, IMAGES, MOTION, REHEARSAL, SETTINGS, STAGES
from vivid_core.training.sd_objective import LARGEST, MOSTLY_NOISE, latents_of, noised
from vivid_core.training.sd_training import MODEL, SDTraining, settings_for
from vivid_core.training.sd_trials import again, drawn, from_noise
from vivid_core.training.sd_world.words import MOTIONS, vocabulary


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Batches and models of a blink."""
    with pytest.MonkeyPatch.context() as patch:
        for settings, groups in ((embedded_sd.UNET, "norm_num_groups"), (embedded_sd.MOTION, "motion_norm_num_groups")):
            patch.setitem(settings, "block_out_channels", (8, 8, 8, 8))
            patch.setitem(settings, groups, 4)
        patch.setattr(sd_lessons, "IMAGE_BATCH", 2)
        patch.setattr(sd_lessons, "SCENES", 1)
        yield


@pytest.fixture
def one_step_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in STAGES:
        monkeypatch.setitem(SETTINGS, stage, replace(SETTINGS[stage], total_steps=1))


@pytest.fixture(scope="module")
def untrained(small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an image model that nobody trained."""
    file, model = tmp_path_factory.mktemp("untrained") / MODEL, embedded_sd.build(vocabulary(), 0)
    with torch.no_grad():
        for weight in model.unet.parameters():
            weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    embedded_sd.save(model, file, {"images_steps": 0})
    return file


@pytest.fixture
def folder(untrained: Path, tmp_path: Path) -> Path:
    """With that model as what the stage of images made."""
    (tmp_path / IMAGES).mkdir()
    shutil.copy(untrained, tmp_path / IMAGES / MODEL)
    return tmp_path


def weights(training: SDTraining) -> list[Tensor]:
    return [weight.detach().clone() for part in training.lesson.parts.values() for weight in part.parameters()]


def same(first: nn.Module, second: nn.Module) -> list[bool]:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return [torch.equal(one, other) for one, other in pairs]


def test_latents_are_noised_as_diffusers_noises_them_and_ask_for_its_velocity() -> None:
    from diffusers import DDPMScheduler

    clean, schedule = torch.randn(64, 16, 2, 4, 4), NoiseSchedule(**embedded_sd.NOISE)
    found = noised(clean, schedule, torch.Generator().manual_seed(0))
    theirs = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    alphas = theirs.alphas_cumprod[found.times_b]
    shares = [share.sqrt().view(-1, 1, 1, 1, 1) for share in (alphas, 1 - alphas)]
    noise = (found.noisy_bcfhw - shares[0] * clean) / shares[1]
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02
    assert torch.allclose(found.noisy_bcfhw, theirs.add_noise(clean, noise, found.times_b), atol=1e-5)
    assert torch.allclose(found.v_bcfhw, theirs.get_velocity(clean, noise, found.times_b), atol=1e-3)
    weights = (LARGEST / (alphas / (1 - alphas) + 1)).clamp_max(1)
    assert torch.allclose(found.weights_bf, weights[:, None].expand(-1, 2), atol=1e-4)
    assert torch.bincount(found.times_b * 64 // 1000, minlength=64).max() <= 2  # spread over all times
    off = found.v_bcfhw + torch.arange(64).view(-1, 1, 1, 1, 1)
    assert float(found.loss(off)) == pytest.approx(float((torch.arange(64) ** 2 * weights).mean()), rel=1e-4)


def test_lateness_makes_more_of_the_latents_noisy_and_spreads_them_as_it_says() -> None:
    clean, schedule = torch.zeros(1000, 1, 1, 1, 1), NoiseSchedule(**embedded_sd.NOISE)
    for lateness in (1.0, 2.0, 3.0):
        found = noised(clean, schedule, torch.Generator().manual_seed(0), lateness)
        shares = torch.tensor([float((found.times_b < time).float().mean()) for time in (250, 500, 750)])
        expected = 1 - (1 - torch.tensor([0.25, 0.5, 0.75])) ** (1 / lateness)
        assert torch.allclose(shares, expected, atol=0.003)


def test_a_hidden_frame_shows_noise_alone_and_its_velocity_leads_back_to_the_clip() -> None:
    clips, schedule = torch.randn(2, 800, 1, 8, 4, 4), NoiseSchedule(**embedded_sd.NOISE)
    first, second = (noised(clip, schedule, torch.Generator().manual_seed(0), 1.0, 0.5, 0.3) for clip in clips)
    counted = first.weights_bf > 0
    signal, spread = (share.sqrt().view(-1, 1, 1, 1, 1) for share in _shares(schedule, first.times_b))
    clean = signal * first.noisy_bcfhw - spread * first.v_bcfhw
    assert torch.allclose(clean.transpose(1, 2)[counted], clips[0].transpose(1, 2)[counted], atol=1e-3)
    assert torch.equal(first.noisy_bcfhw.transpose(1, 2)[~counted], clips[0].transpose(1, 2)[~counted])
    hidden = (first.noisy_bcfhw == second.noisy_bcfhw).flatten(3).all(3)[:, 0]  # [B, F]: nothing of the clip is there
    assert counted[hidden].all() and abs(float(first.noisy_bcfhw.transpose(1, 2)[hidden].std()) - 1) < 0.02
    noisy = schedule.alphas()[first.times_b] < MOSTLY_NOISE
    assert not hidden[~noisy].any() and counted[~noisy].all()
    chosen = hidden[noisy].any(1)
    assert abs(float(chosen.float().mean()) - 0.5) < 0.1
    assert hidden[noisy][chosen][:, 1:].all() and not hidden[:, 0].any()  # all but the first
    assert counted[:, 1:].all() and abs(float((~counted[noisy][chosen][:, 0]).float().mean()) - 0.3) < 0.1


def test_rows_that_are_alike_share_their_time_noise_and_hidden_frames() -> None:
    clip, schedule = torch.zeros(300, 1, 4, 2, 2), NoiseSchedule(**embedded_sd.NOISE)
    found = noised(clip, schedule, torch.Generator().manual_seed(0), 1.0, 0.5, alike=3)
    for shared in (found.noisy_bcfhw, found.times_b, found.weights_bf, found.v_bcfhw):
        first, *others = shared.unflatten(0, (100, 3)).unbind(1)
        assert all(torch.equal(first, other) for other in others) and not torch.equal(first[0], first[-1])
    assert torch.bincount(found.times_b[::3] * 100 // 1000, minlength=100).max() <= 2  # spread over all times


def _shares(schedule: NoiseSchedule, times_b: Tensor) -> tuple[Tensor, Tensor]:
    alphas = schedule.alphas()[times_b].float()
    return alphas, 1 - alphas


@pytest.mark.parametrize("stage", [IMAGES, MOTION])
def test_a_run_that_was_stopped_ends_with_the_very_weights_of_one_that_was_not(stage: str, folder: Path) -> None:
    whole = SDTraining(folder, stage)
    whole.train(2)
    end = weights(whole)
    begun = SDTraining(folder, stage)
    assert begun.step == 0
    begun.train(1)
    begun.save()
    resumed = SDTraining(folder, stage)
    assert resumed.step == 1
    resumed.train(1)
    assert all(torch.equal(one, other) for one, other in zip(weights(resumed), end, strict=True))
    for name, part in whole.averaged.items():
        assert all(same(part, resumed.averaged[name]))


def test_the_motion_stage_moves_the_image_model_less_than_the_motion_modules(folder: Path) -> None:
    before, _ = embedded_sd.load(folder / IMAGES / MODEL)
    training = SDTraining(folder, MOTION)
    unet = training.lesson.parts["unet"]
    first = {name: weight.detach().clone() for name, weight in unet.named_parameters()}
    training.train(REHEARSAL + 1)
    training.save()
    after, notes = embedded_sd.load(folder / MOTION / MODEL)
    assert notes["motion_steps"] == REHEARSAL + 1 and notes["images_steps"] == 0
    assert not all(same(after.text_encoder, before.text_encoder)) and after.motion is not None
    moved = {name for name, still in named_same(after.unet, before.unet) if not still}
    assert {name for name, _ in before.unet.named_parameters() if "conv1.weight" in name} <= moved
    far = {name: float((weight - first[name]).detach().abs().max()) for name, weight in unet.named_parameters()}
    largest = {own: max(one for name, one in far.items() if ("motion_modules" in name) is own) for own in (True, False)}
    assert 0 < largest[False] < largest[True]


def test_words_of_motion_begin_louder_than_all_others_and_each_in_its_own_direction(folder: Path) -> None:
    before, _ = embedded_sd.load(folder / IMAGES / MODEL)
    table = before.text_encoder.get_input_embeddings().weight  # type: ignore[operator,union-attr]
    quiet = table.detach().clone()
    sd_lessons.lesson(MOTION, before, 0)
    told = sorted({said.split()[-1] for said in MOTIONS.values()})
    rows = before.tokenizer([" ".join(told)])[0, : len(told)]
    assert len(told) == len(MOTIONS) and len(set(rows.tolist())) == len(told)
    loud = table.detach()[rows]
    assert torch.allclose(loud.norm(dim=1), torch.full((len(told),), sd_lessons.LOUD))
    assert float((loud @ loud.T / sd_lessons.LOUD**2 - torch.eye(len(told))).abs().max()) < 0.5
    others = torch.ones(len(quiet), dtype=torch.bool).scatter_(0, rows, False)
    assert torch.equal(table.detach()[others], quiet[others]) and float(quiet.norm(dim=1).max()) < sd_lessons.LOUD / 10


def test_a_step_of_rehearsal_leaves_the_motion_modules_alone(folder: Path) -> None:
    training = SDTraining(folder, MOTION)
    training.lesson.loss(0).backward()
    named = dict(training.lesson.parts["unet"].named_parameters())
    assert all(weight.grad is None for name, weight in named.items() if "motion_modules" in name)
    assert named["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].grad is not None
    training.lesson.loss(1).backward()
    assert any(weight.grad is not None for name, weight in named.items() if "motion_modules" in name)


@pytest.mark.usefixtures("one_step_each")
def test_one_call_trains_all_stages_and_leaves_a_file_that_serves_every_kind(tmp_path: Path) -> None:
    assert main(["sd", str(tmp_path), "--hours", "1"]) == 0
    file = tmp_path / CONTROLNET / MODEL
    steps = {f"{stage}_steps": 1 for stage in STAGES}
    assert embedded_sd.load(file)[1] == {"seed": 0, **steps}
    for kind in ("image", "motion", "depth", "controlnet"):
        assert embedded_backbone(kind, file).title  # type: ignore[arg-type]
    images, motion = (embedded_sd.load(tmp_path / stage / MODEL)[0] for stage in (MOTION, CONTROLNET))
    assert all(same(images.unet, motion.unet)) and images.depth is None and images.controlnet is None
    again = SDTraining(tmp_path, DEPTH)
    assert again.step == 1 and math.isnan(again.train(5))  # nothing is left to train


@pytest.mark.usefixtures("one_step_each")
def test_stages_go_on_with_the_parts_of_a_finished_model_in_the_first_ones_place(tmp_path: Path) -> None:
    assert main(["sd", str(tmp_path / "first"), "--hours", "1"]) == 0
    (tmp_path / "second" / IMAGES).mkdir(parents=True)
    file = shutil.copy(tmp_path / "first" / CONTROLNET / MODEL, tmp_path / "second" / IMAGES / MODEL)
    model, _ = embedded_sd.load(file)
    assert model.controlnet is not None
    lessons = {stage: sd_lessons.lesson(stage, embedded_sd.load(file)[0], 5) for stage in STAGES[1:]}
    assert all(same(lessons[MOTION].parts["unet"], model.motion_unet()))
    assert all(same(lessons[MOTION].parts["text_encoder"], model.text_encoder)), "no word is drawn again"
    assert all(same(lessons[DEPTH].parts["unet"], model.depth_unet()))
    assert all(same(lessons[CONTROLNET].parts["controlnet"], model.controlnet))
    training = SDTraining(tmp_path / "second", MOTION, settings_for(MOTION, 1, 1))
    training.train(1)
    training.save()
    assert embedded_sd.load(tmp_path / "second" / MOTION / MODEL)[1]["motion_steps"] == 2, "counted with those before"


def test_a_stage_waits_for_the_one_before_it_and_notices_when_that_was_trained_on(folder: Path) -> None:
    with pytest.raises(ValueError, match="the stage depth starts from .* train that stage first"):
        SDTraining(folder, DEPTH)
    SDTraining(folder, MOTION).save()
    embedded_sd.save(embedded_sd.build(vocabulary(), 7), folder / IMAGES / MODEL, {})
    with pytest.raises(ValueError, match=r"\(base\)"):
        SDTraining(folder, MOTION)
    with pytest.raises(ValueError, match='"sound"; choose one of images, motion'):
        sd_lessons.lesson("sound", None, 0)
    with pytest.raises(ValueError, match="needs what the stage motion makes"):
        sd_lessons.lesson(DEPTH, None, 0)


def test_a_longer_run_goes_on_from_a_shorter_one(folder: Path) -> None:
    short = SDTraining(folder, IMAGES, settings_for(IMAGES, 0, 1))
    short.train(9)
    short.save()
    longer = SDTraining(folder, IMAGES, settings_for(IMAGES, 0, 2))
    assert short.step == 1 and longer.step == 1
    longer.train(9)
    assert longer.step == 2
    with pytest.raises(ValueError, match=r"\(seed\)"):
        SDTraining(folder, IMAGES, settings_for(IMAGES, 1, 2))


def test_steps_without_a_stage_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sd", str(folder), "--steps", "3"])
    assert "name it with --stage" in capsys.readouterr().err


def test_latents_of_clips_are_those_of_their_frames() -> None:
    codec = sd_lessons.load_frame_codec()
    clips = torch.rand(2, 3, 4, 16, 24) * 2 - 1
    found = latents_of(codec, clips)
    one = codec.encode(clips[1:, :, 2]).latent_dist.mode()  # type: ignore[union-attr]
    assert found.shape == (2, 16, 4, 4, 6)
    assert torch.allclose(found[1, :, 2], 0.7 * one[0], atol=1e-5)


def test_drawing_with_equal_texts_does_not_depend_on_guidance_and_follows_the_seed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sd_trials, "STEPS", 3)
    backbone = embedded_backbone("image", folder / IMAGES / MODEL)
    noise = torch.randn(1, 16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, guided = (drawn(backbone, [""], noise, guidance=one) for one in (1.0, 7.0))
    assert torch.allclose(plain, guided, atol=1e-4) and plain.shape == (1, 1, 64, 64, 3)
    assert not torch.allclose(plain, drawn(backbone, ["a red ring"], noise, guidance=30.0), atol=1e-4)
    assert not torch.allclose(plain, drawn(backbone, [""], -noise), atol=1e-2)


def test_the_judge_says_a_line_for_each_kind_of_trial_and_writes_sheets(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sd_trials, "STEPS", 2)
    caplog.set_level(logging.INFO, "vivid")
    file, sheets = folder / IMAGES / MODEL, folder / "sheets"
    assert main(["judge-sd", str(file), "--trials", "2", "--sheets", str(sheets)]) == 0
    lines = [json.loads(record.message) for record in caplog.records]
    assert [line["what"] for line in lines] == ["drawn from noise", "drawn again", "recoloured"]
    assert all(line["trials"] == 2 and 0 <= line["colour"] <= 1 for line in lines)
    assert len(list(sheets.glob("*.png"))) == 3


def test_a_model_that_draws_the_truth_scores_full_marks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = embedded_backbone("image", folder / IMAGES / MODEL)
    truth = torch.stack([sd_trials.render(sd_trials._one_thing(number), 64, 1).frames_fhwc for number in range(8)])
    monkeypatch.setattr(sd_trials, "drawn", lambda *_, **__: truth)
    for score, _ in (from_noise(backbone, 8), again(backbone, 8, recoloured=False)):
        assert score.colour == score.shape == 1
    assert score.iou > 0.9
    assert again(backbone, 8, recoloured=True)[0].colour == 0
    monkeypatch.setattr(sd_trials, "drawn", lambda *_, **__: truth.flip(0))
    assert from_noise(backbone, 8)[0].colour < 0.5


def named_same(first: nn.Module, second: nn.Module) -> list[tuple[str, bool]]:
    other = dict(second.named_parameters())
    return [(name, torch.equal(weight, other[name])) for name, weight in first.named_parameters()]
