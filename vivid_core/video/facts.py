"""What a new file must be told of a video beside its frames, and what of it a new file can't keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .frame_reader import FrameTable
from .reading import Media, decoded, named, opened, video_stream
from .sound import COPIED, sound_stream
from .writing import RATES_UP_TO, Timing

HDR = {16: "PQ", 18: "HLG"}  # by the numbers of H.264's tags for transfer
BT2020 = 9


@dataclass(frozen=True)
class Facts:
    """Facts of a video file. `size` is (height, width) as it is stored; players turn it by `rotation` degrees
    counterclockwise. `rate` is the average one, `pixel_aspect` a pixel's width over its height. `lost` names what a
    new file of ours will not have; `frames` is how many the file says it has, 0 if it doesn't say."""

    size: tuple[int, int]
    rotation: int
    rate: Fraction
    pixel_aspect: Fraction
    has_sound: bool
    lost: tuple[str, ...]
    frames: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) as it is seen."""
        return self.size[::-1] if self.rotation % 180 else self.size


def read_facts(media: Media) -> Facts:
    """Opens a video and decodes its first frame. Raises ValueError as `read_info` does."""
    path = named(media)
    with opened(media) as container:
        stream = video_stream(container, path)
        first = next(decoded(container, stream, path), None)
        if first is None:
            raise ValueError(f"{path}: the video has no frames; export it again, or take another file.")
        return Facts(
            (first.height, first.width),
            round(first.rotation / 90) % 4 * 90,
            Fraction(stream.average_rate or stream.guessed_rate or 1),  # a file of one picture may have no rate
            Fraction(stream.sample_aspect_ratio or 1),
            sound_stream(container) is not None,
            (*_lost_pictures(first, stream.codec_context), *_lost_streams(container)),
            stream.frames,
        )


def timing_of(table: FrameTable, rate: Fraction) -> tuple[Fraction, Timing | None]:
    """The rate of frames that come evenly; else `rate` and when each is shown. Without usable time stamps they are
    taken to come evenly."""
    times = table.times
    if times is None:
        return rate, None
    end = table.end
    if end is None or end <= times[-1]:
        last = times[-1] - times[-2] if len(times) > 1 else round(1 / (rate * table.time_base))
        end = times[-1] + max(last, 1)
    steps = {after - before for before, after in zip(times, [*times[1:], end])}
    if len(steps) == 1:
        exact = 1 / (steps.pop() * table.time_base)
        if exact.limit_denominator(RATES_UP_TO) == exact:
            return exact, None
    return rate, Timing(table.time_base, [one - times[0] for one in times], end - times[0])


def _lost_pictures(frame: Any, context: Any) -> Iterator[str]:
    components = frame.format.components
    bits = max((one.bits for one in components), default=8)
    if bits > 8:
        yield f"{bits} bits for each colour (8 are stored)"
    if any(one.is_alpha for one in components):
        yield "the alpha channel"
    if context.color_trc in HDR:
        yield f"HDR ({HDR[context.color_trc]}; the numbers are stored as BT.709)"
    elif context.color_primaries == BT2020:
        yield "BT.2020 colours (the numbers are stored as BT.709)"
    if frame.interlaced_frame:
        yield "interlacing (both fields are stored as one picture)"


def _lost_streams(container: Any) -> Iterator[str]:
    sound, others = sound_stream(container), len(container.streams.audio) - 1
    if sound is not None and sound.codec_context.name not in COPIED:
        yield f"sound as {sound.codec_context.name} (it is encoded as AAC)"
    elif sound is None and others >= 0:
        yield "its sound, which FFmpeg can't decode"
    if others > 0:
        yield f"{others} more sound track{'s' if others > 1 else ''}"
    if container.streams.subtitles:
        yield "subtitles"
