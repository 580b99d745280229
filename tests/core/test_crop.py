"""Crop and return: steady boxes around the subject, and pixels that come back to the bit."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vivid_core.video.crop import CROP_MODES, Stitch, crop, plan_crop, uncrop


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def moving_box(count: int, height: int, width: int, centres: list[tuple[float, float]], side: int) -> torch.Tensor:
    mask = torch.zeros(count, height, width)
    for mask_hw, (x, y) in zip(mask, centres):
        mask_hw[round(y) - side // 2 : round(y) + side // 2, round(x) - side // 2 : round(x) + side // 2] = 1
    return mask


def boxes_in(stitch: Stitch) -> list[tuple[int, int, int, int]]:
    height, width = stitch.box_size
    return [(x, y, x + width, y + height) for x, y in stitch.corners]


@st.composite
def cropped_clips(draw: st.DrawFn) -> tuple[torch.Tensor, Stitch]:
    count, height, width = draw(st.integers(1, 5)), draw(st.integers(1, 45)), draw(st.integers(1, 45))
    mask = torch.zeros(count, height, width)
    for mask_hw in mask:
        if draw(st.booleans()):
            top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
            mask_hw[top : draw(st.integers(top + 1, height)), left : draw(st.integers(left + 1, width))] = 1
    assume(bool(mask.any()))
    stitch = plan_crop(
        mask,
        mode=draw(st.sampled_from(CROP_MODES)),
        padding=draw(st.sampled_from([0.0, 0.25, 2.0])),
        multiple=draw(st.sampled_from([1, 8, 16])),
    )
    return mask, stitch


@given(cropped_clips())
@settings(max_examples=150, deadline=None)
def test_crop_and_return_without_scaling_is_the_identity(clip):
    mask, stitch = clip
    frames = noise(*mask.shape, 3)
    for original in (frames, mask):
        cropped = crop(original, stitch)
        assert cropped.shape[1:3] == stitch.out_size
        assert torch.equal(uncrop(cropped, stitch, original), original)


@given(cropped_clips())
@settings(max_examples=150, deadline=None)
def test_an_edit_returns_inside_its_box_and_nothing_else_changes(clip):
    mask, stitch = clip
    frames, edited = noise(*mask.shape, 3), noise(stitch.frame_count, *stitch.out_size, 3, seed=1)
    result = uncrop(edited, stitch, frames)
    for index, (left, top, right, bottom) in enumerate(boxes_in(stitch)):
        inside = torch.zeros(mask.shape[1:], dtype=torch.bool)
        inside[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
        assert torch.equal(result[index][~inside], frames[index][~inside])
        rows, columns = torch.nonzero(inside).unbind(1)
        assert torch.equal(result[index][inside], edited[index][rows - top, columns - left])


@given(cropped_clips())
@settings(max_examples=150, deadline=None)
def test_the_subject_is_always_inside_the_box_and_the_box_inside_the_frame_if_it_fits(clip):
    mask, stitch = clip
    height, width = stitch.source_size
    for mask_hw, (left, top, right, bottom) in zip(mask, boxes_in(stitch)):
        rows, columns = torch.nonzero(mask_hw).unbind(1)
        if len(rows):
            assert left <= int(columns.min()) and int(columns.max()) < right
            assert top <= int(rows.min()) and int(rows.max()) < bottom
        if stitch.box_size[1] <= width:
            assert left >= 0 and right <= width
        if stitch.box_size[0] <= height:
            assert top >= 0 and bottom <= height


@given(cropped_clips())
@settings(max_examples=50, deadline=None)
def test_a_mask_returns_without_an_original_and_is_zero_elsewhere(clip):
    mask, stitch = clip
    cropped = crop(mask, stitch)
    returned = uncrop(cropped, stitch)
    assert torch.equal(returned, mask)


def test_static_takes_one_box_for_the_clip():
    mask = moving_box(5, 200, 300, [(60 + 20 * t, 90) for t in range(5)], 20)
    stitch = plan_crop(mask, padding=0.1, multiple=8)
    assert len(set(stitch.corners)) == 1
    assert stitch.box_size == (64, 120)  # 100x20, 10 % on each side, at most 2 : 1, in steps of 8
    assert stitch.out_size == stitch.box_size and not stitch.scaled


def test_follow_glides_without_shaking():
    count, generator = 60, torch.Generator().manual_seed(3)
    shake = torch.randint(-3, 4, (count, 2), generator=generator).tolist()
    centres = [(80 + 4 * t + dx, 120 + 20 * math.sin(t / 12) + dy) for t, (dx, dy) in enumerate(shake)]
    stitch = plan_crop(moving_box(count, 240, 420, centres, 40), mode="follow")
    corners = torch.tensor(stitch.corners, dtype=torch.float64)
    wanted = torch.tensor(centres, dtype=torch.float64)
    jerk = corners.diff(n=2, dim=0).abs().mean()
    assert jerk < 0.75  # what rounding to whole pixels costs
    assert jerk < wanted.diff(n=2, dim=0).abs().mean() / 5
    steps = corners[:, 0].diff()
    assert (steps >= 0).all(), "the box went back while the subject went on"
    inner = corners + torch.tensor(stitch.box_size[::-1]) / 2
    assert (inner - wanted).abs().max() < 10


def test_follow_stays_put_for_a_subject_that_only_trembles():
    shake = torch.randint(-1, 2, (40, 2), generator=torch.Generator().manual_seed(1)).tolist()
    mask = moving_box(40, 120, 160, [(80 + dx, 60 + dy) for dx, dy in shake], 30)
    corners = plan_crop(mask, mode="follow").corners
    assert sum(before != after for before, after in zip(corners, corners[1:])) <= 2


def test_follow_moves_steadily_to_both_ends_of_the_clip():
    mask = moving_box(30, 100, 400, [(60 + 8 * t, 50) for t in range(30)], 20)
    steps = torch.tensor(plan_crop(mask, mode="follow", padding=0.5).corners)[:, 0].diff()
    assert steps.min() >= 7 and steps.max() <= 9


def test_frames_without_a_mask_take_boxes_in_between():
    mask = moving_box(9, 100, 200, [(40 + 10 * t, 50) for t in range(9)], 20)
    gap = mask.clone()
    gap[3:6] = 0
    notes: list[str] = []
    full, holed = plan_crop(mask, mode="follow"), plan_crop(gap, mode="follow", notes=notes)
    assert holed.box_size == full.box_size
    assert max(abs(a[0] - b[0]) for a, b in zip(full.corners, holed.corners)) <= 1
    assert notes == ["Crop: the mask is empty on 3 of 9 frames; their boxes were interpolated."]


@pytest.mark.parametrize("mode", CROP_MODES)
def test_a_frame_smaller_than_the_multiple_is_continued_by_its_edge(mode):
    mask, frames = torch.ones(2, 10, 13), noise(2, 10, 13, 3)
    notes: list[str] = []
    stitch = plan_crop(mask, mode=mode, notes=notes)
    assert stitch.out_size == (16, 16)
    cropped = crop(frames, stitch)
    assert torch.equal(uncrop(cropped, stitch, frames), frames)
    assert torch.equal(cropped[:, 0, 1:14], frames[:, 0])  # rows and columns of the edge, repeated
    assert len(notes) == 1 and "its edge is repeated" in notes[0]


def test_a_box_snaps_into_the_frame_while_the_subject_fits():
    mask = torch.zeros(1, 1080, 1920)
    mask[:, 100:1000, 500:1500] = 1
    stitch = plan_crop(mask, multiple=16)
    assert stitch.box_size == (1072, 1504)  # not 1088 rows, which would reach over the edge
    assert stitch.corners[0][1] == 8 or stitch.corners[0][1] + 1072 <= 1080


@pytest.mark.parametrize("mode", CROP_MODES)
@pytest.mark.parametrize("megapixels", [0.02, 0.25, 1.0])
def test_a_size_in_megapixels_is_met_in_multiples(mode, megapixels):
    mask = moving_box(3, 300, 500, [(200 + 5 * t, 150) for t in range(3)], 90)
    stitch = plan_crop(mask, mode=mode, megapixels=megapixels, multiple=16)
    height, width = stitch.out_size
    assert height % 16 == width % 16 == 0
    assert height * width == pytest.approx(megapixels * 1e6, rel=0.2)
    box_height, box_width = stitch.box_size
    assert (width / height) / (box_width / box_height) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("megapixels", [0.01, 0.3])
def test_a_scaled_crop_returns_close_inside_and_exact_outside(megapixels):
    rows, columns = torch.meshgrid(torch.linspace(0, 3, 150), torch.linspace(0, 4, 200), indexing="ij")
    frames = torch.stack([rows.sin(), columns.cos(), (rows + columns).sin()], -1)[None] * 0.4 + 0.5
    mask = torch.zeros(1, 150, 200)
    mask[:, 40:90, 60:140] = 1
    stitch = plan_crop(mask, megapixels=megapixels)
    assert stitch.scaled
    result = uncrop(crop(frames, stitch), stitch, frames)
    left, top, right, bottom = boxes_in(stitch)[0]
    inside = torch.zeros(150, 200, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    assert torch.equal(result[0][~inside], frames[0][~inside])
    assert (result - frames).abs().max() < 0.01


def test_shrinking_does_not_alias():
    checkers = (torch.arange(128)[:, None] + torch.arange(128)) % 2
    frames = checkers.float()[None, :, :, None].expand(1, 128, 128, 3)
    stitch = Stitch(((0, 0),), (128, 128), (48, 48), (128, 128))
    assert (crop(frames, stitch)[:, 4:-4, 4:-4] - 0.5).abs().max() < 0.05


def test_an_edited_crop_of_another_size_and_the_same_aspect_is_resized_and_said():
    mask = moving_box(2, 100, 200, [(100, 50), (100, 50)], 40)
    stitch = plan_crop(mask)
    height, width = stitch.out_size
    notes: list[str] = []
    result = uncrop(torch.full((2, height * 2, width * 2, 3), 0.5), stitch, torch.zeros(2, 100, 200, 3), notes=notes)
    assert result.amax() == pytest.approx(0.5, abs=1e-5)
    assert notes == [f"Uncrop: the edited crop was resized from {width * 2}x{height * 2} to {width}x{height}."]


def test_a_plan_is_plain_data():
    stitch = plan_crop(moving_box(3, 60, 80, [(30, 30), (40, 30), (50, 30)], 10), mode="follow")
    assert pickle.loads(pickle.dumps(stitch)) == stitch  # noqa: S301
    assert all(type(value) is int for corner in stitch.corners for value in corner)
    assert all(type(value) is int for value in (*stitch.box_size, *stitch.out_size, *stitch.source_size))


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty on all 3 frames"):
        plan_crop(torch.zeros(3, 8, 8))


@pytest.mark.parametrize(
    "change", [{"mode": "zoom"}, {"padding": -0.1}, {"padding": math.nan}, {"multiple": 0}, {"megapixels": -1.0}]
)
def test_an_impossible_setting_is_refused(change):
    with pytest.raises(ValueError, match="Crop: got"):
        plan_crop(torch.ones(1, 8, 8), **change)


def test_clips_that_do_not_fit_the_plan_are_refused():
    stitch = plan_crop(torch.ones(3, 32, 48))
    frames = torch.zeros(3, 32, 48, 3)
    cropped = crop(frames, stitch)
    for call, says in (
        (lambda: crop(frames[:2], stitch), "planned for 3 frames"),
        (lambda: crop(frames[:, :30], stitch), "got 3 frames of 48x30"),
        (lambda: uncrop(cropped[:2], stitch, frames), "has 2 frames, but 3 were cropped"),
        (lambda: uncrop(cropped[:, :, :40], stitch, frames), "aspect differs"),
        (lambda: uncrop(cropped, stitch, frames[:, :30]), "use the same clip"),
        (lambda: uncrop(cropped, stitch, frames[..., 0]), "both must be frames"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_follow_goes_with_a_subject_that_jumps():
    centres = [(60, 50)] * 20 + [(240, 50)] * 20
    stitch = plan_crop(moving_box(40, 100, 300, centres, 30), mode="follow")
    middles = [x + stitch.box_size[1] / 2 for x, _ in stitch.corners]
    assert max(abs(middle - centre[0]) for middle, centre in zip(middles, centres)) <= (stitch.box_size[1] - 30) / 2
    assert abs(middles[0] - 60) < 10 and abs(middles[-1] - 240) < 10
