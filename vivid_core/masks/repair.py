"""Repairs a mask over time: painted masks that win, in-betweens, a temporal median, no specks and holes.

In this order: specks and holes go, painted masks are put in, gaps between them are filled with in-betweens, the median
runs, specks and holes that it left go too, and the painted masks are put in again, exactly as they were painted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..checks import checked_mask
from ..distance import distance_to
from ..optional import opencv
from ..runtime import Runtime
from .shapes import bounds


def overrides_at(masks_fhw: Tensor, frames: Sequence[int]) -> dict[int, Tensor]:
    """The painted masks by their frame. Raises ValueError unless there is one frame for each mask, each named once."""
    masks_fhw = checked_mask(masks_fhw, "Overrides")
    if len(frames) != masks_fhw.shape[0]:
        raise ValueError(
            f"Overrides: got {masks_fhw.shape[0]} masks and {len(frames)} frame numbers; write one frame number for "
            'each mask, such as "0, 24, -1".'
        )
    if len(set(frames)) != len(frames):
        twice = next(frame for frame in frames if list(frames).count(frame) > 1)
        raise ValueError(f"Overrides: frame {twice} is named twice; give each mask its own frame.")
    return dict(zip(frames, masks_fhw))


def repair_mask(
    mask_fhw: Tensor,
    *,
    overrides: Mapping[int, Tensor] | None = None,
    in_between: bool = False,
    median_frames: int = 0,
    min_speck: float = 0.0,
    max_hole: float = 0.0,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> Tensor:
    """The repaired mask_fhw, float32 [F, H, W], 0 or 1 (above 0.5 of `mask_fhw` = object); overrides as they are.

    `overrides` are painted masks [H, W] by frame. `in_between` replaces the masks between two overrides, and fills
    empty frames between two that are not, by interpolated signed distances, with the centres brought together first.
    The median takes `median_frames` (odd; 0 or 1 is off), fewer towards both ends of the clip. Parts smaller than
    `min_speck` percent of the frame go, holes up to `max_hole` percent are filled. What was done is added to `notes`.
    Raises ValueError on overrides that don't fit, an even median, or shares outside 0..100.
    """
    mask_fhw = checked_mask(mask_fhw, "Repair mask")
    overrides = {index: _checked_override(mask_fhw, index, mask) for index, mask in sorted((overrides or {}).items())}
    _check_options(median_frames, min_speck, max_hole)
    runtime = runtime or Runtime()
    cleaner = _Cleaner(mask_fhw.shape[1] * mask_fhw.shape[2], min_speck, max_hole)
    radius = median_frames // 2
    count = mask_fhw.shape[0]
    runtime.begin(count * (2 if in_between else 1) + (count if radius else 0))
    result = _cleaned(mask_fhw, overrides, cleaner, runtime)
    said = [f"{len(overrides)} painted masks were put in: frames {_listed(overrides)}."] if overrides else []
    if in_between:
        said += _fill_gaps(result, overrides, runtime)
    if radius:
        said += _median(result, radius, overrides, cleaner, runtime)
    for index, mask_hw in overrides.items():
        result[index] = mask_hw
    if notes is not None:
        notes += said + cleaner.said(_empty(result) - _empty(mask_fhw) - set(overrides))
    return result


def _cleaned(mask_fhw: Tensor, overrides: Mapping[int, Tensor], cleaner: _Cleaner, runtime: Runtime) -> Tensor:
    """The masks, binary and cleaned, with the painted ones in their places."""
    result = torch.empty(mask_fhw.shape)
    for index in range(mask_fhw.shape[0]):
        painted = overrides.get(index)
        mask = cleaner(_bits(mask_fhw[index]), index) if painted is None else _bits(painted)
        result[index] = torch.from_numpy(mask)
        runtime.advance()
    return result


def _checked_override(mask_fhw: Tensor, index: int, mask_hw: Tensor) -> Tensor:
    if not 0 <= index < mask_fhw.shape[0]:
        raise ValueError(
            f"Overrides: got frame {index}, but the clip has {mask_fhw.shape[0]} frames; choose one of "
            f"0..{mask_fhw.shape[0] - 1}."
        )
    checked = checked_mask(mask_hw, f"Override {index}")
    if checked.shape[0] != 1 or checked.shape[1:] != mask_fhw.shape[1:]:
        raise ValueError(
            f"Override {index}: got {checked.shape[0]} mask of {checked.shape[2]}x{checked.shape[1]} for a clip of "
            f"{mask_fhw.shape[2]}x{mask_fhw.shape[1]}; paint one mask of the clip's size."
        )
    return checked[0]


def _check_options(median_frames: int, min_speck: float, max_hole: float) -> None:
    if median_frames < 0 or (median_frames > 0 and median_frames % 2 == 0):
        raise ValueError(
            f"Repair mask: the median takes {median_frames} frames, but it needs an odd number (3, 5, 7 ...), or 0 "
            "for none; choose one more or less."
        )
    for name, share in (("min_speck", min_speck), ("max_hole", max_hole)):
        if not 0 <= share <= 100:
            raise ValueError(f"Repair mask: {name} is {share:g}, but it is a percentage of the frame; choose 0..100.")


class _Cleaner:
    """Removes specks and fills holes, and remembers where."""

    def __init__(self, frame_area: int, min_speck: float, max_hole: float) -> None:
        # a part of exactly the share stays and a hole of exactly the share goes, whatever the rounding
        self.smallest_part = min_speck / 100 * frame_area * (1 - 1e-9)
        self.largest_hole = max_hole / 100 * frame_area * (1 + 1e-9)
        self.cv2 = opencv("Repair Mask") if min_speck or max_hole else None
        self.specks: dict[int, int] = {}
        self.holes: dict[int, int] = {}

    def __call__(self, mask: np.ndarray, frame: int) -> np.ndarray:
        box = bounds(mask) if self.cv2 is not None else None
        if box is None:
            return mask
        part = mask[box.slices]
        if self.smallest_part:
            part = part & ~self._small(part, self.specks, frame, False)
        if self.largest_hole:
            # the rim of background around the box joins what is open to the outside
            part = part | self._small(np.pad(~part, 1, constant_values=True), self.holes, frame, True)[1:-1, 1:-1]
        cleaned = np.zeros_like(mask)
        cleaned[box.slices] = part
        return cleaned

    def _small(self, areas: np.ndarray, found: dict[int, int], frame: int, holes: bool) -> np.ndarray:
        """The connected parts of `areas` that are too small; with `holes` the one at the corner is the outside."""
        assert self.cv2 is not None
        # diagonal neighbours belong together in an object, and so they part a hole
        kind = areas.astype(np.uint8)
        _, parts, stats, _ = self.cv2.connectedComponentsWithStats(kind, connectivity=4 if holes else 8)
        sizes = stats[:, self.cv2.CC_STAT_AREA]
        small = sizes <= self.largest_hole if holes else sizes < self.smallest_part
        small[0] = False
        if holes:
            small[parts[0, 0]] = False
        if small.any():
            found[frame] = found.get(frame, 0) + int(small.sum())
        return small[parts]

    def said(self, newly_empty: set[int]) -> list[str]:
        said = [
            f"{sum(found.values())} {what} on {len(found)} frames."
            for found, what in ((self.specks, "specks were removed"), (self.holes, "holes were filled"))
            if found
        ]
        if newly_empty:
            said.append(f"Nothing is left of the mask on frames {_listed(newly_empty)}; lower min_speck or the median.")
        return said


def _fill_gaps(result: Tensor, overrides: Mapping[int, Tensor], runtime: Runtime) -> list[str]:
    """In-betweens, in place: between two overrides, and on empty frames between two that are not."""
    filled: list[int] = []
    done = 0
    for first, last in _gaps(result, overrides):
        for index, mask in zip(
            range(first + 1, last), in_betweens(_bits(result[first]), _bits(result[last]), last - first)
        ):
            result[index] = torch.from_numpy(mask)
            filled.append(index)
            runtime.advance()
            done += 1
    runtime.advance(result.shape[0] - done)
    return [f"In-betweens were made for frames {_listed(filled)}."] if filled else []


def _gaps(result: Tensor, overrides: Mapping[int, Tensor]) -> list[tuple[int, int]]:
    """The pairs of frames (both with a mask) whose frames between them are to be made."""
    empty = _empty(result)
    painted = list(overrides)
    pairs = [
        (first, last)
        for first, last in zip(painted, painted[1:])
        if not {first, last} & empty  # an empty override says that the object is not there
    ]
    covered = {index for first, last in pairs for index in range(first, last)}
    seen = [index for index in range(result.shape[0]) if index not in empty or index in overrides]
    pairs += [
        (first, last) for first, last in zip(seen, seen[1:]) if first not in covered and not {first, last} & empty
    ]
    return pairs


def in_betweens(first: np.ndarray, last: np.ndarray, steps: int) -> Iterator[np.ndarray]:
    """The `steps` - 1 masks between two (bool [H, W], not empty): their signed distances, centred alike, mixed."""
    cv2 = opencv("Repair Mask")
    height, width = first.shape
    fields = [_signed_distance(mask) for mask in (first, last)]
    centres = [np.argwhere(mask).mean(axis=0) for mask in (first, last)]
    for step in range(1, steps):
        share = step / steps
        centre = (1 - share) * centres[0] + share * centres[1]
        mixed = np.zeros((height, width), np.float32)
        for field, own, weight in zip(fields, centres, (1 - share, share)):
            down, across = centre - own
            move = np.array([[1, 0, across], [0, 1, down]], np.float64)
            mixed += weight * cv2.warpAffine(field, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
        yield mixed > 0


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """The distance to the outline in pixels, positive inside: float32 [H, W]. The outline runs between pixels."""
    if mask.all():  # no outside to measure from
        return np.full(mask.shape, float(max(mask.shape)), np.float32)
    within, outside = distance_to(~mask, "Repair Mask"), distance_to(mask, "Repair Mask")
    return np.where(mask, within - 0.5, 0.5 - outside).astype(np.float32)


def _median(result: Tensor, radius: int, kept: Container[int], cleaner: _Cleaner, runtime: Runtime) -> list[str]:
    """The median of each pixel over 2 * radius + 1 frames, in place, but not on the frames `kept`.

    Towards both ends of the clip it takes as many frames as lie on both sides.
    """
    count = result.shape[0]
    changed = 0
    before: deque[np.ndarray] = deque(maxlen=radius)  # the last frames as they were
    for index in range(count):
        reach = 0 if index in kept else min(radius, index, count - 1 - index)
        own = _bits(result[index])
        votes = own.astype(np.uint16)
        for offset in range(1, reach + 1):
            votes += before[-offset]
            votes += _bits(result[index + offset])
        median = cleaner(votes > reach, index) if reach else own
        changed += bool((median != own).any())
        result[index] = torch.from_numpy(median)
        before.append(own)
        runtime.advance()
    return [f"The median over {2 * radius + 1} frames changed {changed} frames."] if changed else []


def _bits(mask_hw: Tensor) -> np.ndarray:
    return mask_hw.numpy() > 0.5


def _empty(mask_fhw: Tensor) -> set[int]:
    return {index for index, mask_hw in enumerate(mask_fhw) if not bool((mask_hw > 0.5).any())}


def _listed(frames: Sequence[int] | set[int] | Mapping[int, object]) -> str:
    """Frame numbers with runs drawn together: 3-7, 12."""
    spans: list[list[int]] = []
    for frame in sorted(frames):
        if spans and frame == spans[-1][1] + 1:
            spans[-1][1] = frame
        else:
            spans.append([frame, frame])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
