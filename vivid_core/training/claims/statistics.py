"""What a difference between two ways of editing is worth: paired, by flipping signs, and said with its n."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

EXACT_UP_TO = 14  # pairs; their 16384 patterns of signs are tried one by one
FLIPS = 20_000
RESAMPLED = 4_000


def paired(ours: Sequence[float], theirs: Sequence[float]) -> np.ndarray:
    """The differences of those pairs in which both have a meaning (no NaN).

    Raises ValueError when there is not one value for each trial on both sides.
    """
    if len(ours) != len(theirs):
        raise ValueError(
            f"Claims: got {len(ours)} values to compare with {len(theirs)}; they must be of the same trials."
        )
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    return differences[np.isfinite(differences)]


def sign_flip_p(differences: Sequence[float] | np.ndarray, seed: int = 0) -> float:
    """How often differences of random sign have a mean as high: the p of "not higher than 0", one-sided.

    Exact up to `EXACT_UP_TO` pairs, else by `FLIPS` random patterns of signs and the one that was seen. NaN without
    pairs.
    """
    values = np.asarray(differences, np.float64)
    if not len(values):
        return math.nan
    seen = values.sum() - 1e-12 * np.abs(values).sum()  # sums in another order differ in their last bits
    if len(values) <= EXACT_UP_TO:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(values))))
        return float(np.mean(signs @ values >= seen))
    draw = np.random.default_rng(seed)
    signs = draw.integers(0, 2, (FLIPS, len(values))) * 2.0 - 1
    return float((np.sum(signs @ values >= seen) + 1) / (FLIPS + 1))


def not_worse_p(differences: Sequence[float] | np.ndarray, margin: float, seed: int = 0) -> float:
    """The p of "worse by `margin` or more": small when the first way is at least nearly as good as the second.

    A test that finds no difference proves nothing, least of all with few trials; this one has to find that there is
    none worth naming.
    """
    return sign_flip_p(np.asarray(differences, np.float64) + margin, seed)


def interval(differences: Sequence[float] | np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Between which means 95 % of `RESAMPLED` draws of as many pairs, with putting back, have theirs (bootstrap). NaN
    without pairs."""
    values = np.asarray(differences, np.float64)
    if not len(values):
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLED, len(values)))
    low, high = np.quantile(values[drawn].mean(1), (0.025, 0.975))
    return float(low), float(high)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p corrected for how many there are, in their order: below a level as often as that by chance in any of them
    (Holm's step-down method). NaN stays NaN and doesn't count."""
    known = sorted((p, index) for index, p in enumerate(ps) if not math.isnan(p))
    corrected, highest = [math.nan] * len(ps), 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[index] = highest
    return corrected
