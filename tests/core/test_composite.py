"""Composite: exact outside, exact inside, soft only in the rim, and keyframes kept."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.runtime import Runtime
from vivid_core.video.colour import ColourTransform
from vivid_core.video.composite import BLENDS, composite, composite_key, feather_outside, outside_difference
from vivid_core.video.keyframes import Keyframe, Keyframes


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def disc(count: int, height: int, width: int, radius: float = 6.0) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 <= radius**2
    return inside.float().expand(count, -1, -1)


def brute_distance(inside_hw: torch.Tensor) -> torch.Tensor:
    places = torch.nonzero(torch.ones_like(inside_hw)).double()
    marked = torch.nonzero(inside_hw).double()
    return torch.cdist(places, marked).amin(1).reshape(inside_hw.shape)


@given(st.integers(1, 17), st.integers(1, 19), st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 2.5, 4.0, 30.0]))
@settings(max_examples=100, deadline=None)
def test_the_feather_is_a_smoothstep_of_the_distance_to_the_edit_mask(height, width, seed, radius):
    mask = (noise(1, height, width, seed=seed) > 0.9).float() * 0.8
    blend = feather_outside(mask, radius)[0]
    inside = mask[0] > 0.5
    if not inside.any():
        assert not blend.any()
        return
    distance = brute_distance(inside)
    assert (blend[inside] == 1).all()
    assert (blend[distance >= max(radius, 1)] == 0).all()
    nearness = (1 - distance / max(radius, 1)).clamp(0, 1)
    assert torch.allclose(blend.double(), nearness**2 * (3 - 2 * nearness), atol=1e-5)


def test_the_feather_lies_outside_the_edit_mask():
    mask = disc(2, 31, 33)
    blend = feather_outside(mask, 5)
    assert (blend[mask > 0.5] == 1).all()
    assert ((blend > 0) & (mask == 0)).any()
    assert blend.dtype == torch.float32


@pytest.mark.parametrize("radius", [-1, math.nan, math.inf])
def test_an_impossible_radius_is_refused(radius):
    with pytest.raises(ValueError, match="must be a number from 0 up"):
        feather_outside(disc(1, 9, 9, 2), radius)


@pytest.mark.parametrize("mode", BLENDS)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_pixels_outside_the_blend_mask_are_bit_exact(mode, height, width, seed):
    original, edited = noise(2, height, width, 3, seed=seed), noise(2, height, width, 3, seed=seed + 1)
    blend = feather_outside((noise(2, height, width, seed=seed + 2) > 0.98).float(), 3)
    result = composite(original, edited, blend, mode=mode)
    assert torch.equal(result[blend == 0], original[blend == 0])
    assert torch.equal(result[blend == 1], edited[blend == 1])
    assert outside_difference(original, result, blend) == 0
    assert result.amin() >= 0 and result.amax() <= 1


def test_the_rim_is_a_mix_in_proportion_to_the_mask():
    original, edited, blend = noise(1, 9, 9, 3), noise(1, 9, 9, 3, seed=1), noise(1, 9, 9, seed=2)
    weight = blend[..., None].double()
    expected = original.double() * (1 - weight) + edited.double() * weight
    assert torch.allclose(composite(original, edited, blend).double(), expected, atol=1e-6)


@pytest.mark.parametrize("mode", BLENDS)
def test_what_the_edit_shows_outside_the_blend_mask_has_no_influence(mode):
    original, edited = noise(1, 40, 50, 3), noise(1, 40, 50, 3, seed=1)
    blend = feather_outside(disc(1, 40, 50), 8)
    other = edited.clone()
    other[blend == 0] = 1 - other[blend == 0].round()
    assert torch.equal(composite(original, edited, blend, mode=mode), composite(original, other, blend, mode=mode))


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (33, 2), (47, 61)])
def test_bands_of_flat_pictures_blend_like_a_feather(size):
    original, edited = torch.full((1, *size, 3), 0.25), torch.full((1, *size, 3), 0.75)
    everywhere = noise(1, *size)  # touches every edge of the frame: nothing may come in from beyond it
    in_places = everywhere * (noise(1, *size, seed=1) > 0.7)
    in_places[0, 0, 0] = 0.5
    corners = torch.zeros(1, *size)  # so far apart that hardly anything around them counts
    corners[0, 0, 0], corners[0, -1, -1] = 0.5, 0.25
    for blend in (everywhere, in_places, corners, feather_outside(disc(1, *size, 3), 6)):
        expected = composite(original, edited, blend)
        assert torch.allclose(composite(original, edited, blend, mode="laplacian"), expected, atol=1e-5)


def test_bands_keep_the_contrast_of_details_in_the_rim():
    original, edited = noise(1, 96, 96, 3), noise(1, 96, 96, 3, seed=1)
    blend = feather_outside(disc(1, 96, 96, 15), 24)
    rim = (blend > 0.1) & (blend < 0.9)
    contrast = {mode: composite(original, edited, blend, mode=mode)[rim].std() for mode in BLENDS}
    assert contrast["laplacian"] > contrast["feather"] * 1.1
    assert contrast["laplacian"] > 0.9 * original.std()


def test_bands_blend_broad_colours_over_the_whole_rim():
    original, edited = torch.full((1, 128, 128, 3), 0.3), torch.full((1, 128, 128, 3), 0.6)
    blend = feather_outside(disc(1, 128, 128, 20), 30)
    result = composite(original, edited, blend, mode="laplacian")
    steps = (result[0, 64, 1:, 0] - result[0, 64, :-1, 0]).abs()
    assert steps.max() < 0.3 * 2 / 30  # no step steeper than the feather's own steepest one (1.5 / radius)


def test_the_finest_details_cross_over_eight_times_as_steeply_as_the_mask():
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    checks = torch.where((rows + columns) % 2 == 0, 0.25, -0.25)[None, ..., None].expand(1, 96, 96, 3)
    original = torch.full((1, 96, 96, 3), 0.5)
    blend = feather_outside(disc(1, 96, 96, 20), 24)
    steep = (8 * (blend - 0.5) + 0.5).clamp(0, 1)[..., None]
    result = composite(original, original + checks, blend, mode="laplacian")
    error = (result - original - steep * checks).abs()[:, 8:-8, 8:-8]
    assert error.max() < 0.02


@pytest.mark.parametrize("mode", BLENDS)
def test_what_lies_around_the_blend_mask_changes_nothing_within_it(mode):
    original, edited = noise(1, 61, 73, 3), noise(1, 61, 73, 3, seed=1)
    blend = feather_outside(disc(1, 61, 73, 9), 6)
    part = (slice(None), slice(10, 50), slice(15, 60))
    assert blend.sum() == blend[part].sum()
    smaller = composite(original[part], edited[part], blend[part], mode=mode)
    assert torch.equal(composite(original, edited, blend, mode=mode)[part], smaller)


def test_a_frame_with_an_empty_mask_is_the_original():
    original, edited = noise(2, 8, 8, 3), noise(2, 8, 8, 3, seed=1)
    assert torch.equal(composite(original, edited, torch.zeros(2, 8, 8)), original)


def test_inputs_are_left_alone_and_the_result_is_new():
    original, edited, blend = noise(2, 8, 8, 3), noise(2, 8, 8, 3, seed=1), torch.ones(2, 8, 8)
    before = original.clone(), edited.clone()
    result = composite(original, edited, blend, keep=Keyframes([Keyframe(0, edited[0])]))
    result.zero_()
    assert torch.equal(original, before[0]) and torch.equal(edited, before[1])


@pytest.mark.parametrize("mode", BLENDS)
def test_the_keyframe_comes_back_as_its_once_only_composite(mode):
    original, edited = noise(4, 20, 22, 3), noise(4, 20, 22, 3, seed=1)
    blend = feather_outside(disc(4, 20, 22), 5)
    key = Keyframe(2, noise(20, 22, 3, seed=2), mask_hw=(noise(20, 22, seed=3) > 0.5).float())
    transform = ColourTransform("mean_std", (0.8, 0.9, 1.1), (0.1, 0.0, -0.1))
    result = composite(original, edited, blend, mode=mode, keep=Keyframes([key]), transform=transform)
    assert torch.equal(result[2], composite_key(original[2], key, blend[2]))
    assert outside_difference(original, result, blend) == 0


def test_a_key_is_exact_where_the_masks_are_one_and_the_original_where_one_is_zero():
    original, image = noise(20, 22, 3), noise(20, 22, 3, seed=1)
    blend = feather_outside(disc(1, 20, 22), 5)[0]
    limit = (noise(20, 22, seed=3) > 0.5).float()
    result = composite_key(original, Keyframe(0, image, limit), blend)
    assert torch.equal(result[(blend == 1) & (limit == 1)], image[(blend == 1) & (limit == 1)])
    assert torch.equal(result[(blend == 0) | (limit == 0)], original[(blend == 0) | (limit == 0)])


def test_a_key_of_another_size_is_fitted_and_said():
    original, edited = noise(2, 20, 30, 3), noise(2, 20, 30, 3, seed=1)
    notes: list[str] = []
    keys = Keyframes([Keyframe(-1, noise(40, 60, 3, seed=2))])
    result = composite(original, edited, torch.ones(2, 20, 30), keep=keys, notes=notes)
    assert torch.equal(result[1], next(iter(keys.fitted(original))).image_hwc)
    assert notes == ["Keyframe 1: resized from 60x40 to 30x20."]


def test_the_colour_transform_is_applied_to_what_is_shown():
    original, edited = noise(2, 8, 8, 3), noise(2, 8, 8, 3, seed=1)
    blend = disc(2, 8, 8, 2)
    transform = ColourTransform("mean_std", (0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    result = composite(original, edited, blend, transform=transform)
    assert torch.equal(result[blend == 1], transform.apply(edited[blend == 1]))
    assert torch.equal(result[blend == 0], original[blend == 0])


def test_the_outside_difference_is_the_largest_change_where_the_blend_mask_is_zero():
    original = torch.full((2, 4, 4, 3), 0.5)
    result, blend = original.clone(), torch.zeros(2, 4, 4)
    result[1, 2, 3, 1], result[0, 0, 0] = 0.75, 0.0
    blend[0, 0, 0] = 1e-6
    assert outside_difference(original, result, blend) == 0.25
    assert outside_difference(original, result, torch.ones(2, 4, 4)) == 0


def test_every_frame_is_counted_and_can_be_seen_or_cancelled():
    class Cancelled(Exception):
        pass

    class Watching(Runtime):
        def advance(self, steps=1, preview=None):
            super().advance(steps)
            if preview is not None:
                assert preview().shape == (8, 8, 3)
            if self.done == 3:
                raise Cancelled

    runtime = Watching()
    runtime.begin(5)
    with pytest.raises(Cancelled):
        composite(noise(5, 8, 8, 3), noise(5, 8, 8, 3), torch.ones(5, 8, 8), runtime=runtime)
    assert runtime.done == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mode": "poisson"}, "use one of feather, laplacian"),
        ({"edited_fhwc": torch.zeros(2, 8, 8, 3)}, "trim both alike"),
        ({"edited_fhwc": torch.zeros(3, 8, 9, 3)}, "same size"),
        ({"blend_mask_fhw": torch.zeros(2, 8, 8)}, "2 masks for 3 frames"),
        ({"blend_mask_fhw": torch.zeros(3, 9, 8)}, "masks of 8x9"),
        ({"edited_fhwc": torch.full((3, 8, 8, 3), math.nan)}, "NaN"),
        ({"keep": Keyframes([Keyframe(3, torch.zeros(8, 8, 3))])}, "must lie in 0..2"),
        ({"keep": Keyframes([Keyframe(0, torch.zeros(8, 16, 3))])}, "aspect differs"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    good = {
        "original_fhwc": torch.zeros(3, 8, 8, 3),
        "edited_fhwc": torch.zeros(3, 8, 8, 3),
        "blend_mask_fhw": torch.zeros(3, 8, 8),
    }
    with pytest.raises(ValueError, match=says):
        composite(**{**good, **change})


def test_a_key_of_another_size_than_its_frame_is_refused():
    with pytest.raises(ValueError, match="resize them"):
        composite_key(torch.zeros(8, 8, 3), Keyframe(0, torch.zeros(4, 4, 3)), torch.zeros(8, 8))
