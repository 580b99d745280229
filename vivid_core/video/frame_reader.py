"""Any frame of a video file, by its number: one pass notes where each frame is, then windows are read as they come."""

from __future__ import annotations

import logging
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import Any

from torch import Tensor

from .reading import Media, PathLike, decoded, named, opened, pixels_of, video_stream

log = logging.getLogger("vivid")


@dataclass
class FrameTable:
    """What one pass through a video finds. All lists but `starts` have one entry for each frame.

    `pts` counts in `time_base` seconds (None: the file doesn't say), `checks` are CRC-32s of the pixels, `starts` the
    numbers of the frames at which a decoder can begin. `span` is the part that was asked for, a start and a length in
    seconds (0: to the end); `skipped` frames were decoded before the first one in it. `end` is when the last frame
    ends, in `time_base`; None if the file doesn't say.
    """

    time_base: Fraction = Fraction(1)
    span: tuple[float, float] = (0.0, 0.0)
    pts: list[int | None] = field(default_factory=list)
    checks: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    skipped: int = 0
    end: int | None = None

    def __len__(self) -> int:
        return len(self.checks)

    @property
    def times(self) -> list[int] | None:
        """The time stamps, if every frame has a later one than the frame before it."""
        known = [one for one in self.pts if one is not None]
        rising = all(before < after for before, after in zip(known, known[1:]))
        return known if rising and len(known) == len(self.pts) else None


def scan(media: Media, table: FrameTable, upright: bool = True) -> Iterator[Tensor]:
    """All frames of a video that begin in the table's span, in order, uint8 [H, W, 3], one in memory at a time; fills
    the table on the way.

    Raises ValueError when the file is damaged, or has no frame there.
    """
    path = named(media)
    with opened(media) as container:
        stream = video_stream(container, path)
        table.time_base = stream.time_base
        for frame in _from_the_span(container, stream, path, table.span):
            place = _place(frame.pts, table)
            if place > 0:
                if not hasattr(frame, "duration"):  # `end` is the file's, but the last frame ends here
                    table.end = frame.pts
                break
            if place < 0:
                table.skipped += 1
                continue
            pixels = pixels_of(frame, upright)
            if frame.key_frame:
                table.starts.append(len(table))
            table.pts.append(frame.pts)
            table.checks.append(_check(pixels))
            table.end = _end_of(frame, stream)
            yield pixels
    if not len(table):
        raise ValueError(f"{path}: the video has no frames in the part that was asked for; take another part.")


class FrameReader:
    """Frames of a video by number, after `scan` has filled its `table`: those asked for last are `kept`, so that a
    window's frames are decoded once although they are asked for twice.

    A decoder seeks to the nearest frame where it can begin. Should what it gives differ from what the pass has seen,
    it goes through the file from its beginning instead.
    """

    def __init__(self, media: Media, table: FrameTable, keep: int, upright: bool = True) -> None:
        self._media, self._table, self._keep, self._upright = media, table, max(keep, 1), upright
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        times = table.times
        self._at = {} if times is None else {pts: index for index, pts in enumerate(times)}
        self._open = ExitStack()
        self._frames: Iterator[Any] | None = None
        self._next = 0  # the number of the frame that the decoder gives next
        self.decoded = 0

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def frame(self, index: int) -> Tensor:
        """image_hwc, float32 in 0..1. Raises ValueError when the file has changed since it was scanned."""
        if index not in self._kept:
            while len(self._kept) >= self._keep:
                self._kept.popitem(last=False)
            self._kept[index] = self._read(index)
        return self._kept[index].float() / 255

    def _read(self, index: int) -> Tensor:
        if self._frames is None or not self._near(index):
            self._seek(index)
        pixels = self._decode(index)
        if self._at and (pixels is None or _check(pixels) != self._table.checks[index]):
            log.info("%s: seeking gave another picture for frame %d; reading from the beginning.", self._name, index)
            self._at = {}
            self._restart()
            pixels = self._decode(index)
        if pixels is None:
            raise ValueError(f"{self._name}: frame {index} can't be read again; the file has changed, so run again.")
        return pixels

    def _near(self, index: int) -> bool:
        """Whether to go on decoding is the shortest way."""
        return self._next <= index and (not self._at or self._start_for(index) <= self._next)

    def _start_for(self, index: int) -> int:
        found = bisect_right(self._table.starts, index)
        return self._table.starts[found - 1] if found else 0

    def _seek(self, index: int) -> None:
        container, stream = self._restart()
        start = self._start_for(index)
        if not self._at or not start:
            return
        container.seek(self._table.pts[start], stream=stream, backward=True)
        frames = decoded(container, stream, self._name)
        # Pictures that lead up to where a decoder begins may be missing or broken.
        first = next((frame for frame in frames if self._at.get(frame.pts, -1) >= start), None)
        if first is None or self._at[first.pts] > index:
            self._restart()
        else:
            self._next, self._frames = self._at[first.pts], chain([first], frames)

    def _restart(self) -> tuple[Any, Any]:
        self._open.close()
        container = self._open.enter_context(opened(self._media))
        stream = video_stream(container, self._name)
        self._frames = _from_the_span(container, stream, self._name, self._table.span)
        self._next = -self._table.skipped
        return container, stream

    def _decode(self, index: int) -> Tensor | None:
        assert self._frames is not None
        for frame in self._frames:
            self.decoded += 1
            self._next += 1
            if self._next > index:
                return pixels_of(frame, self._upright)
        return None

    @property
    def _name(self) -> PathLike:
        return named(self._media)


def _end_of(frame: Any, stream: Any) -> int | None:
    duration = getattr(frame, "duration", None)
    if duration is not None and frame.pts is not None:
        return frame.pts + int(duration) if duration else None
    # Older PyAV doesn't tell of a frame, but the stream may.
    return (stream.start_time or 0) + stream.duration if stream.duration else None


def _from_the_span(container: Any, stream: Any, path: PathLike, span: tuple[float, float]) -> Iterator[Any]:
    """All frames from the last place before the span at which a decoder can begin."""
    if span[0] > 0:
        container.seek(int(span[0] / stream.time_base), stream=stream)
    return decoded(container, stream, path)


def _place(pts: int | None, table: FrameTable) -> int:
    """-1 before the span, 0 in it, 1 behind it; as ComfyUI counts."""
    start, length = table.span
    if pts is None or not (start or length):
        return 0
    if pts < int(start / table.time_base):
        return -1
    return int(bool(length) and pts >= int((start + length) / table.time_base))


def _check(pixels_hwc: Tensor) -> int:
    return zlib.crc32(pixels_hwc.numpy().data)
