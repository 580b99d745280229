"""Clips that need not be in memory: frames or masks that are made when they are asked for. A tensor is a clip, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor


class Clip(Protocol):
    """Frames [F, H, W, 3] or masks [F, H, W]: `clip[3]` is one of them, `clip[3:7]` a tensor of four."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Tensor]: ...

    def __getitem__(self, at: int | slice, /) -> Tensor: ...


AnyClip = TypeVar("AnyClip", bound=Clip)


class Computed:
    """A clip of this shape whose frame `at` is what `make` gives each time it is asked for; none is kept."""

    def __init__(self, shape: tuple[int, ...], make: Callable[[int], Tensor]) -> None:
        self.shape, self._make = tuple(shape), make

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return map(self._make, range(len(self)))

    def __getitem__(self, at: int | slice, /) -> Tensor:
        if not isinstance(at, slice):
            return self._make(range(len(self))[at])
        frames = [self._make(index) for index in range(len(self))[at]]
        return torch.stack(frames) if frames else torch.empty((0, *self.shape[1:]))


def part(clip: Clip, first: int, stop: int) -> Clip:
    """Frames `first`..`stop` (excluded), without making any of them: a view of a tensor, else made when asked for."""
    if isinstance(clip, Tensor):
        return clip[first:stop]
    return Computed((stop - first, *clip.shape[1:]), lambda at: clip[first + at])


def repeated(mask_1hw: AnyClip, count: int) -> AnyClip:
    """One mask as a clip of `count`, without a copy."""
    if isinstance(mask_1hw, Tensor):
        return mask_1hw.expand(count, -1, -1)
    made: Any = Computed((count, *mask_1hw.shape[1:]), lambda at: mask_1hw[0])
    return made


def lazily(clip: Clip) -> Clip:
    """The same clip as one that is not a tensor, so that what is made of it is made frame by frame, too."""
    return Computed(tuple(clip.shape), lambda at: clip[at])
