"""KIVE: keyframes come back exactly, their edit goes everywhere, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from editing_models import one_thread
from kive_models import (
    TEXT_COLOUR,
    box,
    clip,
    keys_of,
    oracle_engine,
    painted,
    random_engine,
    request,
    shown_to,
    windows_run,
)
from torch import Tensor

from vivid_core.editors.contract import EditRequest
from vivid_core.editors.engine import embedded_engine
from vivid_core.editors.kive import EditOptions, edit_keyframe, edit_video, propagate
from vivid_core.editors.window_store import MemoryStore
from vivid_core.models.embedded import WEIGHTS
from vivid_core.runtime import Runtime
from vivid_core.training.measures import score
from vivid_core.training.world.trials import trial
from vivid_core.video.composite import composite_key, outside_difference
from vivid_core.video.keyframes import Keyframe, Keyframes

ROUNDING = 1e-4


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


def inside(frames: Tensor, mask: Tensor, index: int) -> Tensor:
    """The edited pixels of a frame."""
    return frames[index][mask[index] > 0.5]


@pytest.mark.parametrize("at", ((0,), (8,), (20,), (0, 20), (7, 8), (-1,), (3, 12, 13)))
def test_keyframes_come_back_to_the_bit_and_nothing_changes_outside(at: tuple[int, ...]) -> None:
    frames, mask, pictures = clip(21), box(21), clip(21, seed=9)
    keys = Keyframes(Keyframe(index, pictures[index]) for index in at)
    done = propagate(random_engine(), request(frames, mask, keys), EditOptions(crop="off", feather=4))
    assert outside_difference(frames, done.frames_fhwc, done.blend_mask_fhw) == 0
    for key in keys.fitted(frames):
        wanted = composite_key(frames[key.index], key, done.blend_mask_fhw[key.index])
        assert torch.equal(done.frames_fhwc[key.index], wanted)
    changed = [not torch.equal(before, after) for before, after in zip(frames, done.frames_fhwc)]
    assert all(changed)
    assert "Largest difference outside the blend mask: 0." in done.report


@pytest.mark.parametrize("at", (0, 10, 20))
@pytest.mark.parametrize("overlap", (0, 1, 5))
def test_the_edit_of_a_keyframe_goes_through_all_windows(at: int, overlap: int) -> None:
    frames, mask = clip(21), box(21)
    keys, engine = keys_of(frames, mask, **{f"at{at}": 0.7}), oracle_engine()
    done = propagate(engine, request(frames, mask, keys), EditOptions(overlap=overlap, crop="off"))
    for index in range(21):
        wanted = TEXT_COLOUR if overlap == 0 and abs(index - at) >= 9 else 0.7
        assert (inside(done.frames_fhwc, mask, index) - wanted).abs().max() < ROUNDING


def test_each_keyframe_is_carried_up_to_the_next_one_and_the_first_one_back_to_the_start() -> None:
    frames, mask = clip(40), box(40)
    keys = keys_of(frames, mask, at5=0.2, at20=0.5, at33=0.8)
    done = propagate(oracle_engine(), request(frames, mask, keys), EditOptions(crop="off"))
    for index in range(40):
        wanted = 0.2 if index < 20 else 0.5 if index < 33 else 0.8
        assert (inside(done.frames_fhwc, mask, index) - wanted).abs().max() < ROUNDING


def test_models_that_know_last_frames_are_anchored_on_both_keyframes() -> None:
    frames, mask = clip(15), box(15)
    keys, engine = keys_of(frames, mask, at0=0.2, at14=0.8), oracle_engine(ends_on_keys=True)
    done = propagate(engine, request(frames, mask, keys), EditOptions(crop="off"))
    assert (inside(done.frames_fhwc, mask, 13) - 0.8).abs().max() < ROUNDING
    assert (inside(done.frames_fhwc, mask, 5) - 0.2).abs().max() < ROUNDING
    last, last_mask = shown_to(engine)[-1]
    assert len(last) == 9 and not last_mask[7:].any(), "padding behind a known frame is known"
    assert torch.equal(last[7], last[8])


def test_a_later_window_sees_the_edit_over_the_true_background() -> None:
    frames, mask = clip(17), box(17)
    engine = random_engine()
    seen: list[tuple[Tensor, Tensor]] = []
    oracle = oracle_engine(shift=0.1)
    keys = keys_of(frames, mask, at0=0.3)
    done = propagate(oracle, request(frames, mask, keys), EditOptions(crop="off", feather=0, colour_match=False))
    seen = shown_to(oracle)
    assert len(seen) == 2 and engine.identity == "random"
    anchor = seen[1][0][0]
    assert torch.equal(anchor, done.frames_fhwc[8])
    assert torch.equal(anchor[mask[8] < 0.5], frames[8][mask[8] < 0.5])
    assert not seen[1][1][0].any()


def test_backward_in_time_is_forward_of_the_clip_in_reverse() -> None:
    frames, mask = clip(20), box(20)
    mask[:, 20:24, :] = torch.linspace(0, 1, 20)[:, None, None].round()
    engine, key = random_engine(), clip(1, seed=9)[0]
    forward = propagate(engine, request(frames, mask, Keyframes([Keyframe(0, key)])), EditOptions(crop="off"))
    mirrored = request(frames.flip(0), mask.flip(0), Keyframes([Keyframe(19, key)]))
    backward = propagate(engine, mirrored, EditOptions(crop="off"))
    assert torch.equal(backward.frames_fhwc.flip(0), forward.frames_fhwc)
    assert torch.equal(backward.confidence_f.flip(0), forward.confidence_f)


def test_the_noise_of_a_window_comes_from_the_seed_and_its_place() -> None:
    frames, mask, engine = clip(9), box(9), random_engine()
    first, again, other = (
        edit_video(engine, request(frames, mask, seed=seed), EditOptions(crop="off")).frames_fhwc for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    largest = edit_video(engine, request(clip(17), box(17), seed=2**64 - 1), EditOptions(crop="off"))
    assert torch.isfinite(largest.frames_fhwc).all()


@pytest.mark.parametrize("frames", (1, 2, 5, 8))
def test_clips_of_any_length_are_edited_from_the_text(frames: int) -> None:
    engine = oracle_engine()
    done = edit_video(engine, request(clip(frames), box(frames)), EditOptions(crop="off"))
    assert windows_run(engine) == 1
    assert (inside(done.frames_fhwc, box(frames), frames - 1) - TEXT_COLOUR).abs().max() < ROUNDING
    assert not done.confidence_f.any()


def test_a_clip_of_keyframes_alone_needs_no_model() -> None:
    for count in (1, 2):
        frames, mask, engine = clip(count), box(count), oracle_engine()
        keys = keys_of(frames, mask, **{f"at{index}": 0.5 for index in range(count)})
        done = propagate(engine, request(frames, mask, keys))
        assert windows_run(engine) == 0
        assert torch.equal(done.frames_fhwc, torch.stack([key.image_hwc for key in keys]))


def test_no_window_reaches_over_a_cut_and_a_shot_without_a_keyframe_is_said() -> None:
    frames, mask, notes = clip(20), box(20), []
    keys, engine = keys_of(frames, mask, at3=0.7), oracle_engine()
    done = propagate(engine, request(frames, mask, keys), EditOptions(crop="off", cuts=(8,)), notes=notes)
    for index in range(20):
        wanted = 0.7 if index < 8 else TEXT_COLOUR
        assert (inside(done.frames_fhwc, mask, index) - wanted).abs().max() < ROUNDING
    assert len(notes) == 1 and "frames 8 to 19 has no keyframe" in notes[0]


def test_where_the_mask_is_empty_nothing_is_run_and_nothing_changes() -> None:
    frames, mask, engine, notes = clip(40), box(40), oracle_engine(), []
    mask[12:30] = 0
    done = propagate(
        engine, request(frames, mask, keys_of(frames, mask, at0=0.7)), EditOptions(crop="off"), notes=notes
    )
    assert windows_run(engine) == 4  # of five
    assert torch.equal(done.frames_fhwc[12:30], frames[12:30])
    assert (inside(done.frames_fhwc, mask, 9) - 0.7).abs().max() < ROUNDING
    wanted = torch.tensor([1] + [1 / 2] * 8 + [1 / 3] * 3 + [1] * 18 + [0] * 10)
    assert torch.allclose(done.confidence_f, wanted)
    assert len(notes) == 1 and notes[0].startswith("Frames 24 to 32: nothing is edited on the frames that join")


def test_a_soft_mask_given_once_is_used_for_all_frames() -> None:
    frames, notes = clip(5), []
    done = edit_video(oracle_engine(), request(frames, box(1)[0] * 0.8), EditOptions(crop="off"), notes=notes)
    assert (inside(done.frames_fhwc, box(5), 4) - TEXT_COLOUR).abs().max() < ROUNDING
    assert any("one mask was given" in note for note in notes)


def test_a_blend_mask_of_the_users_own_is_where_the_edit_is_shown() -> None:
    frames, mask, blend = clip(5), box(5), box(5)
    blend[:, :24] = 0
    done = edit_video(oracle_engine(), request(frames, mask), EditOptions(crop="off", blend_mask_fhw=blend))
    assert torch.equal(done.blend_mask_fhw, blend)
    assert torch.equal(done.frames_fhwc[:, :24], frames[:, :24])
    assert (inside(done.frames_fhwc, blend, 4) - TEXT_COLOUR).abs().max() < ROUNDING


@pytest.mark.parametrize("crop", ("off", "fast", "fine", "auto"))
def test_an_edit_through_a_crop_is_the_edit_and_nothing_else(crop: str) -> None:
    frames, mask = torch.full((9, 96, 144, 3), 0.6), torch.zeros(9, 96, 144)
    for index in range(9):
        mask[index, 30:54, 20 + 5 * index : 44 + 5 * index] = 1
    keys = Keyframes([painted(frames, mask, 6, 0.2)])
    engine = oracle_engine()
    done = edit_video(engine, request(frames, mask), EditOptions(crop=crop, feather=4))
    assert outside_difference(frames, done.frames_fhwc, done.blend_mask_fhw) == 0
    for index in range(9):
        middle = done.frames_fhwc[index, 34:50, 24 + 5 * index : 40 + 5 * index]
        assert (middle - TEXT_COLOUR).abs().max() < 0.02
    exact = propagate(oracle_engine(), request(frames, mask, keys), EditOptions(crop=crop))
    assert torch.equal(exact.frames_fhwc[6], next(iter(keys)).image_hwc)
    assert f"Crop ({'fine' if crop == 'auto' else crop})" in done.report or crop == "off"


def test_the_bar_is_begun_once_and_ends_full() -> None:
    begun: list[int] = []

    class Counting(Runtime):
        def begin(self, total: int) -> None:
            begun.append(total)
            super().begin(total)

    frames, mask, store = clip(21), box(21), MemoryStore(10**8)
    for _ in range(2):
        runtime = Counting()
        edit_video(oracle_engine(), request(frames, mask), EditOptions(crop="off", store=store), runtime=runtime)
        assert runtime.done == runtime.total == 3 * 2 + 21 + 21
    assert len(begun) == 2


def test_an_edited_keyframe_is_carried_as_it_was_shown() -> None:
    frames, mask, engine = clip(5), box(5), random_engine()
    edit = edit_keyframe(engine, request(frames[2:3], mask[2:3]), EditOptions(crop="off", feather=6))
    assert edit.image_hwc.shape == frames[2].shape and edit.blend_mask_hw.shape == mask[2].shape
    assert torch.equal(edit.image_hwc[edit.blend_mask_hw == 0], frames[2][edit.blend_mask_hw == 0])
    assert not torch.equal(edit.image_hwc, frames[2]) and "1 frame, 1 window" in edit.report
    keys = Keyframes([Keyframe(2, edit.image_hwc)])
    done = propagate(engine, request(frames, mask, keys), EditOptions(crop="off", feather=6))
    assert torch.equal(done.frames_fhwc[2], edit.image_hwc)


@pytest.mark.parametrize(
    ("key", "sentence"),
    (
        (lambda frames, mask: Keyframe(1, frames[1]), "looks like its frame"),
        (lambda frames, mask: Keyframe(1, 1 - frames[1]), "lies outside the mask"),
        (lambda frames, mask: painted(frames, mask.roll(1, 0), 4, 0.9), "mask is empty on that frame"),
        (lambda frames, mask: replace(painted(frames, mask, 1, 0.95), strength=0.5), "strength of 0.5"),
        (lambda frames, mask: painted(frames, mask, 1, 0.95), None),
    ),
)
def test_a_keyframe_that_cannot_do_what_it_seems_to_is_said(key: Callable[..., Keyframe], sentence: str | None) -> None:
    frames, mask = clip(5), box(5)
    mask[4] = 0
    notes: list[str] = []
    propagate(
        oracle_engine(),
        request(frames, mask, Keyframes([key(frames, mask)])),
        EditOptions(crop="off", feather=0),
        notes=notes,
    )
    assert [sentence in note for note in notes] == ([] if sentence is None else [True])


def test_a_window_that_breaks_the_rule_is_fitted_and_said() -> None:
    frames, mask, notes = clip(12), box(12), []
    engine = oracle_engine()
    edit_video(engine, request(frames, mask), EditOptions(window=7, crop="off"), notes=notes)
    assert [len(shown) for shown, _ in shown_to(engine)] == [5, 5, 5]
    assert any("7 frames were asked for" in note and "5 frames" in note for note in notes)


def wrong(**changes: Any) -> EditRequest:
    return request(clip(5), changes.pop("mask", box(5)), **changes)


@pytest.mark.skipif(not WEIGHTS.exists(), reason=f"{WEIGHTS.name} is not trained yet: make train-embedded")
def test_the_trained_model_carries_a_keyframe_to_both_ends_of_a_clip() -> None:
    engine, chosen = embedded_engine(), trial("modify", "seen", 3, 17)
    truth, source = chosen.truth(), chosen.source_fhwc()
    texts = (engine.encoded(text, Runtime()) for text in (chosen.caption, ""))
    keys = Keyframes([Keyframe(8, truth.oracle_fhwc[8])])
    done = propagate(
        engine, EditRequest(source, truth.edit_mask_fhw, *texts, keys, steps=8), EditOptions(crop="off", feather=0)
    )
    assert torch.equal(done.frames_fhwc[8], truth.oracle_fhwc[8])
    assert score(done.frames_fhwc, truth).colour > 0.6


@pytest.mark.parametrize(
    ("run", "sentence"),
    (
        (lambda: propagate(oracle_engine(), wrong()), "no keyframe"),
        (lambda: edit_video(oracle_engine(), wrong(keys=keys_of(clip(5), box(5), at0=0.5))), "got keyframes"),
        (lambda: edit_video(oracle_engine(), wrong(mask=torch.zeros(5, 48, 48))), "mask is empty on all 5"),
        (lambda: edit_video(oracle_engine(), wrong(), EditOptions(crop="some")), "Crop: got the mode 'some'"),
        (lambda: edit_video(oracle_engine(), wrong(), EditOptions(window=0)), "length of 0 frames"),
        (lambda: edit_video(oracle_engine(), wrong(), EditOptions(overlap=9)), "overlap of 9"),
        (lambda: edit_video(oracle_engine(), wrong(), EditOptions(cuts=(7,))), "shot cut is set on frame 7"),
        (lambda: edit_video(oracle_engine(), wrong(), EditOptions(feather=-1)), "radius of -1"),
        (lambda: edit_video(oracle_engine(), wrong(), EditOptions(blend_mask_fhw=box(4))), "4 masks for 5 frames"),
        (lambda: edit_keyframe(oracle_engine(), request(clip(2), box(2))), "2 frames"),
    ),
)
def test_what_cannot_be_run_is_said_in_a_sentence(run: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        run()
    assert str(caught.value).endswith(".")
