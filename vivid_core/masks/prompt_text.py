"""Reads the texts and lists in which other nodes write points and boxes: numbers out, in pixels, or one sentence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from ..json_text import parsed

POINTS_EXAMPLE = 'write a list such as [{"x": 640, "y": 360}]'
BOX_EXAMPLE = 'write "x, y, width, height" in pixels, such as "310, 30, 330, 660"'
MAX_DEPTH = 8  # lists inside lists, and JSON texts inside JSON texts
MAX_NUMBER = 1e9


def read_json(text: str, what: str = "Points", advice: str = POINTS_EXAMPLE) -> Any:
    """The content of a JSON text, None if it is blank. Raises ValueError with the place where the text broke."""
    if not text.strip():
        return None
    # KJNodes writes Python's quotes in places, and reads them everywhere
    text = text if '"' in text else text.replace("'", '"')
    try:
        return parsed(text)
    except json.JSONDecodeError as broken:
        near = text[max(0, broken.pos - 10) : broken.pos + 10].strip()
        raise ValueError(
            f"{what}: the text is no valid JSON at line {broken.lineno}, column {broken.colno} (near {near!r}): "
            f"{broken.msg.lower()}; {advice}."
        ) from broken
    except ValueError as wrong:
        raise ValueError(f"{what}: the text has {wrong}; {advice}.") from wrong


def read_points(
    content: Any, label: int | None, frame: int, depth: int = 0
) -> Iterator[tuple[float, float, int, int, int]]:
    """Every point in `content` as (x, y, label, frame, object), in pixels; `label` is set inside positive/negative.

    Raises ValueError on anything that is no point.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"Points: the text has too many brackets inside each other; {POINTS_EXAMPLE}.")
    if isinstance(content, str):
        content = read_json(content)
    if content is None:
        return
    if isinstance(content, Mapping):
        if "positive" in content or "negative" in content:
            yield from read_points(content.get("positive"), 1, frame, depth + 1)
            yield from read_points(content.get("negative"), 0, frame, depth + 1)
            return
        yield _read_point(content, label, frame)
    elif isinstance(content, Sequence):
        if len(content) == 2 and all(is_number(value) for value in content):
            yield _read_point({"x": content[0], "y": content[1]}, label, frame)
            return
        for item in content:
            yield from read_points(item, label, frame, depth + 1)
    else:
        raise ValueError(f"Points: got {_shown(content)} where a point belongs; {POINTS_EXAMPLE}.")


def _read_point(item: Mapping[str, Any], label: int | None, frame: int) -> tuple[float, float, int, int, int]:
    if not is_number(item.get("x")) or not is_number(item.get("y")):
        raise ValueError(f"Points: got {_shown(item)}, but a point needs numbers for x and y; {POINTS_EXAMPLE}.")
    whole = {"label": 1 if label is None else label, "frame": frame, "object": 1}
    for name in whole:
        given = item.get(name)
        if given is None or (name == "label" and label is not None):
            continue
        if not is_number(given) or given != math.floor(given):
            raise ValueError(f"Points: got {_shown(item)}, but its {name} must be a whole number; correct or omit it.")
        whole[name] = int(given)
    if whole["label"] not in (0, 1):
        raise ValueError(
            f"Points: got label {whole['label']} in {_shown(item)}; use 1 for the object and 0 for the background."
        )
    return float(item["x"]), float(item["y"]), whole["label"], whole["frame"], whole["object"]


def read_box(item: Any) -> tuple[float, float, float, float]:
    """x, y, width, height of a box given as text, mapping or list. Raises ValueError on anything else."""
    values: list[Any] = []
    if isinstance(item, str):
        values = [_number(part) for part in re.split(r"[\s,;]+", item.strip().strip("[]()").strip())]
    elif isinstance(item, Mapping):
        values = [item.get(side) for side in ("x", "y", "width", "height")]
    elif isinstance(item, Sequence):
        values = list(item)
    if len(values) != 4 or not all(is_number(value) for value in values):
        raise ValueError(f"Box: got {_shown(item)}, but a box is four numbers; {BOX_EXAMPLE}.")
    return values[0], values[1], values[2], values[3]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value read from JSON is a number that can be a place: finite, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return f'"{text}"' if len(text) <= 60 else f'"{text[:57]}..."'
