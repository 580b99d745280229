"""Intervals for the tables: means over clips, paired differences, and shares of votes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..training.claims.statistics import interval, paired, sign_flip_p

Z = 1.959963984540054  # of a normal distribution, 95 % lie within so many deviations


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` clips and the 95 % interval of it; NaN where there is none."""

    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, its 95 % interval, and the two-sided p of "none"."""

    estimate: Estimate
    p: float


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of the values that are one (no NaN), with a bootstrap interval over clips; the same on every run."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Estimate(0, math.nan, math.nan, math.nan)
    return Estimate(len(known), sum(known) / len(known), *interval(known))


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """By how much the first are higher, on those clips where both have a value; p by flipping signs, on both sides.

    Raises ValueError when there are not as many values on both sides.
    """
    pairs = paired(ours, theirs)
    p = min(1.0, 2 * min(sign_flip_p(pairs), sign_flip_p(-pairs))) if len(pairs) else math.nan
    return Difference(estimate([float(one) for one in pairs]), p)


def wilson(wins: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `wins` in `count` (Wilson's score interval, 1927); NaN for none.

    Raises ValueError when there are more wins than votes, or less than none.
    """
    if not 0 <= wins <= count:
        raise ValueError(f"Votes: got {wins} wins in {count} votes; count them again.")
    if not count:
        return math.nan, math.nan
    share, weight = wins / count, Z * Z / count
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def binomial_p(wins: int, count: int) -> float:
    """The exact two-sided p of "both win as often" (sign test); 1 for no votes."""
    tail = sum(math.comb(count, one) for one in range(min(wins, count - wins) + 1))
    return min(1.0, 2 * tail / 2**count)
