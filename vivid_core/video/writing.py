"""Writing video files that play everywhere, complete or not at all."""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..checks import checked_frames
from .reading import CONVERSION, Media, PathLike, opened
from .sound import Sound

CONTAINERS = (".mp4", ".mov", ".m4v", ".mkv")
PRESET = "fast"
RATES_UP_TO = 1001  # the largest denominator of a rate
BT709 = 1  # the number of this standard in H.264's tags for matrix, primaries and transfer
LIMITED_RANGE = 1
CENTRED_CHROMA = "chromaloc=1"  # where libswscale puts it; untagged, H.264 means half a pixel further left
SAME_BITS = "mbtree=0"  # x264's rate control by macroblock tree gives other bits for the same frames from run to run


@dataclass(frozen=True)
class Timing:
    """When frames are shown that don't come evenly: `pts`, one for each, rising from 0, and the `end` of the last one,
    in units of `time_base` seconds."""

    time_base: Fraction
    pts: Sequence[int]
    end: int

    def end_of(self, index: int) -> int:
        """When a frame gives way to the next one."""
        return self.pts[index + 1] if index + 1 < len(self.pts) else self.end


@dataclass(frozen=True)
class Showing:
    """How players show a video. `timing` is None where frames come evenly; `rotation` degrees, counterclockwise, by
    which pictures are turned (PyAV must be able to write it); `pixel_aspect` is a pixel's width over its height."""

    timing: Timing | None = None
    rotation: int = 0
    pixel_aspect: Fraction = Fraction(1)


@dataclass(frozen=True)
class SoundFrom:
    """A file whose sound is taken along. Without `begin` from where its pictures start, else from that second of it
    on. With `whole` a sound that is longer than the video is kept to its end."""

    media: Media
    begin: Fraction | None = None
    whole: bool = False


def write_video(
    path: PathLike,
    frames: Iterable[Tensor],
    fps: Fraction | float,
    *,
    audio_from: PathLike | SoundFrom | None = None,
    crf: int = 17,
    showing: Showing | None = None,
    notes: list[str] | None = None,
) -> None:
    """Write images, image_hwc float 0..1 each, as H.264 (yuv420p, BT.709, limited range), one at a time.

    yuv420p because browsers and players take nothing else everywhere; it knows even sizes only, so an odd side is
    made one pixel longer by repeating its edge, and noted. `crf` is x264's quality: 0 is lossless in YUV, 17 looks so.
    `audio_from` is a file whose sound is taken along from the beginning, cut at the video's length: copied if it is
    AAC or MP3, else encoded as AAC; a file without sound is noted. The file appears under `path` when it is complete,
    replacing what was there; after a fault or a cancelled run nothing of it is left. The same frames give the same file
    again on the same machine.

    Raises ValueError when there are no frames, sizes differ, a setting is out of range, the folder can't be written,
    or `audio_from` can't be read.
    """
    rate = _checked_rate(fps)
    if not 0 <= crf <= 51:
        raise ValueError(f"Writing video: got crf {crf}; it must lie in 0 (best) to 51 (smallest file).")
    notes = [] if notes is None else notes
    sound = audio_from if isinstance(audio_from, SoundFrom | None) else SoundFrom(audio_from)
    with _atomically(Path(path)) as unfinished, _sound_source(sound) as source:
        _Job(path, unfinished, rate, crf, showing or Showing(), sound, source, notes).write(frames)


@dataclass(frozen=True)
class _Job:
    """One file to be written."""

    path: PathLike
    unfinished: Path
    rate: Fraction
    crf: int
    showing: Showing
    sound: SoundFrom | None
    source: Any
    notes: list[str]

    def write(self, frames: Iterable[Tensor]) -> None:
        """All of it."""
        images = enumerate(frames)
        first = next(images, None)
        if first is None:
            raise ValueError(f"{self.path}: there are no frames to write; check the clip that feeds it.")
        height, width = (int(side) for side in first[1].shape[:2])
        if height % 2 or width % 2:
            self.notes.append(
                f"Writing video: {width}x{height} was padded to {width + width % 2}x{height + height % 2} by repeating "
                "the edge, since H.264 with yuv420p takes even sizes only."
            )
        with _output(self.unfinished, self.path) as output:
            stream = self._stream(output, width + width % 2, height + height % 2)
            sound = None if self.sound is None else Sound(output, self.source, self.notes, self.sound.begin)
            for index, image_hwc in _and_then(first, images):
                self._mux(output, stream, index, _encodable(image_hwc, index, (height, width)))
                if sound is not None:
                    sound.mux_until(self._end_of(index))
            self._mux(output, stream, 0, None)
            if sound is not None:
                sound.finish(rest=self.sound is not None and self.sound.whole)

    def _stream(self, output: Any, width: int, height: int) -> Any:
        timing, options = self.showing.timing, {"crf": str(self.crf), "preset": PRESET}
        options["x264-params"] = f"{CENTRED_CHROMA}:{SAME_BITS}"
        if timing is not None:
            options["bf"] = "0"  # frames are then stored in the order of their times, which alone keeps all of them
        stream = output.add_stream("libx264", rate=self.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        if timing is not None:
            context.time_base = timing.time_base
        if self.showing.pixel_aspect != 1:
            context.sample_aspect_ratio = self.showing.pixel_aspect
        if self.showing.rotation:
            stream.set_display_rotation(self.showing.rotation)
        return stream

    def _mux(self, output: Any, stream: Any, index: int, frame: Any) -> None:
        timing = self.showing.timing
        if timing is not None and frame is not None:
            frame.pts, frame.time_base = timing.pts[index], timing.time_base
        with _writing(self.path):
            for packet in stream.encode(frame):
                if timing is not None:
                    place = bisect_left(timing.pts, packet.pts)
                    packet.duration = timing.end_of(place) - packet.pts
                output.mux(packet)

    def _end_of(self, index: int) -> Fraction:
        """When a frame gives way to the next one, in seconds."""
        timing = self.showing.timing
        return (index + 1) / self.rate if timing is None else timing.end_of(index) * timing.time_base


def _encodable(image_hwc: Tensor, index: int, size: tuple[int, int]) -> Any:
    import av

    image_hwc = checked_frames(image_hwc[None], f"Writing video, frame {index}")[0]
    if tuple(image_hwc.shape[:2]) != size:
        raise ValueError(
            f"Writing video: frame {index} is {image_hwc.shape[1]}x{image_hwc.shape[0]}, but the first one is "
            f"{size[1]}x{size[0]}; all frames must have one size."
        )
    pixels = (image_hwc * 255).round_().clamp_(0, 255).byte().numpy()
    pixels = np.pad(pixels, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation=CONVERSION)
    frame.pts = index
    return frame


def _and_then(first: tuple[int, Tensor], rest: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    yield first
    yield from rest


def _checked_rate(fps: Fraction | float) -> Fraction:
    rate = Fraction(fps).limit_denominator(RATES_UP_TO) if 0 < fps < 1e4 else Fraction(0)
    if rate <= 0:
        raise ValueError(f"Writing video: got a rate of {fps} frames per second; it must lie above 0 and below 10000.")
    return rate


@contextmanager
def _atomically(path: Path) -> Iterator[Path]:
    """A fresh name in the folder of `path`, moved to `path` if all went well, and removed in any case."""
    if path.suffix.lower() not in CONTAINERS:
        raise ValueError(f"{path}: the name must end in one of {', '.join(CONTAINERS)}; change its ending.")
    unfinished = path.with_name(f".{uuid.uuid4().hex}{path.suffix.lower()}")
    try:
        unfinished.open("xb").close()
    except OSError as fault:
        raise ValueError(
            f"{path}: no file can be written to the folder {path.parent} ({fault.strerror}); choose another folder."
        ) from fault
    try:
        yield unfinished
        with _writing(path):
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _output(unfinished: Path, path: PathLike) -> Iterator[Any]:
    import av

    # The index goes to the front, so that a page can play the file while it loads.
    options = {"movflags": "faststart"} if unfinished.suffix != ".mkv" else {}
    with _writing(path):
        output = av.open(str(unfinished), "w", options=options)
    try:
        yield output
    finally:
        with _writing(path):
            output.close()


@contextmanager
def _writing(path: PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as fault:  # FFmpeg's own faults of disks and folders are OSErrors, too
        raise ValueError(
            f"{path}: the file can't be written ({fault.strerror}); free some space or choose another folder."
        ) from fault


@contextmanager
def _sound_source(sound: SoundFrom | None) -> Iterator[Any]:
    if sound is None:
        yield None
        return
    with opened(sound.media) as container:
        yield container
