"""Before and after in one picture for each frame: a wipe or side by side, with a time line; made for a video."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from ..checks import check_same_clip, checked_frames, checked_mask_for
from ..runtime import Runtime
from . import drawing

LAYOUTS = ("wipe", "side by side")
SMALLEST_WIDTH = 320  # below this the labels and the time line do not fit
SWEEP = 0.28  # how far the divider goes to each side, as a share of the width
FRAMES_PER_SWEEP = 120
GAP = 4


def wipe_frames(
    original_fhwc: Tensor,
    edited_fhwc: Tensor,
    mask_fhw: Tensor | None = None,
    key_indices: Sequence[int] = (),
    layout: str = "wipe",
    *,
    max_width: int = 1920,
    runtime: Runtime | None = None,
) -> Iterator[Tensor]:
    """The clip before and after the edit, one image_hwc after the other, with labels and a time line.

    "wipe" shows one picture with a divider that sweeps over it, "side by side" two. The mask's outline is on the
    side before; keyframes are ticks on the time line. Width and height are even; the width is at most `max_width`,
    and small pictures are magnified.

    Raises ValueError, at the call, when the clips or the mask do not fit each other, on an unknown layout, and on
    keyframes outside the clip.
    """
    original, edited = checked_frames(original_fhwc, "Original"), checked_frames(edited_fhwc, "Edited")
    check_same_clip(original, edited, "Original", "Edited")
    mask = None if mask_fhw is None else checked_mask_for(mask_fhw, original, "Mask")
    if layout not in LAYOUTS:
        raise ValueError(f"Compare: got the layout {layout!r}; choose one of {', '.join(map(repr, LAYOUTS))}.")
    if max_width < SMALLEST_WIDTH:
        raise ValueError(f"Compare: max_width is {max_width}, but must be at least {SMALLEST_WIDTH} pixels.")
    count, height, width = original.shape[:3]
    stage = _Stage(width, height, count, drawing.checked_keys(key_indices, count), layout, max_width)
    return _frames(stage, original, edited, mask, runtime or Runtime())


def _frames(stage: _Stage, original: Tensor, edited: Tensor, mask: Tensor | None, runtime: Runtime) -> Iterator[Tensor]:
    for index in range(original.shape[0]):
        before, after = (drawing.resized(drawing.to_bytes(clip[index]), stage.size) for clip in (original, edited))
        if mask is not None:
            inside = drawing.resized_mask(mask[index], stage.size)
            before = drawing.outlined(before, inside, drawing.MASK, drawing.line_width(*stage.size))
        yield drawing.to_image(stage.picture(index, before, after))
        runtime.advance()


class _Stage:
    """Where everything lies on the frames of one comparison; what stays the same is drawn once."""

    def __init__(self, width: int, height: int, count: int, keys: tuple[int, ...], layout: str, max_width: int) -> None:
        self.count, self.keys, self.wipes = count, keys, layout == "wipe"
        panels = 1 if self.wipes else 2
        gaps = GAP * (panels - 1)
        self.size = _shown_size(width, height, (max_width - gaps) // panels, SMALLEST_WIDTH // panels, max_width)
        self.text = min(max(round(0.03 * self.size[1]), 13), 30)
        self.margin = round(0.6 * self.text)
        self.before = drawing.pill("before", self.text)
        self.after = drawing.pill("after", self.text)
        self.panel = max(self.size[0], SMALLEST_WIDTH // panels)
        self.floor = max(self.size[1], self.before.shape[0] + 2 * self.margin)
        self.handle = drawing.disc(round(0.8 * self.text))
        self.ground = np.empty(
            (drawing.even(self.floor + 2.4 * self.text), drawing.even(panels * self.panel + gaps), 3), np.uint8
        )
        self.ground[:] = drawing.BACKGROUND
        self._draw_time_line()

    def picture(self, index: int, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """One frame: the two pictures at `size`, their labels and the time line."""
        picture = self.ground.copy()
        if self.wipes:
            self._place(picture, 0, self._wiped(index, before, after))
            labels_at = self.margin, self.panel - self.after.shape[1] - self.margin
        else:
            self._place(picture, 0, before)
            self._place(picture, self.panel + GAP, after)
            labels_at = self.margin, self.panel + GAP + self.margin
        drawing.stamp(picture, self.before, labels_at[0], self.margin)
        drawing.stamp(picture, self.after, labels_at[1], self.margin)
        self._draw_position(picture, index)
        return picture

    def _place(self, picture: np.ndarray, left: int, shown: np.ndarray) -> None:
        left += (self.panel - self.size[0]) // 2
        top = (self.floor - self.size[1]) // 2
        picture[top : top + self.size[1], left : left + self.size[0]] = shown

    def _wiped(self, index: int, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        width, height = self.size
        sweeps = max(1, round(self.count / FRAMES_PER_SWEEP))
        divider = round(width * (0.5 + SWEEP * math.sin(2 * math.pi * sweeps * index / self.count)))
        wiped = np.concatenate([before[:, :divider], after[:, divider:]], 1)
        line = max(2, round(height / 400))
        wiped[:, max(divider - line // 2, 0) : divider - line // 2 + line] = drawing.WHITE
        half = self.handle.shape[0] // 2
        drawing.stamp(wiped, self.handle, divider - half, height // 2 - half)
        return wiped

    def _draw_time_line(self) -> None:
        height, width = self.ground.shape[:2]
        self.middle = (self.floor + height) // 2
        digits = drawing.text_width(f"{self.count - 1} / {self.count - 1}", self.text)
        self.start, self.stop = 2 * self.margin, width - 3 * self.margin - digits
        thickness = max(2, self.text // 6)
        self.ground[self.middle - thickness // 2 :][:thickness, self.start : self.stop] = drawing.LINE
        tick = drawing.diamond(round(0.8 * self.text))
        for key in self.keys:
            self._stamp_on_line(self.ground, tick, key)

    def _draw_position(self, picture: np.ndarray, index: int) -> None:
        tick = round(1.1 * self.text)
        playhead = picture[self.middle - tick // 2 :][:tick]
        x = self._x(index)
        playhead[:, x - 1 : x + 1] = drawing.WHITE
        label = drawing.lettering(f"{index} / {self.count - 1}", self.text, drawing.TEXT)
        drawing.stamp(
            picture, label, picture.shape[1] - self.margin - label.shape[1], self.middle - label.shape[0] // 2
        )

    def _stamp_on_line(self, picture: np.ndarray, badge: np.ndarray, index: int) -> None:
        half = badge.shape[0] // 2
        drawing.stamp(picture, badge, self._x(index) - half, self.middle - half)

    def _x(self, index: int) -> int:
        return round(self.start + (self.stop - self.start) * index / max(self.count - 1, 1))


def _shown_size(width: int, height: int, widest: int, wanted: int, tallest: int) -> tuple[int, int]:
    """The size a frame is shown at: shrunk to fit, or magnified a whole number of times if narrower than wanted."""
    if width > widest or height > tallest:
        return drawing.fitted(width, height, widest, tallest)
    times = max(1, min(math.ceil(wanted / width), wanted // height, widest // width))
    return times * width, times * height
