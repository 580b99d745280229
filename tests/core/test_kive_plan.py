"""The plan of windows: each frame made once, each window anchored, none touched by a keyframe that isn't its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kive_models import oracle_engine

from vivid_core.editors.contract import Traits
from vivid_core.editors.kive_plan import KiveWindow, describe, plan, shots_of, window_length


def traits(**changes: object) -> Traits:
    return oracle_engine(**changes).adapter.traits


@st.composite
def clips(draw: st.DrawFn) -> tuple[int, dict]:
    count = draw(st.integers(1, 80))
    frames = st.integers(0, count - 1)
    length = 4 * draw(st.integers(0, 4)) + 1
    return count, {
        "traits": traits(longest=length, ends_on_keys=draw(st.booleans())),
        "keys": draw(st.lists(frames, max_size=5)),
        "overlap": draw(st.integers(0, length - 1)),
        "cuts": draw(st.lists(frames, max_size=3)),
    }


@given(clips())
@settings(max_examples=300, deadline=None)
def test_every_frame_is_a_keyframe_or_made_by_one_window(clip: tuple[int, dict]) -> None:
    count, options = clip
    made = [frame for window in plan(count, **options) for frame in window.new]
    assert sorted([*made, *set(options["keys"])]) == list(range(count))


@given(clips())
@settings(max_examples=300, deadline=None)
def test_every_window_can_run_when_its_turn_comes(clip: tuple[int, dict]) -> None:
    count, options = clip
    windows = plan(count, **options)
    keys = set(options["keys"])
    before: KiveWindow | None = None
    for window in windows:
        frames = list(window.frames)
        assert window.length <= options["traits"].longest
        assert window.length == options["traits"].frames_for(len(frames))
        assert any(first <= min(frames) and max(frames) < end for first, end in shots_of(count, options["cuts"]))
        assert set(window.keys) == keys & set(frames), "a keyframe lies inside unseen"
        assert set(window.keys) <= {frames[0], frames[-1]}
        if window.shared:
            assert before is not None and before.backward == window.backward
            assert list(window.shared) == list(before.frames)[-options["overlap"] :] == frames[: options["overlap"]]
        before = window


@given(clips())
@settings(max_examples=200, deadline=None)
def test_a_window_is_anchored_on_its_keys_and_on_what_the_one_before_made(clip: tuple[int, dict]) -> None:
    count, options = clip
    for window in plan(count, **options):
        along = range(window.origin, -1, -1) if window.backward else range(window.origin, count)
        assert sorted(along[index] for index in window.window.anchors) == sorted({*window.keys, *window.shared})


@given(clips())
@settings(max_examples=200, deadline=None)
def test_without_known_last_frames_a_keyframe_changes_windows_up_to_the_next_one_only(clip: tuple[int, dict]) -> None:
    count, options = clip
    ends = options["traits"].ends_on_keys
    for shot, end in shots_of(count, options["cuts"]):
        keys = sorted({key for key in options["keys"] if shot <= key < end})
        for window in plan(count, **options):
            if not shot <= window.frames[0] < end or not keys:
                continue
            passed = [key for key in keys if min(window.frames) < key <= max(window.frames)]
            assert passed == [key for key in keys if key in (max(window.frames),) and (ends or window.backward)]


def hops(windows: list[KiveWindow]) -> list[tuple[int, int]]:
    return [(window.frames[0], window.frames[-1]) for window in windows]


def test_the_papers_windows_have_49_frames_and_share_one() -> None:
    assert hops(plan(145, traits(longest=49), [0])) == [(0, 48), (48, 96), (96, 144)]
    assert hops(plan(145, traits(longest=49), [144])) == [(144, 96), (96, 48), (48, 0)]


def test_windows_run_back_from_the_first_keyframe_and_forward_from_each() -> None:
    windows = plan(30, traits(), [10, 20])
    assert hops(windows) == [(10, 2), (2, 0), (10, 18), (18, 19), (20, 28), (28, 29)]
    assert [window.backward for window in windows] == [True, True, False, False, False, False]
    assert describe(windows[1:3]) == (
        "Window 1: frames 2 to 0, backward, chained by frame 2.\nWindow 2: frames 10 to 18, forward, from keyframe 10."
    )


def test_runs_onto_a_keyframe_are_cut_evenly() -> None:
    windows = plan(21, traits(ends_on_keys=True), [0, 10, 20])
    assert hops(windows) == [(0, 5), (5, 10), (10, 15), (15, 20)]
    assert windows[1].keys == (10,) and windows[1].shared == (5,)
    assert "from keyframe 0." in describe(windows) and "chained by frame 5, onto keyframe 10." in describe(windows)


@pytest.mark.parametrize(
    ("count", "keys", "wanted"),
    (
        (1, [], [(0, 0)]),
        (1, [0], []),
        (2, [0], [(0, 1)]),
        (2, [1], [(1, 0)]),
        (2, [0, 1], []),
        (9, [8], [(8, 0)]),
        (10, [4, 5], [(4, 0), (5, 9)]),
    ),
)
def test_short_clips_and_keyframes_at_the_ends(count: int, keys: list[int], wanted: list[tuple[int, int]]) -> None:
    assert hops(plan(count, traits(), keys)) == wanted
    assert hops(plan(count, traits(ends_on_keys=True), keys)) == wanted


def test_the_length_of_a_window_is_fitted_to_the_model() -> None:
    notes: list[str] = []
    assert window_length(traits(), None, notes) == 9 and window_length(traits(), 5, notes) == 5 and not notes
    assert window_length(traits(), 1, notes) == 1 and not notes
    assert window_length(traits(), 8, notes) == 5 and window_length(traits(), 100, notes) == 9
    assert len(notes) == 2 and "100 frames were asked for" in notes[1]
    with pytest.raises(ValueError, match="length of 0 frames"):
        window_length(traits(), 0)


@pytest.mark.parametrize(
    ("window", "overlap", "advice"),
    (
        (4, 1, "windows of at least 5 frames, or a smaller overlap"),
        (5, 6, "windows of at least 9 frames, or a smaller overlap"),
        (None, 9, "use a smaller overlap"),
    ),
)
def test_windows_too_short_for_their_overlap_are_told_how_long_they_must_be(
    window: int | None, overlap: int, advice: str
) -> None:
    with pytest.raises(ValueError, match=f"overlap of {overlap} frames .*{advice}"):
        plan(20, traits(), window=window, overlap=overlap)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    (({"keys": [9]}, "keyframe is set on frame 9"), ({"cuts": [12]}, "shot cut"), ({"overlap": -1}, "overlap of -1")),
)
def test_what_cannot_be_planned_is_said(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        plan(9, traits(), **wrong)
