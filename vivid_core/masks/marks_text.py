"""Reads the text that the editor in the page keeps: marks out, or one sentence that names the object and the frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import torch

from .marks import Mark, MarkedClip, Marks
from .prompt_text import is_number, read_json
from .prompts import Box, Point
from .runs import from_runs
from .strokes import Stroke

VERSION = 1
WHAT = "Mark Object"
ADVICE = "undo what was changed by hand, or clear the text and mark the object again in the editor"
MOST_FRAMES = 1_000_000


def read_marks(text: str) -> Marks:
    """The marks in the editor's text; an empty text gives none. Marks that say nothing are left out.

    Raises ValueError on malformed JSON, an unknown version, and on anything that doesn't belong into a mark.
    """
    content = read_json(text, WHAT, ADVICE)
    if content is None:
        return Marks([], {}, None)
    if not isinstance(content, Mapping):
        raise ValueError(f"{WHAT}: the text of the marks is no JSON object; {ADVICE}.")
    if content.get("version") != VERSION:
        raise ValueError(
            f"{WHAT}: the marks have the version {_shown(content.get('version'))}, but this node reads version "
            f"{VERSION}; update the pack if they come from a newer one."
        )
    names = _names(_list(content.get("objects"), "objects"))
    marks = [_mark(item) for item in _list(content.get("marks"), "marks")]
    _check_each_once(marks)
    clip = content.get("clip")
    return Marks([mark for mark in marks if mark.says_something], names, None if clip is None else _clip(clip))


def _names(items: list[Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for item in items:
        number = item.get("id") if isinstance(item, Mapping) else None
        if not _is_whole(number, 1) or number in names:
            raise ValueError(
                f"{WHAT}: got {_shown(item)} among the objects, but each needs an id of its own; {ADVICE}."
            )
        name = item.get("name", "")
        names[number] = name if isinstance(name, str) else ""
    return names


def _clip(item: Any) -> MarkedClip:
    names = ("frames", "width", "height")
    frames, width, height = (item.get(name) for name in names) if isinstance(item, Mapping) else (None,) * 3
    if not _is_whole(frames, 1) or not _is_whole(width, 1) or not _is_whole(height, 1):
        raise ValueError(f"{WHAT}: got {_shown(item)} for the clip, but it needs frames, width and height; {ADVICE}.")
    digest = item.get("digest", "")
    return MarkedClip(frames, width, height, digest if isinstance(digest, str) else "")


def _mark(item: Any) -> Mark:
    frame, number = (item.get("frame"), item.get("object")) if isinstance(item, Mapping) else (None, None)
    if not _is_whole(frame, 0) or frame > MOST_FRAMES or not _is_whole(number, 1):
        raise ValueError(f"{WHAT}: got {_shown(item)}, but a mark needs the numbers of its frame and object; {ADVICE}.")
    where = f"object {number} on frame {frame}"
    points = tuple(_point(point, where) for point in _list(item.get("points"), f"points of {where}"))
    box = item.get("box")
    strokes = tuple(_stroke(stroke, where) for stroke in _list(item.get("strokes"), f"strokes of {where}"))
    painted = item.get("painted", False)
    if not isinstance(painted, bool):
        raise ValueError(f'{WHAT}: {where} has {_shown(painted)} for "painted", which is true or false; {ADVICE}.')
    base = item.get("base")
    mask = None if base is None or not painted else _base(base, where)
    return Mark(frame, number, points, None if box is None else _box(box, where), strokes, painted, mask)


def _point(item: Any, where: str) -> Point:
    if not isinstance(item, list) or len(item) != 3 or not all(is_number(value) for value in item):
        raise ValueError(f"{WHAT}: {where} has the point {_shown(item)}, but a point is [x, y, label]; {ADVICE}.")
    x, y, label = item
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(
            f"{WHAT}: {where} has a point at ({x:g}, {y:g}), outside the frame, whose sides run from 0 to 1; delete "
            "that point in the editor."
        )
    if label not in (0, 1):
        raise ValueError(f"{WHAT}: {where} has a point with the label {label:g}; it is 1 (object) or 0 (background).")
    return float(x), float(y), int(label)


def _box(item: Any, where: str) -> Box:
    if not isinstance(item, list) or len(item) != 4 or not all(is_number(value) for value in item):
        raise ValueError(f"{WHAT}: {where} has the box {_shown(item)}, but a box is [x0, y0, x1, y1]; {ADVICE}.")
    x0, y0, x1, y1 = (float(value) for value in item)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise ValueError(
            f"{WHAT}: {where} has the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}), but left, top, right, bottom must lie in "
            "0..1 and span an area; draw that box again in the editor."
        )
    return x0, y0, x1, y1


def _stroke(item: Any, where: str) -> Stroke:
    path, radius, erase = (
        (item.get("path"), item.get("radius"), item.get("erase", False))
        if isinstance(item, Mapping)
        else (None, None, False)
    )
    placed = isinstance(path, list) and path and all(_is_place(place) for place in path)
    if path is None or not placed or not is_number(radius) or not isinstance(erase, bool):
        raise ValueError(
            f"{WHAT}: {where} has the stroke {_shown(item)}, but a stroke has a path of [x, y] places and a radius; "
            f"{ADVICE}."
        )
    if not 0 < radius <= 1:
        raise ValueError(
            f"{WHAT}: {where} has a stroke with the radius {radius:g}, but it must be above 0 and at most 1, "
            f"as a part of the frame's width; {ADVICE}."
        )
    return Stroke(tuple((float(x), float(y)) for x, y in path), float(radius), erase)


def _base(item: Any, where: str) -> torch.Tensor:
    width, height = (item.get("width"), item.get("height")) if isinstance(item, Mapping) else (None, None)
    if not _is_whole(width, 1) or not _is_whole(height, 1) or not isinstance(item.get("runs"), list):
        raise ValueError(f"{WHAT}: the painted mask of {where} needs width, height and runs; {ADVICE}.")
    try:
        return torch.from_numpy(from_runs(item["runs"], width, height))
    except ValueError as fault:
        reason = str(fault).rstrip(".")
        raise ValueError(f"{WHAT}: the painted mask of {where} is damaged ({reason}); paint it again there.") from fault


def _check_each_once(marks: list[Mark]) -> None:
    seen: set[tuple[int, int]] = set()
    for mark in marks:
        if (mark.frame, mark.object_id) in seen:
            raise ValueError(
                f"{WHAT}: object {mark.object_id} on frame {mark.frame} has two marks, but there is one for each; "
                f"{ADVICE}."
            )
        seen.add((mark.frame, mark.object_id))


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{WHAT}: got {_shown(value)} for the {what}, but that is a list; {ADVICE}.")
    return value


def _is_place(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 2 and all(is_number(number) for number in value)


def _is_whole(value: Any, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
