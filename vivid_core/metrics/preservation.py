"""How well an edit left alone what it should not touch: background preservation (BP)."""

from __future__ import annotations

import math

from torch import Tensor

from ..checks import check_same_clip, checked_frames, checked_mask_for
from ..runtime import Runtime


def background_change(original_hwc: Tensor, edited_hwc: Tensor, edit_mask_hw: Tensor) -> tuple[float, float]:
    """The two sums of BP for one frame: of (1 - m) |v - v^| (per-channel mean, 0..255), and of (1 - m)."""
    kept_hw = (1 - edit_mask_hw).double()
    change_hw = (edited_hwc - original_hwc).abs().mean(-1, dtype=kept_hw.dtype)
    return 255 * float((change_hw * kept_hw).sum()), float(kept_hw.sum())


def background_preservation(
    original_fhwc: Tensor, edited_fhwc: Tensor, edit_mask_fhw: Tensor, runtime: Runtime | None = None
) -> float:
    """BP: mean absolute difference over the non-edited region, per-channel mean on 0..255; lower is better.

    `BP = sum_i sum_px (1 - m) |v - v^| / sum (1 - m)` over all frames and pixels (VIVID, section 5). NaN when the
    mask covers every pixel of every frame. Compare it with your own baselines only: the paper does not say on
    which scale its own numbers are.

    Raises ValueError when the clips or the mask differ in length or size, and on values outside 0..1.
    """
    runtime = runtime or Runtime()
    original = checked_frames(original_fhwc, "Original")
    edited = checked_frames(edited_fhwc, "Edited")
    check_same_clip(original, edited, "Original", "Edited")
    mask = checked_mask_for(edit_mask_fhw, original, "Edit mask")
    change = kept = 0.0
    for original_hwc, edited_hwc, mask_hw in zip(original, edited, mask):
        frame_change, frame_kept = background_change(original_hwc, edited_hwc, mask_hw)
        change, kept = change + frame_change, kept + frame_kept
        runtime.advance()
    return ratio(change, kept)


def ratio(change: float, weight: float) -> float:
    """`change / weight`, or NaN when nothing was weighed."""
    return change / weight if weight > 0 else math.nan
