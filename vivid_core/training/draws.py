"""Random numbers that stay the same: from `random()` of Python's generator alone, which is promised never to change."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """A stream of random numbers that belongs to a purpose and a number.

    Streams of other purposes or numbers have nothing in common, so that clips held out are never among the trained.
    """

    def __init__(self, purpose: str, number: int) -> None:
        self._random = random.Random(f"{purpose}/{number}").random

    def between(self, low: float, high: float) -> float:
        """A number in low..high."""
        return low + (high - low) * self._random()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def below(self, count: int) -> int:
        """A whole number in 0..count-1."""
        return int(self._random() * count)

    def one_of(self, choices: Sequence[T]) -> T:
        """One of the choices, each as likely."""
        return choices[self.below(len(choices))]
