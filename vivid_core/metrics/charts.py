"""The measures over time, as one compact chart."""

from __future__ import annotations

import math

from torch import Tensor

from . import drawing
from .canvas import Canvas
from .measures import EditMeasures, Measure

TITLE, LABEL = 22, 15
PAD, PANEL, BETWEEN = 20, 96, 44
AXIS = 62  # room for the numbers of the upright axis
GRADES = {
    "bit-exact": (98, 201, 130),
    "good": (98, 201, 130),
    "fair": (255, 184, 28),
    "too small to see": (255, 184, 28),
    "not measured": drawing.QUIET,
    "measured": (120, 168, 220),
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
    height = drawing.even(head + len(measures.shown) * (PANEL + BETWEEN) + foot)
    canvas = Canvas((width, height), (PAD + AXIS, width - PAD), measures.frame_count)
    _write_head(canvas, measures, width)
    for row, measure in enumerate(measures.shown):
        top = head + row * (PANEL + BETWEEN) + BETWEEN - 8
        _draw_panel(canvas, measures, measure, top)
    canvas.frame_numbers(PAD, head + len(measures.shown) * (PANEL + BETWEEN) - 8)
    return canvas.finished()


def _write_head(canvas: Canvas, measures: EditMeasures, width: int) -> None:
    middle = PAD + TITLE / 2
    canvas.text(PAD, middle, "Edit measures", TITLE, drawing.TEXT)
    after = PAD + drawing.text_width("Edit measures", TITLE) + 14
    canvas.text(after, middle + 2, "lower is better unless said; dashed: limit of good", LABEL, drawing.QUIET)
    if measures.key_indices:
        canvas.text(width - PAD, middle + 2, "keyframe", LABEL, drawing.QUIET, "rm")
        canvas.diamond(width - PAD - drawing.text_width("keyframe", LABEL) - 14, middle + 2, 6, drawing.KEY)


def _draw_panel(canvas: Canvas, measures: EditMeasures, measure: Measure, top: int) -> None:
    bottom = top + PANEL
    verdict = measures.verdict(measure)
    colour = GRADES.get(verdict, POOR)
    name = f"{measure.label}, {measure.unit}" + (", higher is better" if measure.higher_is_better else "")
    canvas.text(canvas.left, top - 15, name, LABEL + 1, drawing.TEXT)
    canvas.text(canvas.right, top - 15, _headline(measures, measure, verdict), LABEL, colour, "rm")
    canvas.box(canvas.left, top, canvas.right, bottom, drawing.PANEL)
    for key in measures.key_indices:
        canvas.line([(canvas.x(key), top), (canvas.x(key), bottom)], (104, 84, 36), 1.5)
    low, high = _scale(measures, measure)
    for value in (low, (low + high) / 2, high):
        y = bottom - PANEL * (value - low) / (high - low)
        canvas.line([(canvas.left, y), (canvas.right, y)], drawing.LINE)
        canvas.text(canvas.left - 8, y, f"{value:.3g}", LABEL - 1, drawing.QUIET, "rm")
    canvas.series([value - low for value in measures.series(measure.key)], bottom, PANEL / (high - low), colour)
    if measure.good is not None and low < measure.good < high:
        _dashes(canvas, bottom - PANEL * (measure.good - low) / (high - low))
    for key in measures.key_indices:
        canvas.diamond(canvas.x(key), top, 5, drawing.KEY)


def _headline(measures: EditMeasures, measure: Measure, verdict: str) -> str:
    worst, at_frame = measures.worst(measure.key)
    if math.isnan(worst):
        return verdict
    if worst == 0 and not measure.higher_is_better:
        return f"{verdict}:  0 on every frame"
    style = ".4f" if measure.unit == "cosine" else ".3g"
    return f"{verdict}:  mean {measures.mean(measure.key):{style}},  worst {worst:{style}} at frame {at_frame}"


def _scale(measures: EditMeasures, measure: Measure) -> tuple[float, float]:
    """The ends of the upright axis: round numbers around every value and the limit of "good"."""
    values = [value for value in measures.series(measure.key) if not math.isnan(value)]
    if measure.unit == "cosine":  # of neighbours: near 1, where all that matters happens
        lowest = min([0.985, *values])
        return 1 - _round_up(1.05 * (1 - lowest)), 1.0
    if measure.higher_is_better and measure.good is not None:
        return 0.0, 1.0
    good, fair = measure.good or 0.0, measure.fair or 0.0
    return 0.0, _round_up(max(1.05 * max(values, default=0.0), 1.25 * good, fair / 4, 1e-6))


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9))


def _dashes(canvas: Canvas, y: float) -> None:
    for left in range(canvas.left, canvas.right, 12):
        canvas.line([(left, y), (min(left + 6, canvas.right), y)], (122, 168, 138), 1)
