"""The claims about steered models: their statistics, their lines, and runs that are stopped and go on."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vivid_core.training.claims import steered, steered_lines
from vivid_core.training.claims.forms import QUICK
from vivid_core.training.claims.line import Line, corrected
from vivid_core.training.claims.statistics import holm, interval
from vivid_core.training.claims.steered_arms import APPEARANCE, EXPERIMENTS, FRAMES, IN_TURN, MOTION
from vivid_core.training.claims.steered_claims import CLAIMS, STRUCTURE, Part, above, slope
from vivid_core.training.claims.store import AnswerStore

NAMES = [claim.name for claim in CLAIMS]
MEASURES = ("background", "forward", "shape", "prompted", "kept", "away", "colour_error", "flicker", "fade", "warp")


# ------------------------------------------------------------------------------------------------------ statistics


def test_corrected_ps_are_those_of_testing_every_set_of_claims_that_has_one() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        ps = draw.random(5) ** 3
        sets = [one for count in range(1, 6) for one in itertools.combinations(range(5), count)]
        wanted = [max(min(1, len(one) * min(ps[list(one)])) for one in sets if at in one) for at in range(5)]
        assert holm(ps) == pytest.approx(wanted)


def test_a_p_that_is_not_known_counts_for_nothing() -> None:
    found = holm([0.02, math.nan, 0.01])
    assert math.isnan(found[1]) and [found[0], found[2]] == pytest.approx([0.02, 0.02])
    assert holm([]) == []


def test_the_interval_of_a_mean_is_about_that_of_a_normal_one_and_holds_as_often_as_it_says() -> None:
    draw, inside = np.random.default_rng(1), 0
    for _ in range(200):
        values = draw.normal(0.5, 1, 40)
        low, high = interval(values)
        inside += low <= 0.5 <= high
    assert 0.88 <= inside / 200 <= 0.99
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 40**0.5, rel=0.1)
    assert interval([2.0, 2.0]) == (2.0, 2.0) and all(map(math.isnan, interval([])))


def test_a_slope_is_that_of_the_least_squares_line() -> None:
    arms = {"a": 0.0, "b": 0.3, "c": 0.5, "d": 1.0}
    values = dict(zip(arms, [0.2, 0.25, 0.7, 0.6]))
    trial = {arm: {"shape": value} for arm, value in values.items()}
    line = np.polyfit(list(arms.values()), list(values.values()), 1)[0]
    assert slope("shape", arms).differences([trial]) == pytest.approx([line])
    assert slope("shape", arms, -1).differences([trial]) == pytest.approx([-line])


def test_trials_in_which_something_is_not_known_are_left_out() -> None:
    part = above("shape", "a", "b")
    trials = [{"a": {"shape": 1.0}, "b": {"shape": value}} for value in (0.25, math.nan)] + [{"a": {"shape": 1.0}}]
    assert part.differences(trials).tolist() == [0.75]


# ----------------------------------------------------------------------------------------------------------- lines


def as_claimed(count: int = 12, way: float = 1.0, noise: float = 0.01) -> dict[str, list[Any]]:
    """Answers that do what every claim says (`way` 1) or its opposite (-1), with a little noise."""
    draw, found = np.random.default_rng(3), {}
    for name, about in EXPERIMENTS.items():
        parts = [part for claim in CLAIMS if claim.experiment == name for part in claim.parts]
        levels = solved(parts)
        for arm, t1 in STRUCTURE.items() if name == APPEARANCE else ():
            levels |= {(arm, "shape"): 6 * t1, (arm, "prompted"): 20 - 6 * t1}  # in order, and the parts still hold
        levels = {key: way * level for key, level in levels.items()}
        names = {measure for arm, measure in levels} | set(MEASURES) | {"sharpness", "chance", "difference"}
        found[name] = [
            {arm: {one: levels.get((arm, one), 0) + noise * draw.normal() for one in names} for arm in about.arms}
            for _ in range(count)
        ]
    found[IN_TURN] = [{"fp64": {"difference": 1e-13 if way > 0 else 1e-6}}]
    return found


def solved(parts: Sequence[Part]) -> dict[tuple[str, str], float]:
    """Answers for which each part's sum is 5."""
    keys = sorted({key for part in parts for key in part.weights})
    matrix = np.array([[part.weights.get(key, 0.0) for key in keys] for part in parts])
    return dict(zip(keys, np.linalg.lstsq(matrix, np.full(len(parts), 5.0), rcond=None)[0])) if parts else {}


def told(trials: Any, missing: Any) -> list[Line]:
    return corrected(steered_lines.told(trials, missing))


def test_every_claim_holds_where_everything_is_as_claimed() -> None:
    lines = told(as_claimed(), {})
    assert [line.claim for line in lines] == [*NAMES, "P5 all frames at once"]
    assert all(line.holds for line in lines), [line.claim for line in lines if not line.holds]
    assert all(line.n == 12 and line.p <= line.p_holm < 0.05 for line in lines[:-1])
    assert all(line.interval[0] <= line.measured <= line.interval[1] for line in lines[:-1])


def test_no_claim_holds_where_everything_is_the_opposite() -> None:
    lines = told(as_claimed(way=-1.0), {})
    assert not any(line.holds for line in lines)
    assert all(line.measured < 0 and line.p > 0.9 for line in lines[:-1])


def test_few_trials_prove_nothing_for_so_many_claims() -> None:
    few, enough = (told(as_claimed(count, noise=0), {}) for count in (4, QUICK.sd_trials))
    assert not any(line.holds for line in few[:-1]) and all(line.measured > 4 for line in few[:-1])
    assert all(line.holds for line in enough), "the quick form is able to say that all claims hold"


def test_a_claim_of_several_parts_needs_each_of_them() -> None:
    answers = as_claimed()
    for trial in answers[MOTION]:
        trial["all rules"]["background"] = trial["without injection"]["background"] - 3
        trial["without content"]["background"] = trial["all rules"]["background"] - 5
    lines = {line.claim: line for line in told(answers, {})}
    turned = lines["U2 motion injection"]
    parts = list(turned.more["parts"].values())
    assert parts[0]["p"] < 0.001 and parts[1]["p"] > 0.9
    assert not turned.holds and turned.p == parts[1]["p"]
    assert lines["U1 content preservation"].holds


def test_means_that_are_out_of_order_keep_a_claim_of_an_order_from_holding() -> None:
    answers = as_claimed()
    arms = list(STRUCTURE)
    for trial in answers[APPEARANCE]:
        first, second = (trial[arm]["shape"] for arm in arms[1:3])
        trial[arms[1]]["shape"], trial[arms[2]]["shape"] = max(first, second) + 0.1, min(first, second)
    line = told(answers, {})[NAMES.index("U3 structure control")]
    assert line.p < 0.001 and line.p_holm < 0.05 and line.holds is False


def test_what_can_not_be_judged_says_why_and_leaves_the_others_alone() -> None:
    answers = as_claimed()
    del answers[FRAMES], answers[IN_TURN]
    lines = told(answers, {FRAMES: "There is no depth.", IN_TURN: "There is no depth."})
    for line in lines:
        said = json.loads(line.json())
        if line.claim.startswith("P"):
            assert said["holds"] is None and said["why"] == "not run: There is no depth." and said["n"] == 0
            assert said["measured"] is None
        else:
            assert said["holds"] is True and "why" not in said
    assert all(line.holds is None for line in told({}, {}))


def test_a_line_is_json_with_what_a_reader_needs_and_shows_small_numbers() -> None:
    for line in told(as_claimed(), {}):
        said = json.loads(line.json())
        assert {"claim", "paper", "expected", "effect", "interval", "holds", "n", "p", "p_holm"} <= set(said)
        assert "UniEdit" in said["paper"] if said["claim"].startswith("U") else "Pix2Video" in said["paper"]
    assert said["claim"].startswith("P5") and said["measured"] == 1e-13


# ----------------------------------------------------------------------------------------------------------- store


class Toy:
    """A model whose answers are known, and that counts what it is asked; it stops before answer `until`."""

    def __init__(self, until: int | None = None, print: str = "one") -> None:
        self.until, self.print, self.asked = until, print, 0

    def lacks(self, experiment: str) -> str | None:
        return None

    def settings(self, experiment: str, arm: str) -> str:
        return "as always"

    def answers(self, experiment: str, number: int, arms: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
        for arm in arms:
            if self.asked == self.until:
                raise KeyboardInterrupt
            self.asked += 1
            seed = [number, *f"{experiment}/{arm}".encode()]
            names = (*MEASURES, "sharpness", "difference", "temporal", "spatial", "chance")
            answers = dict(zip(names, np.random.default_rng(seed).random(len(names)).tolist()))
            yield arm, {**answers, "away": math.nan}


def lines_of(toy: Toy, store: AnswerStore, count: int = 3) -> list[str]:
    return [line.json() for line in told(*steered.answered(toy, store, count))]  # type: ignore[arg-type]


def test_a_run_that_was_killed_between_trials_goes_on_and_says_what_an_unbroken_one_says(tmp_path: Path) -> None:
    whole = Toy()
    wanted = lines_of(whole, AnswerStore())
    for until in (0, 1, 7, 20, whole.asked - 1):
        path = tmp_path / f"{until}.jsonl"
        with pytest.raises(KeyboardInterrupt):
            lines_of(Toy(until), AnswerStore(path))
        again = Toy()
        assert lines_of(again, AnswerStore(path)) == wanted
        assert again.asked == whole.asked - until
        third = Toy(until=0)
        assert lines_of(third, AnswerStore(path)) == wanted


def test_another_model_is_asked_everything_again(tmp_path: Path) -> None:
    first, other = Toy(), Toy(print="another")
    lines_of(first, AnswerStore(tmp_path / "a.jsonl"))
    lines_of(other, AnswerStore(tmp_path / "a.jsonl"))
    assert other.asked == first.asked
