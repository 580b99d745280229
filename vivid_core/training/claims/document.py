"""The claims as a page in Markdown, written by the command and by nobody else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...whole_files import whole_file
from .forms import FULL, Form
from .line import SURE, Line

NONE = "–"
COLUMNS = ("claim", "paper", "expected", "measured", "effect [95 %]", "n", "p", "p corrected", "holds")
SMALLEST = 0.0001
HOW_TO_READ = (
    "**Measured** is the mean over the trials; beside it stands what the model's codec alone can reach and what "
    "trivial answers get, or the other arm. **Effect** is the mean of paired differences, trial by trial, with the "
    "interval in which 95 % of such means lie (bootstrap over trials); above 0 is as expected. **p** is one-sided, by "
    "flipping signs of the pairs. **p corrected** is that for the number of all claims of this page that have one "
    "(Holm). A claim with a goal holds when its mean reaches the goal; its p says how sure it is that the model beats "
    "the trivial answer named beside the effect. A claim of a difference holds when its corrected p is below "
    f"{SURE:g} and its means are in order. What doesn't hold is printed so."
)


@dataclass(frozen=True)
class Chapter:
    """Claims that belong together; `about` says by what and on what they were measured."""

    title: str
    about: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Page:
    """All of it, and where it comes from. `first` is the number of the first trial; `answers` says how many of the
    answers each commit gave."""

    date: str
    commit: str
    machine: str
    form: Form
    first: int
    answers: Mapping[str, int]
    chapters: Sequence[Chapter]


def write_page(path: str | Path, page: Page) -> None:
    """Write the page to `path`; never half of it. Raises ValueError when it can't be written there."""
    path = Path(path)
    with whole_file(path) as unfinished:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(markdown(page), encoding="utf-8")


def markdown(page: Page) -> str:
    """The page as text."""
    blocks = ["# The papers' claims", _head(page), HOW_TO_READ]
    for chapter in page.chapters:
        blocks += [f"## {chapter.title}", chapter.about]
        if chapter.lines:
            blocks.append(_table(chapter.lines))
    return "\n\n".join(blocks) + "\n"


def _head(page: Page) -> str:
    lines = [line for chapter in page.chapters for line in chapter.lines]
    counts = [sum(line.holds is value for line in lines) for value in (True, False, None)]
    form = page.form
    command = "make claims FULL=1" if form.name == FULL.name else "make claims"
    said = [
        f"Written by `{command}` on {page.date} at commit {page.commit}, on {page.machine}; not by hand.",
        f"This is the **{form.name} form**: {form.told}.",
    ]
    if form.name != FULL.name:
        said.append("It is a first look: `make claims FULL=1` takes more of everything.")
    if form.changed_by or page.first:
        own = [*form.changed_by, *([f"first trial {page.first}"] if page.first else [])]
        said.append(f"**Not the form as it is**: {', '.join(own)}.")
    said.append(f"{len(lines)} claims: {counts[0]} hold, {counts[1]} don't, {counts[2]} not run.")
    others = {one: count for one, count in page.answers.items() if one != page.commit}
    if others:
        told = ", ".join(f"{count} at {one or 'an unknown commit'}" for one, count in others.items())
        said.append(f"Of {sum(page.answers.values())} answers some were kept from earlier runs: {told}.")
    return " ".join(said)


def _table(lines: Sequence[Line]) -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(line) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(line: Line) -> tuple[str, ...]:
    start = (line.claim, line.paper, line.expected)
    if line.why is not None:
        return tuple(_cell(text) for text in (*start, NONE, NONE, NONE, NONE, NONE, line.why))
    low, high = line.interval
    interval = f" [{number(low)}, {number(high)}]" if math.isfinite(low) else ""
    effect = f"{number(line.effect)}{interval}, {line.of}" if math.isfinite(line.effect) else NONE
    p = _p(line.p) + (f" ({line.p_of})" if line.p_of else "")
    holds = NONE if line.holds is None else "yes" if line.holds else "no"
    cells = (*start, _measured(line), effect, str(line.n), p, _p(line.p_holm), holds)
    return tuple(_cell(text) for text in cells)


def _measured(line: Line) -> str:
    if not line.means:
        return number(line.measured)
    return "; ".join(f"{name} {number(value)}" for name, value in line.means.items())


def number(value: float) -> str:
    """Three digits, or as many as it has before the point."""
    if not math.isfinite(value):
        return NONE
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _p(value: float) -> str:
    if not math.isfinite(value):
        return NONE
    return f"< {SMALLEST:g}" if value < SMALLEST else f"{value:.4f}"


def _cell(text: str) -> str:
    """Text that can't end a cell of a table, nor its row."""
    return " ".join(text.split()).replace("|", "\\|")
