"""Print what holds of the claims about steered models: `python -m vivid_core.training.claims.steered`.

One line of JSON for each of UniEdit's (U1 to U5) and Pix2Video's (P1 to P6), by the embedded Stable Diffusion on
held-out scenes. A miss is a result and no failure. The quick form has few trials; the full one has many and keeps each
finished trial's answers in a file, so that it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...models.embedded_sd import WEIGHTS
from .steered_arms import EXPERIMENTS, GUIDANCE, Subject
from .steered_claims import Trials
from .steered_lines import told
from .steered_store import AnswerStore, Key

STORE = Path("output/claims/steered.jsonl")

log = logging.getLogger("vivid")


@dataclass(frozen=True)
class Form:
    """How many trials each experiment has at most, and how many steps of denoising each trial."""

    trials: int
    steps: int


# Of nine trials in which everything goes as expected, p is 1/512: small enough for twelve claims at once.
QUICK, FULL = Form(trials=9, steps=15), Form(trials=32, steps=25)


def answered(
    subject: Subject, store: AnswerStore, count: int, first: int = 0
) -> tuple[dict[str, Trials], dict[str, str]]:
    """The answers of every experiment on trials `first` on, by experiment, and why an experiment could not be made.

    What the store has is not asked again; what it hasn't is kept there as soon as it is known.
    """
    found: dict[str, Trials] = {}
    missing: dict[str, str] = {}
    for name, about in EXPERIMENTS.items():
        why = subject.lacks(name)
        if why is not None:
            missing[name] = why
            continue
        most = count if about.most is None else min(count, about.most)
        found[name] = [_trial(subject, store, name, number) for number in range(first, first + most)]
    return found, missing


def _trial(subject: Subject, store: AnswerStore, experiment: str, number: int) -> dict[str, dict[str, float]]:
    """A trial's answers, by arm."""
    about = EXPERIMENTS[experiment]
    trial = about.trial(number).id
    keys = {arm: Key(subject.print, experiment, arm, trial, subject.settings(experiment, arm)) for arm in about.arms}
    left = [arm for arm, key in keys.items() if store.get(key) is None]
    if left:
        began = time.monotonic()
        for arm, answers in subject.answers(experiment, number, left):
            store.add(keys[arm], answers)
        log.info("%s, %s: %d of %d arms in %.1f s", experiment, trial, len(left), len(keys), time.monotonic() - began)
    return {arm: found for arm, key in keys.items() if (found := store.get(key)) is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = _parsed(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    form, began = FULL if given.full else QUICK, time.monotonic()
    count = form.trials if given.trials is None else given.trials
    try:
        subject = Subject(given.model, form.steps if given.steps is None else given.steps, given.guidance)
        store = AnswerStore(given.store or (STORE if given.full else None))
        log.info("%s (%s): at most %d trials of %d steps.", given.model.name, subject.print, count, subject.steps)
        lines = told(*answered(subject, store, count, given.first))
    except ValueError as error:
        log.error("%s", error)
        return 2
    for line in lines:
        sys.stdout.write(line.json() + "\n")
    judged = [line for line in lines if line.holds is not None]
    holding = sum(bool(line.holds) for line in judged)
    log.info("%d of %d hold, in %.0f s.", holding, len(judged), time.monotonic() - began)
    for line in lines:
        if line.why is not None:
            log.info("%s: %s", line.claim, line.why)
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    text = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training.claims.steered", description=text)
    parser.add_argument(
        "--model", type=Path, default=WEIGHTS, help="an embedded Stable Diffusion; by default the pack's"
    )
    parser.add_argument(
        "--full", action="store_true", help=f"{FULL.trials} trials of {FULL.steps} steps, kept in a store"
    )
    parser.add_argument("--store", type=Path, help=f"a file for answers; by default {STORE} for --full, else none")
    parser.add_argument("--trials", type=int, help="at most so many of each experiment; by default the form's")
    parser.add_argument("--steps", type=int, help="of each trial; by default the form's")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help=f"of each edit; by default {GUIDANCE:g}")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial; from 64 on to choose settings")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
