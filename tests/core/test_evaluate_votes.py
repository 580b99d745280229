"""Blind pages and their votes: who is on which side stays hidden, win rates are those counted by hand."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from harness.evaluating import add_line, failing_on, folder_of, grey, noisy, run
from scipy.stats import binomtest

from vivid_core.evaluate.__main__ import main
from vivid_core.evaluate.pages import comparison_page
from vivid_core.evaluate.run import Comparison
from vivid_core.evaluate.statistics import binomial_p, difference, estimate, wilson
from vivid_core.evaluate.study import FORMAT_OF_VOTES, QUESTIONS, Study, blind_study, key_text, read_key
from vivid_core.evaluate.votes import Vote, rates_json, rates_markdown, read_votes, win_rates

ATTACK = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    base = tmp_path_factory.mktemp("study")
    folder = folder_of(base / "clips")
    line = {"name": f"{ATTACK}", "clip": "samples/dot 0.safetensors", "mask": "samples/dot 0.safetensors"}
    add_line(folder, {**line, "caption": ATTACK})
    return run(folder, base / "out", f"mean:label={ATTACK[:30]}", "unchanged", grey(), noisy())


def data_of(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    told = re.search(r'<script type="application/json" id="study">(.*?)</script>', page, re.DOTALL)
    assert told
    return json.loads(told[1])


def test_names_and_captions_are_never_markup(found: Comparison) -> None:
    pages = (comparison_page(found), blind_study(found)[1])
    for page in pages:
        assert "<img" not in page and "<script>window.hurt" not in page
    assert "&lt;script&gt;window.hurt" in pages[0]
    assert ATTACK in {pair["caption"] for pair in data_of(pages[1])["pairs"]}


def test_pages_name_nothing_outside_their_folder(found: Comparison) -> None:
    for page in (comparison_page(found), blind_study(found)[1]):
        assert not re.search(r"https?:|//\w+\.|file:/[^;]", page.replace("media-src 'self' file:;", ""))
        assert set(re.findall(r' src="([^"]*)"', page)) <= {
            name for one in found.outcomes for name in (one.clips or {}).values()
        } | {shown.original for shown in found.shown}


def test_the_blind_page_knows_no_engine_and_the_key_knows_all(found: Comparison, tmp_path: Path) -> None:
    study, page = blind_study(found)
    for engine in found.plan.engines:
        assert engine.label not in page
    (tmp_path / "key.json").write_text(key_text(study), encoding="utf-8")
    assert read_key(tmp_path / "key.json") == study
    assert {pair.id for pair in study.pairs} == {pair["id"] for pair in data_of(page)["pairs"]}


def test_each_clip_is_shown_with_the_first_engine_against_each_other_one_in_an_order_drawn_by_the_seed(
    found: Comparison,
) -> None:
    study, page = blind_study(found, seed=1)
    first, *others = (engine.label for engine in found.plan.engines)
    cases = [case.name for case in found.plan.cases]
    asked = sorted((pair.case, *sorted((pair.left, pair.right))) for pair in study.pairs)
    assert asked == sorted((case, *sorted((first, other))) for case in cases for other in others)
    assert blind_study(found, seed=1) == (study, page)
    drawn = [blind_study(found, seed=seed)[0].pairs for seed in range(6)]
    assert len({tuple((pair.case, pair.left, pair.right) for pair in pairs) for pairs in drawn}) == 6
    sides = [pair.left == first for pairs in drawn for pair in pairs]
    assert 0.25 < sum(sides) / len(sides) < 0.75
    assert len(blind_study(found, every_pair=True)[0].pairs) == 4 * 6


def test_what_is_asked_of_a_removal_is_not_its_text(found: Comparison) -> None:
    asked = {(pair.case == "dot 2", pair.questions) for pair in blind_study(found)[0].pairs}
    assert asked == {(False, ("BP", "TA", "TC", "VQ")), (True, ("BP", "TC", "VQ"))}


def test_a_clip_that_an_engine_failed_on_is_not_shown(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "clips", 2)
    some = run(folder, tmp_path / "out", "mean", failing_on("dot 0", ValueError("No.")))
    assert [pair.case for pair in blind_study(some)[0].pairs] == ["dot 1"]
    with pytest.raises(ValueError, match="no clip that two engines finished"):
        blind_study(run(folder, tmp_path / "out", "mean"))


def vote_file(path: Path, of: Study, answers: dict[str, dict[str, str]], session: str = "s", **changes: Any) -> Path:
    votes = [{"pair": pair, "answers": one} for pair, one in answers.items()]
    told = {"format": FORMAT_OF_VOTES, "version": 1, "study": of.id, "session": session, "rater": "", "votes": votes}
    path.write_text(json.dumps({**told, **changes}))
    return path


def side_of(study: Study, pair_id: str, label: str) -> str:
    pair = next(one for one in study.pairs if one.id == pair_id)
    return "left" if pair.left == label else "right"


def test_win_rates_are_those_counted_by_hand(found: Comparison, tmp_path: Path) -> None:
    study, _ = blind_study(found)
    first = found.plan.engines[0].label
    against = [pair for pair in study.pairs if "unchanged" in (pair.left, pair.right)]
    answers: list[dict[str, dict[str, str]]] = [{}, {}]
    for number, pair in enumerate(against):  # the first rater prefers the first engine thrice, the second never
        answers[0][pair.id] = {"VQ": side_of(study, pair.id, first if number else "unchanged"), "BP": "same"}
        answers[1][pair.id] = {"VQ": side_of(study, pair.id, "unchanged")}
    files = [vote_file(tmp_path / f"{at}.json", study, one, f"s{at}") for at, one in enumerate(answers)]
    rates = {one.question: one for one in win_rates(read_votes(files, study))}
    vq, bp = rates["VQ"], rates["BP"]
    assert (vq.first, vq.second) == (first, "unchanged")
    assert (vq.wins, vq.losses, vq.ties, vq.raters, vq.clips, vq.rate) == (3, 5, 0, 2, 4, 3 / 8)
    assert (bp.wins, bp.losses, bp.ties) == (0, 0, 4) and math.isnan(bp.rate)
    assert "| 3 | 5 | 0 | 38 % [" in rates_markdown(list(rates.values())) and "<" not in rates_markdown([vq])
    assert json.loads(rates_json([bp]))["win_rates"][0]["rate"] is None


def test_a_page_saved_twice_counts_once_with_its_last_answers(found: Comparison, tmp_path: Path) -> None:
    study, _ = blind_study(found)
    pair = study.pairs[0]
    early = vote_file(tmp_path / "1.json", study, {pair.id: {"VQ": "left", "TC": "left"}})
    late = vote_file(tmp_path / "2.json", study, {pair.id: {"VQ": "right"}})
    votes = read_votes([early, late], study)
    assert {(vote.question, vote.winner) for vote in votes} == {("VQ", pair.right), ("TC", pair.left)}


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "other"},
        {"version": 2},
        {"session": 3},
        {"votes": {}},
        {"votes": [3]},
        {"votes": [{"pair": "none", "answers": {}}]},
        {"votes": [{"pair": None, "answers": {"VQ": "up"}}]},
        {"votes": [{"pair": None, "answers": {"??": "left"}}]},
        {"votes": [{"pair": None, "answers": []}]},
        {"votes": [{"pair": [], "answers": {}}]},
        {"votes": [{"pair": None, "answers": {"VQ": ["left"]}}]},
    ],
)
def test_a_file_that_holds_no_votes_of_this_study_is_refused(
    found: Comparison, tmp_path: Path, changes: dict[str, Any]
) -> None:
    study, _ = blind_study(found)
    for vote in changes.get("votes", []):
        if isinstance(vote, dict) and vote["pair"] is None:
            vote["pair"] = study.pairs[0].id
    with pytest.raises(ValueError, match="bad.json") as raised:
        read_votes([vote_file(tmp_path / "bad.json", study, {}, **changes)], study)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": "vivid blind key", "version": 1}'])
def test_a_key_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(ValueError, match="key.json"):
        read_key(tmp_path / "key.json")


def test_the_command_counts_votes(found: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, _ = blind_study(found)
    key = tmp_path / "blind_key.json"
    key.write_text(key_text(study), encoding="utf-8")
    votes = vote_file(tmp_path / "votes.json", study, {study.pairs[0].id: {"VQ": "left"}})
    assert main(["votes", str(key), str(votes)]) == 0
    assert "# Win rates" in capsys.readouterr().out and "# Win rates" in (tmp_path / "win_rates.md").read_text()
    assert main(["votes", str(key), str(vote_file(tmp_path / "none.json", study, {}))]) == 2
    assert main(["votes", str(key), str(key)]) == 2


@pytest.mark.parametrize("count", [1, 2, 7, 40, 500])
def test_intervals_and_p_of_shares_are_those_of_scipy(count: int) -> None:
    for wins in {0, 1, count // 3, count // 2, count}:
        wanted = binomtest(wins, count)
        low, high = wilson(wins, count)
        bounds = wanted.proportion_ci(0.95, "wilson")
        assert (low, high) == pytest.approx((bounds.low, bounds.high), abs=1e-9)
        assert binomial_p(wins, count) == pytest.approx(wanted.pvalue, abs=1e-9)
    assert binomial_p(0, 0) == 1 and all(map(math.isnan, wilson(0, 0)))
    with pytest.raises(ValueError, match="more|wins in"):
        wilson(count + 1, count)


def test_values_that_are_none_do_not_count(found: Comparison) -> None:
    assert estimate([1.0, math.nan, 3.0]).n == 2 and estimate([1.0, math.nan, 3.0]).mean == 2
    assert estimate([]).n == 0 and math.isnan(estimate([math.nan]).mean)
    paired = difference([1.0, math.nan, 5.0, 4.0], [0.5, 1.0, math.nan, 3.0])
    assert paired.estimate.n == 2 and paired.estimate.mean == 0.75
    assert difference([1.0] * 8, [0.0] * 8).p == pytest.approx(2 / 2**8)
    assert difference([1.0, 2.0], [2.0, 1.0]).p == 1


def test_every_vote_has_a_question_of_the_paper() -> None:
    assert list(QUESTIONS) == ["BP", "TA", "TC", "VQ"]
    assert win_rates([Vote("r", "p", "VQ", "a", "b", "a")])[0].rate == 1
