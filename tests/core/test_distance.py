"""Distances are exact, and the same wherever in memory the answer lies."""

from __future__ import annotations

import numpy as np
import pytest

from vivid_core.distance import distance_to, lengths


@pytest.mark.parametrize("seed", range(10))
def test_the_distance_is_that_of_the_nearest_true_pixel_exactly(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 40, 2)
    places = random.random((height, width)) < random.choice([0.01, 0.1, 0.6])
    places[random.integers(height), random.integers(width)] = True
    rows, columns = np.nonzero(places)
    y, x = np.mgrid[0:height, 0:width]
    squares = np.square(y[..., None] - rows) + np.square(x[..., None] - columns)
    assert np.array_equal(distance_to(places, "This test"), np.sqrt(squares.min(-1).astype(np.float32)))


def test_a_far_away_pixel_has_an_exact_distance_too():
    places = np.zeros((480, 700), bool)
    places[100, 40] = True
    y, x = np.mgrid[0:480, 0:700]
    truth = np.sqrt((np.square(y - 100) + np.square(x - 40)).astype(np.float32))
    assert np.array_equal(distance_to(places, "This test"), truth)


@pytest.mark.parametrize("size", [(60, 59), (64, 64), (61, 67)])
def test_where_the_answer_lies_in_memory_makes_no_difference(size):
    random = np.random.default_rng(0)
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    places = np.hypot(x - size[1] / 2, y - size[0] / 2) < 12
    flow = random.standard_normal((*size, 2)).astype(np.float32)
    keep, distances, sizes = [], set(), set()
    for _ in range(60):
        keep += [np.empty(int(random.integers(1, 5000)), np.uint8), distance_to(places, "This test"), lengths(flow)]
        distances.add(keep[-2].tobytes())
        sizes.add(keep[-1].tobytes())
    assert len(distances) == len(sizes) == 1


def test_a_vector_is_as_long_as_pythagoras_says():
    assert np.allclose(lengths(np.array([[[3, 4], [0, -2]]], np.float32)), [[5, 2]])
