"""Windows: every frame once, no window over a cut, cut and join is the identity."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.video.windows import Window, frame_rule, join, plan_windows, take


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, dict]:
    count = draw(st.integers(1, 90))
    step = draw(st.integers(1, 5))
    length = step * draw(st.integers(0, 6)) + 1
    frames = st.integers(0, count - 1)
    return count, {
        "length": length,
        "overlap": draw(st.integers(0, length - 1)),
        "keys": draw(st.lists(frames, max_size=4)),
        "cuts": draw(st.lists(frames, max_size=4)),
        "step": step,
    }


def test_the_frame_rule_gives_the_smallest_length_that_fits():
    for step in (1, 4, 8):
        for count in range(1, 60):
            brute = next(length for length in range(1, 200) if length >= count and (length - 1) % step == 0)
            assert frame_rule(count, step) == brute


@given(plans())
@settings(max_examples=200, deadline=None)
def test_cut_and_join_is_the_identity(plan):
    count, options = plan
    clip = torch.rand(count, 2, 3, generator=torch.Generator().manual_seed(count))
    windows = plan_windows(count, **options)
    assert torch.equal(join(windows, (take(clip, window) for window in windows), count), clip)


@given(plans())
@settings(max_examples=200, deadline=None)
def test_every_window_keeps_the_rules(plan):
    count, options = plan
    windows = plan_windows(count, **options)
    cuts, keys, overlap = set(options["cuts"]), set(options["keys"]), options["overlap"]
    covered: set[int] = set()
    for window in windows:
        frames = set(range(window.start, window.stop))
        assert frames - covered, "a window without a new frame"
        assert window.length <= options["length"]
        assert window.length == frame_rule(window.stop - window.start, options["step"])
        assert not cuts & set(range(window.start + 1, window.stop)), "a window over a shot cut"
        shared = frames & covered
        assert len(shared) in (0, overlap)
        assert window.anchors == tuple(sorted(shared | (keys & frames)))
        covered |= frames
    assert covered == set(range(count))


def test_windows_of_49_hop_by_48_as_in_the_papers_demos():
    for clips in (1, 3, 4, 5, 6, 8):
        windows = plan_windows(48 * clips + 1)
        assert [window.start for window in windows] == [48 * index for index in range(clips)]
        assert all(window.length == 49 and window.pad == 0 for window in windows)
        assert [window.anchors for window in windows] == [()] + [(48 * index,) for index in range(1, clips)]


def test_a_clip_of_one_frame_is_one_window_of_one_frame():
    assert plan_windows(1, keys=[0]) == [Window(0, 1, 0, (0,))]


def test_a_shot_of_one_frame_is_image_mode():
    assert [(w.start, w.stop, w.pad) for w in plan_windows(6, length=5, cuts=[3, 4])] == [
        (0, 3, 2),
        (3, 4, 0),
        (4, 6, 3),
    ]


def test_the_tail_repeats_the_last_frame():
    clip = torch.arange(7.0)[:, None, None].expand(7, 2, 2)
    assert take(clip, Window(3, 7, pad=1))[:, 0, 0].tolist() == [3, 4, 5, 6, 6]


def test_a_window_without_padding_is_a_view_of_the_clip():
    clip = torch.zeros(9, 2, 2, 3)
    assert take(clip, Window(2, 7)).data_ptr() == clip[2:].data_ptr()


def test_a_shared_frame_comes_from_the_earlier_window():
    windows = plan_windows(9, length=5)
    joined = join(windows, (torch.full((window.length, 1), float(n)) for n, window in enumerate(windows)), 9)
    assert joined[:, 0].tolist() == [0] * 5 + [1] * 4


def test_pieces_may_be_made_while_they_are_joined():
    windows = plan_windows(13, length=5)
    made = []

    def pieces():
        for window in windows:
            made.append(window.start)
            yield torch.zeros(window.length, 1)

    join(windows, pieces(), 13)
    assert made == [0, 4, 8]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0,), "at least one"),
        ((10, 48), "use 49 instead"),
        ((10, 0), "use 1 instead"),
        ((10, 5, 5), "leaves no new frame"),
        ((10, 5, -1), "leaves no new frame"),
        ((10, 5, 1, [10]), "keyframe is set on frame 10"),
        ((10, 5, 1, [-1]), "use 0 to 9"),
        ((10, 5, 1, [], [11]), "shot cut is set on frame 11"),
    ],
)
def test_an_impossible_plan_says_what_to_change(arguments, says):
    with pytest.raises(ValueError, match=says):
        plan_windows(*arguments)


def test_pieces_that_do_not_fit_are_refused():
    windows = plan_windows(9, length=5)
    good = [torch.zeros(5, 2), torch.zeros(5, 2)]
    for pieces, says in (
        (good[:1], "1 pieces cover 5 of 9"),
        ([*good, good[0]], "more than 2 pieces"),
        ([good[0], torch.zeros(4, 2)], "must have 5 frames"),
        ([good[0], torch.zeros(5, 3)], "one size"),
    ):
        with pytest.raises(ValueError, match=says):
            join(windows, pieces, 9)
    with pytest.raises(ValueError, match="don't continue"):
        join(windows[::-1], good, 9)
    with pytest.raises(ValueError, match="don't continue"):
        join(windows, good, 7)
    with pytest.raises(ValueError, match="don't continue"):
        join([windows[0], *windows], [good[0], *good], 9)
    with pytest.raises(ValueError, match="2 pieces cover 9 of 9 frames; give one piece for each of the 3 windows"):
        join([*windows, windows[1]], good, 9)
    with pytest.raises(ValueError, match="doesn't fit a clip of 8"):
        take(torch.zeros(8, 1), windows[1])
    with pytest.raises(ValueError, match="both must be at least 1"):
        frame_rule(0)
