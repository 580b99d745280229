"""The loss of a training run as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from . import drawing

WIDTH, HEIGHT, PAD, AXIS, TITLE, LABEL = 1200, 480, 24, 64, 22, 15
SCALE = 2  # drawn so many times larger and shrunk, which makes lines smooth
LEAST_SPAN = 1e-6


def loss_curve(losses: Sequence[float], title: str) -> Tensor:
    """An image_hwc of the losses of all steps: single ones quiet, their running mean clear. An empty run is legal."""
    from PIL import Image, ImageDraw

    large = Image.new("RGB", (SCALE * WIDTH, SCALE * HEIGHT), drawing.BACKGROUND)
    left, top, right, bottom = PAD + AXIS, PAD + 2 * TITLE, WIDTH - PAD, HEIGHT - PAD - 2 * LABEL
    draw = ImageDraw.Draw(large)
    draw.rectangle([SCALE * one for one in (left, top, right, bottom)], fill=drawing.PANEL)
    _write(large, PAD, PAD + TITLE / 2, title, TITLE, drawing.TEXT)
    values = np.asarray(losses, np.float64)
    if len(values):
        low, high = float(values.min()), float(values.max())
        span = max(high - low, LEAST_SPAN)
        across = left + (right - left) * (np.arange(len(values)) + 0.5) / len(values)
        for line, colour, width in ((values, drawing.LINE, 1), (_smooth(values), drawing.KEY, 3)):
            down = bottom - (bottom - top) * (0.05 + 0.9 * (line - low) / span)
            points = [(SCALE * x, SCALE * y) for x, y in zip(across, down)]
            draw.line(points, fill=colour, width=SCALE * width, joint="curve")
        for value, share in ((low, 0.05), (high, 0.95)):
            _write(large, left - 8, bottom - (bottom - top) * share, f"{value:.3g}", LABEL, drawing.QUIET, "rm")
        for place, step, anchor in ((left, 1, "lm"), (right, len(values), "rm")):
            _write(large, place, bottom + 1.2 * LABEL, f"step {step}", LABEL, drawing.QUIET, anchor)
    return drawing.to_image(np.asarray(large.resize((WIDTH, HEIGHT), Image.Resampling.BOX)))


def _write(
    picture: object, x: float, y: float, text: str, size: int, colour: drawing.Colour, anchor: str = "lm"
) -> None:
    drawing.write(picture, (SCALE * x, SCALE * y), text, SCALE * size, colour, anchor)


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of each value and its neighbours, over a twentieth of the run."""
    reach = math.ceil(len(values) / 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
