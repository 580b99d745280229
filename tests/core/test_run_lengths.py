"""Masks as run lengths against counting one by one, and what is no mask."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vivid_core.masks.runs import MOST_PIXELS, from_runs, to_runs


def counted(mask_hw: np.ndarray) -> list[int]:
    """The runs, by counting; the first one counts zeros."""
    groups = [(bool(value), len(list(same))) for value, same in itertools.groupby(mask_hw.reshape(-1))]
    lengths = [length for _, length in groups]
    return [0, *lengths] if groups[0][0] else lengths


@pytest.mark.parametrize("height, width", [(1, 1), (1, 7), (7, 1), (3, 4)])
def test_runs_are_what_counting_gives_and_give_the_mask_back(height: int, width: int) -> None:
    for bits in range(0, 1 << (height * width), 1 if height * width < 8 else 37):
        mask = np.array([bool(bits >> place & 1) for place in range(height * width)]).reshape(height, width)
        runs = to_runs(mask)
        assert runs == counted(mask)
        back = from_runs(runs, width, height)
        assert back.dtype == bool and back.shape == (height, width) and np.array_equal(back, mask)


@pytest.mark.parametrize("width, height", [(0, 4), (4, 0), (-2, -2), (MOST_PIXELS + 1, 1), (1, MOST_PIXELS + 1)])
def test_a_mask_of_no_size_or_of_a_giant_one_is_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="both sides must be"):
        from_runs([abs(width * height)], width, height)


def test_the_largest_mask_is_taken() -> None:
    assert from_runs([0, MOST_PIXELS], MOST_PIXELS, 1).all()


@pytest.mark.parametrize("runs", [[True, 3], [4.0], ["4"], [-1, 5], [MOST_PIXELS + 1], [None]])
def test_a_run_that_is_no_number_of_pixels_is_refused(runs: list[object]) -> None:
    with pytest.raises(ValueError, match="no whole number of pixels"):
        from_runs(runs, 2, 2)


@pytest.mark.parametrize("runs", [[], [3], [5], [0, 3], [2, 1, 2]])
def test_runs_that_do_not_cover_the_mask_are_refused(runs: list[int]) -> None:
    with pytest.raises(ValueError, match="must cover it exactly"):
        from_runs(runs, 2, 2)
