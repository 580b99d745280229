"""The answers of an embedded Stable Diffusion to every experiment about steered models: UniEdit's (U1 to U5) and
Pix2Video's (P1 to P6), on held-out scenes."""

from __future__ import annotations

import logging
import time

from .steered_arms import EXPERIMENTS, Subject
from .steered_claims import Trials
from .store import AnswerStore, Key

log = logging.getLogger("vivid")


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
