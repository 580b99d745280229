"""The measures over time, as one compact chart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from . import drawing
from .measures import MEASURES, EditMeasures, Measure

SCALE = 2  # drawn this many times larger and shrunk, for smooth lines
TITLE, LABEL = 22, 15
PAD, PANEL, BETWEEN = 20, 96, 44
AXIS = 62  # room for the numbers of the upright axis
GRADES = {
    "bit-exact": (98, 201, 130),
    "good": (98, 201, 130),
    "fair": (255, 184, 28),
    "too small to see": (255, 184, 28),
}
POOR: drawing.Colour = (255, 106, 92)


def series_strip(measures: EditMeasures, width: int = 1200) -> Tensor:
    """A picture [H, W, 3] with one panel for each measure over the frames, keyframes and verdicts marked.

    The dashed line is the limit of "good". Gaps are frames on which the measure is not defined. Width and height are
    even. Raises ValueError when the width leaves no room.
    """
    from PIL import Image

    if width < 480:
        raise ValueError(f"Chart: got a width of {width} pixels, but its text needs at least 480.")
    width = drawing.even(width)
    head, foot = PAD + round(1.6 * TITLE), LABEL + PAD
    height = drawing.even(head + len(MEASURES) * (PANEL + BETWEEN) + foot)
    large = Image.new("RGB", (SCALE * width, SCALE * height), drawing.BACKGROUND)
    canvas = _Canvas(large, PAD + AXIS, width - PAD, measures.frame_count)
    _write_head(canvas, measures, width)
    for row, measure in enumerate(MEASURES):
        top = head + row * (PANEL + BETWEEN) + BETWEEN - 8
        _draw_panel(canvas, measures, measure, top)
    _write_frames(canvas, head + len(MEASURES) * (PANEL + BETWEEN) - 8)
    return drawing.to_image(np.asarray(large.resize((width, height), Image.Resampling.BOX)))


class _Canvas:
    """A PIL picture drawn on in the units of the final chart."""

    def __init__(self, picture: Any, left: int, right: int, count: int) -> None:
        from PIL import ImageDraw

        self.picture, self.left, self.right, self.count = picture, left, right, count
        self._draw = ImageDraw.Draw(picture)

    def x(self, frame: float) -> float:
        if self.count == 1:
            return (self.left + self.right) / 2
        return self.left + 10 + (self.right - self.left - 20) * frame / (self.count - 1)

    def text(self, x: float, y: float, text: str, size: int, colour: drawing.Colour, anchor: str = "lm") -> None:
        drawing.write(self.picture, (SCALE * x, SCALE * y), text, SCALE * size, colour, anchor)

    def box(self, left: float, top: float, right: float, bottom: float, colour: drawing.Colour) -> None:
        self._draw.rectangle([SCALE * left, SCALE * top, SCALE * right - 1, SCALE * bottom - 1], fill=colour)

    def line(self, points: list[tuple[float, float]], colour: drawing.Colour, width: float = 1) -> None:
        scaled = [(SCALE * x, SCALE * y) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(SCALE * width), joint="curve")

    def area(self, points: list[tuple[float, float]], colour: drawing.Colour) -> None:
        self._draw.polygon([(SCALE * x, SCALE * y) for x, y in points], fill=colour)

    def dot(self, x: float, y: float, radius: float, colour: drawing.Colour) -> None:
        self._draw.ellipse(
            [SCALE * (x - radius), SCALE * (y - radius), SCALE * (x + radius), SCALE * (y + radius)], colour
        )

    def diamond(self, x: float, y: float, radius: float, colour: drawing.Colour) -> None:
        self.area([(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)], colour)


def _write_head(canvas: _Canvas, measures: EditMeasures, width: int) -> None:
    middle = PAD + TITLE / 2
    canvas.text(PAD, middle, "Edit measures", TITLE, drawing.TEXT)
    after = PAD + drawing.text_width("Edit measures", TITLE) + 14
    canvas.text(after, middle + 2, "lower is better; dashed: limit of good", LABEL, drawing.QUIET)
    if measures.key_indices:
        canvas.text(width - PAD, middle + 2, "keyframe", LABEL, drawing.QUIET, "rm")
        canvas.diamond(width - PAD - drawing.text_width("keyframe", LABEL) - 14, middle + 2, 6, drawing.KEY)


def _draw_panel(canvas: _Canvas, measures: EditMeasures, measure: Measure, top: int) -> None:
    bottom = top + PANEL
    verdict = measures.verdict(measure)
    colour = drawing.QUIET if verdict == "not measured" else GRADES.get(verdict, POOR)
    name = f"{measure.label}, {measure.unit}"
    canvas.text(canvas.left, top - 15, name, LABEL + 1, drawing.TEXT)
    canvas.text(canvas.right, top - 15, _headline(measures, measure, verdict), LABEL, colour, "rm")
    canvas.box(canvas.left, top, canvas.right, bottom, drawing.PANEL)
    for key in measures.key_indices:
        canvas.line([(canvas.x(key), top), (canvas.x(key), bottom)], (104, 84, 36), 1.5)
        canvas.diamond(canvas.x(key), top, 5, drawing.KEY)
    ceiling = _ceiling(measures.worst(measure.key)[0], measure)
    for value in (0.0, ceiling / 2, ceiling):
        y = bottom - PANEL * value / ceiling
        canvas.line([(canvas.left, y), (canvas.right, y)], drawing.LINE)
        canvas.text(canvas.left - 8, y, f"{value:.3g}", LABEL - 1, drawing.QUIET, "rm")
    _draw_series(canvas, measures.series(measure.key), bottom, PANEL / ceiling, colour)
    if 0 < measure.good < ceiling:
        _dashes(canvas, bottom - PANEL * measure.good / ceiling)


def _headline(measures: EditMeasures, measure: Measure, verdict: str) -> str:
    worst, at_frame = measures.worst(measure.key)
    if math.isnan(worst):
        return verdict
    if worst == 0:
        return f"{verdict}:  0 on every frame"
    return f"{verdict}:  mean {measures.mean(measure.key):.3g},  worst {worst:.3g} at frame {at_frame}"


def _ceiling(worst: float, measure: Measure) -> float:
    """A round number at or above every value, and above the limit of "good"."""
    wanted = max(0.0 if math.isnan(worst) else 1.05 * worst, 1.25 * measure.good, measure.fair / 4, 1e-6)
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= wanted * (1 - 1e-9))


def _dashes(canvas: _Canvas, y: float) -> None:
    for left in range(canvas.left, canvas.right, 12):
        canvas.line([(left, y), (min(left + 6, canvas.right), y)], (122, 168, 138), 1)


def _draw_series(
    canvas: _Canvas, values: tuple[float, ...], bottom: int, pixels_per_unit: float, colour: drawing.Colour
) -> None:
    shade = tuple(round(0.28 * part + 0.72 * ground) for part, ground in zip(colour, drawing.PANEL))
    run: list[tuple[float, float]] = []
    for frame, value in [*enumerate(values), (len(values), math.nan)]:
        if not math.isnan(value):
            run.append((canvas.x(frame), bottom - value * pixels_per_unit))
            continue
        if len(run) == 1:
            canvas.dot(*run[0], 3.5, colour)
        elif run:
            canvas.area([(run[0][0], bottom), *run, (run[-1][0], bottom)], shade)  # type: ignore[arg-type]
            canvas.line(run, colour, 2)
        run = []


def _write_frames(canvas: _Canvas, y: float) -> None:
    last = canvas.count - 1
    wanted = max(1, min(last, (canvas.right - canvas.left) // 90))
    step = next(s * 10**p for p in range(12) for s in (1, 2, 5) if s * 10**p * wanted >= last)
    for frame in range(0, last + 1, step):
        canvas.line([(canvas.x(frame), y - 1), (canvas.x(frame), y + 4)], drawing.QUIET)
        canvas.text(canvas.x(frame), y + 14, str(frame), LABEL - 1, drawing.QUIET, "mm")
    canvas.text(PAD, y + 14, "frame", LABEL - 1, drawing.QUIET)
