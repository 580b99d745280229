"""All claims about an embedded model, in the order in which they are told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..world.render import FRAMES
from ..world.trials import COUNTS, Trial, trial
from .edits import DIRECT, ORACLE_KEY, OWN_KEY, Attempt, Editor
from .lines import LIMIT, Claim, deletion_claim, drift_claim, entity_claims, exactness_claims, par_claims
from .sheets import Row

ENTITY_TASKS = ("modify", "add")
CHAINED = 16  # trials of each task
WINDOWS = 4


@dataclass(frozen=True)
class Told:
    """Claims, and the attempts that they rest on; `name` is that of their sheet."""

    name: str
    claims: list[Claim]
    attempts: list[Attempt]

    def rows(self) -> list[Row]:
        """For a contact sheet."""
        return [_row(one) for one in self.attempts]


def told(editor: Editor, count: int | None = None, first: int = 0) -> Iterator[Told]:
    """Every claim, with at most `count` trials of each kind (all of `COUNTS` for None), from number `first` on.

    Trials from 64 on are never reported: settings may be chosen on those.
    """
    direct: list[Attempt] = []
    for group in COUNTS:
        for task in ENTITY_TASKS:
            attempts = _attempts(editor, _chosen(task, group, count, first), DIRECT)
            yield Told(f"{task}_{group}", entity_claims(task, attempts, f"{task}, {group} pairs"), attempts)
            direct += attempts if group == "seen" else []
    deleted = _attempts(editor, _chosen("delete", "seen", count, first), DIRECT)
    yield Told("delete", [deletion_claim(deleted, "delete")], deleted)
    entities = [one for task in ENTITY_TASKS for one in _chosen(task, "seen", count, first)]
    keyed = {way: _attempts(editor, entities, way) for way in (ORACLE_KEY, OWN_KEY)}
    for way, attempts in keyed.items():
        name = "kive_" + way.replace(" ", "_")
        yield Told(name, entity_claims("kive", attempts, f"KIVE, {way}"), attempts)
    yield Told("par", par_claims(keyed[OWN_KEY], direct), [])
    window = editor.engine.adapter.traits.longest
    most, frames = CHAINED if count is None else min(count, CHAINED), WINDOWS * (window - 1) + 1
    long = [one for task in ENTITY_TASKS for one in _chosen(task, "seen", most, first, frames)]
    chained, unmatched = (_attempts(editor, long, ORACLE_KEY, match) for match in (True, False))
    title = f"chain of {WINDOWS} windows: colour drift"
    yield Told("chain", [drift_claim(chained, unmatched, window, title)], chained)
    yield Told("exact", exactness_claims([*direct, *deleted, *keyed[ORACLE_KEY], *keyed[OWN_KEY], *chained]), [])


def _attempts(editor: Editor, chosen: Sequence[Trial], way: str, colour_match: bool = True) -> list[Attempt]:
    return [editor.attempt(one, way, colour_match) for one in chosen]


def _chosen(task: str, group: str, count: int | None, first: int, frames: int = FRAMES) -> list[Trial]:
    most = COUNTS[group] if count is None else min(count, COUNTS[group])
    return [trial(task, group, first + number, frames) for number in range(most)]


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


def misses(claims: Sequence[Claim]) -> list[str]:
    """The names of those that don't hold."""
    return [one.claim for one in claims if not one.holds]
