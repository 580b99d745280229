"""The results of all benchmarks in one file of JSON, and the page that is written from it.

A run of some benchmarks leaves the others' rows as they are; each row says when and at which commit it was measured
where that is not the same for all.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._about import CPU, CUDA, About

COLUMNS = ("benchmark", "what", "peer", "a user would pick instead", "goal", "measured", "held")
NOT_YET = "not measured yet"
FAILED = "failed"
MADE = ("date", "commit", "machine", "form")


def load(path: Path) -> dict[str, Any]:
    """The results so far, {variant: {name: result}}; none where there is no file.

    Raises ValueError for a file that is something else.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(row, dict) for rows in content.values() for row in rows.values()):
            raise TypeError("no results")
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path.name} holds no results of benchmarks; move it away, and run them again.") from error
    return dict(content)


def record(path: Path, variant: str, name: str, result: Mapping[str, Any], made: Mapping[str, str]) -> None:
    """Keep one result. One that failed is kept beside the figure that the benchmark had before."""
    results = load(path)
    rows = results.setdefault(variant, {})
    if "error" in result:
        rows[name] = {**rows.get(name, {}), FAILED: {**made, "error": str(result["error"])}}
    else:
        rows[name] = {**result, **made}
    ordered = {one: dict(sorted(results[one].items())) for one in sorted(results)}
    _write(path, json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def write_page(path: Path, results: Mapping[str, Any], about: Mapping[str, About]) -> None:
    """Write the page to `path`; never half of it."""
    _write(path, markdown(results, about))


def markdown(results: Mapping[str, Any], about: Mapping[str, About]) -> str:
    """The page as text, with every benchmark that there is on it, measured or not."""
    blocks = ["# Benchmarks", _head(results, about), HOW_TO_READ, "## On the CPU", _chapter(results, about, CPU)]
    blocks += ["## On a GPU", _chapter(results, about, CUDA)]
    missing = [f"- `{one.name}`: {one.not_on_cuda}." for one in about.values() if CUDA not in one.variants]
    if missing:
        blocks += ["Not run there, as it would say nothing new:", "\n".join(missing)]
    return "\n\n".join(blocks) + "\n"


HOW_TO_READ = (
    "Times are ratios against the peer in interleaved pairs, which take turns in going first: the median, and in "
    "brackets its 95 % interval (bootstrap over the pairs), or the smallest and largest run where the text says so. "
    "Memory is the peak of a fresh process over what it held before. A goal is held by the median of times (in "
    "`augment_clip`, `flow_track`, `second_run` and `start_up` by the worse end), and by the largest run of bytes. "
    "**Computed** figures come from a formula and were not timed. The models have random weights of the true "
    "architecture where nothing else is said. Another run differs by a few percent."
)


def _head(results: Mapping[str, Any], about: Mapping[str, About]) -> str:
    rows = [row for name, row in results.get(CPU, {}).items() if name in about and "ratio" in row]
    command = (
        "Written by `make bench` (`BENCH=full` takes more pairs; `python benchmarks NAME` one of them); not by hand."
    )
    if not rows:
        return f"{command} Nothing was measured yet."
    held = sum(bool(row["met"]) for row in rows)
    date, commit, machine, form = _usual(rows)
    return (
        f"{command} Measured on {date} at commit {commit}, on {machine}, in the {form} form, where a row says nothing "
        f"else: {held} of {len(rows)} goals held."
    )


def _chapter(results: Mapping[str, Any], about: Mapping[str, About], variant: str) -> str:
    rows = {name: row for name, row in results.get(variant, {}).items() if name in about}
    if variant == CUDA and not any("ratio" in row for row in rows.values()):
        return "Not run: the machine of the last run had no GPU that CUDA or ROCm gives to torch."
    usual = _usual([row for row in results.get(CPU, {}).values() if "ratio" in row])
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for one in about.values():
        if variant in one.variants:
            lines.append(_row(one, rows.get(one.name, {}), usual))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(about: About, row: Mapping[str, Any], usual: tuple[str, ...]) -> tuple[str, ...]:
    start = (f"`{about.name}`", about.measures, about.peer, about.instead, about.goal)
    notes, failed = [], row.get(FAILED)
    if failed:
        notes.append(f"the run at commit {failed['commit']} on {failed['date']} failed: {failed['error']}")
    if "ratio" not in row:
        return tuple(_cell(text) for text in (*start, "; ".join([NOT_YET, *notes]), "–"))
    own = tuple(row[name] for name in MADE)
    if own != usual:
        date, commit, machine, form = own
        on = "" if machine == usual[2] else f", on {machine}"
        notes.insert(0, f"{date}, commit {commit}{on}, {form} form")
    measured = figure(row) + (", computed" if about.computed else "") + (f" ({'; '.join(notes)})" if notes else "")
    return tuple(_cell(text) for text in (*start, measured, "yes" if row["met"] else "no"))


def figure(row: Mapping[str, Any]) -> str:
    """The figure that is held against the goal, with its interval and its unit, and what the benchmark adds to it."""
    unit, interval = row["unit"], row.get("interval")
    value = row["ratio"] if unit in ("x", "share") else row["ours"]
    scale, sign = (100, " %") if unit == "share" else (1, "x") if unit == "x" else (1, f" {unit}")
    ends = (
        "" if not interval or interval[0] == interval[1] else f" [{interval[0] * scale:.3g}, {interval[1] * scale:.3g}]"
    )
    also = f"; {row['also']}" if row.get("also") else ""
    return f"{value * scale:.3g}{sign}{ends}{also}"


def _usual(rows: list[Any]) -> tuple[str, ...]:
    """When, where and in which form most of the rows were measured."""
    if not rows:
        return ("", "", "", "")
    return Counter(tuple(row[name] for name in MADE) for row in rows).most_common(1)[0][0]


def _cell(text: str) -> str:
    """Text that can't end a cell of a table, nor its row."""
    return " ".join(text.split()).replace("|", "\\|")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
