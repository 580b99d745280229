"""Video files, streamed frame by frame in both directions (PyAV)."""

from __future__ import annotations

from .reading import VideoInfo, read_frames, read_info
from .writing import write_video

__all__ = ["VideoInfo", "read_frames", "read_info", "write_video"]
