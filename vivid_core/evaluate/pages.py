"""Pages that work from the disk: side-by-side videos of a run, and a blind comparison of two engines at a time.

Nothing is fetched: styles and scripts are in the page, videos are beside it. Names and captions come from others, so
they are only ever text: escaped here, and put in by `textContent` there. A policy in the page forbids every script but
its own and every address but its own folder.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..metrics.definitions import MEASURES, Measure
from ..training.tasks import DELETION
from .run import Comparison, Shown
from .statistics import Estimate
from .store import COMPOSITES, OFF, ON, Outcome
from .tables import ALL, LABELS, Cell, cells

PARTS = Path(__file__).with_name("page")
SMALL = 200  # pixels of width below which a clip is magnified with its pixels as they are
UNDER_A_CLIP = ("background", "seam", "flicker", "text_alignment", "temporal_consistency")
VIDEO = 'preload="none" muted playsinline controls'
SPEEDS = {"auto": "speed: as fits", "1": "1x", "0.5": "1/2", "0.25": "1/4", "0.125": "1/8"}


def comparison_page(found: Comparison) -> str:
    """The whole HTML of the page that shows every clip with every engine beside it."""
    table = cells(found)
    outcomes: dict[tuple[str, str], Outcome] = {}
    for one in found.outcomes:
        outcomes.setdefault((one.case, one.engine), one)  # of several seeds the first one
    engines = [engine.label for engine in found.plan.engines]
    articles = [_article(shown, [outcomes[shown.case.name, label] for label in engines]) for shown in found.shown]
    tables = "".join(_table([cell for cell in table if cell.composite == how], how) for how in COMPOSITES)
    speeds = "".join(f'<option value="{value}">{text}</option>' for value, text in SPEEDS.items())
    choices = "".join(
        f'<button data-choose="{how}" aria-pressed="{str(how == ON).lower()}">{LABELS[how]}</button>'
        for how in COMPOSITES
    )
    body = (
        '<header><div><h1>Engines compared</h1><div class="segments">'
        f"{choices}</div><button id=all class=main>Play all</button><select id=speed aria-label=Speed>{speeds}</select>"
        '<label class="quiet">size <input id=cell type=range min=140 max=720 value=260></label></div></header>'
        f"<main><p class=quiet>{_summary(found)}</p>{tables}<h2>Clips</h2>{''.join(articles)}</main>"
    )
    return page(
        "Engines compared", body, ("common.css", "compare.css"), ("sync.js", "compare.js"), 'data-composite="on"'
    )


def _summary(found: Comparison) -> str:
    plan = found.plan
    clips = sum(not shown.fault for shown in found.shown)
    judge = f"TA and TC by {plan.judge}." if plan.judge else "No CLIP was given, so TA and TC are left out."
    failed = f"{len(found.failed)} of {len(found.outcomes)} edits failed." if found.failed else "Every edit finished."
    return escape(
        f"{clips} of {len(plan.cases)} clips, {len(plan.engines)} engines, seeds {', '.join(map(str, plan.seeds))}. "
        f"{failed} {judge} In brackets: the 95 % interval over clips. The pink line is the mask's outline."
    )


def _table(table: Sequence[Cell], how: str) -> str:
    table = [cell for cell in table if cell.task == ALL]
    used = [measure for measure in MEASURES if any(cell.measure == measure.key for cell in table)]
    if not used:
        return ""
    best = {measure.key: _best(table, measure) for measure in used}
    head = "".join(map(_heading, used))
    rows = []
    for engine in dict.fromkeys(cell.engine for cell in table):
        own = {cell.measure: cell.value for cell in table if cell.engine == engine}
        values = "".join(_number(own[one.key], one, best[one.key]) for one in used)
        rows.append(f"<tr><td>{escape(engine)}</td>{values}</tr>")
    return f'<div class="scroll when-{how}"><table><tr><th>engine</th>{head}</tr>{"".join(rows)}</table></div>'


def _heading(measure: Measure) -> str:
    about = escape(f"{measure.meaning} ({measure.unit})")
    return f'<th title="{about}">{escape(measure.label)} {"↑" if measure.higher_is_better else "↓"}</th>'


def _number(value: Estimate, measure: Measure, best: float) -> str:
    mark = " class=best" if value.n and value.mean == best else ""
    bounds = _bounds(value.low, value.high, measure)
    return f"<td{mark}>{shown_value(value.mean, measure)}<small>{bounds}</small></td>"


def _best(table: Sequence[Cell], measure: Measure) -> float:
    means = [cell.value.mean for cell in table if cell.measure == measure.key and cell.value.n]
    return (max if measure.higher_is_better else min)(means, default=math.nan)


def shown_value(value: float, measure: Measure) -> str:
    """A number as the pages show it; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    return format(value, {"0..1": ".3f", "cosine": ".4f"}.get(measure.unit, ".2f"))


def _bounds(low: float, high: float, measure: Measure) -> str:
    if not math.isfinite(low) or low == high:
        return "&nbsp;"
    return f"[{shown_value(low, measure)}, {shown_value(high, measure)}]"


def _article(shown: Shown, outcomes: Sequence[Outcome]) -> str:
    case = shown.case
    whole = "" if case.mask is not None or shown.fault else " <span class=badge>no mask: the whole frame</span>"
    task = f" <span class=badge>{'removal' if case.task == DELETION else 'addition or change'}</span>"
    head = f"<h3>{escape(case.name)}{'' if shown.fault else task + whole}</h3>"
    if shown.fault:
        return f'<article>{head}<p class="fault">{escape(shown.fault)}</p></article>'
    figures = "".join(_figure(one) for one in outcomes)
    small = " small" if shown.width < SMALL else ""
    original = f'<video src="{escape(shown.original)}" {VIDEO}></video>'
    return (
        f'<article data-frames="{shown.frames}">{head}<p class="caption">{escape(case.caption)}</p>'
        '<div class="player"><button>Play</button>'
        f'<input type="range" min="0" max="{shown.frames - 1}" value="0" aria-label="Frame">'
        f"<output>0 / {shown.frames - 1}</output></div>"
        f'<div class="grid{small}"><figure><div class="stage">{original}</div>'
        f"<figcaption><b>original</b></figcaption></figure>{figures}</div></article>"
    )


def _figure(one: Outcome) -> str:
    if one.fault or one.clips is None or one.measures is None:
        name = f"<figcaption><b>{escape(one.engine)}</b></figcaption>"
        return f'<figure><p class="fault">{escape(one.fault)}</p>{name}</figure>'
    on, off = escape(one.clips[ON]), escape(one.clips[OFF])
    numbers = "".join(_numbers(one.measures[how], how) for how in COMPOSITES)
    return (
        f'<figure><div class="stage"><video src="{on}" data-on="{on}" data-off="{off}" {VIDEO}></video></div>'
        f"<figcaption><b>{escape(one.engine)}</b>{numbers}</figcaption></figure>"
    )


def _numbers(values: Mapping[str, float], how: str) -> str:
    shown = [one for one in MEASURES if one.key in UNDER_A_CLIP and math.isfinite(values.get(one.key, math.nan))]
    lines = "".join(f"<dt>{escape(one.label)}</dt><dd>{shown_value(values[one.key], one)}</dd>" for one in shown)
    return f'<dl class="when-{how}">{lines}</dl>'


def page(
    title: str, body: str, styles: Sequence[str], scripts: Sequence[str], attributes: str = "", data: Any = None
) -> str:
    """A page of its own, from parts of the folder `page`; `data` is what its script reads."""
    style = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in styles)
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in scripts)
    allowed = hashlib.sha256((script + body).encode()).hexdigest()  # no text in the page can name it
    sources = "default-src 'none'; media-src 'self' file:; img-src data:; style-src 'unsafe-inline'"
    policy = f"{sources}; script-src 'nonce-{allowed}'"
    told = "" if data is None else f'<script type="application/json" id="study">{_in_script(data)}</script>'
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">\n'
        f"<style>{style}</style></head>\n<body {attributes}>{body}{told}\n"
        f'<script nonce="{allowed}">{script}</script></body></html>\n'
    )


def _in_script(data: Any) -> str:
    """JSON that can't end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
