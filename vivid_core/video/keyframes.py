"""Edited keyframes: an ordered, validated collection of images pinned to frames of a clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..checks import checked_frames, checked_mask
from ..clips import Clip

ASPECT_TOLERANCE = 0.01  # external editors round sizes to multiples of 8 or 16


@dataclass(frozen=True)
class Keyframe:
    """One edited frame: where it belongs, what it looks like, which part of it counts, how much.

    `image_hwc` is float32 [H, W, 3]; `mask_hw` (optional, [H, W]) limits the edit further than the clip's mask;
    `strength` in 0..1 weighs the key against the others.
    """

    index: int
    image_hwc: Tensor
    mask_hw: Tensor | None = None
    strength: float = 1.0


class Keyframes:
    """Keyframes in the order of their index; at most one for each frame."""

    def __init__(self, keys: Iterable[Keyframe]) -> None:
        """Raises ValueError when two keys have one index, or a key is no valid picture."""
        self._keys = tuple(sorted((_checked(key) for key in keys), key=lambda key: key.index))
        for before, after in zip(self._keys, self._keys[1:]):
            if before.index == after.index:
                raise ValueError(
                    f"Keyframes: two keyframes are set on frame {after.index}; remove one or move it to another frame."
                )

    def __iter__(self) -> Iterator[Keyframe]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(key.index for key in self._keys)

    def merged(self, others: Iterable[Keyframe]) -> Keyframes:
        """This collection and `others` together. Raises ValueError when both set one frame."""
        return Keyframes([*self._keys, *others])

    def fitted(self, frames_fhwc: Clip, notes: list[str] | None = None) -> Keyframes:
        """These keys for this clip: indices counted from the end made positive, sizes made equal to the clip's.

        A key of another size but the same aspect (within 1 %) is resized and noted.
        Raises ValueError when an index is outside the clip or the aspect differs.
        """
        count, height, width = frames_fhwc.shape[:3]
        return Keyframes(_fitted(key, count, height, width, notes) for key in self._keys)


def _checked(key: Keyframe) -> Keyframe:
    name = f"Keyframe {key.index}"
    image_hwc = checked_frames(key.image_hwc[None], name)[0]
    mask_hw = None if key.mask_hw is None else checked_mask(key.mask_hw, f"{name}, mask")[0]
    if mask_hw is not None and mask_hw.shape != image_hwc.shape[:2]:
        raise ValueError(
            f"{name}: its mask is {mask_hw.shape[1]}x{mask_hw.shape[0]} and its image "
            f"{image_hwc.shape[1]}x{image_hwc.shape[0]}; both must have the same size."
        )
    if not 0 < key.strength <= 1:
        raise ValueError(f"{name}: strength is {key.strength}, but must be above 0 and at most 1.")
    return replace(key, image_hwc=image_hwc, mask_hw=mask_hw)


def _fitted(key: Keyframe, count: int, height: int, width: int, notes: list[str] | None) -> Keyframe:
    index = key.index + count if key.index < 0 else key.index
    if not 0 <= index < count:
        raise ValueError(
            f"Keyframe {key.index}: the clip has {count} frames, so its index must lie in 0..{count - 1} "
            f"(or -{count}..-1, counted from the end)."
        )
    key_height, key_width = key.image_hwc.shape[:2]
    if (key_height, key_width) == (height, width):
        return replace(key, index=index)
    aspect, wanted = key_width / key_height, width / height
    if abs(aspect / wanted - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"Keyframe {index}: it is {key_width}x{key_height}, but the clip is {width}x{height}; the aspect differs "
            "by more than 1 %, so crop or pad the keyframe to the clip's aspect."
        )
    if notes is not None:
        notes.append(f"Keyframe {index}: resized from {key_width}x{key_height} to {width}x{height}.")
    image = rearrange(key.image_hwc, "h w c -> 1 c h w")
    image = F.interpolate(image, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    mask = key.mask_hw
    if mask is not None:
        mask = F.interpolate(mask[None, None], (height, width), mode="bilinear", antialias=True)[0, 0]
    return Keyframe(index, rearrange(image, "1 c h w -> h w c").contiguous(), mask, key.strength)
