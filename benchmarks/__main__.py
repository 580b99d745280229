"""Runs every benchmark and prints one line of JSON for each: `python benchmarks [NAME ...]`, BENCH=full for more pairs.

Each benchmark runs in a Python of its own, so that none sees the memory or the threads of another; those that count
bytes instead of seconds run side by side at the end. One that fails prints its error in its line, the others still run,
and the exit status is 1. A missed goal is a result, not a failure. With a GPU, those that mean something there run a
second time on it.

The results are kept in docs/benchmarks.json, from which docs/benchmarks.md is written after each of them; --unrecorded
leaves both alone, and --page runs nothing and writes the page again.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (HERE, HERE.parent)]
sys.path.append(str(HERE.parent / "tests"))
from harness.packages import import_from_root  # noqa: E402

import_from_root("vivid_core")
import_from_root("benchmarks")
from benchmarks import _document  # noqa: E402
from benchmarks._about import CPU, CUDA, VARIANTS, About, abouts  # noqa: E402
from vivid_core import origin  # noqa: E402

KEYS = ("name", "ours", "peer", "ratio", "goal", "met", "unit", "what")
LIMIT_S = {False: 20 * 60, True: 3 * 60 * 60}  # the quick form takes about 15 minutes on two cores
SIDE_BY_SIDE = 4  # at most; the largest holds 3 GB
ON_A_GPU_S = 10 * 60  # for those that run there a second time
RUN_ONE, UNRECORDED, ONLY_PAGE = "--one", "--unrecorded", "--page"
DOCS = HERE.parent / "docs"
RESULTS, PAGE = "benchmarks.json", "benchmarks.md"


def main(arguments: list[str]) -> int:
    """The exit status: 1 when a benchmark failed, 2 when one does not exist."""
    full = os.environ.get("BENCH") == "full"
    if arguments[:1] == [RUN_ONE]:
        return run_one(arguments[1], arguments[2], full)
    existing = abouts(HERE)
    if arguments == [ONLY_PAGE]:
        _document.write_page(DOCS / PAGE, _document.load(DOCS / RESULTS), existing)
        return 0
    names = [one for one in arguments if one != UNRECORDED]
    unknown = [name for name in names if name not in existing]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are: {', '.join(existing)}.", file=sys.stderr)
        return 2
    recorded = UNRECORDED not in arguments
    if recorded:
        _document.load(DOCS / RESULTS)  # a file that can't be added to is said before the work
    variants = [CPU, CUDA] if origin.gpu() else [CPU]
    failures = [_run_all(names or list(existing), existing, variant, full, recorded) for variant in variants]
    return int(any(failures))


def _run_all(names: list[str], existing: Mapping[str, About], variant: str, full: bool, recorded: bool) -> bool:
    """Run those that have the variant; True when one failed."""
    made = {"date": origin.today(), "commit": origin.commit(), "machine": origin.machine()}
    made["form"] = "full" if full else "quick"
    deadline = time.monotonic() + (LIMIT_S[full] if variant == CPU or full else ON_A_GPU_S)
    failed = False
    for name, result in _results(
        [existing[name] for name in names if variant in existing[name].variants], variant, deadline
    ):
        failed |= "error" in result
        print(json.dumps(result | ({} if variant == CPU else {"device": variant})), flush=True)
        if recorded:
            _document.record(DOCS / RESULTS, variant, name, result, made)
            _document.write_page(DOCS / PAGE, _document.load(DOCS / RESULTS), existing)
    return failed


def _results(about: list[About], variant: str, deadline: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """The result of each as it is known: those with a clock one after the other, then the others side by side, since
    bytes don't depend on what else runs."""
    for one in about:
        if one.timed:
            yield one.name, run_apart(one.name, variant, deadline)
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, origin.cores())) as pool:
        alone = {"OMP_NUM_THREADS": "1"}
        running = {
            pool.submit(run_apart, one.name, variant, deadline, alone): one.name for one in about if not one.timed
        }
        for done in as_completed(running):
            yield running[done], done.result()


def run_apart(name: str, variant: str, deadline: float, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run one benchmark in a child process; its result, with how long it took."""
    began = time.monotonic()
    if began >= deadline:
        result: dict[str, Any] = {"name": name, "error": "not started: the benchmarks before it used up the time"}
    else:
        command = [sys.executable, str(HERE), RUN_ONE, name, variant]
        result = _run_child(command, name, deadline - began, {**os.environ, **(environment or {})})
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


def run_one(name: str, variant: str, full: bool) -> int:
    """Run one benchmark in this process; its result is the last line on standard output."""
    result: Mapping[str, Any] = getattr(importlib.import_module(f"benchmarks.{name}"), VARIANTS[variant])(full)
    missing = [key for key in KEYS if key not in result]
    if missing:
        raise ValueError(f"The result of {name} lacks {', '.join(missing)}.")
    print(json.dumps(result, allow_nan=False), flush=True)
    return 0


def _run_child(command: list[str], name: str, seconds: float, environment: Mapping[str, str]) -> dict[str, Any]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment) as child:
        try:
            output, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return {"name": name, "error": f"stopped: it was not done after {seconds:.0f} s"}
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # with the servers and children that it may have started
    if child.returncode:
        return {"name": name, "error": f"failed with exit status {child.returncode}; see the messages above"}
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
