"""What a run found as tables: each engine's mean of each measure with its interval, and how it differs from the first.

A clip counts once: several seeds of it are averaged first. Intervals are over clips, by bootstrap; differences are
paired, on the clips that both engines finished.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..metrics.definitions import MEASURES, Measure
from ..training.claims.statistics import holm
from ..training.tasks import DELETION
from .run import Comparison
from .statistics import Difference, Estimate, difference, estimate
from .store import COMPOSITES, OFF, ON, Outcome

ALL = "all"
LEVEL = 0.05
LABELS = {OFF: "without composite", ON: "with composite"}


@dataclass(frozen=True)
class Cell:
    """One measure of one engine. `against` is the difference to the first engine, None for that one itself; `p` of it
    is corrected for the number of differences in the same table (Holm)."""

    engine: str
    composite: str
    task: str
    measure: str
    value: Estimate
    against: Difference | None = None


def cells(found: Comparison) -> list[Cell]:
    """All numbers of a run: for all tasks together and, where there are both, for each."""
    tasks = sorted({one.task for one in found.outcomes if not one.fault})
    groups = [ALL] if len(tasks) < 2 else [ALL, *tasks]
    return [cell for task in groups for how in COMPOSITES for cell in _corrected(_table(found, task, how))]


def _table(found: Comparison, task: str, how: str) -> list[Cell]:
    engines = [engine.label for engine in found.plan.engines]
    table = []
    for measure in MEASURES:
        values = {label: _by_clip(found, label, task, how, measure.key) for label in engines}
        names = [one.name for one in found.plan.cases]
        first = [values[engines[0]].get(name, math.nan) for name in names]
        if not any(math.isfinite(value) for one in values.values() for value in one.values()):
            continue
        for label in engines:
            own = [values[label].get(name, math.nan) for name in names]
            against = None if label == engines[0] else difference(own, first)
            table.append(Cell(label, how, task, measure.key, estimate(own), against))
    return table


def _by_clip(found: Comparison, label: str, task: str, how: str, measure: str) -> dict[str, float]:
    """The mean over seeds of each clip."""
    by_clip: dict[str, list[float]] = {}
    for one in found.outcomes:
        if one.engine == label and one.measures is not None and task in (ALL, one.task):
            by_clip.setdefault(one.case, []).append(one.measures[how].get(measure, math.nan))
    known = {name: [value for value in values if math.isfinite(value)] for name, values in by_clip.items()}
    return {name: sum(values) / len(values) for name, values in known.items() if values}


def _corrected(table: Sequence[Cell]) -> list[Cell]:
    ps = holm([math.nan if cell.against is None else cell.against.p for cell in table])
    return [
        cell if cell.against is None else Cell(**{**cell.__dict__, "against": Difference(cell.against.estimate, p)})
        for cell, p in zip(table, ps)
    ]


def markdown(found: Comparison) -> str:
    """The tables for people to read, with what failed at the end."""
    all_cells = cells(found)
    parts = ["# Engines compared", "", *_facts(found), ""]
    for task in dict.fromkeys(cell.task for cell in all_cells):
        for how in COMPOSITES:
            table = [cell for cell in all_cells if (cell.task, cell.composite) == (task, how)]
            if table:
                heading = LABELS[how].capitalize() + ("" if task == ALL else f", {_named(task)}")
                parts += [f"## {heading}", "", *_means(table), "", *_differences(table), ""]
    return "\n".join([*parts, *_legend({cell.measure for cell in all_cells}), "", *_faults(found)]).rstrip() + "\n"


def _facts(found: Comparison) -> list[str]:
    plan, cut = found.plan, found.plan.cut
    clips = len({one.case for one in found.outcomes if not one.fault})
    frames = "all frames" if not cut.frames else f"at most {cut.frames} frames"
    every = "" if cut.every == 1 else f", one frame in {cut.every}"
    side = "" if not cut.side else f", the longer side at most {cut.side} pixels"
    whole = sum(shown.case.mask is None and not shown.fault for shown in found.shown)
    lines = [
        f"{clips} of {len(plan.cases)} clips, {frames}{every}{side}; seeds {', '.join(map(str, plan.seeds))}.",
        f"{len(found.failed)} of {len(found.outcomes)} edits failed."
        if found.failed
        else f"All {len(found.outcomes)} edits finished.",
        f"TA and TC are measured by {escaped(plan.judge)}."
        if plan.judge
        else "No CLIP was given, so TA and TC are left out.",
    ]
    if whole:
        lines.append(
            f"{whole} clips have no mask: the whole frame is edited, and nothing outside can be measured of them."
        )
    return lines


def _means(table: Sequence[Cell]) -> list[str]:
    used = _used(table)
    lines = ["| engine | clips | " + " | ".join(_title(one) for one in used) + " |", "|---|---|" + "---|" * len(used)]
    for engine in dict.fromkeys(cell.engine for cell in table):
        own = {cell.measure: cell.value for cell in table if cell.engine == engine}
        clips = max(one.n for one in own.values())
        texts = [_value_of(own[one.key], one) for one in used]
        lines.append(f"| {escaped(engine)} | {clips} | " + " | ".join(texts) + " |")
    return lines


def _differences(table: Sequence[Cell]) -> list[str]:
    used, engines = _used(table), list(dict.fromkeys(cell.engine for cell in table))
    if len(engines) < 2:
        return []
    lines = [
        f"Differences to {escaped(engines[0])}, clip by clip:",
        "",
        "| engine | " + " | ".join(_title(one) for one in used) + " |",
        "|---|" + "---|" * len(used),
    ]
    for engine in engines[1:]:
        own = {cell.measure: cell.against for cell in table if cell.engine == engine}
        lines.append(f"| {escaped(engine)} | " + " | ".join(_against(own[one.key], one) for one in used) + " |")
    return lines


def _against(found: Difference | None, measure: Measure) -> str:
    if found is None or not found.estimate.n:
        return "–"
    one = found.estimate
    verdict = ""
    if found.p < LEVEL:
        verdict = " better" if (one.mean > 0) == measure.higher_is_better else " worse"
    return f"{_value_of(one, measure, signed=True)}{verdict}, p {found.p:.2g}"


def _used(table: Sequence[Cell]) -> list[Measure]:
    keys = {cell.measure for cell in table}
    return [measure for measure in MEASURES if measure.key in keys]


def _title(measure: Measure) -> str:
    return f"{measure.label} {'↑' if measure.higher_is_better else '↓'}"


def _value_of(one: Estimate, measure: Measure, signed: bool = False) -> str:
    if not one.n:
        return "–"
    style = {"0..1": ".3f", "cosine": ".4f"}.get(measure.unit, ".2f")
    sign = "+" if signed else ""
    mean = format(one.mean, sign + style)
    return mean if one.low == one.high else f"{mean} [{one.low:{style}}, {one.high:{style}}]"


def _legend(shown: set[str]) -> list[str]:
    means = [f"- **{one.label}** ({one.unit}): {one.meaning}." for one in MEASURES if one.key in shown]
    return [
        "In brackets the 95 % interval over clips (bootstrap). ↓ lower is better, ↑ higher is better. p is two-sided "
        "(signs flipped), corrected for the number of differences in the table (Holm); *better* and *worse* stand "
        f"where it is below {LEVEL:g}, for which a dozen clips are needed at least. Outside difference, seam, flicker "
        "and drift are of each clip's worst frame, the others of all its frames. The composite puts the original back "
        "outside the blend mask, as every node of the pack does.",
        "",
        *means,
    ]


def _faults(found: Comparison) -> list[str]:
    if not found.failed:
        return []
    lines = ["## What failed", "", "| clip | engine | seed | why |", "|---|---|---|---|"]
    unread = {shown.case.name: shown.fault for shown in found.shown if shown.fault}
    lines += [f"| {escaped(name)} | all | all | {escaped(fault)} |" for name, fault in unread.items()]
    for one in found.failed:
        if one.case not in unread:
            lines.append(f"| {escaped(one.case)} | {escaped(one.engine)} | {one.seed} | {escaped(one.fault)} |")
    return lines


def escaped(text: str) -> str:
    """A text that is one cell of a Markdown table, and never HTML."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{one}" if one in "\\|`*_[]" else one for one in plain)


def _named(task: str) -> str:
    return "deletions alone" if task == DELETION else "additions and changes alone"


def as_json(found: Comparison) -> str:
    """All numbers and all rows; what is not defined is null."""
    content = {
        "version": 1,
        "engines": [
            {"label": one.label, "engine": one.name, "settings": dict(one.settings), "weights": one.weights}
            for one in found.plan.engines
        ],
        "seeds": list(found.plan.seeds),
        "cut": asdict(found.plan.cut),
        "encoder": found.plan.judge or None,
        "made_now": found.made,
        "table": [_plain(asdict(cell)) for cell in cells(found)],
        "rows": [_plain(asdict(one)) for one in found.outcomes],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table_csv(found: Comparison) -> str:
    """One line for each cell."""
    head = ["engine", "composite", "task", "measure", "clips", "mean", "low", "high"]
    head += ["difference", "difference_low", "difference_high", "p"]
    return _csv(head, map(_cell_line, cells(found)))


def _cell_line(cell: Cell) -> list[Any]:
    one, against = cell.value, cell.against
    line = [cell.engine, cell.composite, cell.task, cell.measure, one.n, one.mean, one.low, one.high]
    if against is None:
        return [*line, "", "", "", ""]
    return [*line, against.estimate.mean, against.estimate.low, against.estimate.high, against.p]


def rows_csv(found: Comparison) -> str:
    """One line for each edit, without and with the composite; failed ones with their reason."""
    keys = [measure.key for measure in MEASURES]
    return _csv(
        ["clip", "engine", "seed", "task", "composite", *keys, "seconds", "fault"], _row_lines(found.outcomes, keys)
    )


def _row_lines(outcomes: Iterable[Outcome], keys: Sequence[str]) -> Iterable[list[Any]]:
    for one in outcomes:
        for how in COMPOSITES if one.measures else ("",):
            values = [one.measures[how].get(key, math.nan) if one.measures else math.nan for key in keys]
            yield [one.case, one.engine, one.seed, one.task, how, *values, one.seconds, one.fault]


def _csv(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for line in lines:
        writer.writerow([_harmless(one) for one in line])
    return file.getvalue()


def _harmless(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; nothing for what is not defined."""
    if isinstance(value, float):
        return "" if not math.isfinite(value) else f"{value:.8g}"
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
