"""A backbone asked about a whole clip, also one that is longer than motion modules take.

Such a clip is asked in windows that overlap, in every step, and averaged where they do: no window is ahead of another,
and what they disagree about is evened out step by step, not at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.ddim import WHOLE, Ask
from .backbone import Backbone

TRAINED = 16  # frames that motion modules for SD 1.5 were trained with, whatever the most is that they take


@dataclass(frozen=True)
class ClipAsk:
    """How a backbone is asked about one clip of `frames` frames, of `size` (height, width) in pixels.

    With motion modules `windows` are the parts that are asked at once; the image model is asked `chunk` frames at once
    (None: all).
    """

    backbone: Backbone
    ask: Ask
    frames: int
    size: tuple[int, int]
    windows: tuple[slice, ...]
    overlap: int
    chunk: int | None = None

    @classmethod
    def make(
        cls,
        backbone: Backbone,
        frames: int,
        size: tuple[int, int],
        depth_fhw: Tensor | None = None,
        strength: float = 1.0,
        chunk: int | None = None,
        overlap: int = 4,
    ) -> ClipAsk:
        """Raises ValueError as `Backbone.ask` and `spans` do."""
        at_once = (frames if chunk is None else chunk) if backbone.longest is None else min(backbone.longest, TRAINED)
        windows = spans(frames, at_once, overlap if backbone.motion else 0)
        own_chunk = None if backbone.motion else chunk
        return cls(backbone, backbone.ask(depth_fhw, strength), frames, size, tuple(windows), overlap, own_chunk)

    @property
    def windowed(self) -> bool:
        return self.backbone.motion and len(self.windows) > 1

    @property
    def at_once(self) -> int:
        """The most frames that are asked at once."""
        return max(window.stop - window.start for window in self.windows)

    @property
    def weighted(self) -> list[tuple[slice, Tensor]] | None:
        """The windows, with how much each of their frames counts; None where one window has the whole clip."""
        return [(window, weights(window.stop - window.start)) for window in self.windows] if self.windowed else None

    @property
    def averaged(self) -> Ask:
        """For the whole clip, whatever its windows."""
        return in_windows(self.ask, self.windows) if self.windowed else self.ask

    def named(self, rows: int) -> dict[str, Any]:
        """What the loops want to know beside how to ask: what to hold, with which room for `rows` rows, and where."""
        model = self.backbone
        activations = model.footprint.denoise(rows, self.at_once, *self.size)
        return {"modules": model.modules, "activations": activations, "device": model.place.device}

    def described(self) -> str:
        """For the report, when there are several windows."""
        return (
            f"{self.backbone.title} makes {self.at_once} frames at once, so the {self.frames} frames go in "
            f"{len(self.windows)} windows that share {self.overlap} or more, averaged there in every step."
        )


def spans(count: int, length: int, overlap: int) -> list[slice]:
    """All frames of a clip in windows of `length`, each sharing `overlap` frames with the one before; the last one ends
    with the clip, and may share more. One window where the clip is no longer than that.

    Raises ValueError when `length` is below 1 or `overlap` leaves no new frame in a window.
    """
    if length < 1:
        raise ValueError(f"Frames at once: got {length}; use 1 or more.")
    if not 0 <= overlap < length:
        raise ValueError(
            f"Windows: an overlap of {overlap} frames leaves no new frame in a window of {length}; use 0 to "
            f"{length - 1}."
        )
    last = max(0, count - length)
    return [slice(start, min(start + length, count)) for start in (*range(0, last, length - overlap), last)]


def weights(length: int) -> Tensor:
    """How much each frame of a window counts: more the farther it is from the window's ends."""
    at = torch.arange(length)
    return torch.minimum(at + 1, length - at).float()


def in_windows(ask: Ask, windows: Sequence[slice]) -> Ask:
    """`ask` for a whole clip, in these windows."""

    def asked(latents_bcfhw: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        assert frames == WHOLE
        total = torch.zeros_like(latents_bcfhw)
        counted = torch.zeros(latents_bcfhw.shape[2], dtype=latents_bcfhw.dtype, device=latents_bcfhw.device)
        for window in windows:
            weight = weights(window.stop - window.start).to(counted)
            total[:, :, window] += ask(latents_bcfhw[:, :, window], timestep, texts, window) * weight.view(-1, 1, 1)
            counted[window] += weight
        return total / counted.view(-1, 1, 1)

    return asked
