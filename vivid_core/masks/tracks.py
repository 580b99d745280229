"""A tracked clip: one bit for each pixel, object and frame, and how sure the tracker was.

48 frames of 720p take 5.5 MB for each object in place of 177 MB as float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Track:
    """Masks of one or more objects over a clip, packed.

    `packed` is uint8 [objects, F, H, ceil(W / 8)], rows packed from the left; `scores` is float32 [objects, F] in 0..1
    (0 = the object is lost there); `size` is (height, width); `cuts` are the first frames of new shots; `corrected`
    are the frames whose mask the user gave; `memory` is what the tracker needs to correct the track later, if anything.
    """

    packed: Tensor
    object_ids: tuple[int, ...]
    scores: Tensor
    size: tuple[int, int]
    cuts: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    memory: Any = None

    @classmethod
    def pack(
        cls,
        masks_ofhw: Tensor,
        object_ids: Sequence[int] | None = None,
        scores: Tensor | None = None,
        cuts: Iterable[int] = (),
        corrected: Iterable[int] = (),
    ) -> Track:
        """Pack masks [objects, F, H, W] (above 0.5 = object), one frame at a time.

        Raises ValueError on another rank, or when `object_ids` or `scores` don't fit.
        """
        if masks_ofhw.ndim != 4:
            raise ValueError(
                f"Track: got masks of shape {tuple(masks_ofhw.shape)}, but they must be [objects, frames, height, "
                "width]; add the missing axis."
            )
        count, frames, height, width = masks_ofhw.shape
        builder = TrackBuilder(range(1, count + 1) if object_ids is None else object_ids, frames, height, width)
        if len(builder.object_ids) != count or (scores is not None and tuple(scores.shape) != (count, frames)):
            raise ValueError(
                f"Track: got masks for {count} objects and {frames} frames, {len(builder.object_ids)} object ids and "
                f"scores of shape {None if scores is None else tuple(scores.shape)}; they must agree."
            )
        for row, object_id in enumerate(builder.object_ids):
            for frame in range(frames):
                score = None if scores is None else float(scores[row, frame])
                builder.set(object_id, frame, masks_ofhw[row, frame], score)
        return builder.build(cuts, corrected)

    @property
    def frame_count(self) -> int:
        return int(self.packed.shape[1])

    def mask(self, frame: int, objects: Iterable[int] | None = None) -> Tensor:
        """The union of `objects` (all by default) on one frame: bool [H, W]."""
        return torch.from_numpy(self._union(self._rows(objects), frame))

    def masks(self, objects: Iterable[int] | None = None, start: int = 0, stop: int | None = None) -> Tensor:
        """The union of `objects` (all by default) on frames `start`..`stop` (excluded; to the end by default).

        Returns mask_fhw, float32 [stop - start, H, W]. Raises ValueError on an unknown object or an impossible range.
        """
        rows = self._rows(objects)
        stop = self.frame_count if stop is None else stop
        if not 0 <= start < stop <= self.frame_count:
            raise ValueError(
                f"Track: got frames {start} to {stop} (excluded), but the track has {self.frame_count} frames; choose "
                f"a range within 0..{self.frame_count} that holds at least one frame."
            )
        mask_fhw = torch.empty((stop - start, *self.size))
        for place, frame in enumerate(range(start, stop)):
            mask_fhw[place] = torch.from_numpy(self._union(rows, frame))
        return mask_fhw

    def _rows(self, objects: Iterable[int] | None) -> list[int]:
        if objects is None:
            return list(range(len(self.object_ids)))
        wanted = list(objects)
        unknown = [number for number in wanted if number not in self.object_ids]
        if unknown or not wanted:
            asked = ", ".join(map(str, unknown)) or "no object"
            raise ValueError(
                f"Track: got {asked}, but this track has the objects {', '.join(map(str, self.object_ids))}; "
                'choose among those, or "all".'
            )
        return [self.object_ids.index(number) for number in wanted]

    def _union(self, rows: list[int], frame: int) -> np.ndarray:
        if not 0 <= frame < self.frame_count:
            raise ValueError(
                f"Track: got frame {frame}, but the track has {self.frame_count} frames; choose one of "
                f"0..{self.frame_count - 1}."
            )
        packed = np.bitwise_or.reduce(self.packed[rows, frame].numpy(), axis=0)
        return np.unpackbits(packed, axis=1, count=self.size[1]).view(bool)


class TrackBuilder:
    """Collects the masks of a track frame by frame, packed from the start. Frames not set stay empty with score 0."""

    def __init__(self, object_ids: Iterable[int], frame_count: int, height: int, width: int) -> None:
        """Raises ValueError when there is no object or one is named twice."""
        self.object_ids = tuple(object_ids)
        if not self.object_ids or len(set(self.object_ids)) != len(self.object_ids):
            raise ValueError(f"Track: got the object ids {self.object_ids}; give each of one or more objects its own.")
        self.size = (height, width)
        self._packed = np.zeros((len(self.object_ids), frame_count, height, (width + 7) // 8), np.uint8)
        self._scores = torch.zeros((len(self.object_ids), frame_count))

    def set(self, object_id: int, frame: int, mask_hw: Tensor | np.ndarray, score: float | None = None) -> None:
        """Put the mask [H, W] (bool, or above 0.5 = object) of one frame; `score` is 1, or 0 if empty, by default.

        Raises ValueError when the mask has another size than the track.
        """
        mask = mask_hw.numpy() if isinstance(mask_hw, Tensor) else mask_hw
        if mask.shape != self.size:
            raise ValueError(
                f"Track: got a mask of {mask.shape} for a track of {self.size} (height, width); resize the mask."
            )
        inside = mask if mask.dtype == bool else mask > 0.5
        row = self.object_ids.index(object_id)
        self._packed[row, frame] = np.packbits(inside, axis=1)
        self._scores[row, frame] = float(inside.any()) if score is None else score

    def get(self, object_id: int, frame: int) -> np.ndarray:
        """The mask put there, bool [H, W]."""
        packed = self._packed[self.object_ids.index(object_id), frame]
        return np.unpackbits(packed, axis=1, count=self.size[1]).view(bool)

    def keep(self, track: Track, object_id: int) -> None:
        """Take over all masks and scores of an object of another track of the same clip.

        Raises ValueError when the track doesn't have the object, or is of another size or length.
        """
        row, other = self.object_ids.index(object_id), track._rows([object_id])[0]
        if track.packed.shape[1:] != self._packed.shape[1:] or track.size != self.size:
            raise ValueError(
                f"Track: got a track of {track.frame_count} frames of {track.size} for one of {self._packed.shape[1]} "
                f"frames of {self.size} (height, width); both must be of the same clip."
            )
        self._packed[row] = track.packed[other].numpy()
        self._scores[row] = track.scores[other]

    def build(self, cuts: Iterable[int] = (), corrected: Iterable[int] = (), memory: Any = None) -> Track:
        """The finished track, without a copy: set nothing afterwards."""
        return Track(
            torch.from_numpy(self._packed),
            self.object_ids,
            self._scores,
            self.size,
            tuple(sorted(set(cuts))),
            tuple(sorted(set(corrected))),
            memory,
        )
