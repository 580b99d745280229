"""The end of every tuning-free editor: what the model made, at the clip's own size, inside the mask alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_not_empty, checked_mask_for
from ..runtime import Runtime
from ..video.composite import composite, feather_outside, outside_difference
from ..video.crop import uncrop
from ..video.keyframes import Keyframes
from .inverted import InvertedClip, seen_at


@dataclass(frozen=True)
class PutBack:
    """The finished clip: `frames_fhwc`, bit-exact the original where `blend_mask_fhw` is 0."""

    frames_fhwc: Tensor
    blend_mask_fhw: Tensor
    report: str


def blend_mask_for(
    clip: InvertedClip, mask_fhw: Tensor | None, blend_mask_fhw: Tensor | None, feather: float, notes: list[str]
) -> Tensor | None:
    """Where the edit shows, [F, H, W]; None where it is the whole frame. Look at this before the work, not after it.

    Raises ValueError for an empty mask, masks that don't fit the clip, and as `feather_outside` does.
    """
    if blend_mask_fhw is not None:
        return checked_mask_for(blend_mask_fhw, clip.frames_fhwc, "Blend mask", notes)
    if mask_fhw is None:
        return None
    mask_fhw = checked_mask_for(mask_fhw, clip.frames_fhwc, "Mask", notes)
    check_not_empty(mask_fhw, "Mask")
    return feather_outside(mask_fhw, feather)


def put_back(
    clip: InvertedClip,
    edited_fhwc: Tensor,
    blend_mask_fhw: Tensor | None,
    runtime: Runtime | None = None,
    keep: Keyframes | None = None,
    notes: list[str] | None = None,
) -> PutBack:
    """`edited_fhwc`, at the size that the model sees, over the clip. Keyframes in `keep` come back exactly.

    One step of `runtime` for each frame. Raises ValueError as `composite` does.
    """
    original = clip.frames_fhwc
    whole = uncrop(edited_fhwc, clip.stitch)
    whole_frame = blend_mask_fhw is None
    blend = torch.ones(original.shape[:3]) if blend_mask_fhw is None else blend_mask_fhw
    frames = composite(original, whole, blend, keep=keep, runtime=runtime, notes=notes)
    lines = [seen_at(clip.stitch)]
    if whole_frame:
        lines.append("No mask: the whole frame is edited.")
    else:
        lines.append(f"Largest difference outside the blend mask: {outside_difference(original, frames, blend):g}.")
    return PutBack(frames, blend, "\n".join(lines))
