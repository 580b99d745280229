"""Where the model looks: as much as the subject needs, at a size the model knows, and never blown up beyond sense."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kive_models import oracle_engine
from torch import Tensor

from vivid_core.editors.contract import Traits
from vivid_core.editors.local_crop import CROPS, LocalCrop, plan_local_crop


def traits(**changes: Any) -> Traits:
    return oracle_engine(**{"pixels": 480 * 720, "multiple": 16, **changes}).adapter.traits


def moving(height: int, width: int, box: tuple[int, int], frames: int = 6) -> Tensor:
    """A box that moves to the right, by two pixels a frame."""
    mask = torch.zeros(frames, height, width)
    top, left = (height - box[0]) // 2, max((width - box[1]) // 2 - frames, 0)
    for index in range(frames):
        mask[index, top : top + box[0], left + 2 * index : left + 2 * index + box[1]] = 1
    return mask


def pixels(local: LocalCrop) -> int:
    return math.prod(local.size)


@given(
    st.sampled_from(("off", "fast", "fine")),
    st.integers(30, 400),
    st.integers(30, 400),
    st.floats(0.02, 0.9),
    st.floats(0.02, 0.9),
)
@example("fast", 37, 141, 0.125, 0.5)
@settings(max_examples=120, deadline=None)
def test_every_crop_holds_the_subject_in_a_size_the_model_takes(
    mode: str, height: int, width: int, tall: float, wide: float
) -> None:
    family = traits(pixels=128 * 192)
    mask = moving(height, width, (max(1, int(tall * height)), max(1, int(wide * width))))
    local = plan_local_crop(mask, family, mode)
    assert not any(side % 16 for side in local.size)
    assert pixels(local) <= family.pixels * 1.35  # sides are rounded to whole multiples
    stitch = local.stitch
    assert all(box <= side for box, side in zip(stitch.box_size, stitch.source_size))
    for mask_hw, (left, top) in zip(mask, stitch.corners):
        inside = mask_hw[max(top, 0) : top + stitch.box_size[0], max(left, 0) : left + stitch.box_size[1]]
        assert inside.sum() == mask_hw.sum()
    # The shorter side is rounded to a whole multiple, and the longer one grows with it, so that shapes are kept.
    most = 2 + 16 / min(stitch.box_size)
    assert all(shown <= most * side for side, shown in zip(stitch.box_size, stitch.out_size)), "more than twice"


def test_off_shows_the_whole_frame_in_the_size_of_the_model() -> None:
    local = plan_local_crop(moving(1080, 1920, (100, 100)), traits(), "off")
    assert local.stitch.box_size == (1080, 1920) and local.size == traits().size_for(1080, 1920)
    assert plan_local_crop(moving(480, 720, (50, 50)), traits(), "off").size == (480, 720)
    assert plan_local_crop(moving(120, 180, (50, 50)), traits(), "off").size == (240, 352)


def test_fine_gives_the_subject_all_of_the_models_pixels() -> None:
    mask = moving(1080, 1920, (300, 400))
    fine, whole = (plan_local_crop(mask, traits(), mode) for mode in ("fine", "off"))
    assert 0.9 < pixels(fine) / pixels(whole) < 1.1
    height, width = fine.stitch.box_size
    assert 300 * 1.5 <= height <= 300 * 1.8 and 400 * 1.5 <= width <= 400 * 1.8


def test_a_model_that_knows_small_subjects_only_sees_more_around_them() -> None:
    mask = moving(1080, 1920, (300, 400))
    shares = []
    for room in (0.25, 0.7):
        (height, width) = plan_local_crop(mask, traits(room=room), "fine").stitch.box_size
        shares.append(300 / height)
        assert width >= 400 * (1 + 2 * room)
    assert shares[0] > 0.55 and shares[1] < 0.42
    fast = [plan_local_crop(mask, traits(room=room), "fast").stitch for room in (0.25, 0.7)]
    assert fast[0] == fast[1]


def test_fast_keeps_the_density_of_the_whole_frame_so_its_size_follows_the_mask() -> None:
    for part in (2, 3):
        mask = moving(1440, 2160, (1440 // part, 2160 // part))
        fast, whole = (plan_local_crop(mask, traits(), mode) for mode in ("fast", "off"))
        density = math.prod(whole.size) / (1440 * 2160)
        assert pixels(fast) / math.prod(fast.stitch.box_size) == pytest.approx(density, rel=0.08)
        assert pixels(fast) / pixels(whole) == pytest.approx(2.25 / part**2, rel=0.2)


def test_a_tiny_subject_is_shown_with_more_around_it() -> None:
    mask = moving(1080, 1920, (20, 20))
    fine, fast = (plan_local_crop(mask, traits(), mode) for mode in ("fine", "fast"))
    assert math.prod(fine.stitch.box_size) >= traits().pixels / 4 * 0.9
    assert pixels(fast) >= traits().pixels / 4 * 0.85


def test_auto_crops_small_subjects_only() -> None:
    small, large = moving(480, 720, (200, 300)), moving(480, 720, (400, 600))
    assert plan_local_crop(small, traits()).mode == "fine"
    assert plan_local_crop(large, traits()).mode == "off"
    assert "Crop (fine)" in plan_local_crop(small, traits()).described()
    assert "Crop: none" in plan_local_crop(large, traits()).described()


def test_the_crop_goes_with_the_subject() -> None:
    mask = moving(480, 720, (80, 80), frames=40)
    lefts = [left for left, _ in plan_local_crop(mask, traits(), "fine").stitch.corners]
    steps = [after - before for before, after in zip(lefts, lefts[1:])]
    assert all(abs(step - 2) <= 1 for step in steps[5:-5])


@pytest.mark.parametrize("mode", CROPS)
def test_every_touched_pixel_is_in_the_hole(mode: str) -> None:
    mask = torch.zeros(3, 200, 300)
    mask[0, 101, 151], mask[2, 90:110, 140:160] = 1, 1
    local = plan_local_crop(mask, traits(pixels=96 * 144), mode)
    hole = local.hole(mask)
    assert hole.shape == (3, *local.size) and set(hole.unique().tolist()) <= {0.0, 1.0}
    assert hole[0].sum() >= 1 and not hole[1].any()
    stitch = local.stitch
    for (row, column), (left, top) in (((101, 151), stitch.corners[0]), ((90, 140), stitch.corners[2])):
        at = (
            int((row - top) * hole.shape[1] / stitch.box_size[0]),
            int((column - left) * hole.shape[2] / stitch.box_size[1]),
        )
        assert hole[0 if row == 101 else 2][at] == 1


def test_a_crop_of_the_models_size_comes_back_to_the_bit() -> None:
    frames = torch.rand(4, 48, 48, 3)
    local = plan_local_crop(torch.ones(4, 48, 48), traits(pixels=48 * 48), "off")
    assert local.shown(frames) is frames
    assert torch.equal(local.placed(frames[2], 2, torch.zeros(48, 48, 3)), frames[2])


def test_what_cannot_be_cropped_is_said() -> None:
    with pytest.raises(ValueError, match="Crop: got the mode 'both'"):
        plan_local_crop(torch.ones(1, 48, 48), traits(), "both")
    with pytest.raises(ValueError, match="empty on all 2 frames"):
        plan_local_crop(torch.zeros(2, 48, 48), traits(), "fine")
