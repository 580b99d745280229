"""`make torture`: random graphs, killed servers and many prompts; the short form's tests are all the rest of it.

Every run is a line of JSON in output/torture/, and what stands there is not run again: a call goes on where the last
one stopped. The exit status is 1 when anything was found.

    make torture                   all parts, HOURS=3 at most
    make torture PART=fuzz HOURS=1
    make torture SEED=123 COUNT=1  this random graph alone, whether it ran before or not
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PARTS = ("fuzz", "kills", "mixed")
USUAL = {"fuzz": 2000, "kills": 50, "mixed": 500}
SHARE = {"fuzz": 0.65, "kills": 0.5, "mixed": 1.0}  # of the time that is left


def main() -> int:
    given = _arguments()
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (HERE, HERE.parent.parent)]
    sys.path.append(str(HERE.parent))
    from harness.packages import import_from_root
    from harness.server import ROOT

    import_from_root("vivid_core")
    from torture.record import Record

    until = time.monotonic() + given.hours * 3600
    folder = ROOT / "output" / "torture"
    wrong = 0
    for part in [given.part] if given.part else ["fuzz"] if given.seed is not None else PARTS:
        record = Record(folder / f"{part}.jsonl", again=given.seed is not None)
        wanted = _wanted(part, given)
        ends = time.monotonic() + SHARE[part] * (until - time.monotonic())
        lines = _lines(part, [one for one in wanted if not record.has(one)], ends)
        _say(f"{part}: {len(wanted)} wanted, {sum(record.has(one) for one in wanted)} done before.")
        for line in lines:
            record.add(line)
        _say(record.summary())
        wrong += record.wrong
    return 1 if wrong else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make torture")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--count", type=int, help="runs of each part")
    parser.add_argument("--seed", type=int, help="where the seeds of the random graphs begin")
    parser.add_argument("--part", choices=PARTS)
    return parser.parse_args()


def _wanted(part: str, given: argparse.Namespace) -> list[int]:
    first, count = given.seed or 0, given.count or USUAL[part]
    # Memory is measured over all prompts of one server, which is one result: it is there or not.
    return [count] if part == "mixed" else list(range(first, first + count))


def _lines(part: str, wanted: list[int], ends: float) -> Iterator[dict[str, Any]]:
    """The results of one part, until its time is over."""
    from torture import children, kills, mixed

    if not wanted:
        return
    if part == "fuzz":
        yield from children.fuzzed(wanted, ends)
        return
    with tempfile.TemporaryDirectory() as base:
        made = kills.kills(Path(base), wanted) if part == "kills" else mixed.mixed(Path(base), *wanted)
        for line in made:
            yield line
            if time.monotonic() > ends and part == "kills":
                made.close()
                return


if __name__ == "__main__":
    sys.exit(main())
