"""The store of finished trials: what was answered is never asked again, however a run ended."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from harness.packages import ROOT

from vivid_core.training.claims.store import AnswerStore, Key

KEY = Key("m", "motion", "all rules", "motion/0", "s")

ENDLESS = """
import sys
sys.path.append(sys.argv[1])
from harness.packages import import_from_root
import_from_root("vivid_core")
from vivid_core.training.claims.store import AnswerStore, Key
store = AnswerStore(sys.argv[2])
for number in range(10**9):
    key = Key("m", "edits", "direct", f"modify/{number}", "s")
    if store.get(key) is None:
        store.add(key, {"iou": number / 7, "psnr": float("nan")})
"""


def test_half_a_line_is_cut_off_and_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    store, later = AnswerStore(path), replace(KEY, trial="motion/1")
    store.add(KEY, {"shape": 0.1 + 0.2, "away": math.nan})
    store.add(later, {"shape": 1.0})
    for end in range(1, 20):
        path.write_bytes(path.read_bytes()[:-end])
        found = AnswerStore(path)
        assert len(found) == 1 and found.get(later) is None
        answers = found.get(KEY)
        assert answers is not None and answers["shape"] == 0.1 + 0.2 and math.isnan(answers["away"])
        found.add(later, {"shape": 1.0})
        assert len(AnswerStore(path)) == 2


def test_kills_in_the_middle_of_writing_lose_no_finished_answer_and_make_none_up(tmp_path: Path) -> None:
    path, draw, before = tmp_path / "answers.jsonl", random.Random(0), 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", ENDLESS, str(ROOT / "tests"), str(path)]) as child:
            end = time.monotonic() + 120
            while (
                not path.exists() or path.stat().st_size < before + draw.randrange(2000, 9000)
            ) and child.poll() is None:
                assert time.monotonic() < end, "nothing is written"
                time.sleep(0.005)
            os.kill(child.pid, signal.SIGKILL)
        lines = path.read_bytes().count(b"\n")
        store = AnswerStore(path)
        assert len(store) == lines > 0, "no answer is there twice, and none is lost"
        for number in range(lines):
            answers = store.get(Key("m", "edits", "direct", f"modify/{number}", "s"))
            assert answers is not None and answers["iou"] == number / 7 and math.isnan(answers["psnr"])
        before = path.stat().st_size


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"model": "m", "answers": {}}', '{"answers": 3}', "[" * 9999])
def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path, line: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"line 1 of .*answers\.jsonl"):
        AnswerStore(path)
    assert path.read_text() == line + "\n"


@pytest.mark.parametrize("field", ["model", "experiment", "arm", "trial", "settings"])
def test_answers_of_another_model_or_setting_are_not_taken_and_stay(tmp_path: Path, field: str) -> None:
    path, other = tmp_path / "answers.jsonl", replace(KEY, **{field: "other"})
    AnswerStore(path).add(KEY, {"shape": 1.0})
    store = AnswerStore(path)
    assert store.get(other) is None
    store.add(other, {"shape": 2.0})
    again = AnswerStore(path)
    assert again.get(KEY) == {"shape": 1.0} and again.get(other) == {"shape": 2.0}


def test_what_is_kept_is_asked_once_and_anew_only_if_that_is_wanted(tmp_path: Path) -> None:
    path, asked = tmp_path / "answers.jsonl", []

    def ask() -> dict[str, float]:
        asked.append(len(asked))
        return {"shape": float(asked[-1])}

    assert [AnswerStore(path).answered(KEY, ask)["shape"] for _ in range(3)] == [0.0] * 3
    assert AnswerStore(path, anew=True).answered(KEY, ask)["shape"] == 1.0
    assert AnswerStore(path).answered(KEY, ask)["shape"] == 1.0, "of two answers the later counts"
    assert asked == [0, 1]


def test_answers_say_which_commit_gave_them_and_only_those_that_were_used_count(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    old = AnswerStore(path, "old")
    for number in range(3):
        old.add(replace(KEY, trial=str(number)), {"shape": 1.0})
    new = AnswerStore(path, "new")
    new.add(replace(KEY, trial="3"), {"shape": 1.0})
    assert new.commits() == {}
    assert all(new.get(replace(KEY, trial=str(number))) for number in (1, 2, 3))
    assert new.commits() == {"old": 2, "new": 1}
