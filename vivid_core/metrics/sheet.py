"""A contact sheet: frames of the clip before and after the edit, the key frames among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..checks import check_same_clip, checked_frames, checked_mask_for
from ..runtime import Runtime
from . import drawing

TITLE, LABEL = 24, 18
PAD, GAP = 16, 6
GUTTER, CAPTION = 30, 30
SMALLEST_CELL, SMALLEST_WIDTH = 128, 440


def contact_sheet(
    original_fhwc: Tensor,
    edited_fhwc: Tensor,
    mask_fhw: Tensor | None = None,
    key_indices: Sequence[int] = (),
    *,
    columns: int = 0,
    max_width: int = 1600,
    samples: int = 0,
    runtime: Runtime | None = None,
    marked: Mapping[int, str] | None = None,
) -> Tensor:
    """One picture [H, W, 3] with frames spread over the clip, each before and (below) after the edit.

    All key frames are shown and marked, and at least `samples` frames in full rows if the clip has as many; 0 for
    `columns` or `samples` chooses what suits the frames. The mask's outline is on the frames before. Width and
    height are even; the width is at most `max_width`. The frames of `marked` are shown too, with what it says of them,
    as far as that fits.

    Raises ValueError when the clips or the mask do not fit each other, on frames outside the clip, and when
    `columns` or `max_width` leave no room.
    """
    original, edited = checked_frames(original_fhwc, "Original"), checked_frames(edited_fhwc, "Edited")
    check_same_clip(original, edited, "Original", "Edited")
    mask = None if mask_fhw is None else checked_mask_for(mask_fhw, original, "Mask")
    count, height, width = original.shape[:3]
    keys = drawing.checked_keys(key_indices, count)
    marked = marked or {}
    needed = drawing.checked_keys([*keys, *marked], count)
    columns, wanted = _arrangement(width, height, len(needed), columns, samples, max_width)
    shown = sample_indices(count, needed, wanted)
    plan = _Plan(width, height, len(shown), columns, max_width)
    runtime = runtime or Runtime()
    sheet = plan.empty_sheet(
        f"{count} {'frame' if count == 1 else 'frames'}, {width} x {height}", mask is not None, bool(keys)
    )
    for place, index in enumerate(shown):
        before, after = (drawing.resized(drawing.to_bytes(clip[index]), plan.cell) for clip in (original, edited))
        if mask is not None:
            inside = drawing.resized_mask(mask[index], plan.cell)
            before = drawing.outlined(before, inside, drawing.MASK, max(1.5, drawing.line_width(*plan.cell)))
        plan.place(sheet, place, (before, after), (f"frame {index}", marked.get(index, "")), index in keys)
        runtime.advance()
    return drawing.to_image(np.asarray(sheet))


def sample_indices(count: int, keys: Sequence[int], wanted: int) -> tuple[int, ...]:
    """`wanted` frames spread evenly over `count`, each key taking the place of the nearest one; never without a key."""
    spread = np.unique(np.linspace(0, count - 1, min(max(wanted, 1), count)).round().astype(int)).tolist()
    for key in keys[: len(spread)]:
        spread.remove(min(spread, key=lambda index: abs(index - key)))
    return tuple(sorted({*keys, *spread}))


def _arrangement(width: int, height: int, keys: int, columns: int, samples: int, max_width: int) -> tuple[int, int]:
    """How many columns, and how many frames in full rows: two rows, one of upright frames, more for more keys."""
    upright = height > width
    columns = columns or min(6 if upright else 4, max(1, max_width // (2 * SMALLEST_CELL)))
    least = samples or (columns if upright else 2 * columns)
    return columns, columns * math.ceil(max(least, keys) / columns)


class _Plan:
    """Where everything lies on the sheet: rows of pairs, each pair a caption, the frame before and the one after."""

    def __init__(self, width: int, height: int, pairs: int, columns: int, max_width: int) -> None:
        self.columns = min(columns, pairs)
        room = max_width - 2 * PAD - GUTTER - (self.columns - 1) * PAD
        if columns < 1 or room < self.columns * SMALLEST_CELL:
            raise ValueError(
                f"Contact sheet: got {columns} columns for a width of {max_width} pixels; use at least 1 column and "
                f"at most one for each {SMALLEST_CELL + PAD} pixels."
            )
        self.cell = _cell_size(width, height, room // self.columns)
        self.slot = max(self.cell[0], SMALLEST_CELL), max(self.cell[1], drawing.text_width("before", LABEL) + GAP)
        self.rows = math.ceil(pairs / self.columns)
        self.row_height = CAPTION + 2 * self.slot[1] + GAP + PAD
        wide = 2 * PAD + GUTTER + self.columns * (self.slot[0] + PAD) - PAD
        self.width = drawing.even(max(wide, min(SMALLEST_WIDTH, max_width)))
        self.head = 0

    def empty_sheet(self, size: str, with_mask: bool, with_keys: bool) -> Any:
        """The PIL picture with its heading, the legend, and the names of the rows."""
        from PIL import Image

        legend = [(_line_sign(), "mask outline")] * with_mask + [(drawing.diamond(LABEL), "keyframe")] * with_keys
        needed = sum(PAD + LABEL + GAP + drawing.text_width(text, LABEL) + PAD for _, text in legend)
        title_width = drawing.text_width("Before and after", TITLE) + PAD + drawing.text_width(size, LABEL)
        one_line = 2 * PAD + title_width + needed <= self.width
        line = round(1.7 * TITLE)
        self.head = PAD // 2 + line * (1 if one_line or not legend else 2) + PAD // 2
        height = drawing.even(self.head + self.rows * self.row_height)
        sheet = Image.new("RGB", (self.width, height), drawing.BACKGROUND)
        y = PAD // 2 + line / 2
        drawing.write(sheet, (PAD, y), "Before and after", TITLE)
        drawing.write(sheet, (PAD + drawing.text_width("Before and after", TITLE) + PAD, y), size, LABEL, drawing.QUIET)
        x = self.width - needed if one_line else 0
        self._write_legend(sheet, legend, x, y if one_line else y + line)
        for row in range(self.rows):
            self._name_row(sheet, row)
        return sheet

    def place(
        self, sheet: Any, place: int, pair: tuple[np.ndarray, np.ndarray], caption: tuple[str, str], is_key: bool
    ) -> None:
        """Put one pair at its place, with its caption: a name, and a remark if there is room for it."""
        row, column = divmod(place, self.columns)
        left = PAD + GUTTER + column * (self.slot[0] + PAD)
        top = self.head + row * self.row_height
        middle = top + CAPTION // 2 - 1
        x = left
        if is_key:
            _paste(sheet, drawing.diamond(LABEL), x, middle - LABEL // 2)
            x += LABEL + GAP
        drawing.write(sheet, (x, middle), caption[0], LABEL, drawing.KEY if is_key else drawing.TEXT)
        x += drawing.text_width(caption[0], LABEL) + LABEL // 2
        drawing.write(sheet, (x, middle), _shortened(caption[1], left + self.slot[0] - x), LABEL, drawing.QUIET)
        left += (self.slot[0] - self.cell[0]) // 2
        for position, picture in enumerate(pair):
            down = CAPTION + position * (self.slot[1] + GAP) + (self.slot[1] - self.cell[1]) // 2
            _paste(sheet, picture, left, top + down)

    def _write_legend(self, sheet: Any, legend: list[tuple[np.ndarray, str]], x: float, y: float) -> None:
        for sign, text in legend:
            x += PAD
            _paste(sheet, sign, round(x), round(y - sign.shape[0] / 2))
            x += LABEL + GAP
            drawing.write(sheet, (x, y), text, LABEL, drawing.QUIET)
            x += drawing.text_width(text, LABEL) + PAD

    def _name_row(self, sheet: Any, row: int) -> None:
        from PIL import Image

        for position, name in enumerate(("before", "after")):
            length = drawing.text_width(name, LABEL) + 2
            label = Image.new("RGB", (length, GUTTER), drawing.BACKGROUND)
            drawing.write(label, (length / 2, GUTTER / 2), name, LABEL, drawing.QUIET, "mm")
            label = label.rotate(90, expand=True)
            top = self.head + row * self.row_height + CAPTION + position * (self.slot[1] + GAP)
            sheet.paste(label, (PAD - 4, top + (self.slot[1] - length) // 2))


def _shortened(remark: str, room: int) -> str:
    """As many of its parts as fit into `room` pixels; empty if none does."""
    parts = remark.split(", ")
    for count in range(len(parts), 0, -1):
        text = ", ".join(parts[:count]) + (", ..." if count < len(parts) else "")
        if drawing.text_width(text, LABEL) <= room:
            return text
    return ""


def _cell_size(width: int, height: int, room: int) -> tuple[int, int]:
    """The size of one frame on the sheet: shrunk to its room, or magnified a whole number of times if tiny."""
    if width > room or height > 1.5 * room:
        return drawing.fitted(width, height, room, round(1.5 * room))
    times = max(1, min(math.ceil(SMALLEST_CELL / width), math.ceil(SMALLEST_CELL / height), room // width))
    return times * width, times * height


def _line_sign() -> np.ndarray:
    ground = np.zeros((LABEL, LABEL, 3), np.uint8)
    ground[:] = drawing.BACKGROUND
    inside = np.hypot(*np.mgrid[-1 : 1 : LABEL * 1j, -1 : 1 : LABEL * 1j]) < 0.75
    return drawing.outlined(ground, inside, drawing.MASK, 2)


def _paste(sheet: Any, picture: np.ndarray, left: int, top: int) -> None:
    from PIL import Image

    image = Image.fromarray(picture)
    sheet.paste(image, (left, top), image if picture.shape[2] == 4 else None)
