"""The measuring tools of the benchmarks, on code whose cost is known."""

from __future__ import annotations

import json
import os
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
        "benchmarks/timing.py",
        "tests/harness/packages.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "vivid_core").mkdir()
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
    (bench / "benchmarks/bad.py").write_text("def run(full):\n    raise KeyError('lost')\n")
    (bench / "benchmarks/short.py").write_text("def run(full):\n    return {'name': 'short'}\n")
    result = run_bench(bench, "benchmarks")
    lines = {line["name"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert result.returncode == 1
    assert lines["good"]["met"] and "error" in lines["bad"] and "error" in lines["short"]
    assert "lost" in result.stderr and "lacks ours" in result.stderr


def test_benchmarks_can_be_chosen_by_name(bench: Path) -> None:
    assert len(run_bench(bench, "benchmarks", "good").stdout.splitlines()) == 1
    wrong = run_bench(bench, "benchmarks", "goood")
    assert wrong.returncode == 2 and "there are: good" in wrong.stderr
