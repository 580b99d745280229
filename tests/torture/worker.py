"""Runs random graphs by their seeds, one after another, and writes a line of JSON for each: a process of its own, so
that one that hangs or dies takes nobody with it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (HERE, HERE.parent.parent)]
    sys.path.append(str(HERE.parent))
    from harness.packages import import_from_root

    import_from_root("vivid_core")
    from torture import fuzz, schemas, world

    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--target", default="", help="the node that each graph ends in")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for a run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = world.boot(Path(folder))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        fuzzer = fuzz.Fuzzer(base, schemas.our_nodes(), given.limit)
        for seed in given.seeds:
            sys.stdout.write("@" + json.dumps(fuzzer.run(seed, given.target).as_dict()) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
