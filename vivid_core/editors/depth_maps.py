"""Depth as the models want it: near = 1, far = 0, with a scale for each frame or one for the whole clip."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import checked_frames

Scale = Literal["frame", "clip"]

FLAT = 0.5  # where there is no difference in depth at all


def depth_of(pictures_fhwc: Tensor, frames: int, notes: list[str] | None = None) -> Tensor:
    """Depth maps from pictures [F, H, W, 3], as any depth node makes them (near = bright): [F, H, W].

    Raises ValueError when there is not one for each of the clip's `frames`, and as `checked_frames` does.
    """
    pictures_fhwc = checked_frames(pictures_fhwc, "Depth", notes)
    if len(pictures_fhwc) != frames:
        raise ValueError(
            f"Depth: got {len(pictures_fhwc)} pictures for {frames} frames; each frame needs one, so estimate depth on "
            "the same clip."
        )
    return pictures_fhwc.mean(-1)


def normalised(depth_fhw: Tensor, size: tuple[int, int], scale: Scale = "frame") -> Tensor:
    """Depth [F, H, W] in any scale, larger is nearer, as [F, height, width] from 0 to 1 at `size`.

    `scale` "frame" stretches each frame to the whole range, as the depth models' own pipelines do (Pix2Video, section
    4); then the scale flickers where something near comes or goes. "clip" stretches all frames alike. What is flat is
    0.5. It is resized first, so that the ends are those of what the model sees.

    Raises ValueError for another scale, and for values that aren't finite.
    """
    if scale not in get_args(Scale):
        raise ValueError(f"Depth: got the scale {scale!r}; use {' or '.join(get_args(Scale))}.")
    if not torch.isfinite(depth_fhw).all():
        raise ValueError("Depth: got values that are NaN or infinite; estimate the depth again in fp32.")
    resized = depth_fhw.float()[:, None]
    if tuple(depth_fhw.shape[1:]) != tuple(size):
        resized = F.interpolate(resized, size, mode="bicubic", antialias=True)
    low, high = (resized.amin((1, 2, 3), True), resized.amax((1, 2, 3), True))
    if scale == "clip":
        low, high = low.amin(0, True), high.amax(0, True)
    span = high - low
    return torch.where(span > 0, (resized - low) / span.clamp(min=torch.finfo(span.dtype).tiny), FLAT)[:, 0]
