"""The claims: their statistics, and that each line says true of answers whose worth is known."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vivid_core.editors.engine import embedded_engine
from vivid_core.models import embedded
from vivid_core.models.embedded_codec import load_codec
from vivid_core.training.claims import ablations, lines, sheets, statistics
from vivid_core.training.claims.__main__ import main
from vivid_core.training.claims.edits import DIRECT, ORACLE_KEY, OWN_KEY, Attempt, Editor
from vivid_core.training.measures import references
from vivid_core.training.tasks import Recipe, plan_step
from vivid_core.training.world.trials import trial
from vivid_core.training.world.words import vocabulary

CODEC = load_codec()
LIMIT = "codec limit"


def attempt(task: str, number: int, answer: str | Tensor, way: str = DIRECT, frames: int = 9) -> Attempt:
    """A trial that somebody answered with the truth, a reference, or a clip of his own."""
    one = trial(task, "seen", number, frames)
    source, truth = one.source_fhwc(), one.truth()
    beside = references(source, truth, CODEC.there_and_back)
    if isinstance(answer, str):
        answer = truth.oracle_fhwc if answer == "truth" else beside[answer]
    key = truth.oracle_fhwc[0] if way == ORACLE_KEY else None
    return Attempt(one, way, answer, key, truth, beside)


def attempts(task: str, answer: str, count: int = 6, way: str = DIRECT) -> list[Attempt]:
    return [attempt(task, number, answer, way) for number in range(count)]


# ------------------------------------------------------------------------------------------------------ statistics


def test_flipping_signs_counts_every_pattern_of_few_pairs() -> None:
    values = [0.3, -0.1, 0.25, 0.05, -0.2]
    patterns = list(itertools.product((1, -1), repeat=5))
    as_high = [sum(s * v for s, v in zip(signs, values)) >= sum(values) - 1e-9 for signs in patterns]
    assert statistics.sign_flip_p(values) == np.mean(as_high)
    assert statistics.sign_flip_p([0.1] * 5) == 1 / 32
    assert statistics.sign_flip_p([-0.1] * 5) == 1


def test_with_many_pairs_the_patterns_are_drawn_from_a_seed() -> None:
    values = np.random.default_rng(3).normal(0.2, 1, 40)
    p = statistics.sign_flip_p(values, seed=1)
    assert p == statistics.sign_flip_p(values, seed=1)
    assert p == pytest.approx(statistics.sign_flip_p(values, seed=2), abs=0.02)
    as_t = 0.5 * (1 - torch.erf(torch.tensor(values.mean() / (values.std(ddof=1) / 40**0.5) / 2**0.5)))
    assert p == pytest.approx(float(as_t), abs=0.02), "about what a normal mean would have"


def test_where_nothing_differs_p_is_below_its_level_as_often_as_it_says() -> None:
    draw = np.random.default_rng(4)
    ps = [statistics.sign_flip_p(draw.standard_cauchy(9)) for _ in range(400)]
    assert 0.02 <= np.mean(np.array(ps) <= 0.05) <= 0.08


def test_no_worse_needs_proof_and_not_only_the_lack_of_a_difference() -> None:
    draw = np.random.default_rng(5)
    assert statistics.not_worse_p(draw.normal(0, 0.05, 64), 0.03) < 0.01
    assert statistics.not_worse_p(draw.normal(0, 0.05, 3), 0.03) > 0.05, "too few to say"
    assert statistics.not_worse_p(draw.normal(-0.05, 0.05, 64), 0.03) > 0.9


def test_pairs_without_a_meaning_are_left_out() -> None:
    assert statistics.paired([1.0, float("nan"), 3.0], [0.5, 1.0, 1.0]).tolist() == [0.5, 2.0]
    with pytest.raises(ValueError, match="2 values to compare with 1"):
        statistics.paired([1, 2], [1])


# ----------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize("task", ["modify", "add"])
def test_the_truth_holds_every_goal_and_beats_the_trivial_answers(task: str) -> None:
    for claim in lines.entity_claims(task, attempts(task, "truth"), task):
        assert claim.holds and claim.measured > 0.99 and 5 <= claim.n <= 6  # one square fills its box
        assert claim.limit is not None and claim.limit <= 1
        assert claim.p is not None and claim.p <= 2 / 64
        assert set(claim.trivial) == {"nothing done", "mean fill", "whole mask", "static copy"}
        assert claim.against in claim.trivial


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        (LIMIT, [True, None, None]),
        ("nothing done", [False, False, None]),
        ("whole mask", [False, True, False]),  # its colour is right; that is why the other two are there
        ("mean fill", [False, False, None]),
    ],
)
def test_trivial_answers_miss_what_they_do_not_do(answer: str, holds: list[bool | None]) -> None:
    found = [claim.holds for claim in lines.entity_claims("modify", attempts("modify", answer), "modify")]
    assert [value if wanted is not None else None for value, wanted in zip(found, holds)] == holds


def test_a_deletion_is_good_at_the_codecs_limit_and_not_by_mean_fill() -> None:
    assert lines.deletion_claim(attempts("delete", LIMIT), "delete").holds
    mean = lines.deletion_claim(attempts("delete", "mean fill"), "delete")
    assert not mean.holds and mean.against == "mean fill" and mean.p == 1


def test_a_keyframe_and_the_background_are_exact_or_the_line_says_by_how_much() -> None:
    good = [attempt("modify", number, "truth", ORACLE_KEY) for number in range(3)]
    assert [claim.holds for claim in lines.exactness_claims(good)] == [True, True]
    edited = good[0].edited_fhwc.clone()
    outside = (good[0].truth.edit_mask_fhw[4] < 0.5).nonzero()[0]
    edited[4, outside[0], outside[1], 1] += 0.25
    edited[0, 24, 24, 0] -= 0.125 if edited[0, 24, 24, 0] > 0.5 else -0.125
    keyframe, background = lines.exactness_claims([replace(good[0], edited_fhwc=edited), *good[1:]])
    assert not keyframe.holds and keyframe.measured == pytest.approx(0.125)
    assert not background.holds and background.measured == pytest.approx(0.25)


def test_a_given_keyframe_is_not_judged() -> None:
    one = attempt("add", 1, "static copy", ORACLE_KEY)
    first_wrong = one.edited_fhwc.clone()
    first_wrong[0] = 0
    assert replace(one, edited_fhwc=first_wrong).own == one.own
    assert one.own.iou < attempt("add", 1, "static copy").own.iou


def test_par_holds_for_equals_and_not_for_one_who_is_worse() -> None:
    good, bad = attempts("modify", LIMIT, 8), attempts("modify", "static copy", 8)
    keyed = [replace(one, way=ORACLE_KEY, key_hwc=one.truth.oracle_fhwc[0]) for one in good]
    same = lines.par_claims(keyed, good)
    assert [claim.holds for claim in same] == [True, True] and same[0].measured == 0
    worse = lines.par_claims([replace(one, key_hwc=one.truth.oracle_fhwc[0]) for one in bad], good)[0]
    assert not worse.holds and worse.measured < 0 and worse.more["p_worse"] < 0.05


def test_drift_is_the_change_of_the_objects_colour_between_first_and_last_window() -> None:
    one = attempt("modify", 0, "truth", ORACLE_KEY, frames=17)
    assert lines.drift(one, one.edited_fhwc, 9) == 0
    shifted = one.edited_fhwc.clone()
    shifted[9:, ..., 2] += 5 / 255
    assert lines.drift(one, shifted, 9) == pytest.approx(5, abs=1e-3)
    assert lines.drift(one, one.edited_fhwc + 5 / 255, 9) == pytest.approx(0, abs=1e-3), "a steady shift is no drift"
    slipped = one.edited_fhwc.roll(1, dims=2)
    assert lines.drift(one, slipped, 9) == 0
    claim = lines.drift_claim([replace(one, edited_fhwc=shifted)], [one], 9, "chain")
    assert claim.more["without_colour_match"] == 0 and claim.more["p_match_lowers"] == 1
    assert not claim.holds and claim.more["windows"] == 2 and claim.more["iou_first_window"] > 0.99


def test_a_line_is_json_with_the_promised_keys_and_without_nan() -> None:
    claim = lines.entity_claims("kive", attempts("add", "nothing done", 2, ORACLE_KEY), "KIVE")[0]
    line = json.loads(replace(claim, limit=float("nan")).json())
    assert {"claim", "paper", "measured", "holds", "n", "p", "limit", "trivial"} <= set(line)
    assert line["limit"] is None and line["holds"] is False and line["trivial"]["static copy"] >= 0


# ---------------------------------------------------------------------------------------------------------- sheets


def test_a_sheet_shows_each_clips_frames_beside_each_other() -> None:
    one = trial("add", "seen", 0)
    clips = {"source": one.source_fhwc(), "truth": one.truth().oracle_fhwc}
    picture = sheets.sheet([sheets.Row("first", clips), sheets.Row("second", clips)])
    frame = (clips["truth"][8] * 255).round() / 255
    left, top = sheets.PAD + (sheets.FRAMES * sheets.TIMES * 48 + sheets.PAD) + 4 * 48, 2 * sheets.LINE
    found = picture[top : top + 96 : 2, left : left + 96 : 2]
    assert torch.allclose(found, frame, atol=1e-6)
    with pytest.raises(ValueError, match="2 kinds"):
        sheets.sheet([sheets.Row("first", clips), sheets.Row("second", {"source": clips["source"]})])


def test_the_mask_is_outlined_on_the_first_clip_only() -> None:
    one = trial("add", "seen", 0)
    clips = {"source": one.source_fhwc(), "again": one.source_fhwc()}
    picture = sheets.sheet([sheets.Row("", clips, one.truth().edit_mask_fhw)])
    panel = sheets.FRAMES * sheets.TIMES * 48
    parts = [picture[2 * sheets.LINE :, start : start + panel][:96] for start in (sheets.PAD, 2 * sheets.PAD + panel)]
    assert (parts[0] - parts[1]).abs().max() > 0.3


# ---------------------------------------------------------------------------------------------------- the whole run


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    embedded.save(embedded.build(vocabulary(), 0), path, {})
    return path


def test_the_command_prints_every_claim_and_draws_sheets(
    random_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(random_model), "--quick", "--sheets", str(tmp_path / "sheets")]) == 0
    told = {line["claim"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    for part in ("modify, seen", "modify, unseen", "add, seen", "add, unseen"):
        assert {f"{part} pairs: IoU with the truth", f"{part} pairs: colour on the object"} <= set(told)
    assert not told["modify, seen pairs: IoU with the truth"]["holds"], "random weights can't hold this"
    assert told["keyframe: largest difference"]["holds"], "but no weights can break this"
    assert told["outside the mask: largest difference"]["holds"]
    assert {"delete: PSNR in the mask", "KIVE against direct editing: IoU"} <= set(told)
    assert told["chain of 4 windows: colour drift"]["n"] == 4
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 8


def test_a_missing_model_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "none.safetensors")]) == 2
    assert capsys.readouterr().out == ""


def test_only_who_got_a_keyframe_is_compared_with_copying_it(random_model: Path) -> None:
    editor, one = Editor(embedded_engine(random_model), steps=1), trial("modify", "seen", 2)
    assert "static copy" not in editor.attempt(one, DIRECT).references
    given, own = editor.attempt(one, ORACLE_KEY), editor.attempt(one, OWN_KEY)
    assert torch.equal(given.references["static copy"][0], one.truth().oracle_fhwc[0])
    assert own.key_hwc is not None and torch.equal(own.references["static copy"][0], own.key_hwc)
    with pytest.raises(ValueError, match="keyframe by the model"):
        editor.attempt(one, "by hand")


def test_an_attempt_is_the_same_every_time_and_other_noise_gives_another(random_model: Path) -> None:
    engine, one = embedded_engine(random_model), trial("add", "seen", 3)
    first, again = (Editor(engine, steps=2).attempt(one, DIRECT).edited_fhwc for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, Editor(engine, seed=1, steps=2).attempt(one, DIRECT).edited_fhwc)


# ------------------------------------------------------------------------------------------------------- ablations


def test_over_filling_is_none_for_the_truth_and_much_for_a_painted_mask() -> None:
    assert ablations.overfilled(attempt("modify", 0, "truth")) == 0
    filled = attempt("modify", 0, "whole mask")
    assert ablations.overfilled(filled) > 0.3
    assert ablations.overfilled(attempt("modify", 0, "mean fill")) < ablations.overfilled(filled)


def test_an_ablation_holds_only_in_the_papers_direction() -> None:
    better = {True: [0.9] * 8, False: [0.1] * 8}
    full = [better[question.more_is_better] for question in ablations.QUESTIONS]
    other = [better[not question.more_is_better] for question in ablations.QUESTIONS]
    arms = dict.fromkeys(ablations.ARMS, other)
    assert all(line["holds"] and line["p"] < 0.05 for line in ablations.compared({**arms, ablations.FULL: full}))
    turned = ablations.compared({**dict.fromkeys(ablations.ARMS, full), ablations.FULL: other})
    assert not any(line["holds"] for line in turned) and {line["n_train"] for line in turned} == {1}


def test_arms_differ_in_one_thing_and_see_the_same_clips() -> None:
    plans = {}
    for name, changes in ablations.ARMS.items():
        recipe = replace(Recipe(images_per_video=1, image_batch=8, video_batch=8), **changes)
        plans[name] = [plan for step in range(4) for plan in plan_step(recipe, 0, step)]
    clips = {name: [plan.clip for plan in plan_list] for name, plan_list in plans.items()}
    assert all(one == clips[ablations.FULL] for one in clips.values())
    assert {plan.mask_mode for plan in plans[ablations.NO_MASKS]} == {"original"}
    assert not any(plan.is_image for plan in plans[ablations.VIDEO_ONLY])
    assert not any(plan.is_keyed for plan in plans[ablations.NO_KEYS])


def test_the_ablations_train_judge_and_write_their_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--steps", "1", "--batch", "2", "--trials", "1", "--seeds", "2", "--sampling-steps", "1"]
    results = tmp_path / "results.json"
    assert ablations.main([str(tmp_path / "arms"), *few, "--results", str(results)]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == json.loads(results.read_text())["lines"] and len(printed) == len(ablations.QUESTIONS)
    assert all(line["n"] == 2 for line in printed)
    assert ablations.main([str(tmp_path / "arms"), *few, "--results", str(results)]) == 0, "a second call goes on"
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == printed
