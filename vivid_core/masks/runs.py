"""Masks as lists of run lengths, the form in which they travel to the page and back.

The runs alternate between 0 and 1 in row-major order; the first counts zeros and may be 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 1 << 26  # of one mask: more than 8K video has


def to_runs(inside_hw: NDArray[np.bool_]) -> list[int]:
    """The run lengths of a mask, bool [H, W]. They sum to H * W."""
    flat = np.ascontiguousarray(inside_hw).reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def from_runs(runs: Sequence[Any], width: int, height: int) -> NDArray[np.bool_]:
    """The mask, bool [height, width], whose run lengths these are.

    Raises ValueError unless they are whole numbers that sum to the number of pixels.
    """
    if width * height > MOST_PIXELS or min(width, height) < 1:
        raise ValueError(f"Runs: got a mask of {width}x{height}, but both sides must be between 1 and 8192 pixels.")
    if not all(isinstance(run, int) and not isinstance(run, bool) and 0 <= run <= MOST_PIXELS for run in runs):
        raise ValueError("Runs: got a run that is no whole number of pixels; give the length of each run, 0 or more.")
    if sum(runs) != width * height:
        raise ValueError(
            f"Runs: got runs of {sum(runs)} pixels in all for a mask of {width}x{height}, which has {width * height}; "
            "they must cover it exactly."
        )
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, np.asarray(runs, dtype=np.int64))
    return inside.reshape(height, width)
