"""Reading video files, one frame in memory at a time."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger("vivid")

PathLike = str | os.PathLike[str]
Media = PathLike | io.BytesIO
"""A media file: its path, or all of it in memory."""

# libswscale's flags bilinear, full horizontal chroma and accurate rounding. Without the last one every frame that is
# read comes out about one level of 255 too dark.
CONVERSION = 0x2 | 0x2000 | 0x40000

# FFmpeg takes a text with addresses in it for a video too, in older versions whatever its name. Playing a video needs
# neither the network nor other files.
LOCAL = {"protocol_whitelist": "file"}
LISTS = {"hls", "concat", "dash", "sdp", "rtsp", "imf", "webm_dash_manifest"}


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, as it is meant to be seen.

    `width` and `height` are those of the upright picture; `rotation` is the angle in degrees, counterclockwise, by
    which the stored frames are turned for that (0, 90, 180 or 270). `frames` is what the file says, or its number of
    packets where it doesn't say. `fps` is the average rate.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    has_audio: bool
    rotation: int
    codec: str


def read_info(path: PathLike) -> VideoInfo:
    """Size, length, rate and sound of a video file; decodes its first frame, since some facts are only there.

    Raises ValueError when the file is missing, empty, no video, or its first frame is damaged.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        first = next(decoded(container, stream, path), None)
        if first is None:
            raise ValueError(f"{path}: the video has no frames; export it again, or take another file.")
        rotation = round(first.rotation / 90) % 4 * 90
        width, height = (first.height, first.width) if rotation % 180 else (first.width, first.height)
        rate = stream.average_rate or stream.guessed_rate or 1  # a file of one picture may have no rate
        codec, has_audio, frames = stream.codec_context.name, bool(container.streams.audio), stream.frames
    return VideoInfo(width, height, frames or _count_packets(path), Fraction(rate), has_audio, rotation, codec)


def read_frames(path: PathLike, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
    """Frames `start`..`stop` (excluded; to the end by default) of a video file, upright, as uint8 [H, W, 3].

    Frames are counted from 0 as they are decoded, from the file's beginning on, so an index always means the same
    frame. Colours follow the file's tags; without tags they are taken as FFmpeg does, like ComfyUI's Load Video.

    Raises ValueError as `read_info` does, at once; and while reading, when the file is damaged or ends before `stop`.
    """
    if start < 0 or (stop is not None and stop <= start):
        raise ValueError(
            f"{path}: frames {start} to {stop} (excluded) were asked for; start must be 0 or more, and stop above it."
        )
    with opened(path) as container:
        video_stream(container, path)
    return _frames(path, start, stop)


def named(media: Media) -> PathLike:
    """What messages call a media file."""
    return "The video in memory" if isinstance(media, io.BytesIO) else media


@contextmanager
def opened(media: Media) -> Iterator[Any]:
    """A media file opened for reading; one in memory may be opened more than once.

    Raises ValueError when it is missing, empty or no media file.
    """
    import av

    path = named(media)
    if not isinstance(media, io.BytesIO) and not Path(media).is_file():
        raise ValueError(f"{path}: there is no such file; check the path.")
    data = media.getvalue() if isinstance(media, io.BytesIO) else None
    if not (Path(path).stat().st_size if data is None else len(data)):
        raise ValueError(f"{path}: the file is empty (0 bytes); export or download it again.")
    try:
        container = av.open(str(path) if data is None else io.BytesIO(data), options=LOCAL)
    except av.error.FFmpegError as fault:
        raise ValueError(
            f"{path}: this can't be opened as a video ({fault.strerror}); the file is damaged, cut short or of "
            "another kind, so export or download it again."
        ) from fault
    with container:
        if LISTS & set(container.format.name.split(",")):
            raise ValueError(
                f"{path}: this is a list of other files or addresses and no video itself; export what it plays as one "
                "video file."
            )
        if not container.streams:
            raise ValueError(
                f"{path}: the file holds neither pictures nor sound; it is damaged or cut short, so export or download "
                "it again."
            )
        yield container


def video_stream(container: Any, path: PathLike) -> Any:
    """The first video stream. Raises ValueError when there is none."""
    if not container.streams.video:
        raise ValueError(f"{path}: the file has no video stream, only sound or other data; choose a video.")
    return container.streams.video[0]


def _frames(path: PathLike, start: int, stop: int | None) -> Iterator[Tensor]:
    with opened(path) as container:
        stream = video_stream(container, path)
        promised = stream.frames
        index = 0
        for frame in decoded(container, stream, path):
            if index >= start:
                yield pixels_of(frame)
            index += 1
            if index == stop:
                return
    if stop is not None or index <= start:
        raise ValueError(
            f"{path}: frames {start} to {'the end' if stop is None else f'{stop} (excluded)'} were asked for, but the "
            f"video has only {index} frames; ask for fewer."
        )
    if index < promised:
        log.warning("%s: the file says %d frames, but only %d could be read.", path, promised, index)


def decoded(container: Any, stream: Any, path: PathLike) -> Iterator[Any]:
    """The frames of a stream from where its container stands. Raises ValueError when one is damaged."""
    import av

    count = 0
    frames = container.decode(stream)
    while True:
        try:
            frame = next(frames, None)
        except av.error.FFmpegError as fault:
            raise ValueError(
                f"{path}: the video is damaged or cut short after frame {count} ({fault.strerror}); export or download "
                "it again, or trim it before that frame."
            ) from fault
        if frame is None:
            return
        count += 1
        yield frame


def pixels_of(frame: Any, upright: bool = True) -> Tensor:
    """A decoded frame as uint8 [H, W, 3]; turned as it is meant to be seen, or as it is stored."""
    # Said in full: where nothing of it differs from what is wanted, PyAV before 18 takes every file for BT.601.
    stored = {"src_colorspace": frame.colorspace, "src_color_range": frame.color_range}
    wanted = {"dst_colorspace": "DEFAULT", "dst_color_range": "JPEG"}
    pixels = frame.reformat(format="rgb24", **stored, **wanted, interpolation=CONVERSION).to_ndarray()
    turns = round(frame.rotation / 90) % 4 if upright else 0
    return torch.from_numpy(np.ascontiguousarray(np.rot90(pixels, turns)))


def _count_packets(path: PathLike) -> int:
    with opened(path) as container:
        return sum(1 for packet in container.demux(video_stream(container, path)) if packet.size > 0)
