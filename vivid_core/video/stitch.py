"""Stitch back: an edited clip or crop into the original, with colour match, soft edge and exact keyframes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..checks import check_not_empty, check_same_clip, checked_frames, checked_mask, checked_mask_for
from ..runtime import Runtime
from .colour import ColourFit, ColourTransform
from .composite import composite, outside_difference
from .crop import Stitch, check_crop_size, check_source, uncrop
from .feather import feather_outside
from .keyframes import Keyframe, Keyframes

CHUNK = 4  # frames that are put together at once; the memory that is needed doesn't grow with the clip


@dataclass(frozen=True)
class _Job:
    """Everything in the sizes it came in; `piece` makes full frames of a part of it."""

    original: Tensor
    edited: Tensor
    edit_mask: Tensor
    blend_mask: Tensor | None
    stitch: Stitch | None
    keyframes: Keyframes | None
    feather: int

    def pieces(self) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, Tensor]]:
        """(frames, original, edited, edit mask, blend mask), all of the original's size."""
        for start in range(0, self.original.shape[0], CHUNK):
            part = slice(start, min(start + CHUNK, self.original.shape[0]))
            original = self.original[part]
            edited = self._placed(self.edited, part, original)
            edit_mask = self._placed(self.edit_mask, part)
            if self.blend_mask is None:
                blend_mask = feather_outside(edit_mask, self.feather)
            else:
                blend_mask = self._placed(self.blend_mask, part)
            yield part, original, edited, edit_mask, blend_mask

    def _placed(self, clip: Tensor, part: slice, around: Tensor | None = None) -> Tensor:
        # Without `around` it is a mask, which may have either size; an edited crop may be as large as the frame.
        if self.stitch is None or (around is None and clip.shape[1:3] == self.original.shape[1:3]):
            return clip[part]
        return uncrop(clip[part], replace(self.stitch, corners=self.stitch.corners[part]), around)

    def keys_in(self, part: slice) -> Keyframes | None:
        """The keyframes of a part, counted from its start, at full size."""
        if self.keyframes is None:
            return None
        inside = [key for key in self.keyframes if part.start <= key.index < part.stop]
        return Keyframes(replace(self._full_size(key), index=key.index - part.start) for key in inside)

    def _full_size(self, key: Keyframe) -> Keyframe:
        if self.stitch is None or key.image_hwc.shape == self.original.shape[1:]:
            return key
        here = slice(key.index, key.index + 1)
        image = self._placed_one(key.image_hwc, here, self.original[here])
        return replace(
            key, image_hwc=image, mask_hw=None if key.mask_hw is None else self._placed_one(key.mask_hw, here)
        )

    def _placed_one(self, picture: Tensor, here: slice, around: Tensor | None = None) -> Tensor:
        assert self.stitch is not None
        return uncrop(picture[None], replace(self.stitch, corners=self.stitch.corners[here]), around)[0]


def stitch_back(
    original_fhwc: Tensor,
    edited_fhwc: Tensor,
    edit_mask_fhw: Tensor,
    *,
    blend_mask_fhw: Tensor | None = None,
    stitch: Stitch | None = None,
    keyframes: Keyframes | None = None,
    feather: int = 8,
    colour_match: str = "none",
    blend: str = "feather",
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> tuple[Tensor, float]:
    """The edit back in its clip: (frames_fhwc, the largest difference outside the blend mask, which is 0).

    With `stitch`, `edited_fhwc` and `keyframes` may be of the crop's size, and the masks of either size; without a
    blend mask the edit mask is feathered outwards by `feather` pixels. Keyframes come back as their own composite.

    Raises ValueError when clips, masks, crop or keyframes don't fit each other, and on an empty edit mask.
    """
    runtime, notes = runtime or Runtime(), [] if notes is None else notes
    job = _checked(original_fhwc, edited_fhwc, edit_mask_fhw, blend_mask_fhw, stitch, keyframes, feather, notes)
    passes = 1 if colour_match == "none" else 2
    runtime.begin(passes * job.original.shape[0])
    transform = _colours(job, colour_match, runtime, notes)
    result = torch.empty_like(job.original, memory_format=torch.contiguous_format)
    largest = 0.0
    for part, original, edited, _, blend_mask in job.pieces():
        keep = job.keys_in(part)
        result[part] = composite(
            original, edited, blend_mask, mode=blend, keep=keep, transform=transform, runtime=runtime
        )
        largest = max(largest, outside_difference(original, result[part], blend_mask))
    return result, largest


def _colours(job: _Job, mode: str, runtime: Runtime, notes: list[str]) -> ColourTransform | None:
    fit = ColourFit(mode)
    if mode == "none":
        return None
    keys = () if job.keyframes is None else job.keyframes.indices
    for part, original, edited, edit_mask, _ in job.pieces():
        for offset, index in enumerate(range(part.start, part.stop)):
            if index not in keys:
                fit.add(edited[offset], original[offset], edit_mask[offset])
            runtime.advance()
    return fit.transform(notes)


def _checked(
    original: Tensor,
    edited: Tensor,
    edit_mask: Tensor,
    blend_mask: Tensor | None,
    stitch: Stitch | None,
    keyframes: Keyframes | None,
    feather: int,
    notes: list[str],
) -> _Job:
    original = checked_frames(original, "Stitch Back, original", notes)
    edited = checked_frames(edited, "Stitch Back, edited", notes)
    if stitch is None:
        check_same_clip(original, edited, "Stitch Back: the original", "the edited clip")
    else:
        check_source(original, stitch)
        check_crop_size(edited, stitch, notes)
    edit_mask = _checked_mask(edit_mask, "Stitch Back, edit mask", original, edited, notes)
    if blend_mask is not None:
        blend_mask = _checked_mask(blend_mask, "Stitch Back, blend mask", original, edited, notes)
    if keyframes is not None:
        of_crop = any(key.image_hwc.shape[:2] != original.shape[1:3] for key in keyframes)
        keyframes = keyframes.fitted(edited if of_crop else original, notes)
    return _Job(original, edited, edit_mask, blend_mask, stitch, keyframes, feather)


def _checked_mask(mask: Tensor, what: str, original: Tensor, edited: Tensor, notes: list[str]) -> Tensor:
    """The mask, one for each frame; of the original's size, or of the edited crop's."""
    mask = checked_mask(mask, what)
    of_crop = mask.shape[1:3] == edited.shape[1:3]
    mask = checked_mask_for(mask, edited if of_crop else original, what, notes)
    check_not_empty(mask, what)
    return mask
