"""Colour match: one transform for the clip, found in the ring around the edit."""

from __future__ import annotations

import pytest
import torch

from vivid_core.video.colour import MODES, ColourTransform, fit_colour, match_colour
from vivid_core.video.lab import lab_to_srgb, srgb_to_lab

MATCHING = [mode for mode in MODES if mode != "none"]


def clip(count: int = 4, height: int = 40, width: int = 44, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.2


def square(count: int = 4, height: int = 40, width: int = 44) -> torch.Tensor:
    mask = torch.zeros(count, height, width)
    mask[:, 14:26, 16:28] = 1
    return mask


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 1.0, 0.0), (87.73, -86.18, 83.18)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0.0, 0.0)),
    ],
)
def test_lab_has_the_known_values_of_the_primaries(rgb, lab):
    assert srgb_to_lab(torch.tensor(rgb)).tolist() == pytest.approx(lab, abs=0.02)


def test_lab_and_back_is_the_identity():
    colours = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0))
    assert (lab_to_srgb(srgb_to_lab(colours)) - colours).abs().max() < 2e-5
    steps = torch.linspace(0, 1, 256)[:, None].expand(-1, 3)
    assert torch.equal((lab_to_srgb(srgb_to_lab(steps)) * 255).round(), (steps * 255).round())


@pytest.mark.parametrize("mode", MODES)
def test_equal_clips_come_back_untouched(mode):
    frames = clip()
    assert fit_colour(frames, frames, square(), mode).is_identity
    assert match_colour(frames, frames, square(), mode).data_ptr() == frames.data_ptr()


def test_a_linear_change_of_rgb_is_undone():
    original = clip()
    edited = original * torch.tensor([0.8, 0.9, 1.1]) + torch.tensor([0.1, 0.0, -0.05])
    matched = match_colour(edited, original, square(), "mean_std")
    assert torch.allclose(matched, original, atol=1e-5)


def test_a_linear_change_of_lab_is_undone():
    original = clip()
    lab = srgb_to_lab(original)
    edited = lab_to_srgb(lab * torch.tensor([0.9, 0.8, 0.8]) + torch.tensor([4.0, 2.0, -3.0]))
    matched = match_colour(edited, original, square(), "lab")
    assert (matched - original).abs().mean() < 2e-3


@pytest.mark.parametrize("mode", MATCHING)
def test_what_the_edit_shows_inside_or_far_outside_does_not_count(mode):
    original, mask = clip(), square()
    edited = original * 0.9
    other = edited.clone()
    other[mask > 0.5] = 0.0
    other[:, :2] = 1.0
    expected = fit_colour(edited, original, mask, mode, ring_px=6)
    assert fit_colour(other, original, mask, mode, ring_px=6) == expected


@pytest.mark.parametrize("mode", MATCHING)
def test_one_transform_serves_all_frames_so_nothing_flickers(mode):
    original = clip(1).repeat(4, 1, 1, 1)
    edited = (original * torch.linspace(0.8, 1.0, 4).view(4, 1, 1, 1)).clamp(0, 1)
    transform = fit_colour(edited, original, square(), mode)
    matched = match_colour(edited, original, square(), mode)
    for before, after in zip(edited, matched):
        assert torch.equal(after, transform.apply(before))


def test_the_statistics_are_those_of_all_ring_pixels_of_the_clip():
    original, edited, mask = clip(seed=0), clip(seed=1), square()
    ring = torch.zeros(40, 44, dtype=torch.bool)
    for row in range(40):
        for column in range(44):
            down, right = max(14 - row, row - 25, 0), max(16 - column, column - 27, 0)
            ring[row, column] = 0 < down**2 + right**2 <= 5**2
    transform = fit_colour(edited, original, mask, "mean_std", ring_px=5)
    ours, theirs = edited[:, ring].reshape(-1, 3).double(), original[:, ring].reshape(-1, 3).double()
    scale = theirs.std(0, correction=0) / ours.std(0, correction=0)
    assert list(transform.scale) == pytest.approx(scale.tolist(), rel=1e-6)
    assert list(transform.shift) == pytest.approx((theirs.mean(0) - ours.mean(0) * scale).tolist(), abs=1e-6)


def test_keyframes_are_neither_counted_nor_changed():
    original = clip()
    edited = original * 0.8
    edited[1] = clip(1, seed=9)[0]
    matched = match_colour(edited, original, square(), "mean_std", keys=(1,))
    assert torch.equal(matched[1], edited[1])
    assert torch.allclose(matched[[0, 2, 3]], original[[0, 2, 3]], atol=1e-5)


@pytest.mark.parametrize("mode", MATCHING)
def test_a_flat_ring_is_shifted_and_not_stretched(mode):
    original, edited = torch.full((2, 40, 44, 3), 0.5), torch.full((2, 40, 44, 3), 0.4)
    edited[:, 14:26, 16:28] = clip(2)[:, 14:26, 16:28]
    transform = fit_colour(edited, original, square(2), mode)
    assert transform.scale == (1, 1, 1)
    assert torch.allclose(transform.apply(edited)[0, 10, 10], original[0, 10, 10], atol=1e-4)


def test_a_wild_change_of_contrast_is_limited_and_said():
    original = clip()
    notes: list[str] = []
    transform = fit_colour((original - 0.5) * 0.2 + 0.5, original, square(), "mean_std", notes=notes)
    assert transform.scale == (2, 2, 2)
    assert len(notes) == 1 and "2 times in contrast" in notes[0]


@pytest.mark.parametrize("mask", [torch.zeros(4, 40, 44), torch.ones(4, 40, 44)])
@pytest.mark.parametrize("mode", MATCHING)
def test_an_empty_ring_changes_nothing_and_is_said(mode, mask):
    notes: list[str] = []
    assert fit_colour(clip() * 0.8, clip(), mask, mode, notes=notes).is_identity
    assert len(notes) == 1 and "nothing outside the edit mask to compare" in notes[0]


@pytest.mark.parametrize("mode", MATCHING)
def test_the_result_stays_in_range(mode):
    transform = ColourTransform(mode, (2.0, 2.0, 2.0), (40.0, 0.0, 0.0) if mode == "lab" else (0.5, -0.9, 0.0))
    result = transform.apply(clip())
    assert result.amin() >= 0 and result.amax() <= 1
    assert result.isfinite().all()


def test_an_unknown_mode_or_ring_is_refused():
    with pytest.raises(ValueError, match="use one of none, mean_std, lab"):
        fit_colour(clip(), clip(), square(), "hsv")
    with pytest.raises(ValueError, match="wider than 0"):
        fit_colour(clip(), clip(), square(), "lab", ring_px=0)
    with pytest.raises(ValueError, match="trim both alike"):
        match_colour(clip(3), clip(), square(), "lab")
