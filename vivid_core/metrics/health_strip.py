"""How a track is doing, as a picture over the frames: a band for each object, and where a click would help."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from ..masks.tracks import Track
from . import drawing
from .canvas import Canvas
from .charts import GRADES, POOR
from .health import Health, ObjectHealth
from .marked import object_colour

TITLE, LABEL = 22, 15
PAD, BAND, SURE, BETWEEN = 20, 58, 9, 58  # SURE: the ribbon of confidence under a band
AXIS, FOOT, UNIT = 26, 40, 44  # UNIT: room for the word before the frame numbers
NARROWEST = 640
GOOD, FAIR = GRADES["good"], GRADES["fair"]
LOST: drawing.Colour = (120, 34, 38)
LEGEND_SIGN = 18


def health_strip(health: Health, track: Track | None = None, width: int = 1280) -> Tensor:
    """A picture [1, H, W, 3] (float32 0..1) with a band for each object over the frames of the clip.

    The curve is the area of the mask, the ribbon under it how sure the tracker was (if it said so). Lost spans, jumps,
    new shots, and the frames that the user gave (of `track`, which `health` is about) are marked. Sides are even.
    Raises ValueError when the width leaves no room.
    """
    if width < NARROWEST:
        raise ValueError(f"Health strip: got a width of {width} pixels, but its text needs at least {NARROWEST}.")
    width = drawing.even(width)
    count = max(len(each.areas) for each in health.objects)
    corrected = track.corrected if track is not None else ()
    head = PAD + round(1.5 * TITLE) + round(2 * LABEL)
    row = BETWEEN + BAND + SURE
    canvas = Canvas((width, drawing.even(head + row * len(health.objects) + FOOT)), (PAD + UNIT, width - PAD), count)
    _write_head(canvas, health, count, bool(corrected))
    for place, each in enumerate(health.objects):
        _draw_band(canvas, each, health.cuts, corrected, head + place * row + BETWEEN - AXIS // 2)
    canvas.frame_numbers(PAD, head + row * len(health.objects) - AXIS // 2 + 6)
    return canvas.finished()[None]


def _write_head(canvas: Canvas, health: Health, count: int, with_corrected: bool) -> None:
    middle = PAD + TITLE / 2
    canvas.text(PAD, middle, "Mask health", TITLE, drawing.TEXT)
    after = PAD + drawing.text_width("Mask health", TITLE) + 14
    canvas.text(after, middle + 2, f"{count} {'frame' if count == 1 else 'frames'}", LABEL, drawing.QUIET)
    sure = any(each.scores is not None for each in health.objects)
    x, y = float(PAD), middle + 1.5 * TITLE
    signs = (
        ("area", True),
        ("lost", any(each.lost for each in health.objects)),
        ("jump", any(each.jumps for each in health.objects)),
        ("new shot", bool(health.cuts)),
        ("given by you", with_corrected),
        ("confidence, low to high", sure),
    )
    for name, shown in signs:
        if shown:
            _draw_sign(canvas, name, x, y)
            canvas.text(x + LEGEND_SIGN + 6, y, name, LABEL, drawing.QUIET)
            x += LEGEND_SIGN + drawing.text_width(name, LABEL) + 28


def _draw_sign(canvas: Canvas, name: str, x: float, y: float) -> None:
    middle, right, high = x + LEGEND_SIGN / 2, x + LEGEND_SIGN, LEGEND_SIGN / 2 - 2
    if name == "area":
        canvas.area([(x, y + high), (x, y), (middle, y - high), (right, y), (right, y + high)], drawing.LINE)
        canvas.line([(x, y), (middle, y - high), (right, y)], drawing.QUIET, 2)
    elif name == "lost":
        canvas.box(x, y - high, right, y + high, LOST)
        canvas.box(x, y - high, right, y - high + 3, POOR)
    elif name == "jump":
        _draw_jump(canvas, middle, y - high, y + high)
    elif name == "new shot":
        _draw_cut(canvas, middle, y - high - 2, y + high + 2)
    elif name == "given by you":
        canvas.diamond(middle, y, 6, drawing.KEY)
    else:
        for step in range(LEGEND_SIGN):
            canvas.box(x + step, y - 4, x + step + 1, y + 5, _sureness(step / (LEGEND_SIGN - 1)))


def _draw_band(
    canvas: Canvas, each: ObjectHealth, cuts: tuple[int, ...], corrected: tuple[int, ...], top: float
) -> None:
    bottom, colour = top + BAND, object_colour(each.object_id)
    _write_name(canvas, each, colour, top - AXIS - 6)
    canvas.box(canvas.left, top, canvas.right, bottom, drawing.PANEL)
    for first, last in each.lost:
        left, right = _cells(canvas, first, last)
        canvas.box(left, top, right, bottom, LOST)
    largest = max(each.areas)
    areas = [area if area > 0 else math.nan for area in each.areas]
    canvas.series(areas, bottom, (BAND - 8) / max(largest, 1e-9), colour)
    for first, last in each.lost:
        left, right = _cells(canvas, first, last)
        canvas.box(left, top, right, top + 4, POOR)
    if each.scores is not None:
        _draw_ribbon(canvas, each.scores, bottom + 1)
    for frame in cuts:
        _draw_cut(canvas, _edge(canvas, frame), top, bottom)
    for jump in each.jumps:
        _draw_jump(canvas, canvas.x(jump.frame), top, bottom)
    for frame in corrected:
        canvas.diamond(canvas.x(frame), bottom, 5, drawing.KEY)
    starts = [first for first, _ in each.lost]
    _write_events(canvas, [*starts, *(jump.frame for jump in each.jumps)], top - 9)


def _write_name(canvas: Canvas, each: ObjectHealth, colour: drawing.Colour, y: float) -> None:
    canvas.dot(PAD + 7, y, 6, colour)
    name = f"object {each.object_id}"
    canvas.text(PAD + 22, y, name, LABEL + 1, drawing.TEXT)
    lost = sum(last - first + 1 for first, last in each.lost)
    told = [f"lost on {lost} of {len(each.areas)} frames"] * bool(lost)
    told += [f"{len(each.jumps)} {'jump' if len(each.jumps) == 1 else 'jumps'}"] * bool(each.jumps)
    verdict = ", ".join(told) or "good"
    canvas.text(canvas.right, y, verdict, LABEL, POOR if told else GOOD, "rm")
    if not each.suggestions:
        return
    left = PAD + 22 + drawing.text_width(name, LABEL + 1) + 16
    room = canvas.right - drawing.text_width(verdict, LABEL) - 16 - left
    canvas.text(left, y, _cut_to(each.suggestions[0], room), LABEL, drawing.QUIET)


def _draw_ribbon(canvas: Canvas, scores: tuple[float, ...], top: float) -> None:
    """How sure the tracker was; where many frames share a pixel, the least sure of them."""
    columns = range(canvas.left, canvas.right)
    lowest = {column: scores[canvas.frame_at(column + 0.5)] for column in columns}
    for frame, score in enumerate(scores):
        column = min(max(int(canvas.x(frame)), columns[0]), columns[-1])
        lowest[column] = min(lowest[column], score)
    for column, score in lowest.items():
        canvas.box(column, top, column + 1, top + SURE, _sureness(score))


def _draw_cut(canvas: Canvas, x: float, top: float, bottom: float) -> None:
    for place in range(int(top), int(bottom), 8):
        canvas.line([(x, place), (x, min(place + 5, bottom))], drawing.WHITE, 1.5)


def _draw_jump(canvas: Canvas, x: float, top: float, bottom: float) -> None:
    canvas.line([(x, top), (x, bottom)], FAIR, 1.5)
    canvas.area([(x - 5, top), (x + 5, top), (x, top + 8)], FAIR)


def _write_events(canvas: Canvas, frames: Iterable[int], y: float) -> None:
    """The numbers of the frames where something happens, as many as there is room for."""
    free = float(canvas.left)
    for frame in sorted(set(frames)):
        half = drawing.text_width(str(frame), LABEL - 2) / 2
        x = min(max(canvas.x(frame), canvas.left + half), canvas.right - half)
        if x - half >= free:
            canvas.text(x, y, str(frame), LABEL - 2, drawing.TEXT, "mm")
            free = x + half + 6


def _cells(canvas: Canvas, first: int, last: int) -> tuple[float, float]:
    """From the left edge of one frame to the right edge of another, never too narrow to be seen."""
    left, right = _edge(canvas, first), _edge(canvas, last + 1)
    return (left, right) if right - left >= 2 else (left - 1, left + 2)


def _edge(canvas: Canvas, frame: int) -> float:
    if canvas.count == 1:
        return float(canvas.right if frame else canvas.left)
    return min(max(canvas.x(frame - 0.5), canvas.left), canvas.right)


def _sureness(score: float) -> drawing.Colour:
    """From red over amber to green."""
    score = min(max(score, 0.0), 1.0)
    return drawing.mixed(POOR, FAIR, 2 * score) if score < 0.5 else drawing.mixed(FAIR, GOOD, 2 * score - 1)


def _cut_to(text: str, room: float) -> str:
    if drawing.text_width(text, LABEL) <= room:
        return text
    while text and drawing.text_width(f"{text}...", LABEL) > room:
        text = text[:-1]
    return f"{text.rstrip()}..." if text else ""
