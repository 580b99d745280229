"""The page of the benchmarks: every benchmark has a row that says what it is, and figures come from results alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness.packages import ROOT, import_from_root

import_from_root("benchmarks")

from benchmarks import _document as document  # noqa: E402
from benchmarks._about import CPU, CUDA, About, abouts  # noqa: E402

MADE = {"date": "2026-01-31", "commit": "abc1234", "machine": "2 CPU cores, no GPU", "form": "quick"}
TIMED: dict[str, Any] = {
    "name": "fast",
    "ours": 0.5,
    "peer": 1.0,
    "ratio": 2.0,
    "interval": [1.8, 2.2],
    "goal": 1.5,
    "met": True,
    "unit": "x",
    "what": "seconds",
}
FAST = About("fast", "a thing", "a peer", "another pack", "at least 1.5x", False, True, (CPU, CUDA), "")
LOW = About("low", "memory", "plainly", "a | b", "at most 1 GB", True, False, (CPU,), "host memory")
BOTH = {"fast": FAST, "low": LOW}
ALL = abouts()


def rows(text: str) -> list[dict[str, str]]:
    """The rows of all tables, as {column: cell}."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert all(len(row) == len(document.COLUMNS) for row in found)
    return [dict(zip(document.COLUMNS, row)) for row in found if row[0].startswith("`")]


def test_a_row_has_the_figure_of_the_result_and_says_what_it_is_held_against() -> None:
    (fast, low) = rows(document.markdown({CPU: {"fast": {**TIMED, **MADE}}}, BOTH))
    assert fast == {
        "benchmark": "`fast`",
        "what": "a thing",
        "peer": "a peer",
        "a user would pick instead": "another pack",
        "goal": "at least 1.5x",
        "measured": "2x [1.8, 2.2]",
        "held": "yes",
    }
    assert low["measured"] == document.NOT_YET and low["held"] == "–"
    assert low["a user would pick instead"] == r"a \| b"


def test_a_missed_goal_is_printed_so_and_a_computed_figure_is_marked() -> None:
    result = {**TIMED, "name": "low", "ours": 1.25, "unit": "GB", "interval": [1.2, 1.3], "met": False, "also": "more"}
    text = document.markdown({CPU: {"low": {**result, **MADE}}}, BOTH)
    low = rows(text)[1]
    assert low["measured"] == "1.25 GB [1.2, 1.3]; more, computed" and low["held"] == "no"
    assert "0 of 1 goals held" in text


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"unit": "share", "ratio": 0.0335, "interval": [0.033, 0.037]}, "3.35 % [3.3, 3.7]"),
        ({"unit": "s", "ours": 0.3, "interval": [0.3, 0.3]}, "0.3 s"),
        ({"interval": [2.0, 2.0]}, "2x"),
    ],
)
def test_the_figure_is_the_one_that_the_goal_is_for(changed: dict[str, Any], shown: str) -> None:
    assert document.figure({**TIMED, **changed}) == shown


def test_the_page_says_once_where_figures_come_from_and_a_row_where_its_own_differs() -> None:
    results = {CPU: {name: {**TIMED, **MADE} for name in ("fast", "low", "third")}}
    three = {**BOTH, "third": replace(FAST, name="third")}
    text = document.markdown(results, three)
    assert "on 2026-01-31 at commit abc1234, on 2 CPU cores, no GPU, in the quick form" in text
    assert text.count("abc1234") == 1
    results[CPU]["low"] |= {"commit": "fff0000", "form": "full"}
    changed = document.markdown(results, three)
    assert "(2026-01-31, commit fff0000, full form)" in rows(changed)[1]["measured"] and changed.count("abc1234") == 1


def test_without_a_gpu_the_second_table_says_so_and_with_one_it_is_there() -> None:
    without = document.markdown({CPU: {"fast": {**TIMED, **MADE}}}, BOTH)
    assert "Not run: the machine of the last run had no GPU" in without and "- `low`: host memory." in without
    on_it = {**TIMED, **MADE, "machine": "16 CPU cores, 1 x H", "ratio": 3.0, "interval": [3.0, 3.0]}
    text = document.markdown({CPU: {"fast": {**TIMED, **MADE}}, CUDA: {"fast": on_it}}, BOTH)
    measured = [row["measured"] for row in rows(text) if row["benchmark"] == "`fast`"]
    assert measured[0] == "2x [1.8, 2.2]" and measured[1].startswith("3x (") and "1 x H" in measured[1]


def test_a_failed_run_keeps_the_figure_before_it_and_says_that_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.json"
    document.record(path, CPU, "fast", TIMED, MADE)
    document.record(path, CPU, "low", {"name": "low", "error": "lost"}, MADE)
    document.record(path, CPU, "fast", {"name": "fast", "error": "stopped"}, {**MADE, "commit": "fff0000"})
    fast, low = rows(document.markdown(document.load(path), BOTH))
    assert (
        fast["measured"].startswith("2x [1.8, 2.2] (") and "fff0000 on 2026-01-31 failed: stopped" in fast["measured"]
    )
    assert low["measured"].startswith(document.NOT_YET) and "failed: lost" in low["measured"] and low["held"] == "–"
    document.record(path, CPU, "fast", TIMED, MADE)
    assert "failed" not in rows(document.markdown(document.load(path), BOTH))[0]["measured"]
    assert [one.name for one in tmp_path.iterdir()] == ["benchmarks.json"], "never half of a file"


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"cpu": []}', '{"cpu": {"fast": 3}}'])
def test_a_file_that_holds_no_results_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "benchmarks.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="holds no results"):
        document.record(path, CPU, "fast", TIMED, MADE)
    assert path.read_text() == text


def test_every_benchmark_says_what_it_is_and_where_a_gpu_is_left_out_why() -> None:
    assert len(ALL) >= 24
    for about in ALL.values():
        assert re.search(r"\d", about.goal), about.name
        assert (CUDA in about.variants) != bool(about.not_on_cuda)
    assert {"step_vs_diffusers", "pix2video_vs_sequential"} <= {
        one.name for one in ALL.values() if CUDA in one.variants
    }
    assert [one.name for one in ALL.values() if one.computed] == ["kive_keyframe_vs_clip"]
    clocks = {one.name for one in ALL.values() if "paired(" in (ROOT / "benchmarks" / f"{one.name}.py").read_text()}
    assert clocks and all(ALL[name].timed for name in clocks), "what is timed runs alone"


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_goal_in_words_is_the_goal_in_the_code(name: str) -> None:
    code = (ROOT / "benchmarks" / f"{name}.py").read_text()
    line = re.search(r"^GOAL(?:S|_GB|_SECONDS)? = (.+)$", code, re.MULTILINE)
    assert line is not None
    numbers = [float(one) for one in re.findall(r"[\d.]+", line[1].split("#")[0].replace("pix2video", ""))]
    told = [float(one) for one in re.findall(r"\d+(?:\.\d+)?", ALL[name].goal)]
    assert [one / 100 if "%" in ALL[name].goal else one for one in told] == numbers


def test_a_benchmark_that_does_not_say_what_it_is_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("GOAL = 1\n")
    assert abouts(tmp_path) == {}
    (tmp_path / "silent.py").write_text('ABOUT = {"measures": "a"}\n\n\ndef run(full):\n    return {}\n')
    with pytest.raises(ValueError, match="silent lacks in its ABOUT: peer, instead, goal"):
        abouts(tmp_path)
    told = dict.fromkeys(("measures", "peer", "instead", "goal"), "1")
    (tmp_path / "silent.py").write_text(f"ABOUT = {json.dumps(told)}\n\n\ndef run(full):\n    return {{}}\n")
    with pytest.raises(ValueError, match="run_cuda or a reason"):
        abouts(tmp_path)


def test_both_sides_are_compared_on_any_shape_and_device() -> None:
    from benchmarks import pix2video_vs_sequential, step_vs_diffusers
    from benchmarks._models import transformer

    step = step_vs_diffusers.compared(transformer(layers=1, heads=2), (2, 4, 4), 1, least_s=0.0)
    assert step["ratio"] > 0 and "128 wide, 234 tokens" in step["what"]
    shape = pix2video_vs_sequential.Shape((8, 8, 8, 8), 8, 3)
    found = pix2video_vs_sequential.compared(shape, 1, least_s=0.0)
    assert found["ratio"] > 0 and "3 frames of 64x64, a U-Net 0.025 times as wide" in found["what"]
    with pytest.raises(RuntimeError, match="No fair comparison"):
        pix2video_vs_sequential.compared(shape, 1, least_s=60.0)


def test_the_page_in_the_repository_is_what_its_results_say() -> None:
    results = ROOT / "docs" / "benchmarks.json"
    if not results.exists():
        pytest.skip("no benchmark was run yet: make bench")
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == document.markdown(document.load(results), ALL), "python benchmarks --page writes it again"
