"""Checks, optional packages and the plain runtime: one sentence for every wrong input."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from vivid_core import optional
from vivid_core.checks import (
    check_not_empty,
    check_same_clip,
    checked_frames,
    checked_mask,
    checked_mask_for,
)
from vivid_core.optional import PIP_NAMES, install_command, opencv, require
from vivid_core.runtime import Runtime

FRAMES = torch.rand(3, 4, 5, 3, generator=torch.Generator().manual_seed(0))
MASKS = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))


def spoiled(values: torch.Tensor, value: float) -> torch.Tensor:
    values = values.clone()
    values[1, 2, 3] = value
    return values


def test_good_frames_and_masks_are_not_copied():
    assert checked_frames(FRAMES, "Clip").data_ptr() == FRAMES.data_ptr()
    assert checked_mask(MASKS, "Mask").data_ptr() == MASKS.data_ptr()
    assert checked_mask_for(MASKS, FRAMES, "Mask").data_ptr() == MASKS.data_ptr()


def test_an_alpha_channel_is_dropped_and_said():
    notes: list[str] = []
    frames = torch.rand(2, 4, 5, 4)
    assert torch.equal(checked_frames(frames, "Clip", notes), frames[..., :3])
    assert len(notes) == 1 and notes[0].startswith("Clip: the alpha channel was dropped")


@pytest.mark.parametrize("value", [-0.0005, 1.0005])
def test_what_resizing_overshoots_is_accepted(value):
    checked_frames(spoiled(FRAMES, value), "Clip")


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (FRAMES[0], r"shape \(4, 5, 3\), but images are"),
        (FRAMES[:0], "no frames at all"),
        (FRAMES[:, :0], "frames of 5x0"),
        (FRAMES[..., :2], "2 channels"),
        (FRAMES[..., :1], "1 channels"),
        (spoiled(FRAMES, math.nan), "frame 1 holds NaN"),
        (spoiled(FRAMES, math.inf), "values from .* to inf"),
        (spoiled(FRAMES, 1.5), "frame 1 holds values from .* to 1.5"),
        (spoiled(FRAMES, -0.5), "frame 1 holds values from -0.5"),
        (FRAMES * 255, "clamp or rescale"),
    ],
)
def test_frames_that_are_none_get_a_sentence(frames, says):
    with pytest.raises(ValueError, match=says) as caught:
        checked_frames(frames, "Clip")
    assert str(caught.value).startswith("Clip: ") and str(caught.value).endswith(".")


def test_masks_come_in_several_shapes():
    assert checked_mask(MASKS[0], "Mask").shape == (1, 4, 5)
    assert checked_mask(MASKS[:, None], "Mask").shape == (3, 4, 5)
    assert not checked_mask(torch.zeros(2, 4, 5), "Mask").any(), "an empty mask is legal here"


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.zeros(5), "masks are"),
        (torch.zeros(3, 4, 5, 3), "masks are"),
        (torch.zeros(0, 4, 5), "empty tensor"),
        (spoiled(MASKS, math.nan), "frame 1 holds NaN"),
        (spoiled(MASKS, 255), "values from .* to 255"),
    ],
)
def test_masks_that_are_none_get_a_sentence(mask, says):
    with pytest.raises(ValueError, match=says):
        checked_mask(mask, "Mask")


def test_one_mask_serves_every_frame_and_is_said():
    notes: list[str] = []
    mask = checked_mask_for(MASKS[:1], FRAMES, "Mask", notes)
    assert mask.shape == (3, 4, 5) and mask.stride(0) == 0 and torch.equal(mask[2], MASKS[0])
    assert notes == ["Mask: one mask was given for 3 frames and is used for all of them."]


def test_a_mask_of_another_length_or_size_gets_a_sentence():
    with pytest.raises(ValueError, match="got 2 masks for 3 frames"):
        checked_mask_for(MASKS[:2], FRAMES, "Mask")
    with pytest.raises(ValueError, match="got masks of 5x3 for frames of 5x4"):
        checked_mask_for(MASKS[:, :3], FRAMES, "Mask")


def test_an_empty_mask_is_refused_where_one_is_needed():
    check_not_empty(torch.tensor([[[0.0, 0.0]], [[0.0, 0.6]]]), "Mask")
    with pytest.raises(ValueError, match="empty on all 3 frames"):
        check_not_empty(torch.full((3, 4, 5), 0.5), "Mask")


def test_two_clips_must_have_one_length_and_size():
    check_same_clip(FRAMES, FRAMES, "Original", "Edited")
    with pytest.raises(ValueError, match="Edited has 2 frames and Original has 3"):
        check_same_clip(FRAMES, FRAMES[:2], "Original", "Edited")
    with pytest.raises(ValueError, match="Edited is 4x4 and Original is 5x4"):
        check_same_clip(FRAMES, FRAMES[:, :, :4], "Original", "Edited")


def test_a_missing_package_is_named_with_its_install_command():
    with pytest.raises(ModuleNotFoundError) as caught:
        require("package_that_nobody_has", "Track Mask")
    assert f'"{sys.executable}" -m pip install numpy transformers package_that_nobody_has and' in str(caught.value)
    assert str(caught.value).startswith("Track Mask needs the package")
    assert caught.value.name == "package_that_nobody_has"


def test_a_fault_inside_a_package_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "package_with_a_fault.py").write_text("import module_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        require("package_with_a_fault", "Track Mask")
    assert caught.value.name == "module_that_nobody_has" and "pip install" not in str(caught.value)


def test_the_install_command_names_first_what_must_stay_and_all_that_is_missing(monkeypatch):
    there = {"numpy", "transformers"}
    monkeypatch.setattr(optional, "find_spec", lambda name: name if name in there else None)
    whole = f'"{sys.executable}" -m pip install numpy transformers "diffusers>=0.35" peft opencv-python-headless'
    assert install_command("diffusers.models") == whole
    there |= {"diffusers", "cv2"}
    assert install_command("peft") == f'"{sys.executable}" -m pip install numpy transformers peft'


def test_opencv_is_the_module_and_its_package_has_another_name():
    assert hasattr(opencv("Track Mask"), "distanceTransform")
    assert PIP_NAMES["cv2"] == "opencv-python-headless"


def test_the_plain_runtime_counts_and_never_goes_beyond_its_total():
    runtime = Runtime()
    runtime.begin(3)
    runtime.advance()
    assert (runtime.done, runtime.total) == (1, 3)
    runtime.advance(5)
    assert runtime.done == 3
    runtime.begin(2)
    assert (runtime.done, runtime.total) == (0, 2)


def test_a_preview_is_not_made_when_nobody_looks():
    made = []
    Runtime().advance(preview=lambda: made.append(1) or torch.zeros(1, 1, 3))
    assert made == []
