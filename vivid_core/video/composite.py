"""The edit inside the blend mask, the original outside, to the last bit.

Two masks, always: the edit mask is what the model repaints, the blend mask is where its result is shown. The blend
mask holds the edit mask and a soft rim around it (`feather_outside`), so that the rim never eats into the edit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import check_same_clip, checked_frames, checked_mask_for
from ..runtime import Runtime
from .bands import blend_bands
from .colour import ColourTransform
from .feather import box_of, feather_outside
from .keyframes import Keyframe, Keyframes

__all__ = ["BLENDS", "composite", "composite_key", "feather_outside", "outside_change", "outside_difference"]

BLENDS = ("feather", "laplacian")


def composite(
    original_fhwc: Tensor,
    edited_fhwc: Tensor,
    blend_mask_fhw: Tensor,
    *,
    mode: str = "feather",
    keep: Keyframes | None = None,
    transform: ColourTransform | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> Tensor:
    """The edited clip over the original: frames_fhwc, a new tensor.

    Bit-exact original where the blend mask is 0; bit-exact edited where it is 1, unless a colour `transform` is
    given, which is applied to the edited pixels that are shown. `mode` "feather" mixes in proportion to the mask;
    "laplacian" mixes broad colours over the whole rim and details over its middle only (`bands.blend_bands`).
    A frame of a keyframe in `keep` is `composite_key`'s picture and nothing else: no colour transform, no second rim.

    Raises ValueError when the clips, the mask or a keyframe don't fit each other, and on an unknown mode.
    """
    if mode not in BLENDS:
        raise ValueError(f"Composite: got the blend mode {mode!r}; use one of {', '.join(BLENDS)}.")
    original = checked_frames(original_fhwc, "Composite, original", notes)
    edited = checked_frames(edited_fhwc, "Composite, edited", notes)
    check_same_clip(original, edited, "Composite: the original", "the edited clip")
    blend = checked_mask_for(blend_mask_fhw, original, "Composite, blend mask", notes)
    keys = {} if keep is None else {key.index: key for key in keep.fitted(original, notes)}
    runtime = runtime or Runtime()
    result = torch.empty(original.shape, dtype=original.dtype)
    for index, (original_hwc, edited_hwc, blend_hw, result_hwc) in enumerate(zip(original, edited, blend, result)):
        if index in keys:
            result_hwc.copy_(composite_key(original_hwc, keys[index], blend_hw))
        else:
            _composite_frame(result_hwc, original_hwc, edited_hwc, blend_hw, mode, transform)
        runtime.advance(preview=result_hwc.contiguous)
    return result


def composite_key(original_hwc: Tensor, key: Keyframe, blend_mask_hw: Tensor) -> Tensor:
    """The keyframe's picture over its frame of the original: image_hwc, made once and at full resolution.

    This is what the promise "the keyframe is kept" is about. The key's own mask limits it further. The original is
    bit-exact where the blend mask or the key's mask is 0, the key where both are 1.

    Raises ValueError when sizes differ; `Keyframes.fitted` makes them equal.
    """
    height, width = original_hwc.shape[:2]
    if key.image_hwc.shape != original_hwc.shape or blend_mask_hw.shape != (height, width):
        raise ValueError(
            f"Keyframe {key.index}: it is {key.image_hwc.shape[1]}x{key.image_hwc.shape[0]} and the blend mask "
            f"{blend_mask_hw.shape[1]}x{blend_mask_hw.shape[0]} for a frame of {width}x{height}; resize them to it."
        )
    weight_hw = blend_mask_hw if key.mask_hw is None else blend_mask_hw * key.mask_hw
    return torch.lerp(original_hwc, key.image_hwc, weight_hw[..., None].to(original_hwc.dtype))


def outside_difference(original_fhwc: Tensor, result_fhwc: Tensor, blend_mask_fhw: Tensor) -> float:
    """Largest absolute difference of two clips where the blend mask is exactly 0; 0.0 means bit-exact there.

    Also 0.0 when the mask leaves nothing outside. Raises ValueError when the clips or the mask don't fit.
    """
    check_same_clip(original_fhwc, result_fhwc, "The original", "the result")
    blend = checked_mask_for(blend_mask_fhw, original_fhwc, "Outside difference, blend mask")
    return max(map(outside_change, original_fhwc, result_fhwc, blend), default=0.0)


def outside_change(original_hwc: Tensor, result_hwc: Tensor, blend_mask_hw: Tensor) -> float:
    """The same for one frame, whose sizes fit."""
    change_hw = (result_hwc - original_hwc).abs_().amax(-1)
    return float(change_hw.masked_fill_(blend_mask_hw != 0, 0).max())


def _composite_frame(
    result_hwc: Tensor,
    original_hwc: Tensor,
    edited_hwc: Tensor,
    blend_hw: Tensor,
    mode: str,
    transform: ColourTransform | None,
) -> None:
    result_hwc.copy_(original_hwc)
    box = box_of(blend_hw > 0)
    if box is None:
        return
    original = original_hwc[box]
    edited, weight = edited_hwc[box].to(original.dtype), blend_hw[box].to(original.dtype)
    if transform is not None:
        edited = transform.apply(edited)
    if mode == "laplacian":
        result_hwc[box] = blend_bands(original, edited, weight)
    else:
        # lerp counts from the nearer end, so both ends come out exactly.
        torch.lerp(original, edited, weight[..., None], out=result_hwc[box])
