"""Stitch Back: exact outside, exact keys, the same whether the clip was cropped or not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.video.colour import fit_colour
from vivid_core.video.composite import composite, composite_key, feather_outside
from vivid_core.video.crop import crop, plan_crop
from vivid_core.video.keyframes import Keyframe, Keyframes
from vivid_core.video.stitch import CHUNK, stitch_back

COUNT, HEIGHT, WIDTH = 2 * CHUNK + 3, 45, 61


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def scene(seed: int = 0, count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(original, edited everywhere, a mask that moves)."""
    original, edited = noise(seed, count, HEIGHT, WIDTH, 3), noise(seed + 1, count, HEIGHT, WIDTH, 3)
    mask = torch.zeros(count, HEIGHT, WIDTH)
    for index in range(count):
        left = 8 + index % 17
        mask[index, 12:27, left : left + 14] = 1
    return original, edited, mask


def test_without_a_crop_it_is_the_composite_of_the_whole_clip() -> None:
    original, edited, mask = scene()
    stitched, difference = stitch_back(original, edited, mask, feather=5)
    assert torch.equal(stitched, composite(original, edited, feather_outside(mask, 5)))
    assert difference == 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), feather=st.integers(0, 9), mode=st.sampled_from(["static", "follow"]))
def test_an_untouched_crop_comes_back_to_the_bit(seed: int, feather: int, mode: str) -> None:
    original, _, mask = scene(seed)
    plan = plan_crop(mask, mode=mode, multiple=8)
    stitched, difference = stitch_back(original, crop(original, plan), mask, stitch=plan, feather=feather)
    assert torch.equal(stitched, original) and difference == 0


@pytest.mark.parametrize("mode", ["static", "follow"])
def test_a_crop_of_the_edit_gives_the_same_as_the_whole_edit(mode: str) -> None:
    original, edited, mask = scene()
    plan = plan_crop(mask, mode=mode, padding=1.0, multiple=4)
    whole, _ = stitch_back(original, edited, mask, feather=3)
    cropped, _ = stitch_back(original, crop(edited, plan), mask, stitch=plan, feather=3)
    assert torch.equal(whole, cropped)
    of_crop, _ = stitch_back(original, crop(edited, plan), crop(mask, plan), stitch=plan, feather=3)
    assert torch.equal(whole, of_crop)


def test_outside_the_blend_mask_nothing_changes_even_if_the_crop_was_resized() -> None:
    original, edited, mask = scene()
    plan = plan_crop(mask, multiple=8, megapixels=0.004)
    assert plan.scaled
    stitched, difference = stitch_back(original, crop(edited, plan), mask, stitch=plan, feather=4, blend="laplacian")
    outside = feather_outside(mask, 4) == 0
    assert torch.equal(stitched[outside], original[outside]) and difference == 0
    assert not torch.equal(stitched[mask == 1], original[mask == 1])


@pytest.mark.parametrize("index", [0, CHUNK - 1, CHUNK, COUNT - 1])
@pytest.mark.parametrize("colour_match", ["none", "mean_std", "lab"])
def test_a_keyframe_comes_back_as_its_own_composite_whatever_else_is_done(index: int, colour_match: str) -> None:
    original, edited, mask = scene()
    key = Keyframe(index, noise(7, HEIGHT, WIDTH, 3))
    stitched, _ = stitch_back(
        original, edited, mask, keyframes=Keyframes([key]), feather=4, colour_match=colour_match, blend="laplacian"
    )
    blend = feather_outside(mask, 4)
    assert torch.equal(stitched[index], composite_key(original[index], key, blend[index]))


def test_a_keyframe_of_the_crop_lands_in_its_box() -> None:
    original, edited, mask = scene()
    plan = plan_crop(mask, padding=0.5, multiple=4)
    cropped = crop(edited, plan)
    key_image = noise(9, *cropped.shape[1:])
    stitched, _ = stitch_back(
        original, cropped, mask, stitch=plan, keyframes=Keyframes([Keyframe(9, key_image)]), feather=0
    )
    assert torch.equal(stitched[9][mask[9] == 1], key_image[crop(mask, plan)[9] == 1])


def test_the_colours_are_fitted_over_the_whole_clip_and_not_over_a_chunk() -> None:
    original, edited, mask = scene()
    edited = edited * 0.5 + torch.linspace(0, 0.3, COUNT)[:, None, None, None]
    transform = fit_colour(edited, original, mask, "mean_std")
    stitched, _ = stitch_back(original, edited, mask, feather=3, colour_match="mean_std")
    expected = composite(original, edited, feather_outside(mask, 3), transform=transform)
    assert torch.equal(stitched, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edited": lambda clip: clip[:-1]}, f"{COUNT}"),
        ({"edited": lambda clip: clip[:, :-4]}, "61x41"),
        ({"mask": torch.zeros_like}, "empty"),
        ({"mask": lambda mask: mask[:, :-4]}, "61x41"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(change: dict, words: str) -> None:
    original, edited, mask = scene()
    edited = change.get("edited", lambda clip: clip)(edited)
    mask = change.get("mask", lambda clip: clip)(mask)
    with pytest.raises(ValueError, match=words):
        stitch_back(original, edited, mask)
