"""Runs one part's seeds one after another, and writes a line of JSON for each: a process of its own, so that one that
hangs or dies takes nobody with it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (HERE, HERE.parent.parent)]
    sys.path.append(str(HERE.parent))
    from harness.packages import import_from_root

    import_from_root("vivid_core")
    from torture import world

    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("fuzz", "sweep", "cancels", "disks"))
    parser.add_argument("--seeds", nargs="+", required=True)
    parser.add_argument("--target", default="", help="the node that each random graph ends in")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for a run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = _runner(given, world.boot(Path(folder)))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for seed in given.seeds:
            sys.stdout.write("@" + json.dumps(run(seed)) + "\n")
            sys.stdout.flush()


def _runner(given: argparse.Namespace, base: Path) -> Callable[[str], dict[str, Any]]:
    """What gives the result of a seed."""
    from torture import canceller, filler, fuzz, schemas, sweep

    known, limit = schemas.our_nodes(), given.limit
    if given.part == "sweep":
        return sweep.Sweeper(base, known, limit).swept
    numbered: dict[str, Callable[[int], dict[str, Any]]] = {
        "fuzz": lambda seed: fuzz.Fuzzer(base, known, limit).run(seed, given.target).as_dict(),
        "cancels": canceller.Canceller(base, limit).run,
        "disks": filler.Filler(known, limit).run,
    }
    return lambda seed: numbered[given.part](int(seed))


if __name__ == "__main__":
    main()
