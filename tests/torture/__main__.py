"""`make torture`: breaks the pack on purpose, in six parts.

    fuzz     random graphs of our nodes, most with something wrong in them
    sweep    each number of each node at the edges of its range and far beyond, with all else right
    disks    everything that writes files, on disks that are full, fill up or can't be written
    cancels  every engine, cancelled at the first, a middle and the last step, and while it decodes
    kills    a server that is killed at a random moment, and must go on where it was
    mixed    many different prompts in one server, whose memory must not grow with them

Every run is a line of JSON in output/torture/, and what stands there is not run again: a call goes on where the last
one stopped; only the prompts of `mixed` are one run together. The exit status is 1 when anything was found.

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
PARTS = ("fuzz", "sweep", "disks", "cancels", "kills", "mixed")
USUAL = {"fuzz": 2000, "disks": 96, "cancels": 90, "kills": 50, "mixed": 500}  # of `sweep` each input once
SHARE = {"fuzz": 0.5, "sweep": 0.2, "disks": 0.1, "cancels": 0.2, "kills": 0.45, "mixed": 1.0}  # of the time left
LIMIT = {"fuzz": 60.0, "sweep": 60.0, "disks": 300.0, "cancels": 300.0}  # seconds of a run


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
        ends = time.monotonic() + (1.0 if given.part else SHARE[part]) * (until - time.monotonic())
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


def _wanted(part: str, given: argparse.Namespace) -> list[Any]:
    """The seeds of one part; `sweep` goes by the inputs' names."""
    if part == "sweep":
        from torture import sweep

        return sweep.inputs()[: given.count]
    first, count = given.seed or 0, given.count or USUAL[part]
    # Memory is measured over all prompts of one server, which is one result: it is there or not.
    return [count] if part == "mixed" else list(range(first, first + count))


def _lines(part: str, wanted: list[Any], ends: float) -> Iterator[dict[str, Any]]:
    """The results of one part, until its time is over."""
    from torture import children, kills, mixed

    if not wanted:
        return
    if part in LIMIT:
        yield from children.results(part, wanted, ends, LIMIT[part])
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
