"""Training a tiny SAM 2 in the world: its clips, its steps, its checkpoint, and what its judges say."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vivid_core.masks.prompts import Prompt, Prompts
from vivid_core.masks.sam2_session import LIMIT, Sam2Segmenter
from vivid_core.masks.segmenter import ObjectMemory
from vivid_core.masks.track import track_by_flow
from vivid_core.masks.track_sam2 import track_by_segmenter
from vivid_core.masks.tracks import Track, TrackBuilder
from vivid_core.models import sam2
from vivid_core.models.families import open_family
from vivid_core.runtime import Runtime
from vivid_core.training import segmenter
from vivid_core.training.__main__ import main
from vivid_core.training.draws import Draws
from vivid_core.training.segmenter import CONFIG, LESSONS, MODEL, SETTINGS, Lesson, SegmenterTraining, new_model
from vivid_core.training.segmenter_clips import (
    LEAST_SEEN,
    PROMPTS,
    SIDE,
    FollowedClips,
    correction,
    draw_clips,
    held_out,
)
from vivid_core.training.segmenter_steps import (
    CORRECTED,
    DISC,
    Answer,
    follow_with_gradients,
    places_missed,
    wrongness,
)
from vivid_core.training.segmenter_trials import load_segmenter, score

needs_sam2 = pytest.mark.usefixtures("sam2_is_there")


@pytest.fixture
def sam2_is_there() -> None:
    pytest.importorskip("sam2")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lessons of a blink each."""
    monkeypatch.setattr(segmenter, "LESSONS", (Lesson(0, 3, 0), Lesson(1, 3, 1), Lesson(2, 2, 3)))


def batches(frames: int, count: int = 40, objects: int = 4) -> list[FollowedClips]:
    return [draw_clips(0, number, objects, frames, side=48) for number in range(count)]


# ------------------------------------------------------------------------------------------------------------- clips


def test_a_batch_is_the_same_whenever_it_is_drawn_and_no_other_is() -> None:
    first, again, other, seeded = (draw_clips(*which, 3, 4, 48) for which in ((0, 5), (0, 5), (0, 6), (1, 5)))
    assert torch.equal(first.images, again.images) and torch.equal(first.masks, again.masks)
    for one in (other, seeded):
        assert one.images.shape != first.images.shape or not torch.equal(one.images, first.images)


def test_objects_are_seen_where_the_prompt_is_and_some_are_gone_later() -> None:
    gone = 0
    for clips in batches(5):
        assert clips.rows.shape == (4, 5) and clips.masks.shape == (4, 5, 48, 48) and len(clips.times) == 5
        assert bool(((clips.masks[:, 0] > 0.5).flatten(1).float().mean(1) >= LEAST_SEEN).all())
        assert int(clips.rows.max()) == len(clips.images) - 1
        gone += int((~clips.present).sum())
    assert 20 < gone < 200


def test_masks_lie_on_their_objects() -> None:
    clips = draw_clips(0, 1, 6, 3, 64)
    for rows, masks in zip(clips.rows, clips.masks):
        for row, mask in zip(rows, masks):
            inside = clips.images[row].permute(1, 2, 0)[mask > 0.999].float()
            assert not len(inside) or float(inside.std(0).max()) < 1.0, "an object has one colour"


def test_frames_after_a_gap_are_numbered_so_and_move_on() -> None:
    gaps = [clips.times[1] for clips in batches(3)]
    assert set(gaps) > {1} and max(gaps) <= 24 and 0.5 < gaps.count(1) / len(gaps) < 0.95
    assert all(clips.times[2] == clips.times[1] + 1 for clips in batches(3, 5))


def test_every_kind_of_prompt_marks_its_object() -> None:
    kinds = set()
    for clips in batches(2):
        inside = clips.masks[:, 0] > 0.5
        if clips.points is None:
            kinds.add("mask")
            continue
        for points, labels, mask in zip(clips.points, clips.labels, inside):
            if labels.tolist() == [2, 3]:
                kinds.add("box")
                (left, top), (right, bottom) = points.tolist()
                rows, columns = torch.nonzero(mask, as_tuple=True)
                edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert all(abs(float(a) - b) <= 2 for a, b in zip(edges, (left, top, right, bottom)))
                continue
            kinds.add("click" if len(labels) == 1 else "clicks")
            for (x, y), label in zip(points.tolist(), labels.tolist()):
                assert bool(mask[int(y), int(x)]) == bool(label)
    assert kinds == {kind for kind, _ in PROMPTS}
    assert all(clips.points is not None for clips in batches(1)), "a mask alone has nothing to teach"


def test_a_correction_is_put_where_it_is_wrong() -> None:
    truth = torch.zeros(3, 40, 40, dtype=torch.bool)
    truth[:, 10:30, 10:30] = True
    found = truth.clone()
    found[0, 10:30, 20:30] = False  # half is missing
    found[1, 0:8, 0:40] = True  # too much
    points, labels = correction(Draws("test", 0), found, truth)
    assert labels.flatten().tolist() == [1, 0, 1]
    (x0, y0), (_, y1), (x2, y2) = points[:, 0].tolist()
    assert 20 <= x0 < 30 and 10 <= y0 < 30 and y1 < 8 and 10 <= x2 < 30 and 10 <= y2 < 30


def test_held_out_clips_are_none_of_the_trained_and_their_click_is_on_the_object() -> None:
    trained = {image.numpy().tobytes() for clips in batches(2, 20) for image in clips.images}
    for frames, masks, (x, y) in held_out(12, 3, 48):
        levels = (frames * 255).round().to(torch.uint8).permute(0, 3, 1, 2)
        assert not trained & {image.contiguous().numpy().tobytes() for image in levels}
        assert float(masks[0, int(y * 48), int(x * 48)]) == 1


# ------------------------------------------------------------------------------------------------------------- steps


@needs_sam2
def test_the_training_asks_what_a_session_asks() -> None:
    module: Any = new_model(0)
    frames, _, (x, y) = next(held_out(1, 16))
    marks = torch.tensor([[[x * SIDE, y * SIDE]]])
    images = (frames * 255).round().to(torch.uint8).permute(0, 3, 1, 2)
    masks = torch.ones(1, 16, SIDE, SIDE)
    clip = FollowedClips(images, torch.arange(16)[None], masks, tuple(range(16)), marks, torch.ones(1, 1).int())
    with torch.no_grad():
        answers = follow_with_gradients(module, clip, Draws("uncorrected", _uncorrected()))
    best = [answer.logits[0, answer.scores[0].argmax()] for answer in answers]
    prompt = Prompt(0, points=((x, y, 1),))
    with Sam2Segmenter(module, "tiny").session(frames, Runtime()) as session:
        memory = ObjectMemory(1, 0)
        seen = [session.mark(memory, prompt), *(session.follow(memory, frame) for frame in range(1, 16))]
    for ours, theirs in zip(best, seen):
        at_size = torch.nn.functional.interpolate(ours[None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
        assert float((at_size - theirs.logits_hw).abs().max()) < 0.02 * float(theirs.logits_hw.abs().max()) + 1e-3


def _uncorrected() -> int:
    """A number whose draws correct no frame."""
    return next(number for number in range(100) if not Draws("uncorrected", number).chance(CORRECTED))


def clips_of(masks: Tensor) -> FollowedClips:
    return FollowedClips(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1), masks, (0,), None, None)


def square(side: int = 64) -> Tensor:
    masks = torch.zeros(1, 1, side, side)
    masks[..., 16:40, 16:40] = 1
    return masks


def answer(logits: Tensor, score_of_it: float = 1.0, presence: float = 20.0) -> Answer:
    count = logits.shape[1]
    return Answer(0, logits, torch.full((1, count), score_of_it), torch.full((1, 1), presence))


def test_the_truth_costs_nothing_and_everything_else_does() -> None:
    masks = square()
    right, empty = (masks[:, :1] * 2 - 1) * LIMIT, torch.full((1, 1, 64, 64), -LIMIT)
    nothing = float(wrongness([answer(right)], clips_of(masks)))
    assert nothing < 1e-3
    for wrong in (answer(-right), answer(empty), answer(right, 0.2), answer(right, presence=-20.0)):
        assert float(wrongness([wrong], clips_of(masks))) > nothing + 0.1


def test_all_guesses_count() -> None:
    masks = square()
    right = (masks[:, :1] * 2 - 1) * LIMIT
    one_wrong = Answer(0, torch.cat([right, -right], 1), torch.tensor([[1.0, 0.0]]), torch.full((1, 1), 20.0))
    alone = answer(-right, score_of_it=0.0)
    half = 0.5 * float(wrongness([alone], clips_of(masks)))
    assert float(wrongness([one_wrong], clips_of(masks))) == pytest.approx(half, rel=1e-4)


def test_an_object_that_is_gone_is_asked_for_its_presence_alone() -> None:
    gone = clips_of(torch.zeros(1, 1, 64, 64))
    anything = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    there, away = (wrongness([answer(anything, presence=logit)], gone) for logit in (20.0, -20.0))
    assert float(there.detach()) > 1 and float(away.detach()) < 1e-3


@needs_sam2
def test_every_weight_that_following_needs_is_moved() -> None:
    module = new_model(0)
    number = next(number for number in range(100) if draw_clips(0, number, 2, 4).points is not None)
    clips = draw_clips(0, number, 2, 4)
    wrongness(follow_with_gradients(module, clips, Draws("corrected", number)), clips).backward()
    still = {name for name, one in module.named_parameters() if one.grad is None}
    needed = ("image_encoder", "memory_attention", "memory_encoder", "obj_ptr_proj", "maskmem_tpos_enc")
    assert not [name for name in still if name.startswith(needed)]


class Painter:
    """A model that paints a disc around each click, or around the opposite place."""

    image_size, hidden_dim = 64, 16

    def __init__(self, opposite: bool) -> None:
        self._opposite = opposite

    def _forward_sam_heads(self, features: Tensor, clicks: Any, mask: None, high: Any, several: bool) -> Any:
        assert [tuple(one.shape[1:]) for one in (*high, features)] == [(2, 16, 16), (4, 8, 8), (16, 4, 4)]
        places = 64 - clicks["point_coords"] if self._opposite else clicks["point_coords"]
        x, y = (places[:, 0, axis, None, None] for axis in (0, 1))
        along = torch.arange(64) + 0.5
        inside = (along - x) ** 2 + (along[:, None] - y) ** 2 < (DISC * 64) ** 2
        sure = torch.full((5, 1), 20.0)
        return (inside.float()[:, None] * 2 - 1) * LIMIT, None, torch.ones(5, 1), None, None, None, sure


@needs_sam2
def test_a_click_on_noise_is_answered_with_a_disc_around_it() -> None:
    right, opposite = (float(places_missed(Painter(which), 0, 3, 5)) for which in (False, True))
    assert right < 0.5 and opposite > 5
    assert float(places_missed(new_model(0), 0, 3, 5).detach()) > 1


# ----------------------------------------------------------------------------------------------------------- the run


@needs_sam2
def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path: Path, short: None) -> None:
    settings = replace(SETTINGS, save_every=2)
    whole = SegmenterTraining(tmp_path / "whole", settings)
    whole.train(4)
    SegmenterTraining(tmp_path / "parts", settings).train(2)
    resumed = SegmenterTraining(tmp_path / "parts", settings)
    assert resumed.step == 2
    resumed.train(2)
    for ours, theirs in ((resumed.module, whole.module), (resumed.averaged, whole.averaged)):
        state = theirs.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in ours.state_dict().items())
    lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]


@needs_sam2
def test_another_run_in_its_folder_and_a_damaged_checkpoint_are_refused(tmp_path: Path, short: None) -> None:
    SegmenterTraining(tmp_path, replace(SETTINGS, save_every=1)).train(1)
    with pytest.raises(ValueError, match=r"other settings \(.*seed.*\); use those"):
        SegmenterTraining(tmp_path, replace(SETTINGS, save_every=1, seed=3))
    (tmp_path / "checkpoint.pt").write_bytes(b"not this")
    with pytest.raises(ValueError, match="is damaged or no checkpoint of this training"):
        SegmenterTraining(tmp_path)


def test_lessons_follow_one_another() -> None:
    assert [segmenter.lesson_at(one.since) for one in LESSONS] == list(LESSONS)
    assert segmenter.lesson_at(LESSONS[1].since - 1) == LESSONS[0] and LESSONS[0].since == 0


# ------------------------------------------------------------------------------------------------ the file, the judge


@needs_sam2
def test_a_saved_model_of_any_size_is_read_again(tmp_path: Path) -> None:
    module = new_model(2)
    sam2.save(module, CONFIG, tmp_path / MODEL, {"seed": 2})
    files, family = open_family(tmp_path / MODEL, {"sam2"})
    assert family is sam2.FAMILY and family.config(files) == CONFIG
    assert files.nbytes < 8_000_000, "it is meant to come with the pack"
    again = load_segmenter(tmp_path / MODEL).module.state_dict()
    for name, tensor in module.state_dict().items():
        assert torch.allclose(again[name], tensor, atol=1e-3, rtol=1e-3), name


def follower(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Prompts], Track]:
    """One that knows the truth, and changes it."""
    truths = [masks for _, masks, _ in held_out(4, 4, 48)]

    def follow(frames: Tensor, prompts: Prompts) -> Track:
        masks = change(truths.pop(0))
        builder = TrackBuilder([1], *frames.shape[:3])
        for frame, mask in enumerate(masks):
            builder.set(1, frame, mask, 1.0)
        return builder.build((), prompts.frames)

    return follow


def test_the_judge_gives_the_truth_one_and_nothing_nought() -> None:
    perfect = score("truth", follower(lambda masks: masks), 4, 4, 48)
    empty = score("nothing", follower(torch.zeros_like), 4, 4, 48)
    assert (perfect.mean_iou, perfect.first_iou, perfect.last_iou, perfect.lost) == (1, 1, 1, 0)
    assert (empty.mean_iou, empty.lost) == (0, 1)


def test_optical_flow_follows_held_out_clips() -> None:
    assert score("optical flow", track_by_flow, 4, 8).mean_iou > 0.85


@needs_sam2
def test_the_commands_train_and_judge(tmp_path: Path, short: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="vivid"):
        assert main(["segmenter", str(tmp_path), "--steps", "3"]) == 0
        assert main(["segmenter", str(tmp_path), "--steps", "3"]) == 0, "there is nothing left to do"
        assert main(["judge-segmenter", str(tmp_path / MODEL), "--clips", "2", "--frames", "3"]) == 1
    lines = [json.loads(line) for line in caplog.messages if line.startswith("{")]
    assert [line["who"] for line in lines] == ["segmenter", "optical flow"]
    assert lines[0]["met"] is False and lines[0]["clips"] == 2 and "step 3 of 3" in caplog.text


@needs_sam2
def test_the_model_that_comes_with_the_pack_follows_objects_from_one_click() -> None:
    shipped = load_segmenter(sam2.EMBEDDED)
    found = score("shipped", lambda shown, marks: track_by_segmenter(shown, marks, shipped), 12, 9)
    assert found.mean_iou > 0.75 and found.first_iou > 0.75
    assert sam2.EMBEDDED.stat().st_size < 8e6
