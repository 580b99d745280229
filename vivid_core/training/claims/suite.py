"""All claims about VIVID and KIVE, in the order in which they are told, from the answers of an embedded model."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from ...editors.engine import embedded_engine
from ...models.embedded_codec import WEIGHTS as CODEC
from ..world.render import FRAMES
from ..world.trials import COUNTS, Trial, trial
from .answers import VERSION, answers_of, over_seeds
from .edits import DIRECT, ORACLE_KEY, OWN_KEY, Attempt, Editor
from .line import Line
from .lines import LIMIT, deletion_claim, drift_claim, entity_claims, exactness_claims, par_claims
from .sheets import Row
from .store import Answers, AnswerStore, Key

ENTITY_TASKS = ("modify", "add")
CHAINED = 16  # trials of each task
WINDOWS = 4
EDITS = "edits"

log = logging.getLogger("vivid")


@dataclass(frozen=True)
class Asked:
    """Trials in one of `edits.WAYS`; `name` is that of their sheet."""

    name: str
    trials: Sequence[Trial]
    way: str
    colour_match: bool = True


class Painter:
    """An embedded VIVID at the trials, with `seeds` draws of the noise for each; `steps` and `guidance` None are the
    model's own. `print` tells the model, with its codec, from others.

    Raises ValueError as `embedded_engine` does when the file is none.
    """

    def __init__(
        self, file: str | Path, seeds: int = 1, steps: int | None = None, guidance: float | None = None
    ) -> None:
        engine = embedded_engine(file)
        self.print = hashlib.sha256(Path(file).read_bytes() + CODEC.read_bytes()).hexdigest()[:16]
        self.window = engine.adapter.traits.longest
        self.steps = engine.adapter.traits.steps if steps is None else steps
        self.editors = [Editor(engine, seed, self.steps, guidance) for seed in range(seeds)]
        own = asdict(engine.adapter.traits.guidance) if guidance is None else guidance
        self._settings = [VERSION, self.steps, own]

    def answers(self, store: AnswerStore, asked: Asked) -> list[dict[str, float]]:
        """The answers on each trial, over the seeds. What the store has is not asked again."""
        began, before = time.monotonic(), len(store)
        found = [over_seeds([self._answer(store, asked, one, seed) for seed in self._seeds]) for one in asked.trials]
        made = len(store) - before
        if made:
            log.info("%s: %d of %d edits, %.0f s", asked.name, made, len(found) * len(self._seeds), _since(began))
        return found

    def attempt(self, asked: Asked, one: Trial, seed: int = 0) -> Attempt:
        """One trial edited."""
        return self.editors[seed].attempt(one, asked.way, asked.colour_match)

    @property
    def _seeds(self) -> range:
        return range(len(self.editors))

    def _answer(self, store: AnswerStore, asked: Asked, one: Trial, seed: int) -> Answers:
        arm = asked.way + ("" if asked.colour_match else ", no colour match")
        settings = hashlib.sha256(json.dumps([*self._settings, seed], sort_keys=True).encode()).hexdigest()[:12]
        window = self.window if one.frames > FRAMES else None
        key = Key(self.print, EDITS, arm, one.id, settings)
        return store.answered(key, lambda: answers_of(self.attempt(asked, one, seed), window))


def told(painter: Painter, store: AnswerStore, count: int | None = None, first: int = 0) -> list[Line]:
    """Every claim, with at most `count` trials of each kind (all of `COUNTS` for None), from number `first` on.

    Trials from 64 on are never reported: settings may be chosen on those. No p is corrected yet.
    """
    found = {one.name: painter.answers(store, one) for one in all_asked(painter.window, count, first)}
    lines: list[Line] = []
    for group in COUNTS:
        for task in ENTITY_TASKS:
            lines += entity_claims(task, found[f"{task}_{group}"], f"{task}, {group} pairs")
    lines.append(deletion_claim(found["delete"], "delete"))
    for way in (ORACLE_KEY, OWN_KEY):
        lines += entity_claims("kive", found[_sheet(way)], f"KIVE, {way}")
    direct = [one for task in ENTITY_TASKS for one in found[f"{task}_seen"]]
    lines += par_claims(found[_sheet(OWN_KEY)], direct)
    lines.append(drift_claim(found["chain"], found["chain_unmatched"], f"chain of {WINDOWS} windows: colour drift"))
    return lines + exactness_claims([answers for name in found for answers in found[name]])


def all_asked(window: int, count: int | None = None, first: int = 0) -> list[Asked]:
    """What a model is asked: each task in each group, KIVE with either keyframe, and chains of windows."""
    found = [
        Asked(f"{task}_{group}", _chosen(task, group, count, first), DIRECT)
        for group in COUNTS
        for task in ENTITY_TASKS
    ]
    found.append(Asked("delete", _chosen("delete", "seen", count, first), DIRECT))
    entities = [one for task in ENTITY_TASKS for one in _chosen(task, "seen", count, first)]
    found += [Asked(_sheet(way), entities, way) for way in (ORACLE_KEY, OWN_KEY)]
    most, frames = CHAINED if count is None else min(count, CHAINED), WINDOWS * (window - 1) + 1
    long = [one for task in ENTITY_TASKS for one in _chosen(task, "seen", most, first, frames)]
    return [*found, Asked("chain", long, ORACLE_KEY), Asked("chain_unmatched", long, ORACLE_KEY, colour_match=False)]


def rows(painter: Painter, asked: Asked) -> Iterator[Row]:
    """For a contact sheet: each trial is edited again, as pictures are not kept."""
    for one in asked.trials:
        yield _row(painter.attempt(asked, one))


@lru_cache(maxsize=64)
def _chosen(task: str, group: str, count: int | None, first: int, frames: int = FRAMES) -> tuple[Trial, ...]:
    most = COUNTS[group] if count is None else min(count, COUNTS[group])
    return tuple(trial(task, group, first + number, frames) for number in range(most))


def _sheet(way: str) -> str:
    return "kive_" + way.replace(" ", "_")


def _since(began: float) -> float:
    return time.monotonic() - began


def _row(attempt: Attempt) -> Row:
    own, limit = attempt.own, attempt.beside(LIMIT)
    figures = f"IoU {own.iou:.2f} of {limit.iou:.2f}, colour {own.colour:.2f}"
    if not math.isnan(own.background):
        figures += f", background {own.background:.2f}"
    if attempt.truth.colour is None:
        figures = f"PSNR {own.psnr:.1f} of {limit.psnr:.1f} dB"
    clips = {
        "source and mask": attempt.trial.source_fhwc(),
        "truth": attempt.truth.oracle_fhwc,
        LIMIT: attempt.references[LIMIT],
        attempt.way: attempt.edited_fhwc,
    }
    return Row(f'{attempt.trial.id}: "{attempt.trial.caption}". {figures}', clips, attempt.truth.edit_mask_fhw)
