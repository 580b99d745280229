"""Video files, streamed frame by frame in both directions (PyAV)."""

from __future__ import annotations

from .reading import VideoInfo, read_frames, read_info
from .writing import Showing, SoundFrom, Timing, write_video

__all__ = ["Showing", "SoundFrom", "Timing", "VideoInfo", "read_frames", "read_info", "write_video"]
