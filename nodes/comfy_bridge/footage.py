"""ComfyUI's VIDEO as footage: files are streamed, what is in memory is used as it is."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
from comfy_api.input_impl import VideoFromFile

from ...vivid_core.editors.footage import Footage, file_footage, tensor_footage
from ...vivid_core.runtime import Runtime
from ...vivid_core.video.facts import Facts, read_facts
from .files import footage_scans
from .tensors import to_core


@contextmanager
def footage_of(video: Any, keep: int, mask_size: tuple[int, int], runtime: Runtime) -> Iterator[Footage]:
    """A video for as long as the block lasts; of one from a file `keep` frames are in memory at a time.

    Frames are turned as those are that the masks of `mask_size` (height, width) were made for. Raises ValueError when
    the masks have another size, and as `file_footage` does.
    """
    span = _span(video)
    if span is None:
        parts = video.get_components()
        sound = parts.audio or {"waveform": [None], "sample_rate": 0}
        rate = Fraction(parts.frame_rate)
        yield tensor_footage(to_core(parts.images), rate, sound["waveform"][0], int(sound["sample_rate"]), runtime)
        return
    media = video.get_stream_source()
    upright = _upright(read_facts(media), mask_size)
    with file_footage(media, keep, span, upright, runtime, footage_scans()) as footage:
        yield footage


def _span(video: Any) -> tuple[float, float] | None:
    """The part of a file that a video is, as a start and a length in seconds; None where there is no file, or the
    running core doesn't say which part it is."""
    if not isinstance(video, VideoFromFile):
        return None
    if hasattr(video, "get_active_trim_window"):
        start, length = video.get_active_trim_window()
        return float(start), float(length)
    trimmed = any(getattr(video, f"_VideoFromFile__{name}", 0) for name in ("start_time", "duration"))
    return None if trimmed else (0.0, 0.0)


def _upright(facts: Facts, mask_size: tuple[int, int]) -> bool:
    """Whether the masks are for frames as they are seen, not as they are stored."""
    fits = [size == tuple(mask_size) for size in (facts.upright, facts.size)]
    if not any(fits):
        raise ValueError(
            f"Edit Long Video, mask: got masks of {mask_size[1]}x{mask_size[0]} for a video of "
            f"{facts.upright[1]}x{facts.upright[0]}; resize one of them so that both have the same size."
        )
    return core_turns() if all(fits) and facts.rotation else fits[0]


@functools.cache
def core_turns() -> bool:
    """Whether this ComfyUI gives the frames of a video that players turn as they are seen; older ones don't."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            return True
        stream.set_display_rotation(90)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode(None))
    file.seek(0)
    return bool(VideoFromFile(file).get_components().images.shape[1] == 32)
