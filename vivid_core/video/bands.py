"""Multi-band blending: broad colours cross over slowly, details quickly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

LOW_PASSES = (2, 4, 8, 16)  # sizes in pixels of the bands' lower ends
SHARPNESS = (8.0, 4.0, 2.0, 1.5, 1.0)  # of the cross-over, finest band first; 1 = the blend mask as it is


def blend_bands(original_hwc: Tensor, edited_hwc: Tensor, blend_mask_hw: Tensor) -> Tensor:
    """Blend two images of one size band by band: image_hwc.

    After Burt and Adelson, "A multiresolution spline with application to image mosaics" (1983), with two changes for
    masks that promise exactness. The mask of each band is the blend mask itself, made steeper for finer bands, so
    the cross-over never leaves the rim: the result is the original where the blend mask is 0 and the edited image
    where it is 1, to the bit. And the bands are those of the difference inside the rim and the mask, averaged over
    valid pixels only, so what the edited image shows elsewhere, or beyond the frame, has no influence.
    """
    weight_1hw = blend_mask_hw[None]
    difference = rearrange(edited_hwc - original_hwc, "h w c -> 1 c h w")
    valid = (blend_mask_hw > 0).to(difference.dtype)[None, None]
    mixed = torch.zeros_like(difference[0])
    finer = difference
    for size, sharpness in zip((*LOW_PASSES, None), SHARPNESS):
        steep = ((weight_1hw - 0.5) * sharpness).add_(0.5).clamp_(0, 1)
        if size is None:
            mixed.addcmul_(finer[0], steep)
        else:
            broader = _low_pass(difference, valid, size)
            mixed.addcmul_((finer - broader)[0], steep)
            finer = broader
    blended = (original_hwc + rearrange(mixed, "c h w -> h w c")).clamp_(0, 1)
    weight = blend_mask_hw[..., None]
    return torch.where(weight == 0, original_hwc, torch.where(weight == 1, edited_hwc, blended))


def _low_pass(difference_1chw: Tensor, valid_11hw: Tensor, size: int) -> Tensor:
    """The mean of the valid differences around each pixel, over about `size` pixels."""
    height, width = difference_1chw.shape[2:]
    small = (max(round(height / size), 1), max(round(width / size), 1))
    # The same filter for values and weights: their quotient is a mean of valid pixels, also at the frame's edge.
    total = F.interpolate(difference_1chw * valid_11hw, small, mode="bilinear", antialias=True)
    weight = F.interpolate(valid_11hw, small, mode="bilinear", antialias=True)
    total, weight = (F.interpolate(part, (height, width), mode="bilinear") for part in (total, weight))
    return torch.where(weight > 1e-6, total / weight.clamp_min(1e-6), 0)
