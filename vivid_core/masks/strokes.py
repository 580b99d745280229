"""Strokes of a brush: painted onto a mask exactly, or taken as a trail of points for a segmenter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .prompts import Point, Prompt

MOST_POINTS = 8  # that strokes become together: segmenters are trained with a few clicks


@dataclass(frozen=True)
class Stroke:
    """A line drawn with a round brush: `path` of (x, y) normalised to 0..1 of the frame's width and height, `radius` as
    a part of the frame's width. `erase` takes away instead of adding."""

    path: tuple[tuple[float, float], ...]
    radius: float
    erase: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a stroke without a place, or a radius that is not above 0."""
        if not self.path or not all(math.isfinite(value) for place in self.path for value in place):
            raise ValueError("Stroke: got a stroke without a place on the frame; give at least one pair of x and y.")
        if not 0 < self.radius <= 1:
            raise ValueError(
                f"Stroke: got the radius {self.radius:g}, but it must be above 0 and at most 1, as a part of the "
                "frame's width; divide pixels by the width."
            )


def paint(mask_hw: Tensor, strokes: Sequence[Stroke]) -> Tensor:
    """The mask (above 0.5 = object) with the strokes drawn over it in their order: float32 [H, W], 0 or 1.

    A pixel is touched when its middle is within the brush.
    """
    inside = (mask_hw > 0.5).numpy().copy()
    height, width = inside.shape
    for stroke in strokes:
        places = [(x * width, y * height) for x, y in stroke.path]
        for start, end in zip(places, places[1:] or places):
            _touch(inside, start, end, stroke.radius * width, not stroke.erase)
    return torch.from_numpy(inside).float()


def stroke_prompt(frame: int, strokes: Sequence[Stroke], object_id: int = 1, mask_hw: Tensor | None = None) -> Prompt:
    """The strokes of one object on one frame as a prompt.

    Over a mask [H, W], such as the one that was tracked there, they give a finished mask, which comes back exactly.
    Without one they give at most MOST_POINTS points along them, on the background where a stroke erases.
    Raises ValueError when there is no stroke.
    """
    if not strokes:
        raise ValueError(f"Stroke: object {object_id} has no stroke on frame {frame}; draw one, or leave it out.")
    if mask_hw is not None:
        return Prompt(frame, object_id, mask_hw=paint(mask_hw, strokes))
    each = max(1, MOST_POINTS // len(strokes))
    points = [point for stroke in _spread(strokes) for point in _trail(stroke, each)]
    return Prompt(frame, object_id, points=tuple(dict.fromkeys(points)))


def _touch(
    inside: NDArray[np.bool_], start: tuple[float, float], end: tuple[float, float], radius: float, value: bool
) -> None:
    """Set the pixels within `radius` of the line; all in pixels."""
    (left, right), (top, bottom) = (
        np.clip([math.floor(min(ends) - radius), math.ceil(max(ends) + radius)], 0, size)
        for ends, size in zip(zip(start, end), inside.shape[::-1])
    )
    x = np.arange(left, right)[None, :] + 0.5 - start[0]
    y = np.arange(top, bottom)[:, None] + 0.5 - start[1]
    across, down = end[0] - start[0], end[1] - start[1]
    length = across**2 + down**2
    along = np.clip((x * across + y * down) / length, 0, 1) if length else np.zeros(())
    near = (x - along * across) ** 2 + (y - along * down) ** 2 <= radius**2
    inside[top:bottom, left:right][near] = value


def _spread(strokes: Sequence[Stroke]) -> list[Stroke]:
    """At most as many strokes as there may be points, taken evenly."""
    count = min(len(strokes), MOST_POINTS)
    return [strokes[round(index)] for index in np.linspace(0, len(strokes) - 1, count)]


def _trail(stroke: Stroke, count: int) -> list[Point]:
    """`count` points at even distances along the stroke, within the frame; all the same for a dot."""
    path = np.array(stroke.path, dtype=np.float64)
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    wanted = (np.arange(count) + 0.5) / count * lengths[-1]
    places = zip(np.interp(wanted, lengths, path[:, 0]), np.interp(wanted, lengths, path[:, 1]))
    label = 0 if stroke.erase else 1
    return [(float(np.clip(x, 0, 1)), float(np.clip(y, 0, 1)), label) for x, y in places]
