"""What charts over the frames of a clip are drawn on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from . import drawing

SCALE = 2  # drawn this many times larger and shrunk, for smooth lines
LABEL = 14


class Canvas:
    """A picture of (width, height) with a time axis between `span` (left, right), drawn on in its final units."""

    def __init__(self, size: tuple[int, int], span: tuple[int, int], count: int) -> None:
        from PIL import Image, ImageDraw

        self._size = size
        self.left, self.right = span
        self.count = count
        self._picture = Image.new("RGB", (SCALE * size[0], SCALE * size[1]), drawing.BACKGROUND)
        self._draw = ImageDraw.Draw(self._picture)

    def finished(self) -> Tensor:
        """The picture as an image_hwc."""
        from PIL import Image

        return drawing.to_image(np.asarray(self._picture.resize(self._size, Image.Resampling.BOX)))

    def x(self, frame: float) -> float:
        """Where a frame stands on the time axis."""
        if self.count == 1:
            return (self.left + self.right) / 2
        return self.left + 10 + (self.right - self.left - 20) * frame / (self.count - 1)

    def frame_at(self, x: float) -> int:
        """The frame that stands nearest to a place on the time axis."""
        share = (x - self.x(0)) / max(self.x(self.count - 1) - self.x(0), 1.0)
        return min(max(round(share * (self.count - 1)), 0), self.count - 1)

    def text(self, x: float, y: float, text: str, size: int, colour: drawing.Colour, anchor: str = "lm") -> None:
        drawing.write(self._picture, (SCALE * x, SCALE * y), text, SCALE * size, colour, anchor)

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

    def series(self, values: Sequence[float], bottom: float, pixels_per_unit: float, colour: drawing.Colour) -> None:
        """One value for each frame as a line over a shaded area that stands on `bottom`; NaN leaves a gap."""
        shade = drawing.mixed(drawing.PANEL, colour, 0.28)
        run: list[tuple[float, float]] = []
        for frame, value in [*enumerate(values), (len(values), math.nan)]:
            if not math.isnan(value):
                run.append((self.x(frame), bottom - value * pixels_per_unit))
                continue
            if len(run) == 1:
                self.dot(*run[0], 3.5, colour)
            elif run:
                self.area([(run[0][0], bottom), *run, (run[-1][0], bottom)], shade)
                self.line(run, colour, 2)
            run = []

    def frame_numbers(self, left: float, y: float) -> None:
        """The time axis: round frame numbers below `y`, and what they are at `left`."""
        last = self.count - 1
        wanted = max(1, min(last, (self.right - self.left) // 90))
        step = next(s * 10**p for p in range(12) for s in (1, 2, 5) if s * 10**p * wanted >= last)
        for frame in range(0, last + 1, step):
            self.line([(self.x(frame), y - 1), (self.x(frame), y + 4)], drawing.QUIET)
            self.text(self.x(frame), y + 14, str(frame), LABEL, drawing.QUIET, "mm")
        self.text(left, y + 14, "frame", LABEL, drawing.QUIET)
