"""Tracking with SAM 2, against the sam2 package's own video predictor on the same random weights."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from cancelling import CancelAfter, CancelledError
from harness.segmenters import clip, tiny_module
from segmenting import Recording, Reference
from torch import Tensor, nn

from vivid_core.masks.prompts import Prompt, Prompts
from vivid_core.masks.sam2_session import CACHED_FRAMES, Sam2Segmenter
from vivid_core.masks.segmenter import (
    CHECKPOINT,
    MOST_PLACES,
    FrameMemory,
    ObjectMemory,
    Reach,
    resuming_every,
)
from vivid_core.masks.strokes import Stroke, stroke_prompt
from vivid_core.masks.track_sam2 import track_by_segmenter
from vivid_core.masks.tracks import Track
from vivid_core.metrics.health import track_health
from vivid_core.runtime import Runtime

pytest.importorskip("sam2")

SAME = 1e-4  # of logits; measured 0 on one thread
CLICK = ((0.3, 0.4, 1),)
OTHER_CLICK = ((0.7, 0.6, 1),)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return tiny_module()


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return clip(14)


def square(top: int = 8, left: int = 10, side: int = 16) -> Tensor:
    mask = torch.zeros(40, 56)
    mask[top : top + side, left : left + side] = 1
    return mask


def farthest(ours: dict, theirs: dict) -> float:
    assert set(ours) == set(theirs) and ours
    return max(float((ours[key] - theirs[key]).abs().max()) for key in ours)


def tracked(module: nn.Module, frames: Tensor, *prompts: Prompt, **options) -> tuple[Track, Recording]:
    recording = Recording(module)
    return track_by_segmenter(frames, Prompts(prompts), recording, **options), recording


@pytest.mark.parametrize(
    "prompts",
    [
        [Prompt(0, points=CLICK)],
        [Prompt(0, points=(*CLICK, (0.8, 0.2, 0)))],
        [Prompt(0, box=(0.1, 0.2, 0.6, 0.8))],
        [Prompt(0, box=(0.1, 0.2, 0.6, 0.8), points=((0.2, 0.3, 0),))],
        [Prompt(0, mask_hw=square())],
        [Prompt(0, points=CLICK), Prompt(6, box=(0.1, 0.2, 0.6, 0.8)), Prompt(11, mask_hw=square())],
        [Prompt(0, mask_hw=square()), Prompt(5, mask_hw=torch.zeros(40, 56))],
        [Prompt(0, 1, points=CLICK), Prompt(0, 2, box=(0.5, 0.1, 0.9, 0.5)), Prompt(7, 2, mask_hw=square())],
    ],
    ids=["click", "two clicks", "box", "box and click", "mask", "three frames", "gone", "two objects"],
)
def test_a_run_forward_gives_the_logits_of_the_packages_own_predictor(module, frames, prompts, monkeypatch) -> None:
    _, ours = tracked(module, frames, *prompts, direction="forward")
    theirs = Reference(module, frames, monkeypatch)
    for prompt in prompts:
        theirs.add(prompt)
    theirs.run(0)
    assert farthest(ours.logits, theirs.logits) <= SAME


def test_a_run_both_ways_from_the_middle_gives_the_logits_of_the_packages_own_predictor(
    module, frames, monkeypatch
) -> None:
    prompts = [Prompt(6, 1, mask_hw=square()), Prompt(6, 4, points=OTHER_CLICK), Prompt(2, 1, box=(0.1, 0.2, 0.6, 0.8))]
    _, ours = tracked(module, frames, *prompts)
    theirs = Reference(module, frames, monkeypatch)
    for prompt in prompts:
        theirs.add(prompt)
    theirs.run(6)
    theirs.run(6, reverse=True)
    assert farthest(ours.logits, theirs.logits) <= SAME


def test_a_run_backward_gives_the_logits_of_the_packages_own_predictor(module, frames, monkeypatch) -> None:
    prompts = [Prompt(13, points=CLICK), Prompt(4, mask_hw=square())]
    _, ours = tracked(module, frames, Prompt(-1, points=CLICK), prompts[1], direction="forward")
    assert {frame for _, frame in ours.logits} == set(range(4, 14))
    _, ours = tracked(module, frames, prompts[0], direction="backward")
    theirs = Reference(module, frames, monkeypatch)
    theirs.add(prompts[0])
    theirs.run(13, reverse=True)
    assert farthest(ours.logits, theirs.logits) <= SAME


def test_points_on_later_frames_correct_the_track_as_in_the_packages_predictor(module, frames, monkeypatch) -> None:
    prompts = [Prompt(0, points=CLICK), Prompt(5, points=((0.8, 0.8, 0),)), Prompt(9, points=OTHER_CLICK)]
    _, ours = tracked(module, frames, *prompts)
    theirs = Reference(module, frames, monkeypatch)
    theirs.add(prompts[0])
    theirs.run(0, 5)
    theirs.add(prompts[1])
    theirs.run(5, 4)
    theirs.add(prompts[2])
    theirs.run(0)
    assert farthest(ours.logits, theirs.logits) <= SAME
    _, alone = tracked(module, frames, prompts[0])
    assert float((alone.logits[1, 12] - ours.logits[1, 12]).abs().max()) > 100 * SAME  # the corrections matter


def test_painted_masks_come_back_exactly_and_condition_their_neighbours(module, frames) -> None:
    ragged = (torch.rand(40, 56, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    track, ours = tracked(module, frames, Prompt(0, points=CLICK), Prompt(7, mask_hw=ragged))
    assert torch.equal(track.masks()[7], ragged) and float(track.scores[0, 7]) == 1 and track.corrected == (0, 7)
    _, alone = tracked(module, frames, Prompt(0, points=CLICK))
    for near in (6, 8):
        assert float((alone.logits[1, near] - ours.logits[1, near]).abs().max()) > 100 * SAME


def test_strokes_over_the_tracked_mask_come_back_exactly(module, frames) -> None:
    start = Prompt(0, points=CLICK)
    before, _ = tracked(module, frames, start)
    strokes = [Stroke(((0.2, 0.2), (0.7, 0.6)), 0.1), Stroke(((0.5, 0.5),), 0.15, erase=True)]
    painted = stroke_prompt(6, strokes, mask_hw=before.masks()[6])
    again, _ = tracked(module, frames, start, painted, previous=before)
    assert painted.mask_hw is not None and torch.equal(again.masks()[6], painted.mask_hw)
    hinted, ours = tracked(module, frames, start, stroke_prompt(6, strokes), previous=before)
    assert ("correct", 1, 6) in ours.calls and hinted.corrected == (0, 6)


def test_masks_of_the_track_are_where_logits_are_above_zero_and_objects_do_not_touch_each_other(module, frames) -> None:
    both, ours = tracked(module, frames, Prompt(0, 1, points=CLICK), Prompt(3, 5, points=OTHER_CLICK))
    for object_id, points, first in ((1, CLICK, 0), (5, OTHER_CLICK, 3)):
        alone, _ = tracked(module, frames, Prompt(first, object_id, points=points))
        assert torch.equal(both.masks([object_id]), alone.masks())
        for frame in range(14):
            assert torch.equal(both.masks([object_id])[frame] > 0, ours.logits[object_id, frame] > 0)
    assert float(both.scores.min()) > 0 and float(both.scores.max()) <= 1


@pytest.mark.parametrize(("direction", "empty"), [("forward", range(6)), ("backward", range(7, 14))])
def test_a_direction_leaves_the_other_side_empty(module, frames, direction: str, empty: range) -> None:
    track, _ = tracked(module, frames, Prompt(6, points=CLICK), direction=direction)
    masks = track.masks()
    assert not bool(masks[list(empty)].any()) and not bool(track.scores[0, list(empty)].any())
    assert all(bool(masks[frame].any()) for frame in range(14) if frame not in empty)


def test_an_object_that_the_model_does_not_see_is_lost_and_the_health_says_so(module, frames) -> None:
    blind = copy.deepcopy(module)
    track, _ = tracked(blind, frames, Prompt(0, mask_hw=square()))
    assert track_health(track).lost == ()
    blind.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(-4.0)  # type: ignore[union-attr]
    track, _ = tracked(blind, frames, Prompt(0, mask_hw=square()))
    assert not bool(track.masks()[1:].any()) and not bool(track.scores[0, 1:].any())
    health = track_health(track)
    assert health.lost == ((1, 13),) and "add a click or a box at frame 1" in health.suggestions[0]


def test_an_object_that_is_said_to_be_nowhere_has_an_empty_track(module, frames) -> None:
    nowhere = Prompt(3, object_id=2, mask_hw=torch.zeros(40, 56))
    alone, ours = tracked(module, frames, Prompt(0, mask_hw=square()))
    track, theirs = tracked(module, frames, Prompt(0, mask_hw=square()), nowhere)
    assert not bool(track.masks([2]).any()) and theirs.calls == ours.calls
    assert torch.equal(track.masks([1]), alone.masks())


def test_a_mask_too_small_for_the_models_picture_is_no_empty_mask(module) -> None:
    large = torch.rand(2, 640, 900, 3, generator=torch.Generator().manual_seed(0))
    speck = torch.zeros(large.shape[1:3])
    speck[300:303, 30:33] = 1
    track, _ = tracked(module, large, Prompt(0, mask_hw=speck))
    with Sam2Segmenter(module, "tiny").session(large, Runtime()) as session:
        memory = ObjectMemory(1, 0)
        assert session.mark(memory, Prompt(0, mask_hw=speck)).score > 0.1
        assert session.mark(memory, Prompt(0, mask_hw=torch.zeros_like(speck))).score == 0
    assert torch.equal(track.masks()[0], speck)


def test_the_direction_both_starts_where_most_is_told(module, frames) -> None:
    _, ours = tracked(module, frames, Prompt(2, points=CLICK), Prompt(8, box=(0.1, 0.2, 0.6, 0.8)))
    assert ours.calls[0] == ("mark", 1, 8) and ("correct", 1, 2) in ours.calls


@pytest.mark.parametrize("first", [0, 5])
def test_one_more_click_gives_what_a_full_run_gives_from_the_anchor_on(module, first: int) -> None:
    long = clip(CHECKPOINT + 20)
    start, click = Prompt(first, points=CLICK), Prompt(CHECKPOINT + 9, points=((0.8, 0.8, 0),))
    before, _ = tracked(module, long, start)
    notes: list[str] = []
    again, ours = tracked(module, long, start, click, previous=before, notes=notes)
    full, theirs = tracked(module, long, start, click)
    assert torch.equal(again.packed[:, first:], full.packed[:, first:])
    assert torch.equal(again.scores[:, first:], full.scores[:, first:])
    for frame in range(first + 1, len(long)):
        assert torch.equal(ours.logits[1, frame], theirs.logits[1, frame])
    assert torch.equal(again.packed[:, :first], before.packed[:, :first])
    assert "re-track" in notes[0] and f"frames {first + 1} to {len(long) - 1}" in notes[0]
    assert min(frame for _, _, frame in ours.calls[:8]) == CHECKPOINT + 1  # taken up from the checkpoint


def test_one_more_click_on_the_way_back_gives_what_a_full_run_gives(module) -> None:
    long = clip(CHECKPOINT + 20)
    start, click = Prompt(-1, points=CLICK), Prompt(9, points=((0.8, 0.8, 0),))
    before, _ = tracked(module, long, start, direction="backward")
    again, ours = tracked(module, long, start, click, direction="backward", previous=before)
    full, _ = tracked(module, long, start, click, direction="backward")
    assert torch.equal(again.packed, full.packed) and torch.equal(again.scores, full.scores)
    assert ours.calls[0] == ("follow", 1, CHECKPOINT - 1)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_marked_in_whatever_order_masks_come_back_exactly_and_nothing_is_forgotten(module, seed) -> None:
    random = np.random.default_rng(seed)
    long = clip(40)
    marks: dict[tuple[int, int], Prompt] = {}
    track: Track | None = None
    for _ in range(5):
        frame, object_id = int(random.integers(40)), int(random.integers(1, 3))
        x, y = random.uniform(0.2, 0.9, 2)
        painted = square(int(random.integers(20)), int(random.integers(30)))
        prompt = [
            Prompt(frame, object_id, points=((x, y, 1),)),
            Prompt(frame, object_id, box=(0.1, 0.1, x, y)),
            Prompt(frame, object_id, mask_hw=painted),
        ][random.integers(3)]
        marks[frame, object_id] = prompt
        track, _ = tracked(module, long, *marks.values(), previous=track)
        for (at, number), given in marks.items():
            if given.mask_hw is not None:
                assert torch.equal(track.masks([number])[at], given.mask_hw)
            assert at in track.memory.objects[number].marked
        assert bool((track.scores > 0).all()) and track.corrected == tuple(sorted({at for at, _ in marks}))
    again, ours = tracked(module, long, *marks.values(), previous=track)
    assert track is not None and ours.calls == [] and torch.equal(again.packed, track.packed)


def test_a_re_track_keeps_frames_up_to_the_correction_before_and_runs_only_the_rest(module) -> None:
    long = clip(30)
    marks = [Prompt(0, points=CLICK), Prompt(20, mask_hw=square()), Prompt(24, points=OTHER_CLICK)]
    before, _ = tracked(module, long, *marks[:2], Prompt(0, 3, points=OTHER_CLICK))
    notes: list[str] = []
    again, ours = tracked(module, long, *marks, Prompt(0, 3, points=OTHER_CLICK), previous=before, notes=notes)
    full, theirs = tracked(module, long, *marks, Prompt(0, 3, points=OTHER_CLICK))
    assert torch.equal(again.packed[0, :21], before.packed[0, :21])
    assert torch.equal(again.masks([3]), before.masks([3]))
    assert not torch.equal(again.packed[0, 21:], before.packed[0, 21:])
    assert [call for call in ours.calls if call[1] == 3] == []
    assert {frame for _, _, frame in ours.calls} == set(range(21, 30))
    assert len(ours.calls) < 0.35 * len(theirs.calls)
    assert "object 1 was run again on frames 21 to 29" in notes[0] and "object 3 stays as it was" in notes[0]
    assert torch.equal(again.masks([1])[20], square()) and torch.equal(full.masks([1])[20], square())


def test_a_re_track_on_the_way_back_leaves_the_way_forth_alone(module, frames) -> None:
    start = Prompt(9, mask_hw=square())
    before, _ = tracked(module, frames, start)
    again, ours = tracked(module, frames, start, Prompt(4, points=CLICK), previous=before)
    full, _ = tracked(module, frames, start, Prompt(4, points=CLICK))
    assert torch.equal(again.packed[:, 9:], before.packed[:, 9:])
    assert {frame for _, _, frame in ours.calls} == set(range(9))
    assert torch.equal(again.masks()[4], torch.from_numpy((ours.logits[1, 4] > 0).numpy()).float())
    assert full.corrected == again.corrected == (4, 9)


def test_a_removed_correction_is_forgotten(module, frames) -> None:
    start = Prompt(0, points=CLICK)
    plain, _ = tracked(module, frames, start)
    corrected, _ = tracked(module, frames, start, Prompt(6, mask_hw=square()))
    assert not torch.equal(corrected.packed, plain.packed)
    again, _ = tracked(module, frames, start, previous=corrected)
    assert torch.equal(again.packed, plain.packed) and torch.equal(again.scores, plain.scores)


def test_a_changed_click_gives_what_a_full_run_gives(module, frames) -> None:
    start = Prompt(0, points=CLICK)
    first, _ = tracked(module, frames, start, Prompt(6, points=OTHER_CLICK))
    changed = Prompt(6, points=(*OTHER_CLICK, (0.1, 0.1, 0)))
    again, _ = tracked(module, frames, start, changed, previous=first)
    full, _ = tracked(module, frames, start, changed)
    assert torch.equal(again.packed, full.packed) and torch.equal(again.scores, full.scores)


def test_the_same_marks_again_change_nothing_and_run_nothing(module, frames) -> None:
    marks = [Prompt(3, points=CLICK), Prompt(8, mask_hw=square())]
    before, _ = tracked(module, frames, *marks)
    again, ours = tracked(module, frames, *marks, previous=pickle.loads(pickle.dumps(before)))  # noqa: S301
    assert ours.calls == [] and torch.equal(again.packed, before.packed) and torch.equal(again.scores, before.scores)


def test_a_correction_does_not_change_the_track_it_corrects(module, frames) -> None:
    start = Prompt(0, points=CLICK)
    before, _ = tracked(module, frames, start)
    kept = copy.deepcopy(before)
    tracked(module, frames, start, Prompt(6, points=OTHER_CLICK), previous=before)
    assert torch.equal(kept.packed, before.packed) and before.memory.marks == kept.memory.marks
    assert set(kept.memory.objects[1].marked) == set(before.memory.objects[1].marked) == {0}
    assert set(kept.memory.objects[1].passed) == set(before.memory.objects[1].passed)


def test_a_new_object_and_a_moved_anchor_are_run_in_full(module, frames) -> None:
    before, _ = tracked(module, frames, Prompt(0, 1, points=CLICK), Prompt(0, 2, points=CLICK))
    marks = [Prompt(0, 1, points=CLICK), Prompt(0, 2, points=OTHER_CLICK), Prompt(5, 9, mask_hw=square())]
    notes: list[str] = []
    again, ours = tracked(module, frames, *marks, previous=before, notes=notes)
    full, _ = tracked(module, frames, *marks)
    assert torch.equal(again.packed, full.packed) and {object_id for _, object_id, _ in ours.calls} == {2, 9}
    assert "object 1 stays as it was; object 2 was tracked in full; object 9 was tracked in full" in notes[0]


def test_another_clip_segmenter_or_direction_is_run_in_full_and_the_report_says_why(module, frames) -> None:
    start = Prompt(3, points=CLICK)
    before, _ = tracked(module, frames, start)
    other = Recording(module, "other")
    cases = [
        ({"frames_fhwc": clip(14, seed=1)}, "another clip"),
        ({"frames_fhwc": clip(13)}, "another clip"),
        ({"segmenter": other}, "another segmenter"),
        ({"direction": "forward"}, "another direction"),
    ]
    for changed, why in cases:
        notes: list[str] = []
        options = {"frames_fhwc": frames, "segmenter": Recording(module), "previous": before, "notes": notes, **changed}
        track_by_segmenter(prompts=Prompts([start]), **options)
        assert "full run" in notes[0] and why in notes[0]
    packed = Track.pack(torch.zeros(1, 14, 40, 56))
    notes = []
    tracked(module, frames, start, previous=packed, notes=notes)
    assert "without a segmenter" in notes[0]


def test_a_full_run_is_one_word_away_and_starts_where_the_track_did(module, frames) -> None:
    start, later = Prompt(8, points=CLICK), Prompt(2, points=OTHER_CLICK)
    before, _ = tracked(module, frames, start)
    again, _ = tracked(module, frames, start, later, previous=before)
    notes: list[str] = []
    full, ours = tracked(module, frames, start, later, previous=again, anew=True, notes=notes)
    assert notes == ["Track Mask: full run over 14 frames."]
    assert ("mark", 1, 8) in ours.calls and ("correct", 1, 2) in ours.calls


def test_memory_and_cached_features_stay_bounded(module) -> None:
    kept = {}
    for count in (3 * CHECKPOINT, 6 * CHECKPOINT):
        frames = clip(1).expand(count, -1, -1, -1)
        segmenter = Sam2Segmenter(module, "tiny")
        track = track_by_segmenter(frames, Prompts([Prompt(0, points=CLICK)]), segmenter)
        passed = track.memory.objects[1].passed
        kept[count] = sum(memory.features is not None for memory in passed.values())
        assert len(passed) <= 16 * (count // CHECKPOINT + 1)
        with segmenter.session(frames, Runtime()) as session:
            for frame in range(10):
                session._features(frame)
            assert len(session._cache) == CACHED_FRAMES
    assert kept[6 * CHECKPOINT] - kept[3 * CHECKPOINT] <= 3 * 7


@pytest.mark.parametrize("backward", [False, True])
def test_a_long_clip_can_be_taken_up_at_few_places_each_with_all_that_the_next_step_looks_at(backward: bool) -> None:
    frame = FrameMemory(torch.zeros(1), torch.zeros(1))
    reach = Reach(6, 15)
    for count in (40, 400, 4000):
        memory = ObjectMemory(1, count - 1 if backward else 0, every=resuming_every(count))
        memory.marked[memory.anchor] = frame
        order = range(count - 2, -1, -1) if backward else range(1, count)
        for place in order:
            memory.remember(place, frame, backward, reach)
        places = memory.places_to_resume(memory.anchor, order[-1], backward)[1:]
        assert len(places) <= MOST_PLACES and len(memory.passed) <= 16 * (len(places) + 3)
        assert max(np.abs(np.diff([memory.anchor, *places, order[-1]]))) <= max(CHECKPOINT, count / MOST_PLACES + 1)
        for place in places:
            step = 1 if backward else -1
            near = [other for other in range(place, place + step * reach.features, step) if other in order]
            far = [other for other in range(place, place + step * reach.pointers, step) if other in order]
            assert all(memory.passed[other].features is not None for other in near) and set(far) <= set(memory.passed)


def test_the_model_is_held_for_the_run_and_the_bar_fills_up(module, frames) -> None:
    class Watching(Runtime):
        held: tuple = ()

        def hold(self, *modules, activations=0):
            self.held = (modules, activations)
            return super().hold(*modules, activations=activations)

    runtime = Watching()
    prompts = Prompts([Prompt(6, points=CLICK), Prompt(9, points=OTHER_CLICK), Prompt(2, 2, mask_hw=square())])
    track_by_segmenter(frames, prompts, Sam2Segmenter(module, "tiny", activations=123), runtime=runtime)
    assert runtime.held == ((module,), 123) and runtime.done == runtime.total > 0


def test_a_cancelled_run_stops_at_once_and_leaves_the_earlier_track_usable(module, frames) -> None:
    start = Prompt(0, points=CLICK)
    before, _ = tracked(module, frames, start)
    kept = copy.deepcopy(before)
    recording = Recording(module)
    marks = Prompts([start, Prompt(6, points=OTHER_CLICK)])
    with pytest.raises(CancelledError):
        track_by_segmenter(frames, marks, recording, runtime=CancelAfter(4), previous=before)
    assert len(recording.calls) == 5
    assert torch.equal(kept.packed, before.packed)
    again, _ = tracked(module, frames, *marks, previous=before)
    full, _ = tracked(module, frames, *marks)
    assert torch.equal(again.packed, full.packed)


@pytest.mark.parametrize(
    ("prompts", "options", "says"),
    [
        ([], {}, "nothing is marked"),
        ([Prompt(0, mask_hw=torch.zeros(40, 56))], {}, "every mask given is empty"),
        ([Prompt(0, points=CLICK)], {"direction": "up"}, 'the direction "up"'),
        ([Prompt(99, points=CLICK)], {}, "the clip has 14 frames"),
        ([Prompt(0, mask_hw=torch.ones(4, 4))], {}, "resize the mask"),
        ([Prompt(0, 2, points=((0.5, 0.5, 0),))], {}, "object 2 has background points only"),
        (
            [Prompt(5, points=CLICK), Prompt(2, points=((0.5, 0.5, 0),))],
            {"direction": "forward"},
            'followed forward from frame 5 it never gets there; choose the direction "both"',
        ),
    ],
)
def test_impossible_marks_get_one_sentence(module, frames, prompts, options, says) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        tracked(module, frames, *prompts, **options)
    assert str(caught.value).endswith(".") and ". " not in str(caught.value)


def test_one_frame_is_tracked(module) -> None:
    track, _ = tracked(module, clip(1), Prompt(0, points=CLICK))
    assert track.frame_count == 1 and bool(track.masks().any())
