"""Dense flow and the arithmetic of maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import texture

from vivid_core.masks.fields import Box, Field, WorkingSize, box_of, chained_affine, inverse_affine
from vivid_core.masks.flow import (
    dense_flow,
    forward_backward_error,
    luminance,
    picture,
    pixel_grid,
    resampled,
    warp,
)


def textured(seed: int, width: int = 160, height: int = 120) -> np.ndarray:
    return (texture(np.random.default_rng(seed), width, height) * 255).astype(np.uint8)


def moved(image: np.ndarray, x: float, y: float) -> np.ndarray:
    height, width = image.shape[:2]
    return resampled(image, np.array([[1, 0, -x], [0, 1, -y]], np.float64), width, height)


@pytest.mark.parametrize("preset", ["fast", "medium", "fine"])
def test_flow_finds_a_known_shift(preset: str) -> None:
    gray = luminance(textured(0))
    flow = dense_flow(gray, moved(gray, 5.5, -3.25), preset)
    assert np.abs(flow[20:-20, 20:-20].mean((0, 1)) - (5.5, -3.25)).max() < 0.15


def test_flow_takes_pictures_smaller_than_its_patches_and_of_odd_size() -> None:
    for width, height in ((1, 1), (7, 5), (33, 31)):
        gray = luminance(textured(1, width, height))
        assert dense_flow(gray, gray).shape == (height, width, 2)


def test_flow_leaves_its_first_guess_as_it_was() -> None:
    gray = luminance(textured(2))
    guess = np.full((*gray.shape, 2), 2.0, np.float32)
    dense_flow(gray, moved(gray, 2, 2), init=guess)
    assert (guess == 2).all()


def test_flow_between_different_sizes_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="160x120 and 80x60"):
        dense_flow(luminance(textured(0)), luminance(textured(0, 80, 60)))


def test_pictures_and_luminance_are_bytes_of_the_asked_size() -> None:
    image = torch.full((40, 60, 3), 0.5)
    small = picture(image, 30, 20)
    assert small.shape == (20, 30, 3) and small.dtype == np.uint8 and abs(int(luminance(small)[0, 0]) - 128) <= 1


def test_warping_by_the_identity_changes_nothing() -> None:
    image = textured(3)
    assert (warp(image, pixel_grid(160, 120)) == image).all()


def test_warp_outside_repeats_the_edge_or_is_zero() -> None:
    image = np.full((4, 4), 7, np.uint8)
    far = np.full((2, 2, 2), 40, np.float32)
    assert (warp(image, far) == 7).all() and (warp(image, far, "zero") == 0).all()


def test_consistent_flows_come_back_and_others_do_not() -> None:
    there = np.full((20, 30, 2), 3.0, np.float32)
    assert forward_backward_error(there, -there).max() < 1e-6
    assert forward_backward_error(there, there).min() > 5


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 2000), st.integers(8, 2000), st.floats(0, 1), st.floats(0, 1))
def test_working_coordinates_and_back_are_the_identity(width: int, height: int, x: float, y: float) -> None:
    size = WorkingSize.of(width, height)
    point = np.array([[[x * width, y * height]]], np.float32)
    assert np.abs(size.to_full(size.to_working(point)) - point).max() < 0.01
    assert max(size.width, size.height) <= 480


def test_values_enlarged_from_a_working_box_lie_where_they_belong() -> None:
    size = WorkingSize.of(1280, 720)
    box = Box(101, 33, 300, 250)
    full = size.enlarged(size.to_full(box.grid()), box)
    inner = (slice(3, -3), slice(3, -3))
    assert np.abs(full - size.full_box(box).grid())[inner].max() < 0.01


def test_a_field_goes_on_beyond_its_box() -> None:
    affine = np.array([[1.1, 0.2, 3], [-0.1, 0.9, -4]])
    box = Box(10, 20, 40, 60)
    field = Field(affine, box, np.full((40, 30, 2), 0.5, np.float32))
    there = field.at(np.array([[[200.0, 5.0]]], np.float32))[0, 0]
    assert np.allclose(there, affine @ (200, 5, 1) + 0.5, atol=1e-3)
    assert np.allclose(field.on(box), field.at(box.grid()), atol=1e-4)


def test_an_affine_and_its_inverse_cancel() -> None:
    affine = np.array([[1.1, 0.2, 3], [-0.1, 0.9, -4]])
    assert np.allclose(chained_affine(affine, inverse_affine(affine)), [[1, 0, 0], [0, 1, 0]])


def test_boxes_fit_their_mask_and_stay_in_the_frame() -> None:
    mask = np.zeros((20, 30))
    assert box_of(mask) is None
    mask[4:7, 10:20] = 1
    box = box_of(mask)
    assert box == (10, 4, 20, 7) and box.grown(8, 30, 20) == (2, 0, 28, 15)
    assert Box(40, 40, 50, 50).cut(30, 20) == (29, 19, 30, 20)
