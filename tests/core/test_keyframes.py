"""Keyframes: in order, one for each frame, and fitted to their clip."""

from __future__ import annotations

import math

import pytest
import torch

from vivid_core.video.keyframes import Keyframe, Keyframes


def image(height: int = 20, width: int = 30, seed: int = 0) -> torch.Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def clip(count: int = 5, height: int = 20, width: int = 30) -> torch.Tensor:
    return torch.zeros(count, height, width, 3)


def only(keys: Keyframes) -> Keyframe:
    (key,) = keys
    return key


def test_keys_are_kept_in_the_order_of_their_frames():
    keys = Keyframes([Keyframe(7, image()), Keyframe(0, image()), Keyframe(3, image())])
    assert keys.indices == (0, 3, 7)
    assert [key.index for key in keys] == [0, 3, 7] and len(keys) == 3


def test_there_may_be_no_keys():
    assert len(Keyframes([])) == 0 and Keyframes([]).indices == ()


def test_two_keys_on_one_frame_are_refused():
    with pytest.raises(ValueError, match="two keyframes are set on frame 3"):
        Keyframes([Keyframe(3, image()), Keyframe(3, image(seed=1))])


def test_two_keys_that_meet_when_counted_from_the_end_are_refused():
    keys = Keyframes([Keyframe(4, image()), Keyframe(-1, image(seed=1))])
    with pytest.raises(ValueError, match="two keyframes are set on frame 4"):
        keys.fitted(clip())


def test_merging_keeps_both_and_refuses_one_frame_twice():
    first, second = Keyframes([Keyframe(4, image())]), Keyframes([Keyframe(1, image())])
    assert first.merged(second).indices == (1, 4)
    assert first.indices == (4,)
    with pytest.raises(ValueError, match="two keyframes"):
        first.merged([Keyframe(4, image())])


def test_a_key_of_the_clips_size_is_not_touched():
    picture, mask = image(), torch.ones(20, 30)
    notes: list[str] = []
    key = only(Keyframes([Keyframe(2, picture, mask, 0.5)]).fitted(clip(), notes))
    assert key.image_hwc.data_ptr() == picture.data_ptr() and key.mask_hw is not None
    assert torch.equal(key.mask_hw, mask) and key.strength == 0.5 and notes == []


@pytest.mark.parametrize(("index", "expected"), [(0, 0), (4, 4), (-1, 4), (-5, 0)])
def test_indices_may_be_counted_from_the_end(index, expected):
    assert Keyframes([Keyframe(index, image())]).fitted(clip()).indices == (expected,)


@pytest.mark.parametrize("index", [5, -6, 100])
def test_an_index_outside_the_clip_is_refused(index):
    with pytest.raises(ValueError, match=rf"Keyframe {index}: the clip has 5 frames, .* 0..4"):
        Keyframes([Keyframe(index, image())]).fitted(clip())


@pytest.mark.parametrize("scale", [2, 3])
def test_another_size_of_the_same_aspect_is_resized_and_said(scale):
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 20 * scale), torch.linspace(0, 1, 30 * scale), indexing="ij")
    ramp = torch.stack([rows, columns, rows * columns], -1)
    notes: list[str] = []
    key = only(Keyframes([Keyframe(1, ramp, rows)]).fitted(clip(), notes))
    expected = ramp.reshape(20, scale, 30, scale, 3).mean((1, 3))
    assert key.image_hwc.shape == (20, 30, 3) and key.mask_hw is not None
    assert (key.image_hwc - expected).abs().max() < 0.02
    assert (key.mask_hw - expected[..., 0]).abs().max() < 0.02
    assert key.image_hwc.amin() >= 0 and key.image_hwc.amax() <= 1
    assert notes == [f"Keyframe 1: resized from {30 * scale}x{20 * scale} to 30x20."]


def test_an_aspect_within_one_percent_is_accepted_and_beyond_it_refused():
    wide = clip(1, 72, 128)
    fitted = Keyframes([Keyframe(0, image(720, 1288))]).fitted(wide)  # an editor that rounds sides to eights
    assert only(fitted).image_hwc.shape == (72, 128, 3)
    with pytest.raises(ValueError, match="it is 1296x720, but the clip is 128x72; the aspect differs"):
        Keyframes([Keyframe(0, image(720, 1296))]).fitted(wide)


def test_an_alpha_channel_is_dropped():
    assert only(Keyframes([Keyframe(0, torch.rand(8, 8, 4))])).image_hwc.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (Keyframe(2, torch.full((8, 8, 3), math.nan)), "Keyframe 2: frame 0 holds NaN"),
        (Keyframe(2, torch.full((8, 8, 3), 2.0)), "must lie in 0..1"),
        (Keyframe(2, torch.zeros(8, 8, 2)), "2 channels"),
        (Keyframe(2, torch.zeros(8, 8)), "images are"),
        (Keyframe(2, torch.zeros(8, 8, 3), torch.zeros(8, 9)), "its mask is 9x8 and its image 8x8"),
        (Keyframe(2, torch.zeros(8, 8, 3), torch.full((8, 8), 2.0)), "Keyframe 2, mask"),
        (Keyframe(2, torch.zeros(8, 8, 3), strength=0.0), "strength is 0.0"),
        (Keyframe(2, torch.zeros(8, 8, 3), strength=1.5), "strength is 1.5"),
        (Keyframe(2, torch.zeros(8, 8, 3), strength=math.nan), "strength is nan"),
    ],
)
def test_a_key_that_is_no_picture_is_refused(key, says):
    with pytest.raises(ValueError, match=says):
        Keyframes([key])
