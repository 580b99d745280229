"""Mask repair: painted masks win exactly, in-betweens of discs are discs, the median is a median."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.masks.repair import overrides_at, repair_mask
from vivid_core.runtime import Runtime

HEIGHT, WIDTH = 80, 120


def disc(x: float, y: float, radius: float) -> torch.Tensor:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return torch.from_numpy((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).float()


def empty(frames: int) -> torch.Tensor:
    return torch.zeros(frames, HEIGHT, WIDTH)


def random_clip(seed: int, frames: int, height: int = 6, width: int = 7) -> torch.Tensor:
    return torch.rand((frames, height, width), generator=torch.Generator().manual_seed(seed))


def test_without_any_repair_the_mask_only_becomes_binary():
    mask = random_clip(0, 3)
    notes: list[str] = []
    assert torch.equal(repair_mask(mask, notes=notes), (mask > 0.5).float()) and notes == []


def test_a_pixel_of_just_a_half_is_no_object():
    half = torch.full((3, 6, 7), 0.5)
    for options in ({}, {"in_between": True}, {"median_frames": 3}, {"max_hole": 50.0}):
        assert not repair_mask(half, **options).any()


@pytest.mark.parametrize("in_between", [False, True])
def test_painted_masks_come_back_exactly_whatever_else_is_done(in_between):
    mask = random_clip(1, 9, 20, 30)
    painted = {2: random_clip(2, 1, 20, 30)[0], 6: random_clip(3, 1, 20, 30)[0]}
    repaired = repair_mask(mask, overrides=painted, in_between=in_between, median_frames=5, min_speck=1.0, max_hole=5.0)
    for index, mask_hw in painted.items():
        assert torch.equal(repaired[index], mask_hw)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([3, 5, 7]))
def test_the_median_is_the_majority_of_the_frames_around(seed, frames, size):
    mask = random_clip(seed, frames)
    repaired = repair_mask(mask, median_frames=size)
    bits = (mask > 0.5).numpy()
    for index in range(frames):
        reach = min(size // 2, index, frames - 1 - index)
        truth = np.median(bits[index - reach : index + reach + 1], axis=0) > 0.5
        assert np.array_equal(repaired[index].numpy() > 0.5, truth)


def test_the_note_of_the_median_counts_the_frames_that_it_changed():
    flickers = torch.stack([disc(40, 40, 9)] * 7)
    flickers[2] = 0
    flickers[5, 40, 40] = 0
    for mask, changed in ((flickers, 2), (torch.ones(5, 6, 7), 0)):
        notes: list[str] = []
        repair_mask(mask, median_frames=3, notes=notes)
        assert notes == ([f"The median over 3 frames changed {changed} frames."] if changed else [])


def test_in_betweens_of_two_discs_are_discs_in_between():
    first, last, steps = (30, 40, 10), (80, 30, 22), 8
    repaired = repair_mask(empty(steps + 1), overrides={0: disc(*first), steps: disc(*last)}, in_between=True)
    for index in range(steps + 1):
        x, y, radius = (a + (b - a) * index / steps for a, b in zip(first, last))
        rows, columns = np.nonzero(repaired[index].numpy())
        assert abs(columns.mean() - x) < 1 and abs(rows.mean() - y) < 1
        assert abs(np.sqrt(len(rows) / np.pi) - radius) < 1
        farthest = np.hypot(columns - x, rows - y).max()
        assert abs(farthest - radius) < 1.5


def test_in_betweens_of_a_square_that_grows_have_their_outline_on_a_straight_line():
    """On the axes, where the distance to the outline is that of one dimension."""

    def square(reach):
        mask = empty(1)[0]
        mask[40 - reach : 41 + reach, 60 - reach : 61 + reach] = 1
        return mask

    repaired = repair_mask(empty(11), overrides={0: square(4), 10: square(8)}, in_between=True)
    for index, mask in enumerate(repaired):
        within = [offset for offset in range(-20, 21) if abs(offset) < 4.5 + 0.4 * index]
        assert (np.flatnonzero(mask[40].numpy()) - 60).tolist() == within
        assert (np.flatnonzero(mask[:, 60].numpy()) - 40).tolist() == within


def test_in_betweens_replace_the_track_between_two_painted_masks_only():
    mask = torch.stack([disc(100, 60, 5)] * 7)
    repaired = repair_mask(mask, overrides={1: disc(30, 40, 10), 5: disc(34, 40, 10)}, in_between=True)
    assert torch.equal(repaired[0], mask[0]) and torch.equal(repaired[6], mask[6])
    assert all(repaired[index, 40, 32] == 1 and repaired[index, 60, 100] == 0 for index in (2, 3, 4))


def test_a_lost_span_is_filled_between_the_good_frames():
    mask = empty(8)
    mask[1], mask[5] = disc(30, 40, 10), disc(38, 40, 10)
    notes: list[str] = []
    repaired = repair_mask(mask, in_between=True, notes=notes)
    assert [bool(frame.any()) for frame in repaired] == [False, True, True, True, True, True, False, False]
    assert abs(np.nonzero(repaired[3].numpy())[1].mean() - 34) < 1
    assert notes == ["In-betweens were made for frames 2-4."]


def test_an_empty_painted_mask_says_that_the_object_is_not_there():
    mask = empty(7)
    mask[0], mask[6] = disc(30, 40, 10), disc(30, 40, 10)
    repaired = repair_mask(mask, overrides={3: empty(1)[0]}, in_between=True)
    assert not repaired[1:6].any()


def test_specks_go_and_parts_of_just_the_size_stay():
    mask = empty(1)
    mask[0, 5:15, 5:15] = 1  # 100 pixels
    mask[0, 40:44, 40:46] = 1  # 24 pixels
    mask[0, 60, 60] = mask[0, 61, 61] = 1  # 2 pixels, touching at a corner
    share = 100 / (HEIGHT * WIDTH)
    notes: list[str] = []
    assert repair_mask(mask, min_speck=24 * share, notes=notes).sum() == 124
    assert notes == ["1 specks were removed on 1 frames."]
    assert repair_mask(mask, min_speck=24.5 * share).sum() == 100
    assert repair_mask(mask, min_speck=2 * share).sum() == 126


def test_holes_are_filled_up_to_the_size_and_open_bays_are_no_holes():
    mask = empty(1)
    mask[0, 0:50, 0:50] = 1
    mask[0, 10:14, 10:16] = 0  # 24 pixels
    mask[0, 20:30, 20:30] = 0  # 100 pixels
    mask[0, 40:50, 5:7] = 0  # a bay, open below
    mask[0, 0:2, 30:32] = 0  # a bay, open to the border of the frame
    share = 100 / (HEIGHT * WIDTH)
    notes: list[str] = []
    before = mask.sum()
    assert repair_mask(mask, max_hole=24 * share, notes=notes).sum() == before + 24
    assert notes == ["1 holes were filled on 1 frames."]
    assert repair_mask(mask, max_hole=100 * share).sum() == before + 124


def test_a_mask_of_nothing_but_specks_is_reported():
    mask = torch.stack([disc(40, 40, 2), disc(40, 40, 20)])
    notes: list[str] = []
    repaired = repair_mask(mask, min_speck=1.0, notes=notes)
    assert not repaired[0].any() and "Nothing is left of the mask on frames 0" in notes[-1]


def test_the_bar_ends_full():
    for options in ({}, {"in_between": True}, {"median_frames": 3}, {"in_between": True, "median_frames": 5}):
        runtime = Runtime()
        repair_mask(torch.stack([disc(40, 40, 9), empty(1)[0], disc(44, 40, 9)]), runtime=runtime, **options)
        assert runtime.done == runtime.total > 0


def test_everything_may_be_a_speck_or_a_hole():
    mask = torch.ones(1, 6, 7)
    mask[0, 2:4, 2:4] = 0
    assert repair_mask(mask, min_speck=100.0).sum() == 0
    assert repair_mask(mask, max_hole=100.0).sum() == 42
    assert torch.equal(repair_mask(torch.ones(1, 6, 7), min_speck=100.0, max_hole=100.0), torch.ones(1, 6, 7))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"median_frames": 4}, "odd number"),
        ({"median_frames": -1}, "odd number"),
        ({"min_speck": -1.0}, "min_speck is -1"),
        ({"min_speck": 100.5}, "min_speck is 100.5"),
        ({"max_hole": 100.5}, "max_hole is 100.5"),
        ({"max_hole": float("nan")}, "max_hole is nan"),
        ({"overrides": {3: torch.zeros(6, 7)}}, "got frame 3, but the clip has 3 frames"),
        ({"overrides": {1: torch.zeros(6, 8)}}, "8x6 for a clip of 7x6"),
        ({"overrides": {1: torch.full((6, 7), 2.0)}}, "0..1"),
    ],
)
def test_wrong_input_gets_one_sentence(options, says):
    with pytest.raises(ValueError, match=says):
        repair_mask(random_clip(0, 3), **options)


def test_overrides_are_put_on_their_frames():
    masks = random_clip(0, 2)
    assert list(overrides_at(masks, (4, 0))) == [4, 0] and torch.equal(overrides_at(masks, (4, 0))[0], masks[1])
    with pytest.raises(ValueError, match="2 masks and 1 frame numbers"):
        overrides_at(masks, (4,))
    with pytest.raises(ValueError, match="frame 4 is named twice"):
        overrides_at(masks, (4, 4))
