"""The measures over time, as one compact chart."""

from __future__ import annotations

import math

from torch import Tensor

from . import drawing
from .canvas import Canvas
from .measures import MEASURES, EditMeasures, Measure

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
    if width < 480:
        raise ValueError(f"Chart: got a width of {width} pixels, but its text needs at least 480.")
    width = drawing.even(width)
    head, foot = PAD + round(1.6 * TITLE), LABEL + PAD
    height = drawing.even(head + len(MEASURES) * (PANEL + BETWEEN) + foot)
    canvas = Canvas((width, height), (PAD + AXIS, width - PAD), measures.frame_count)
    _write_head(canvas, measures, width)
    for row, measure in enumerate(MEASURES):
        top = head + row * (PANEL + BETWEEN) + BETWEEN - 8
        _draw_panel(canvas, measures, measure, top)
    canvas.frame_numbers(PAD, head + len(MEASURES) * (PANEL + BETWEEN) - 8)
    return canvas.finished()


def _write_head(canvas: Canvas, measures: EditMeasures, width: int) -> None:
    middle = PAD + TITLE / 2
    canvas.text(PAD, middle, "Edit measures", TITLE, drawing.TEXT)
    after = PAD + drawing.text_width("Edit measures", TITLE) + 14
    canvas.text(after, middle + 2, "lower is better; dashed: limit of good", LABEL, drawing.QUIET)
    if measures.key_indices:
        canvas.text(width - PAD, middle + 2, "keyframe", LABEL, drawing.QUIET, "rm")
        canvas.diamond(width - PAD - drawing.text_width("keyframe", LABEL) - 14, middle + 2, 6, drawing.KEY)


def _draw_panel(canvas: Canvas, measures: EditMeasures, measure: Measure, top: int) -> None:
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
    canvas.series(measures.series(measure.key), bottom, PANEL / ceiling, colour)
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


def _dashes(canvas: Canvas, y: float) -> None:
    for left in range(canvas.left, canvas.right, 12):
        canvas.line([(left, y), (min(left + 6, canvas.right), y)], (122, 168, 138), 1)
