"""`make mutate`: are the tests of masks, windows, composite and schedules good enough to notice small faults?

Changes one place of a module at a time, in memory only, and runs the tests that are about it. What was tried is kept
in output/mutate/results.jsonl, and the next call goes on from there: a killed mutant is tried again when its module
changes, a survivor also when its tests do.

    python tests/mutation/mutate.py [--sample 300] [--seed 1] [--only PART_OF_A_PATH]

Exit code 1: fewer than 80 % are killed, or the tests fail without any change.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mutants import Mutant, sampled
from targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "output" / "mutate" / "results.jsonl"
LEAST_KILLED = 0.8
LEAST_SECONDS, TIMES = 60.0, 4.0  # a mutant may take this long, or so many times as long as its tests take
WARM = ("torch", "pytest", "hypothesis.strategies", "einops", "cv2", "scipy.ndimage", "diffusers.models", "av")
KILLED, SURVIVED, ENDLESS = "killed", "survived", "endless"


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source, whatever is on the disk."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = mutant.path.removesuffix(".py").replace("/", ".")
        self.mutant = mutant

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, ROOT / self.mutant.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.source, self.mutant.path, "exec"), module.__dict__)  # noqa: S102  (our own source)


def tests_pass(tests: Sequence[str], mutant: Mutant | None, seconds: float | None) -> bool | None:
    """Whether these tests pass, in a copy of this process; None when they don't come to an end in time."""
    copy = os.fork()
    if not copy:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if mutant is not None:
            sys.meta_path.insert(0, Changed(mutant))
        import pytest

        options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "addopts=--confcutdir=tests"]
        os._exit(min(int(pytest.main([*options, *(str(ROOT / test) for test in tests)])), 100))
    begin = time.monotonic()
    while True:
        done, status = os.waitpid(copy, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        if seconds is not None and time.monotonic() - begin > seconds:
            os.killpg(copy, signal.SIGKILL)
            os.waitpid(copy, 0)
            return None
        time.sleep(0.05)


def digest(paths: Sequence[str]) -> str:
    """The same as long as none of these files changes."""
    return hashlib.sha256(b"\0".join((ROOT / path).read_bytes() for path in paths)).hexdigest()[:16]


def kept() -> dict[str, dict[str, str]]:
    """What was tried before, by the keys of the mutants."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {told["key"]: told for told in map(json.loads, lines)}


def keep(mutant: Mutant, outcome: str, tests: str) -> dict[str, str]:
    """Write down how it ended."""
    told = {"key": mutant.key, "outcome": outcome, "tests": tests, "mutant": str(mutant)}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with open(RESULTS, "a") as file:
        file.write(json.dumps(told) + "\n")
    return told


def time_of(path: str, known: dict[str, float]) -> float:
    """How long the tests of a module take without a change. Raises RuntimeError when they fail."""
    if path not in known:
        begin = time.monotonic()
        if not tests_pass(TARGETS[path], None, None):
            raise RuntimeError(f"The tests of {path} fail without any change: run {' '.join(TARGETS[path])}.")
        known[path] = time.monotonic() - begin
    return known[path]


def tried(mutants: Sequence[Mutant], say: Callable[[str], object]) -> list[tuple[Mutant, str]]:
    """How each mutant ends, from what is kept or by trying it."""
    before, seconds, found = kept(), dict[str, float](), []
    for number, mutant in enumerate(mutants, 1):
        tests = digest(TARGETS[mutant.path])
        told = before.get(mutant.key)
        if told is None or (told["outcome"] == SURVIVED and told["tests"] != tests):
            limit = max(LEAST_SECONDS, TIMES * time_of(mutant.path, seconds))
            passed = tests_pass(TARGETS[mutant.path], mutant, limit)
            outcome = {True: SURVIVED, False: KILLED, None: ENDLESS}[passed]
            told = keep(mutant, outcome, tests)
            say(f"{number:4}/{len(mutants)} {outcome:9}{mutant}")
        found.append((mutant, told["outcome"]))
    return found


def report(found: Sequence[tuple[Mutant, str]], say: Callable[[str], object]) -> bool:
    """Print what survived and how many didn't; whether these are enough. An endless run is noticed, so it counts."""
    survived = [mutant for mutant, outcome in found if outcome == SURVIVED]
    totals = Counter(mutant.path for mutant, _ in found)
    left = Counter(mutant.path for mutant in survived)
    say("\nSurvivors:" if survived else "\nNo survivors.")
    for mutant in survived:
        say(f"  {mutant}")
    say("")
    for path in sorted(totals):
        say(f"{path:45}{totals[path] - left[path]:4} of {totals[path]:3} killed")
    share = 1 - len(survived) / len(found)
    say(f"{'all':45}{len(found) - len(survived):4} of {len(found):3} killed: {share:.1%}")
    return share >= LEAST_KILLED


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="mutate")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args(arguments)
    paths = [path for path in TARGETS if chosen.only in path]
    if not paths or chosen.sample < 1:
        parser.error(
            "there is nothing to change: give a part of a path of tests/mutation/targets.py, and a sample of 1"
        )
    os.chdir(ROOT)
    for package in WARM:  # once, before the copies are made
        importlib.import_module(package)
    importlib.import_module("torch").set_num_threads(1)
    found = tried(sampled(ROOT, paths, chosen.sample, chosen.seed), lambda line: print(line, flush=True))
    return 0 if report(found, print) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
