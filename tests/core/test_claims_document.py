"""The claims as a page: every claim is on it as it is, held or not, and it says where its figures come from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from vivid_core.training.claims import ablations, steered_lines
from vivid_core.training.claims.document import COLUMNS, Chapter, Page, markdown, number, write_page
from vivid_core.training.claims.forms import FULL, QUICK
from vivid_core.training.claims.line import Line, corrected

GOAL = Line("goal", "paper, section 5", ">= 80%", 0.82, True, 16, 0.2, (0.1, 0.3), "model over nothing", 0.001)
MISS = Line("miss", "paper, section 4", ">= 97%", 0.5, False, 16, -0.25, (-0.5, 0.0), "model over nothing", 0.9)
TESTED = Line("tested", "paper", "higher", 0.5, True, 16, 0.25, (0.1, 0.5), "a over b", 0.03, needs_p=True)
EXACT = Line("exact", "paper", "exactly 0", 0.0, True, 640)
UNKNOWN = Line("later", "paper", "higher", why="not run: no | model")
LINES = [GOAL, MISS, TESTED, EXACT, UNKNOWN]


def page(lines: list[Line], **changed: object) -> Page:
    chapters = [Chapter("First", "About it.", lines)]
    return replace(Page("2026-01-31", "abc1234", "2 CPU cores", QUICK, 0, {"abc1234": 7}, chapters), **changed)  # type: ignore[arg-type]


def table(text: str) -> dict[str, dict[str, str]]:
    """The rows by their first cell, as {column: cell}."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == list(COLUMNS) and all(len(row) == len(COLUMNS) for row in rows)
    return {row[0]: dict(zip(COLUMNS, row)) for row in rows[2:]}


def test_each_p_is_corrected_for_all_that_are_known_as_by_hand() -> None:
    found = corrected([replace(GOAL, p=p) for p in (0.01, math.nan, 0.04, 0.03, 0.005)])
    # Sorted: 0.005 x 4, 0.01 x 3, then 0.03 x 2 = 0.06, and 0.04 x 1, which must not be below the one before it.
    assert [line.p_holm for line in found] == pytest.approx([0.03, math.nan, 0.06, 0.06, 0.02], nan_ok=True)


def test_a_claim_of_a_difference_holds_by_its_corrected_p_and_a_goal_by_its_mean() -> None:
    alone, together = corrected([TESTED]), corrected([TESTED, replace(TESTED, p=0.04), replace(GOAL, p=0.5)])
    assert alone[0].holds is True and [line.holds for line in together] == [False, False, True]
    assert corrected([replace(TESTED, holds=False, p=1e-9)])[0].holds is False, "its means are not in order"
    assert corrected([replace(TESTED, p=math.nan)])[0].holds is False
    assert corrected([UNKNOWN])[0].holds is None


def test_every_claim_is_a_row_held_or_not_or_not_run() -> None:
    text = markdown(page(corrected(LINES)))
    rows = table(text)
    assert list(rows) == [line.claim for line in LINES]
    assert [row["holds"] for row in list(rows.values())[:4]] == ["yes", "no", "no", "yes"]
    assert rows["later"]["holds"] == r"not run: no \| model" and rows["later"]["p"] == "–"
    assert rows["goal"]["effect [95 %]"] == "0.2 [0.1, 0.3], model over nothing" and rows["goal"]["n"] == "16"
    assert rows["goal"]["p"] == "0.0010" and rows["goal"]["p corrected"] == "0.0030"
    assert rows["exact"]["measured"] == "0" and rows["exact"]["effect [95 %]"] == "–"
    assert "5 claims: 2 hold, 2 don't, 1 not run." in text


def test_the_page_says_when_at_which_commit_on_what_and_in_which_form() -> None:
    text = markdown(page(LINES))
    assert "`make claims` on 2026-01-31 at commit abc1234, on 2 CPU cores" in text and "**quick form**" in text
    assert "64 clips a task with one seed of the noise" in text and "make claims FULL=1" in text
    full = markdown(page(LINES, form=FULL))
    assert "`make claims FULL=1` on" in full and "**full form**" in full and "first look" not in full


def test_what_is_not_the_forms_own_and_what_was_kept_from_other_code_is_said() -> None:
    assert "Not the form" not in markdown(page(LINES)) and "kept from earlier" not in markdown(page(LINES))
    changed = markdown(page(LINES, form=QUICK.changed(1, None, 2), first=64))
    assert "**Not the form as it is**: trials 1, steps 2, first trial 64." in changed
    kept = markdown(page(LINES, answers={"abc1234": 7, "fff0000": 5}))
    assert "Of 12 answers some were kept from earlier runs: 5 at fff0000." in kept


def test_every_claim_about_steering_and_every_ablation_has_a_row_of_its_own() -> None:
    kept, about = ablations.kept()
    lines = [*steered_lines.not_run("no model"), *kept]
    assert len(kept) == len(ablations.QUESTIONS)
    assert {"train_steps", "trials", "sampling_seeds", "sampling_steps"} <= set(about)
    rows = table(markdown(page(corrected(lines))))
    assert list(rows) == [line.claim for line in lines] and len(rows) == len(lines)
    for row in rows.values():
        assert row["paper"].startswith(("VIVID", "UniEdit", "Pix2Video")) and row["expected"] != "–"


def test_an_ablation_that_is_sure_alone_may_not_be_among_all_claims() -> None:
    kept, _ = ablations.kept()
    for line in corrected([*kept, *(replace(TESTED, p=1.0) for _ in range(20))]):
        assert line.p_holm >= line.p and line.holds is (line.p_holm < 0.05)


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "claims.md"
    write_page(path, page(LINES))
    assert path.read_text(encoding="utf-8") == markdown(page(LINES))
    assert [one.name for one in path.parent.iterdir()] == ["claims.md"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="can't be written .* choose another folder"):
        write_page(tmp_path / "file" / "claims.md", page(LINES))


def test_numbers_have_three_digits_or_as_many_as_they_need() -> None:
    assert [number(value) for value in (0.12345, 12.345, 1234.5, 0.0, math.nan)] == ["0.123", "12.3", "1234", "0", "–"]


def test_the_full_form_goes_on_from_the_quick_one_and_no_number_is_below_one() -> None:
    assert QUICK.steps is FULL.steps is None and QUICK.trials <= FULL.trials and QUICK.seeds < FULL.seeds
    assert QUICK.sd_trials < FULL.sd_trials and QUICK.sd_steps < FULL.sd_steps
    with pytest.raises(ValueError, match="got 0 seeds"):
        QUICK.changed(None, 0, None)
