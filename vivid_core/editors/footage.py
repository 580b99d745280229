"""A video to be edited: its frames when they are asked for, its shots, and all that a new file takes over from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from ..checks import checked_frames
from ..clips import Clip, Computed
from ..masks.shots import shot_cuts
from ..runtime import Runtime
from ..video.facts import Facts, read_facts, timing_of
from ..video.frame_reader import FrameReader, FrameTable, scan
from ..video.reading import Media
from ..video.sound import wav_of
from ..video.writing import Showing, SoundFrom
from .footage_scans import FootageScans


@dataclass(frozen=True)
class Footage:
    """`cuts` are the first frames of new shots, `rate` is frames a second. `turns` are quarter turns, counterclockwise,
    that frames need before they are written. `lost` names what of the video a new file will not have; `held` is the
    most decoded frames that are in memory at once, 0 where all are a tensor."""

    frames_fhwc: Clip
    cuts: tuple[int, ...]
    rate: Fraction
    showing: Showing = Showing()
    sound: SoundFrom | None = None
    turns: int = 0
    lost: tuple[str, ...] = ()
    held: int = 0

    @property
    def seconds(self) -> Fraction:
        """How long it is shown."""
        timing = self.showing.timing
        return len(self.frames_fhwc) / self.rate if timing is None else timing.end * timing.time_base

    def written(self, image_hwc: Tensor) -> Tensor:
        """A frame as it is stored."""
        return torch.rot90(image_hwc, self.turns).contiguous() if self.turns else image_hwc


@contextmanager
def file_footage(
    media: Media,
    keep: int,
    span: tuple[float, float] = (0.0, 0.0),
    upright: bool = True,
    runtime: Runtime | None = None,
    scans: FootageScans | None = None,
) -> Iterator[Footage]:
    """A video file, for as long as the block lasts. It is gone through once, or not at all where `scans` knows it;
    `keep` decoded frames stay in memory.

    `span` is a start and a length in seconds (0: to the end). With `upright` frames are turned as they are meant to be
    seen, else they are as they are stored, and players of the new file turn them. Begins `runtime`, and counts a step
    for each frame. Raises ValueError as `read_info` and `scan` do.
    """
    facts, runtime = read_facts(media), runtime or Runtime()
    runtime.begin(facts.frames)
    table, cuts = _scanned(media, span, upright, runtime, scans)
    rate, timing = timing_of(table, facts.rate)
    rotation, turns = _rotation(facts, upright)
    aspect = 1 / facts.pixel_aspect if (upright or turns) and facts.rotation % 180 else facts.pixel_aspect
    cut = bool(span[0] or span[1])
    begin = table.pts[0] * table.time_base if cut and table.pts[0] is not None else None
    sound = SoundFrom(media, begin, whole=not span[1]) if facts.has_sound else None
    lost = (*facts.lost, *([] if table.times else ["the time stamps, which don't rise"]))
    with FrameReader(media, table, keep, upright) as reader:
        frames = Computed((len(table), *(facts.upright if upright else facts.size), 3), reader.frame)
        yield Footage(frames, cuts, rate, Showing(timing, rotation, aspect), sound, turns, lost, keep)


def _scanned(
    media: Media, span: tuple[float, float], upright: bool, runtime: Runtime, scans: FootageScans | None
) -> tuple[FrameTable, tuple[int, ...]]:
    known = None if scans is None else scans.get(media, span, upright)
    if known is not None:
        return known
    table = FrameTable(span=span)
    cuts = shot_cuts(scan(media, table, upright), runtime)
    if scans is not None:
        scans.put(media, upright, table, cuts)
    return table, cuts


def tensor_footage(
    frames_fhwc: Tensor,
    rate: Fraction,
    waveform_cs: Tensor | None = None,
    sample_rate: int = 0,
    runtime: Runtime | None = None,
) -> Footage:
    """Frames and sound that are in memory as a whole: the sound [channels, samples] in -1..1.

    Raises ValueError as `checked_frames` does.
    """
    frames = checked_frames(frames_fhwc, "Frames of the video")
    lost = ("the alpha channel",) if frames_fhwc.shape[-1] == 4 else ()
    sound = None if waveform_cs is None or not waveform_cs.numel() else SoundFrom(wav_of(waveform_cs, sample_rate))
    return Footage(frames, shot_cuts(frames, runtime), rate, sound=sound, lost=lost)


def _rotation(facts: Facts, upright: bool) -> tuple[int, int]:
    """(degrees that players turn, quarter turns before writing): the latter where PyAV can't write the former."""
    import av

    if upright or not facts.rotation:
        return 0, 0
    return (facts.rotation, 0) if hasattr(av.VideoStream, "set_display_rotation") else (0, facts.rotation // 90)
