"""The measuring tools of the benchmarks, on code whose cost is known."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness.packages import ROOT, import_from_root

import_from_root("benchmarks")

from benchmarks import timing  # noqa: E402

MEGABYTE = 2**20


class FakeClock:
    """A clock that stands still until somebody works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log = ""

    def worker(self, name: str, seconds: float):  # type: ignore[no-untyped-def]
        def work() -> None:
            self.now += seconds
            self.log += name

        return work


def test_pairs_are_interleaved_and_their_ratio_is_ours_over_peer() -> None:
    clock = FakeClock()
    result = timing.paired(clock.worker("o", 2.0), clock.worker("p", 8.0), 4, clock=lambda: clock.now)
    assert clock.log == "op" + "op" + "po" + "op" + "po"
    assert result == (2.0, 8.0, 0.25, (0.25, 0.25))
    assert result.times_faster == (4.0, (4.0, 4.0))
    timing.paired(clock.worker("a", 1.0), clock.worker("b", 1.0), 1, clock=lambda: clock.now, warm=True)
    assert clock.log == "op" + "op" + "po" + "op" + "po" + "ab", "what was called before isn't called once more"
    with pytest.raises(ValueError, match="0 pairs"):
        timing.paired(clock.worker("o", 1), clock.worker("p", 1), 0)


def test_the_interval_of_the_median_holds_it_and_narrows_with_more_values() -> None:
    values = np.random.default_rng(1).normal(5, 1, 400)
    wide, narrow = timing.median_interval(values[:20]), timing.median_interval(values)
    assert narrow[0] <= np.median(values) <= narrow[1]
    assert narrow[1] - narrow[0] < 0.5 * (wide[1] - wide[0])
    assert timing.median_interval(values) == narrow


def test_the_interval_of_a_median_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    intervals = [timing.median_interval(draw.normal(0, 1, 25)) for _ in range(200)]
    assert sum(low <= 0 <= high for low, high in intervals) >= 176


ALLOCATES = """
import torch
inputs = torch.ones(100 * 2**20, dtype=torch.uint8)
baseline()
short_lived = torch.ones(200 * 2**20, dtype=torch.uint8)
del short_lived
output = torch.ones(50 * 2**20, dtype=torch.uint8)
done({outputs})
"""


def test_a_short_peak_of_200_megabytes_is_seen_as_such() -> None:
    assert timing.peak_extra_bytes(ALLOCATES.format(outputs="")) == pytest.approx(200 * MEGABYTE, abs=16 * MEGABYTE)


def test_outputs_given_to_done_are_not_counted() -> None:
    peak = timing.peak_extra_bytes(ALLOCATES.format(outputs="output"))
    assert peak == pytest.approx(150 * MEGABYTE, abs=16 * MEGABYTE)


def test_what_was_freed_before_the_baseline_does_not_count() -> None:
    code = "import torch\nx = torch.ones(2**28, dtype=torch.uint8)\ndel x\nbaseline()\ndone()"
    assert timing.peak_extra_bytes(code) < 8 * MEGABYTE


def test_without_the_kernels_mark_the_memory_is_sampled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(timing, "CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    meter = timing.PeakMeter(tmp_path / "bytes")
    meter.baseline()
    assert meter.sampler is not None
    block = np.ones(100 * MEGABYTE, np.uint8)
    meter.done()
    del block
    assert int((tmp_path / "bytes").read_text()) == pytest.approx(100 * MEGABYTE, abs=16 * MEGABYTE)


def test_vivid_core_can_be_imported_by_the_measured_code() -> None:
    assert timing.peak_extra_bytes("import vivid_core.checks\nbaseline()\nprint('x')\ndone()") >= 0


@pytest.mark.parametrize(
    ("code", "hint"), [("raise KeyError('lost')", "lost"), ("baseline()", "done"), ("done()", "before baseline")]
)
def test_code_that_fails_or_does_not_report_is_an_error(code: str, hint: str) -> None:
    with pytest.raises(RuntimeError, match=hint):
        timing.peak_extra_bytes(code)


GOOD = """
ABOUT = {"measures": "a", "peer": "b", "instead": "c", "goal": "at most 1x", "not_on_cuda": "d"}


def run(full):
    from vivid_core import runtime
    from . import timing
    print("noise")
    return {"name": "good", "ours": 1, "peer": 2, "ratio": 0.5, "goal": 1, "met": True, "unit": "s",
            "what": f"{full}"}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A small repository with its own benchmarks."""
    for name in (
        "benchmarks/__init__.py",
        "benchmarks/__main__.py",
        "benchmarks/_about.py",
        "benchmarks/_document.py",
        "benchmarks/timing.py",
        "vivid_core/origin.py",
        "tests/harness/packages.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "vivid_core/__init__.py").touch()
    (tmp_path / "vivid_core/runtime.py").touch()
    (tmp_path / "benchmarks/good.py").write_text(GOOD)
    return tmp_path


def run_bench(root: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BENCH": "", **variables}
    environment.pop("PYTHONSAFEPATH", None)  # with it, Python does not find a module in the working directory
    return subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("command", [("benchmarks",), ("-m", "benchmarks")])
def test_each_benchmark_prints_one_line_of_json(bench: Path, command: tuple[str, ...]) -> None:
    result = run_bench(bench, *command, BENCH="full")
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["what"] for line in result.stdout.splitlines()] == ["True"]


def test_a_benchmark_that_fails_does_not_stop_the_others_but_shows_in_the_exit_status(bench: Path) -> None:
    about = GOOD.split("def run")[0]
    (bench / "benchmarks/bad.py").write_text(f"{about}def run(full):\n    raise KeyError('lost')\n")
    (bench / "benchmarks/short.py").write_text(f"{about}def run(full):\n    return {{'name': 'short'}}\n")
    result = run_bench(bench, "benchmarks")
    lines = {line["name"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert result.returncode == 1
    assert lines["good"]["met"] and "error" in lines["bad"] and "error" in lines["short"]
    assert "lost" in result.stderr and "lacks ours" in result.stderr


def test_those_without_a_clock_run_last_and_side_by_side_in_one_thread_each(bench: Path) -> None:
    wait = "    import os, pathlib, time\n    pathlib.Path('NAME.seen').touch()\n"
    wait += "    while not pathlib.Path('OTHER.seen').exists():\n        time.sleep(0.01)\n"
    threads = '"what": os.environ["OMP_NUM_THREADS"]'
    for name, other in (("left", "right"), ("right", "left")):
        code = GOOD.replace('"good"', f'"{name}"').replace('"not_on_cuda"', '"timed": False, "not_on_cuda"')
        code = code.replace('    print("noise")\n', wait.replace("NAME", name).replace("OTHER", other))
        (bench / f"benchmarks/{name}.py").write_text(re.sub(r'"what": f".*"', threads, code))
    result = run_bench(bench, "benchmarks", OMP_NUM_THREADS="3")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, result.stderr
    assert lines[0]["name"] == "good" and {line["name"] for line in lines[1:]} == {"left", "right"}
    assert [line["what"] for line in lines[1:]] == ["1", "1"]


def test_benchmarks_can_be_chosen_by_name(bench: Path) -> None:
    assert len(run_bench(bench, "benchmarks", "good").stdout.splitlines()) == 1
    wrong = run_bench(bench, "benchmarks", "goood")
    assert wrong.returncode == 2 and "there are: good" in wrong.stderr


def test_results_are_kept_and_a_run_of_one_leaves_the_other_rows_as_they_were(bench: Path) -> None:
    (bench / "benchmarks/other.py").write_text(GOOD.replace('"good"', '"other"'))
    assert run_bench(bench, "benchmarks").returncode == 0
    kept = json.loads((bench / "docs/benchmarks.json").read_text())["cpu"]
    assert set(kept) == {"good", "other"} and kept["good"]["what"] == "False" and kept["good"]["seconds"] >= 0
    assert {kept["good"][name] for name in ("commit", "form")} == {"unknown", "quick"}
    assert run_bench(bench, "benchmarks", "good", BENCH="full").returncode == 0
    again = json.loads((bench / "docs/benchmarks.json").read_text())["cpu"]
    assert again["other"] == kept["other"] and again["good"]["form"] == "full"
    rows = [line for line in (bench / "docs/benchmarks.md").read_text().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["good", "other"] and sum("form" in row for row in rows) == 1
    before = (bench / "docs/benchmarks.json").read_bytes()
    assert run_bench(bench, "benchmarks", "good", "--unrecorded").returncode == 0
    assert (bench / "docs/benchmarks.json").read_bytes() == before
    page = (bench / "docs/benchmarks.md").read_text()
    (bench / "docs/benchmarks.md").write_text("by hand")
    assert run_bench(bench, "benchmarks", "--page").returncode == 0
    assert (bench / "docs/benchmarks.md").read_text() == page
