"""What a mask does from frame to frame: its area, its shape, its place; and which of its changes are no motion."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..masks.shapes import bounds

LOW_OVERLAP = 0.35  # with the previous mask, motion taken out: lower than a post in front of the object makes it
AREA_JUMP = 1.6  # times larger or smaller than on the previous frame
LEAP = 0.7  # of its own size that a mask may move beyond its motion
RECENT = 5  # frames whose motion is tried
RAMP, RAMP_FRAMES = 1.2, 3  # an area that changes at least so much on so many frames in a row: something passes by


@dataclass(frozen=True)
class Jump:
    """A frame whose mask differs much from the previous one's: its area as a multiple, the overlap (IoU, motion taken
    out), and how far it moved beyond its motion, in multiples of its own size."""

    frame: int
    area_ratio: float
    overlap: float
    leap: float = 0.0


@dataclass(frozen=True)
class Series:
    """One value for each frame. `areas` are parts of the frame. The others compare with the previous frame and are None
    where there is nothing to compare; `leaps` are in multiples of the mask's own size."""

    areas: list[float]
    area_ratios: list[float | None]
    overlaps: list[float | None]
    leaps: list[float | None]

    def jumps(self, gone: Collection[int]) -> tuple[Jump, ...]:
        """The frames on which the mask changes as nothing moves, apart from those of `gone` and after them."""
        ramps = _ramps(self.area_ratios, gone)
        found = []
        for frame, (ratio, overlap, leap) in enumerate(zip(self.area_ratios, self.overlaps, self.leaps)):
            if ratio is None or overlap is None or leap is None or frame in gone or frame - 1 in gone:
                continue
            # Of two sizes, the smaller one can't cover more than its share of the larger one.
            shape = overlap / min(ratio, 1 / ratio) if frame in ramps else overlap
            resized = not 1 / AREA_JUMP <= ratio <= AREA_JUMP and frame not in ramps
            if shape < LOW_OVERLAP or resized or leap > LEAP:
                found.append(Jump(frame, ratio, overlap, leap))
        return tuple(found)


@dataclass(frozen=True)
class _Seen:
    """A mask cut to its box, its centre (row, column) in the box and in the frame, and how many pixels it has."""

    inside: np.ndarray
    centre: np.ndarray
    place: np.ndarray
    pixels: int


def mask_series(count: int, mask_at: Callable[[int], np.ndarray], cuts: Sequence[int]) -> Series:
    """The series of `count` masks, bool [H, W] each; only two of them, cut to their boxes, are held at a time."""
    areas: list[float] = []
    ratios: list[float | None] = []
    overlaps: list[float | None] = []
    moves: list[np.ndarray | None] = []
    sizes: list[float] = []
    before: _Seen | None = None
    for frame in range(count):
        mask = mask_at(frame)
        now = _seen(mask)
        areas.append(0.0 if now is None else now.pixels / mask.size)
        sizes.append(0.0 if now is None else math.sqrt(now.pixels))
        if now is None or before is None or frame in cuts:
            ratios.append(None)
            overlaps.append(None)
            moves.append(None)
        else:
            ratios.append(now.pixels / before.pixels)
            move = now.place - before.place
            known = [one for one in moves[-RECENT:] if one is not None]
            usual = np.median(known, axis=0) if known else np.zeros(2)
            overlaps.append(max(_moved_overlap(before, now, shift) for shift in (move, usual, np.zeros(2))))
            moves.append(move)
        before = now
    return Series(areas, ratios, overlaps, _leaps(moves, sizes))


def _leaps(moves: list[np.ndarray | None], sizes: list[float]) -> list[float | None]:
    """How far each move is from the one before, the one after, and none, whichever is nearest: steady motion leads on
    from one of them, be it ever so fast, and so does one that begins, turns or ends."""
    leaps: list[float | None] = []
    for frame, move in enumerate(moves):
        if move is None:
            leaps.append(None)
            continue
        beside = [one for one in (*moves[frame - 1 : frame], *moves[frame + 1 : frame + 2]) if one is not None]
        # Where nothing is beside it, a mask may move as it likes.
        apart = min(float(np.hypot(*(move - other))) for other in (*beside, np.zeros(2))) if beside else 0.0
        leaps.append(apart / max(sizes[frame - 1], sizes[frame]))
    return leaps


def _ramps(ratios: list[float | None], gone: Collection[int]) -> set[int]:
    """The frames on which the area grows, or shrinks, on several frames in a row, or as the object comes or goes."""
    found: set[int] = set()
    for grows in (True, False):
        run: list[int] = []
        for frame, ratio in enumerate([*ratios, None]):
            if ratio is not None and frame not in gone and (ratio if grows else 1 / ratio) >= RAMP:
                run.append(frame)
                continue
            # the ratio of the run's first frame compares with the one before, behind which it may not be there
            if run and (len(run) >= RAMP_FRAMES or (run[0] - 2 if grows else frame) in gone):
                found.update(run)
            run = []
    return found


def _seen(mask: np.ndarray) -> _Seen | None:
    box = bounds(mask)
    if box is None:
        return None
    inside = mask[box.slices].copy()
    pixels = int(inside.sum())
    centre = np.array([side @ np.arange(len(side)) / pixels for side in (inside.sum(1), inside.sum(0))])
    return _Seen(inside, centre, centre + [box.top, box.left], pixels)


def _moved_overlap(first: _Seen, second: _Seen, move: np.ndarray) -> float:
    """IoU of two masks after the first is moved by whole pixels (rows, columns)."""
    corners = (second.place - second.centre) - (first.place - first.centre)
    # from the corner of the first box to the corner of the second, once it is moved
    down, across = (int(value) for value in np.round(corners - move))
    a, b = first.inside, second.inside
    rows = slice(max(0, down), min(a.shape[0], down + b.shape[0]))
    columns = slice(max(0, across), min(a.shape[1], across + b.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return 0.0
    other = b[rows.start - down : rows.stop - down, columns.start - across : columns.stop - across]
    both = int((a[rows, columns] & other).sum())
    return both / (first.pixels + second.pixels - both)
