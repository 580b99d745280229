"""Pictures of what was marked: points, boxes and paint in the colours of their objects."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..masks.marks import Mark, Marks
from ..masks.strokes import paint
from ..runtime import Runtime
from . import drawing

# The page has the same colours in the same order.
COLOURS: tuple[drawing.Colour, ...] = (
    (0xFF, 0x5A, 0x5F),
    (0x2B, 0xB3, 0xFF),
    (0xFF, 0xC2, 0x33),
    (0x34, 0xD3, 0x99),
    (0xB0, 0x7C, 0xFF),
    (0xFF, 0x8A, 0x3D),
    (0xF4, 0x72, 0xB6),
    (0xA3, 0xE6, 0x35),
)
DARK: drawing.Colour = (24, 26, 31)
TINT = 0.35  # of the object's colour over what is painted


def object_colour(object_id: int) -> drawing.Colour:
    """The colour of an object, here and in the page."""
    return COLOURS[(object_id - 1) % len(COLOURS)]


def marked_frames(frames_fhwc: Tensor, marks: Marks, runtime: Runtime | None = None) -> Tensor:
    """Every marked frame with its marks drawn in: frames_fhwc [marked, H, W, 3]; the first frame if nothing is marked.

    The marks must fit the clip (see `Marks.check_for`). `runtime` counts one step for each picture.
    """
    runtime = runtime or Runtime()
    shown = marks.frames or (0,)
    pictures = torch.empty((len(shown), *frames_fhwc.shape[1:3], 3))
    for place, frame in enumerate(shown):
        picture = drawing.to_bytes(frames_fhwc[frame])
        for mark in marks.on(frame):
            picture = _with_paint(picture, mark)
        picture = _named(picture, f"frame {frame}")
        for mark in marks.on(frame):
            picture = _with_places(picture, mark)
        pictures[place] = drawing.to_image(picture)
        runtime.advance()
    return pictures


def _with_paint(picture: np.ndarray, mark: Mark) -> np.ndarray:
    height, width = picture.shape[:2]
    mask_hw = mark.mask(height, width)
    if mask_hw is None:
        mask_hw = paint(torch.zeros(height, width), [stroke for stroke in mark.strokes if not stroke.erase])
    inside = mask_hw.numpy() > 0.5
    colour = object_colour(mark.object_id)
    tinted = picture.copy()
    tinted[inside] = np.rint(picture[inside] * (1 - TINT) + np.float32(colour) * TINT).astype(np.uint8)
    return drawing.outlined(tinted, inside, colour, drawing.line_width(width, height))


def _with_places(picture: np.ndarray, mark: Mark) -> np.ndarray:
    height, width = picture.shape[:2]
    colour, line = object_colour(mark.object_id), drawing.line_width(width, height)
    if mark.box is not None:
        x0, y0, x1, y1 = mark.box
        inside = np.zeros((height, width), bool)
        inside[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = True
        picture = drawing.outlined(picture, inside, colour, line)
    picture = picture.copy()
    size = max(11, round(min(height, width) / 28)) | 1
    for x, y, label in mark.hints:
        badge = _point(size, colour, label == 1)
        drawing.stamp(picture, badge, int(x * width) - size // 2, int(y * height) - size // 2)
    return picture


def _point(size: int, colour: drawing.Colour, positive: bool) -> np.ndarray:
    """A plus on the object's colour, or a minus on dark: RGBA [size, size, 4]."""
    badge = drawing.disc(size, drawing.WHITE if positive else colour)
    rim = max(1, size // 9)
    inner = drawing.disc(size - 2 * rim, colour if positive else DARK)
    part = badge[rim : size - rim, rim : size - rim]
    alpha = inner[..., 3:] / np.float32(255)
    part[..., :3] = np.rint(part[..., :3] * (1 - alpha) + inner[..., :3] * alpha).astype(np.uint8)
    middle, half, reach = size // 2, max(0, size // 16), size // 2 - 2 * rim
    badge[middle - half : middle + half + 1, middle - reach : middle + reach + 1, :3] = drawing.WHITE
    if positive:
        badge[middle - reach : middle + reach + 1, middle - half : middle + half + 1, :3] = drawing.WHITE
    return badge


def _named(picture: np.ndarray, text: str) -> np.ndarray:
    size = max(11, round(min(picture.shape[:2]) / 32))
    picture = picture.copy()
    drawing.stamp(picture, drawing.pill(text, size), size // 2, size // 2)
    return picture
