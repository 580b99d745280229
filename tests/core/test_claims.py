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
from vivid_core.training.claims import ablations, lines, sheets, statistics, suite
from vivid_core.training.claims.__main__ import main
from vivid_core.training.claims.answers import answers_of, drift, over_seeds
from vivid_core.training.claims.edits import DIRECT, ORACLE_KEY, OWN_KEY, Attempt, Editor
from vivid_core.training.claims.line import Line, corrected
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


def answers(task: str, answer: str, count: int = 6, way: str = DIRECT) -> list[dict[str, float]]:
    return [answers_of(attempt(task, number, answer, way)) for number in range(count)]


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
    for claim in lines.entity_claims(task, answers(task, "truth"), task):
        assert claim.holds and claim.measured > 0.99 and 5 <= claim.n <= 6  # one square fills its box
        assert claim.means[LIMIT] <= 1 and claim.p <= 2 / 64
        trivial = {"nothing done", "mean fill", "whole mask", "static copy"}
        assert set(claim.means) == {"the model", LIMIT, *trivial}
        against = claim.of.removeprefix("the model over ")
        assert against in trivial
        assert claim.interval[0] <= claim.effect <= claim.interval[1]
        if claim.n == 6:
            assert claim.effect == pytest.approx(claim.measured - claim.means[against])


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
    found = [claim.holds for claim in lines.entity_claims("modify", answers("modify", answer), "modify")]
    assert [value if wanted is not None else None for value, wanted in zip(found, holds)] == holds


def test_a_deletion_is_good_at_the_codecs_limit_and_not_by_mean_fill() -> None:
    assert lines.deletion_claim(answers("delete", LIMIT), "delete").holds
    mean = lines.deletion_claim(answers("delete", "mean fill"), "delete")
    assert not mean.holds and mean.of == "the model over mean fill" and mean.p == 1 and mean.effect == 0


def test_a_keyframe_and_the_background_are_exact_or_the_line_says_by_how_much() -> None:
    good = [attempt("modify", number, "truth", ORACLE_KEY) for number in range(3)]
    assert [claim.holds for claim in lines.exactness_claims([*map(answers_of, good)])] == [True, True]
    edited = good[0].edited_fhwc.clone()
    outside = (good[0].truth.edit_mask_fhw[4] < 0.5).nonzero()[0]
    edited[4, outside[0], outside[1], 1] += 0.25
    edited[0, 24, 24, 0] -= 0.125 if edited[0, 24, 24, 0] > 0.5 else -0.125
    changed = [answers_of(one) for one in (replace(good[0], edited_fhwc=edited), *good[1:])]
    keyframe, background = lines.exactness_claims([*changed, *answers("add", "truth", 1)])
    assert not keyframe.holds and keyframe.measured == pytest.approx(0.125) and keyframe.n == 3
    assert not background.holds and background.measured == pytest.approx(0.25) and background.n == 4


def test_of_several_seeds_the_mean_counts_and_of_what_must_be_exact_the_largest() -> None:
    first, second = answers_of(attempt("add", 1, LIMIT)), answers_of(attempt("add", 1, "mean fill"))
    together = over_seeds([first, {**second, "outside: largest difference": 0.5}])
    assert together["own: psnr"] == pytest.approx((first["own: psnr"] + second["own: psnr"]) / 2)
    assert together["outside: largest difference"] == 0.5
    assert np.isnan(together["keyframe: largest difference"]), "there was no keyframe"
    assert over_seeds([first]).keys() == first.keys()


def test_a_given_keyframe_is_not_judged() -> None:
    one = attempt("add", 1, "static copy", ORACLE_KEY)
    first_wrong = one.edited_fhwc.clone()
    first_wrong[0] = 0
    assert replace(one, edited_fhwc=first_wrong).own == one.own
    assert one.own.iou < attempt("add", 1, "static copy").own.iou


def par(keyed: list[dict[str, float]], direct: list[dict[str, float]]) -> list[Line]:
    return corrected(lines.par_claims(keyed, direct))


def test_par_holds_for_equals_and_not_for_one_who_is_worse() -> None:
    good, bad = answers("modify", LIMIT, 8), answers("modify", "static copy", 8)
    same = par(answers("modify", LIMIT, 8, ORACLE_KEY), good)
    assert [claim.holds for claim in same] == [True, True] and same[0].measured == 0
    worse = par(bad, good)[0]
    assert not worse.holds and worse.measured < 0 and worse.more["p_worse"] < 0.05


def test_drift_is_the_change_of_the_objects_colour_between_first_and_last_window() -> None:
    one = attempt("modify", 0, "truth", ORACLE_KEY, frames=17)
    assert drift(one, one.edited_fhwc, 9) == 0
    shifted = one.edited_fhwc.clone()
    shifted[9:, ..., 2] += 5 / 255
    assert drift(one, shifted, 9) == pytest.approx(5, abs=1e-3)
    assert drift(one, one.edited_fhwc + 5 / 255, 9) == pytest.approx(0, abs=1e-3), "a steady shift is no drift"
    slipped = one.edited_fhwc.roll(1, dims=2)
    assert drift(one, slipped, 9) == 0
    moved, still = answers_of(replace(one, edited_fhwc=shifted), 9), answers_of(one, 9)
    claim = lines.drift_claim([moved], [still], "chain")
    assert claim.means["without colour match"] == 0 and claim.more["p_match_lowers"] == 1
    assert not claim.holds and claim.effect == pytest.approx(-2, abs=1e-3) and claim.p == 1
    assert claim.more["iou_first_window"] > 0.99
    assert lines.drift_claim([still], [moved], "chain").holds


def test_a_line_is_json_with_the_promised_keys_and_without_nan() -> None:
    claim = lines.entity_claims("kive", answers("add", "nothing done", 2, ORACLE_KEY), "KIVE")[0]
    line = json.loads(replace(claim, measured=float("nan")).json())
    promised = {"claim", "paper", "expected", "measured", "holds", "n", "effect", "interval", "p", "p_holm", "means"}
    assert promised <= set(line)
    assert line["measured"] is None and line["p_holm"] is None and line["holds"] is False
    assert line["means"]["static copy"] >= 0


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


FEW = ["--trials", "1", "--steps", "1"]


def test_the_command_prints_every_claim_draws_sheets_and_goes_on_where_it_stopped(
    random_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "answers.jsonl"
    command = ["--model", str(random_model), *FEW, "--only", "vivid", "--store", str(store)]
    made, edit = [], Editor.attempt

    def counted(*given: object) -> Attempt:
        if len(made) == stop:
            raise KeyboardInterrupt
        made.append(given)
        return edit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Editor, "attempt", counted)
    stop = 5
    with pytest.raises(KeyboardInterrupt):
        main(command)
    stop = -1
    assert main([*command, "--sheets", str(tmp_path / "sheets")]) == 0
    printed, kept = capsys.readouterr().out, store.read_bytes()
    edits = sum(len(asked.trials) for asked in suite.all_asked(9, 1))
    assert len(made) == 2 * edits, "each edit once, and once more for its sheet"
    assert main([*command, "--store", str(tmp_path / "other.jsonl")]) == 0
    assert capsys.readouterr().out == printed, "an unbroken run says the same"
    assert store.read_bytes() == kept and kept.count(b"\n") == edits
    told = {line["claim"]: line for line in map(json.loads, printed.splitlines())}
    for part in ("modify, seen", "modify, unseen", "add, seen", "add, unseen"):
        assert {f"{part} pairs: IoU with the truth", f"{part} pairs: colour on the object"} <= set(told)
    assert not told["modify, seen pairs: IoU with the truth"]["holds"], "random weights can't hold this"
    assert told["keyframe: largest difference"]["holds"], "but no weights can break this"
    assert told["outside the mask: largest difference"]["holds"]
    assert {"delete: PSNR in the mask", "KIVE against direct editing: IoU"} <= set(told)
    assert told["chain of 4 windows: colour drift"]["n"] == 2
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 9


def test_a_missing_model_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_path / "answers.jsonl")]
    assert main(["--model", str(tmp_path / "none.safetensors"), *store]) == 2
    assert main(["--trials", "0", *store]) == 2
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
    held = ablations.compared({**arms, ablations.FULL: full})
    assert all(line["holds"] and line["p"] < 0.05 and line["effect"] == pytest.approx(0.8) for line in held)
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
    few = ["--steps", "1", "--batch", "2", "--trials", "1", "--seeds", "2", "--sampling-steps", "2"]
    results = tmp_path / "results.json"
    assert ablations.main([str(tmp_path / "arms"), *few, "--results", str(results)]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == json.loads(results.read_text())["lines"] and len(printed) == len(ablations.QUESTIONS)
    assert all(line["n"] == 2 and len(line["interval"]) == 2 for line in printed)
    claims, about = ablations.kept(results)
    assert [claim.claim for claim in claims] == [line["claim"] for line in printed]
    assert [claim.effect for claim in claims] == [line["effect"] for line in printed]
    assert about["train_steps"] == 1 and about["sampling_steps"] == 2 and about["commit"]
    assert ablations.kept(tmp_path / "none.json") == ([], {})
    assert ablations.main([str(tmp_path / "arms"), *few, "--results", str(results)]) == 0, "a second call goes on"
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == printed
