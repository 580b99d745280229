"""Print what the embedded model holds of its claims, one line of JSON each: `python -m vivid_core.training.claims`.

A miss is a result and no failure: its line says "holds": false. The trials and the noise of each are fixed. The lines
of the ablations are those of the last whole run of `make ablations`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ...editors.engine import embedded_engine
from ...models.embedded import WEIGHTS
from .ablations import kept_lines
from .edits import Editor
from .lines import Claim
from .sheets import write_sheets
from .suite import misses, told

QUICK = 2

log = logging.getLogger("vivid")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = _parsed(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        engine = embedded_engine(given.model)
    except ValueError as error:
        log.error("%s", error)
        return 2
    editor = Editor(engine, given.seed, 1 if given.quick else given.steps, given.guidance)
    began, found = time.monotonic(), list[Claim]()
    for part in told(editor, QUICK if given.quick else given.trials, given.first):
        for claim in part.claims:
            sys.stdout.write(claim.json() + "\n")
            sys.stdout.flush()
            found.append(claim)
        if given.sheets is not None and part.attempts:
            for path in write_sheets(part.rows(), given.sheets, part.name):
                log.info("%s", path)
    for line in kept_lines():
        sys.stdout.write(line + "\n")
    missed = misses(found)
    log.info("%d of %d hold, in %.0f s.", len(found) - len(missed), len(found), time.monotonic() - began)
    if missed:
        log.info("Misses: %s.", "; ".join(missed))
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training.claims", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="an embedded model; by default the pack's")
    parser.add_argument("--trials", type=int, help="at most so many of each kind; by default all")
    parser.add_argument("--steps", type=int, help="of each edit; by default the model's own")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial; from 64 on to choose settings")
    parser.add_argument("--guidance", type=float, help="of each edit; by default the model's own")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--sheets", type=Path, help="a folder for contact sheets")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} trials of each kind, one step: does it run?")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
