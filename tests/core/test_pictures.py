"""Pictures of an edit: their sizes, what must be on them, and that every odd clip gets one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vivid_core.metrics import drawing
from vivid_core.metrics.charts import BETWEEN, PANEL
from vivid_core.metrics.pictures import LAYOUTS, contact_sheet, outline, series_strip, wipe_frames
from vivid_core.metrics.report import EditMeasures, measure_edit
from vivid_core.metrics.sheet import LABEL, _shortened, sample_indices
from vivid_core.runtime import Runtime

CLIPS = {
    "one pixel": (1, 1, 1),
    "tiny": (5, 16, 16),
    "odd": (3, 35, 61),
    "portrait": (4, 161, 90),
    "tall": (2, 200, 8),
    "wide": (2, 6, 400),
    "one frame": (1, 120, 160),
}


def scene(frames: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """A grey clip, a green edit of it, and its mask: the left half."""
    original, edited = torch.full((frames, height, width, 3), 0.5), torch.full((frames, height, width, 3), 0.2)
    edited[..., 1] = 0.8
    mask = torch.zeros(frames, height, width)
    mask[:, :, : max(1, width // 2)] = 1
    return original, torch.where(mask[..., None] > 0, edited, original), mask


def has_colour(picture: Tensor, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(((picture * 255 - torch.tensor(colour)).abs().amax(-1) <= tolerance).any())


def assert_good_picture(picture: Tensor) -> None:
    assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == torch.float32
    assert picture.shape[0] % 2 == 0 and picture.shape[1] % 2 == 0
    assert float(picture.min()) >= 0 and float(picture.max()) <= 1


def test_an_outline_runs_along_the_border_and_nowhere_else() -> None:
    image = torch.full((60, 80, 3), 0.5)
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    distance = ((columns - 40) ** 2 + (rows - 30) ** 2).sqrt()
    drawn = outline(image, (distance <= 20).float(), (255, 0, 0), width_px=2)
    changed = (drawn - image).abs().amax(-1) > 1 / 255
    assert bool(changed[(distance - 20.0).abs() < 0.5].all())
    assert not bool(changed[(distance - 20.0).abs() > 5].any())
    assert has_colour(drawn, (255, 0, 0), 30)


def test_an_outline_is_smooth() -> None:
    image = torch.zeros(60, 80, 3)
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(80), indexing="ij")
    mask = (columns > rows * 0.3 + 30).float()
    values = outline(image, mask, (255, 255, 255), width_px=2)[..., 0].unique()
    assert len(values) > 10


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_and_a_full_mask_have_no_outline(value: float) -> None:
    image = torch.linspace(0, 1, 256).view(16, 16, 1).expand(-1, -1, 3)
    assert torch.allclose(outline(image, torch.full((16, 16), value)), image, atol=0.51 / 255)


@pytest.mark.parametrize("name", list(CLIPS))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_clip_becomes_a_video_of_one_even_size(name: str, layout: str) -> None:
    original, edited, mask = scene(*CLIPS[name])
    frames = list(wipe_frames(original, edited, mask, (0,), layout))
    assert len(frames) == len(original) and len({frame.shape for frame in frames}) == 1
    for frame in frames:
        assert_good_picture(frame)
        assert has_colour(frame, drawing.KEY)


@pytest.mark.parametrize("name", list(CLIPS))
def test_every_clip_becomes_a_contact_sheet(name: str) -> None:
    original, edited, mask = scene(*CLIPS[name])
    sheet = contact_sheet(original, edited, mask, (0,))
    assert_good_picture(sheet)
    assert 400 <= sheet.shape[1] <= 1600
    assert has_colour(sheet, drawing.KEY) and has_colour(sheet, (51, 204, 51))


def test_the_divider_has_the_original_on_its_left_and_the_edit_on_its_right() -> None:
    original, edited = torch.full((24, 90, 400, 3), 0.25), torch.full((24, 90, 400, 3), 0.75)
    dividers = []
    for frame in wipe_frames(original, edited):
        row = frame[70, :, 0]
        before, after = (row - 0.25).abs() < 0.01, (row - 0.75).abs() < 0.01
        dividers.append(int(before.sum()))
        assert bool(before[: dividers[-1]].all()) and bool(after[dividers[-1] + 4 :].all())
    assert dividers[0] == pytest.approx(200, abs=2)
    assert min(dividers) < 120 and max(dividers) > 280


def test_side_by_side_shows_both_pictures_whole() -> None:
    original, edited, _ = scene(1, 90, 200)
    frame = next(wipe_frames(original, edited, layout="side by side"))
    assert torch.allclose(frame[40:90, :200], original[0, 40:], atol=1e-2)
    assert torch.allclose(frame[40:90, 204:404], edited[0, 40:], atol=1e-2)


def test_the_outline_is_on_the_side_before_only() -> None:
    original, edited, mask = scene(1, 90, 200)
    frame = next(wipe_frames(original, edited, mask, layout="side by side"))
    assert has_colour(frame[:90, :200], drawing.MASK, 60) and not has_colour(frame[:90, 204:], drawing.MASK, 60)


def test_the_position_on_the_time_line_moves_from_end_to_end() -> None:
    original = torch.full((10, 90, 400, 3), 0.25)
    bars = [frame[92:] for frame in wipe_frames(original, original)]
    places = [int((bar[:, :360].amax(-1) > 0.99).any(0).nonzero()[0]) for bar in bars]
    assert places == sorted(set(places))
    assert places[0] < 30 and places[-1] > 300


def test_large_frames_are_shrunk_to_the_width_that_was_asked_for() -> None:
    original, edited, mask = scene(1, 300, 1000)
    for layout in LAYOUTS:
        assert next(wipe_frames(original, edited, mask, layout=layout, max_width=640)).shape[1] <= 640
    assert contact_sheet(original, edited, mask, max_width=700).shape[1] <= 700


def test_frames_are_made_one_at_a_time_and_wrong_input_is_found_at_the_call() -> None:
    original, edited, mask = scene(4, 40, 60)
    runtime = Runtime()
    runtime.begin(4)
    frames = wipe_frames(original, edited, mask, runtime=runtime)
    assert runtime.done == 0
    next(frames), next(frames)
    assert runtime.done == 1
    with pytest.raises(ValueError, match="3 frames"):
        wipe_frames(original, edited[:3], mask)
    with pytest.raises(ValueError, match="layout"):
        wipe_frames(original, edited, mask, layout="upside down")
    with pytest.raises(ValueError, match="0..3"):
        wipe_frames(original, edited, mask, (4,))
    with pytest.raises(ValueError, match="0..3"):
        contact_sheet(original, edited, mask, (-5,))
    with pytest.raises(ValueError, match="columns"):
        contact_sheet(original, edited, mask, columns=4, max_width=500)
    with pytest.raises(ValueError, match="size"):
        outline(original[0], mask[0, :10])


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=12), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_samples_hold_every_key_and_cover_the_clip(count: int, marked: set[int], wanted: int) -> None:
    keys = sorted(index for index in marked if index < count)
    shown = sample_indices(count, keys, wanted)
    assert set(keys) <= set(shown) and list(shown) == sorted(set(shown))
    assert len(shown) == max(len(keys), min(wanted, count))
    assert all(0 <= index < count for index in shown)
    if not keys and wanted > 1:
        assert shown[0] == 0 and shown[-1] == count - 1


def test_negative_keys_count_from_the_end() -> None:
    assert drawing.checked_keys((-1, 0, 9), 10) == (0, 9)


def measures_of(frames: int) -> EditMeasures:
    original, edited, mask = scene(frames, 24, 32)
    return measure_edit(original, edited, mask)


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_the_chart_draws_any_length(frames: int) -> None:
    chart = series_strip(measures_of(frames))
    assert_good_picture(chart)
    assert chart.shape[1] == 1200


def test_the_chart_marks_keyframes_and_colours_the_verdict() -> None:
    measures = measures_of(12)
    good, poor = (98, 201, 130), (255, 106, 92)
    assert has_colour(series_strip(replace(measures, seam=(0.0,) * 12)), good)
    assert not has_colour(series_strip(replace(measures, seam=(0.0,) * 12)), poor)
    assert has_colour(series_strip(replace(measures, seam=(50.0,) * 12)), poor)
    assert has_colour(series_strip(replace(measures, key_indices=(3,))), drawing.KEY)


@pytest.mark.parametrize("value", [1e-9, 0.3, 7.0, 1e6, math.nan])
def test_the_chart_finds_a_scale_for_any_value(value: float) -> None:
    assert_good_picture(series_strip(replace(measures_of(3), drift=(0.0, value, math.nan))))


def test_a_chart_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="480"):
        series_strip(measures_of(2), width=200)


@given(st.integers(-30, 70), st.integers(-30, 70))
@settings(max_examples=50, deadline=None)
def test_a_stamp_that_sticks_out_is_cut_off(left: int, top: int) -> None:
    picture = np.zeros((40, 50, 3), np.uint8)
    drawing.stamp(picture, np.full((12, 20, 4), 255, np.uint8), left, top)
    expected = np.zeros((40, 50), bool)
    for y, x in np.ndindex(12, 20):
        if 0 <= top + y < 40 and 0 <= left + x < 50:
            expected[top + y, left + x] = True
    assert np.array_equal(picture.any(-1), expected)


def test_marked_frames_are_on_the_sheet_with_as_much_of_their_remark_as_fits() -> None:
    original, edited, mask = scene(30, 24, 32)
    plain = contact_sheet(original, edited, mask)
    marked = contact_sheet(original, edited, mask, marked={7: "worst seam, ring flicker, keyframe drift, and more yet"})
    assert_good_picture(marked)
    assert marked.shape == plain.shape and not torch.equal(marked, plain)
    with pytest.raises(ValueError, match="0..29"):
        contact_sheet(original, edited, mask, marked={30: "seam"})


def test_a_remark_loses_whole_parts_until_it_fits() -> None:
    remark = "worst seam, ring flicker, keyframe drift"
    room = drawing.text_width(remark, LABEL)
    assert _shortened(remark, room) == remark
    assert _shortened(remark, room - 1) == "worst seam, ring flicker, ..."
    assert _shortened(remark, drawing.text_width("worst seam, ...", LABEL)) == "worst seam, ..."
    assert _shortened(remark, 10) == _shortened("", 100) == ""


def test_the_chart_has_a_panel_for_each_measure_that_was_made() -> None:
    measures = measures_of(6)
    everything = replace(measures, made_from=frozenset({"motion", "pictures", "text"}))
    heights = [series_strip(one).shape[0] for one in (replace(measures, made_from=frozenset()), measures, everything)]
    assert heights[1] - heights[0] == 3 * (PANEL + BETWEEN) and heights[2] - heights[1] == 2 * (PANEL + BETWEEN)
    assert_good_picture(series_strip(replace(everything, temporal_consistency=(math.nan, 0.2, 0.99, 1.0, 1.0, -1.0))))
