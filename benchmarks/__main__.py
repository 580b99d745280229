"""Runs every benchmark and prints one line of JSON for each: `python benchmarks [NAME ...]`, BENCH=full for more pairs.

Each benchmark runs in a Python of its own, so that none sees the memory or the threads of another. One that fails
prints its error in its line, the others still run, and the exit status is 1. A missed goal is a result, not a failure.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
KEYS = ("name", "ours", "peer", "ratio", "goal", "met", "unit", "what")
LIMIT_S = {False: 15 * 60, True: 3 * 60 * 60}
RUN_ONE = "--one"


def main(arguments: list[str]) -> int:
    """The exit status: 1 when a benchmark failed, 2 when one does not exist."""
    full = os.environ.get("BENCH") == "full"
    if arguments[:1] == [RUN_ONE]:
        return run_one(arguments[1], full)
    existing = benchmarks()
    unknown = [name for name in arguments if name not in existing]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are: {', '.join(existing)}.", file=sys.stderr)
        return 2
    deadline = time.monotonic() + LIMIT_S[full]
    results = [run_apart(name, deadline - time.monotonic()) for name in arguments or existing]
    return 1 if any("error" in result for result in results) else 0


def benchmarks() -> list[str]:
    """The names of the modules here that define `run`, found without importing them."""
    return [path.stem for path in sorted(HERE.glob("[!_]*.py")) if _defines_run(path)]


def run_apart(name: str, seconds: float) -> dict[str, Any]:
    """Run one benchmark in a child process and print its line."""
    if seconds <= 0:
        result: dict[str, Any] = {"name": name, "error": "not started: the benchmarks before it used up the time"}
    else:
        result = _run_child([sys.executable, str(HERE), RUN_ONE, name], name, seconds)
    print(json.dumps(result), flush=True)
    return result


def run_one(name: str, full: bool) -> int:
    """Run one benchmark in this process; its result is the last line on standard output."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (HERE, HERE.parent)]
    sys.path.append(str(HERE.parent / "tests"))
    from harness.packages import import_from_root

    import_from_root("vivid_core")
    import_from_root("benchmarks")
    result = importlib.import_module(f"benchmarks.{name}").run(full)
    missing = [key for key in KEYS if key not in result]
    if missing:
        raise ValueError(f"The result of {name} lacks {', '.join(missing)}.")
    print(json.dumps(result, allow_nan=False), flush=True)
    return 0


def _run_child(command: list[str], name: str, seconds: float) -> dict[str, Any]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
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


def _defines_run(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
