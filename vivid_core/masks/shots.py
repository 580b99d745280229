"""Where a clip cuts from one shot to another: so that nothing is followed into a picture where it can't be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..distance import lengths
from ..optional import opencv
from ..runtime import Runtime
from .flow import Bytes, Floats, dense_flow, luminance, pixel_grid, warp

SIDE = 128  # the longer side of the small pictures that are compared
FLASH = 3  # frames that a flash, or somebody passing close to the camera, may last
MATCHED = 0.55  # share of the picture that must be found again in the next frame
LIKE = 0.5  # local correlation from which a place counts as found again
PLAIN = 3.0  # contrast (of 255) below which a place has nothing to correlate
COLOURS_APART = 0.5  # distance of colour histograms that makes it a cut even if half of the picture matches
STRIPES = 4  # levels for each colour channel in the histogram


@dataclass(frozen=True)
class _Small:
    gray: Bytes
    colours: Floats


def shot_cuts(frames: Iterable[Tensor], runtime: Runtime | None = None) -> tuple[int, ...]:
    """The index of the first frame of each new shot. `frames` are a clip, each [H, W, 3], float in 0..1 or uint8; each
    is looked at once, in order, and none is kept.

    Two frames belong together when most of the picture is found again after motion (flow, started from the shift of
    the whole picture, and local correlation, which doesn't mind brightness). A flash of up to three frames is no cut.
    """
    runtime = runtime or Runtime()
    smalls = _Smalls(frames)
    cuts: list[int] = []
    index = 0
    while smalls.has(index):
        if index and not _belong_together(smalls[index - 1], smalls[index]):
            first = cuts[-1] if cuts else 0
            earlier = range(max(first, index - 1 - FLASH), index)
            later = [at for at in range(index, index + 1 + FLASH) if smalls.has(at)]
            pairs = ((before, after) for before in earlier for after in later if after - before <= FLASH + 1)
            if not any(_belong_together(smalls[before], smalls[after]) for before, after in pairs):
                cuts.append(index)
        runtime.advance()
        index += 1
    return tuple(cuts)


class _Smalls:
    """The small pictures of a clip's frames, of which only the last ones are kept."""

    def __init__(self, frames: Iterable[Tensor]) -> None:
        self._rest = iter(frames)
        self._count = 0
        self._kept: dict[int, _Small] = {}

    def has(self, index: int) -> bool:
        """Whether the clip has so many frames; reads up to there."""
        while self._count <= index:
            frame_hwc = next(self._rest, None)
            if frame_hwc is None:
                return False
            self._kept[self._count] = _small(frame_hwc)
            self._kept.pop(self._count - 2 * FLASH - 2, None)
            self._count += 1
        return True

    def __getitem__(self, index: int) -> _Small:
        return self._kept[index]


def _small(frame_hwc: Tensor) -> _Small:
    cv2 = opencv("Finding shot cuts")
    stride = max(1, max(frame_hwc.shape[:2]) // (3 * SIDE))
    part = frame_hwc[::stride, ::stride]
    image = np.ascontiguousarray((part if part.is_floating_point() else part.float() / 255).numpy())
    scale = min(1.0, SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.convertScaleAbs(cv2.resize(image, size, interpolation=cv2.INTER_AREA), alpha=255.0)
    levels = (small // (256 // STRIPES)).astype(np.intp)
    bins = (levels[..., 0] * STRIPES + levels[..., 1]) * STRIPES + levels[..., 2]
    colours = np.bincount(bins.reshape(-1), minlength=STRIPES**3).astype(np.float32) / bins.size
    return _Small(luminance(small), colours)


def _belong_together(before: _Small, after: _Small) -> bool:
    matched = _matched_share(before.gray, after.gray)
    apart = 1 - float(np.minimum(before.colours, after.colours).sum())
    return matched > MATCHED and (apart < COLOURS_APART or matched > 0.5 + 0.5 * MATCHED)


def _matched_share(before: Bytes, after: Bytes) -> float:
    """The share of `before` that is found again in `after`, once motion is taken out."""
    cv2 = opencv("Finding shot cuts")
    still = _correlation(before, after)
    if float((still > LIKE).mean()) > MATCHED:
        return float((still > LIKE).mean())
    height, width = before.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F) if min(height, width) > 1 else None
    (x, y), _ = cv2.phaseCorrelate(before.astype(np.float32), after.astype(np.float32), window)
    found = still > LIKE
    grid = pixel_grid(width, height)
    for shift in {(0.0, 0.0), (round(x, 1), round(y, 1))}:
        start = np.broadcast_to(np.array(shift, np.float32), (height, width, 2))
        flow = dense_flow(before, after, "medium", start)
        there = grid + flow
        inside = (there >= -1).all(2) & (there[..., 0] <= width) & (there[..., 1] <= height)
        found = found | ((_correlation(before, warp(after, there)) > LIKE) & inside & _smooth(flow))
    return float(found.mean())


def _smooth(flow: Floats) -> NDArray[np.bool_]:
    """Where neighbours move alike: flow between unrelated pictures is torn."""
    cv2 = opencv("Finding shot cuts")
    apart = flow - cv2.blur(flow, (7, 7))
    return lengths(apart) < 1.0


def _correlation(a: Bytes, b: Bytes) -> Floats:
    """Correlation of the surroundings of each pixel; where both are plain, 1 if they are."""
    cv2 = opencv("Finding shot cuts")

    def mean(values: Floats) -> Floats:
        return cv2.blur(values, (11, 11))

    first, second = a.astype(np.float32), b.astype(np.float32)
    first_mean, second_mean = mean(first), mean(second)
    first_power = np.maximum(mean(first * first) - first_mean**2, 0)
    second_power = np.maximum(mean(second * second) - second_mean**2, 0)
    shared = mean(first * second) - first_mean * second_mean
    plain = (first_power < PLAIN**2) & (second_power < PLAIN**2)
    return np.where(plain, 1.0, shared / np.sqrt(first_power * second_power + PLAIN**2)).astype(np.float32)
