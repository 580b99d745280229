"""How fast a training learns and how its mean is kept, against the formulas, step by step; and what may go on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, replace

import pytest

from vivid_core.training.settings import FREE, TrainSettings, differences, made_with
from vivid_core.training.tasks import Recipe

HALF = TrainSettings(total_steps=1000, warmup=100, decay_from=0.6)
# What a run of version 1 had that said nothing else. Its checkpoints don't name what was added later.
OF_VERSION_1 = {
    "seed": 0,
    "matrix_rate": 0.02,
    "warmup": 100,
    "ema": 0.9995,
    "outside": 0.1,
    "last_time_share": 0.1,
    "clip_gradients": 1.0,
    "bf16": True,
}


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


def test_a_run_that_asks_for_nothing_rises_stays_and_ends_at_zero() -> None:
    usual = TrainSettings()
    assert usual.rate_at(0) < 0.1 and usual.rate_at(usual.total_steps // 2) == 1
    assert usual.rate_at(usual.total_steps) == pytest.approx(0.0, abs=1e-12)


def test_a_decay_that_begins_while_warming_up_multiplies_both() -> None:
    early = TrainSettings(total_steps=100, warmup=100, decay_from=0.0)
    for step in (0, 30, 50, 99):
        assert early.rate_at(step) == pytest.approx((step + 1) / 100 * (1 + math.cos(math.pi * step / 100)) / 2)


def test_little_of_the_mean_is_kept_at_first_and_never_more_than_asked() -> None:
    settings = TrainSettings(total_steps=1000, ema=0.99)
    assert [settings.ema_at(step) for step in (0, 8, 90)] == pytest.approx([1 / 10, 9 / 18, 91 / 100])
    assert settings.ema_at(10_000) == 0.99


def test_a_checkpoint_of_version_1_goes_on_whether_it_names_its_settings_or_not() -> None:
    now = made_with(Recipe(), TrainSettings(), {})
    recipe = json.loads(now)["recipe"]
    for known in (OF_VERSION_1, {}):
        assert differences(json.dumps({"recipe": recipe, "settings": known}), now) == []
    for name, value in OF_VERSION_1.items():
        assert differences(json.dumps({"recipe": recipe, "settings": {name: value}}), now) == []


def other_than(value: float | bool) -> float | bool:
    return not value if isinstance(value, bool) else value + 1


def test_only_pace_time_and_memory_may_change_in_the_middle_of_a_run() -> None:
    before = made_with(Recipe(), HALF, {})
    for field in fields(TrainSettings):
        now = replace(HALF, **{field.name: other_than(getattr(HALF, field.name))})
        assert differences(before, made_with(Recipe(), now, {})) == ([] if field.name in FREE else [field.name])


def test_what_differs_is_named_in_order_wherever_it_stands() -> None:
    before = made_with(Recipe(), HALF, {"motion": "a.safetensors", "depth": 3})
    now = made_with(Recipe(text_dropout=0.2), replace(HALF, ema=0.9), {"motion": "b.safetensors", "depth": 3})
    assert differences(before, now) == differences(now, before) == ["ema", "motion", "text_dropout"]


def test_what_a_run_is_made_with_holds_every_setting_that_may_not_change() -> None:
    told = json.loads(made_with(Recipe(clips=7), HALF, {"motion": 1}))
    assert told["about"] == {"motion": 1} and told["recipe"]["clips"] == 7
    assert told["settings"] == {name: value for name, value in asdict(HALF).items() if name not in FREE}
    assert "about" not in json.loads(made_with(Recipe(), HALF, {})), "nothing to say"
