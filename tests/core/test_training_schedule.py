"""How fast a training learns and how its mean is kept, against the formulas, step by step."""

from __future__ import annotations

import math

import pytest

from vivid_core.training.settings import TrainSettings

HALF = TrainSettings(total_steps=1000, warmup=100, decay_from=0.6)


def test_rates_rise_in_a_straight_line_while_warming_up() -> None:
    assert [HALF.rate_at(step) for step in (0, 9, 49, 98, 99)] == pytest.approx([0.01, 0.1, 0.5, 0.99, 1.0])


def test_rates_stay_until_the_decay_and_fall_like_a_cosine() -> None:
    assert [HALF.rate_at(step) for step in (100, 350, 600)] == pytest.approx([1.0, 1.0, 1.0])
    for step in (601, 700, 800, 900, 999):
        part = (step - 600) / 400
        assert HALF.rate_at(step) == pytest.approx((1 + math.cos(math.pi * part)) / 2)
    assert HALF.rate_at(800) == pytest.approx(0.5)


def test_rates_are_zero_at_the_end_and_after_it() -> None:
    assert [HALF.rate_at(step) for step in (1000, 1001, 5000)] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


def test_a_decay_that_begins_while_warming_up_multiplies_both() -> None:
    early = TrainSettings(total_steps=100, warmup=100, decay_from=0.0)
    for step in (0, 30, 50, 99):
        assert early.rate_at(step) == pytest.approx((step + 1) / 100 * (1 + math.cos(math.pi * step / 100)) / 2)


def test_little_of_the_mean_is_kept_at_first_and_never_more_than_asked() -> None:
    settings = TrainSettings(total_steps=1000, ema=0.99)
    assert [settings.ema_at(step) for step in (0, 8, 90)] == pytest.approx([1 / 10, 9 / 18, 91 / 100])
    assert settings.ema_at(10_000) == 0.99
