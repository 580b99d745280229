"""How far everything in a clip is, frame by frame, by Depth Anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..checks import check_number, checked_frames
from ..runtime import Runtime
from . import activations

PATCH = 14  # pixels
SIDE = 518  # what it was trained with
LONGEST_SIDE = 8192  # at which attention wants more memory than any card has
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of its training pictures
CLOSEST = 1e-3  # metres, for models that tell distances


@dataclass(frozen=True)
class DepthFrames:
    """A Depth Anything, held by `runtime` for the clip, which it computes on `device` in `dtype`. Pictures are brought
    to about `side` pixels, as transformers' processor does it: the side that needs less scaling becomes that long."""

    module: nn.Module
    runtime: Runtime
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    side: int = SIDE
    fused: bool = True

    @torch.no_grad()
    def nearness(self, frames_fhwc: Tensor) -> Tensor:
        """How near everything is, float32 [F, H, W] on the CPU, in a scale of the model's own: larger is nearer.

        Each frame counts one step of `runtime`, whose bar the caller has begun.

        Raises ValueError as `checked_frames` does, and when the model returned NaN.
        """
        frames_fhwc = checked_frames(frames_fhwc, "Estimate Depth")
        count, height, width = frames_fhwc.shape[:3]
        size = self.size_for(height, width)
        found = torch.empty(count, height, width)
        with self.runtime.hold(self.module, activations=self.activations(*size)):
            for index, frame_hwc in enumerate(frames_fhwc):
                found[index] = self._of_frame(frame_hwc, size)
                self.runtime.advance(preview=lambda depth=found[index]: _shown(depth))  # type: ignore[misc]
        if not torch.isfinite(found).all():
            raise ValueError(
                "Estimate Depth: the model returned NaN (not a number) values; choose the precision fp32 in Load Depth "
                "Model, and check that its file is whole."
            )
        return found

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in which a frame of this size is looked at: multiples of a patch.

        Raises ValueError when the side is none of a picture.
        """
        check_number(self.side, PATCH, LONGEST_SIDE, "Estimate Depth, side")
        scales = (self.side / height, self.side / width)
        scale = min(scales, key=lambda one: abs(1 - one))
        rows, columns = (max(1, round(side * scale / PATCH)) * PATCH for side in (height, width))
        return rows, columns

    def _of_frame(self, frame_hwc: Tensor, size: tuple[int, int]) -> Tensor:
        config: Any = self.module.config
        picture = rearrange(frame_hwc.to(self.device), "h w c -> 1 c h w")
        small = F.interpolate(picture, size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, deviation = (torch.tensor(one, device=self.device).view(1, 3, 1, 1) for one in (MEAN, DEVIATION))
        said = self.module((small.sub(mean) / deviation).to(self.dtype)).predicted_depth.float()
        if config.depth_estimation_type == "metric":
            said = 1 / said.clamp(min=CLOSEST)
        full = F.interpolate(said[:, None], tuple(frame_hwc.shape[:2]), mode="bicubic", align_corners=False)
        return full[0, 0].cpu()

    def activations(self, height: int, width: int) -> int:
        """Bytes that looking at one picture of this size needs beside the weights."""
        config: Any = self.module.config
        return activations.depth_anything(
            1,
            height,
            width,
            fusion_width=config.fusion_hidden_size,
            heads=config.backbone_config.num_attention_heads,
            element_bytes=self.dtype.itemsize,
            attention_is_fused=self.fused,
        )


def as_grey(nearness_fhw: Tensor) -> Tensor:
    """Nearness as pictures [F, H, W, 3] in 0..1, with the same scale for the whole clip: the nearest of all is white,
    the farthest black. A clip that is flat everywhere is black."""
    low, high = float(nearness_fhw.min()), float(nearness_fhw.max())
    grey = (nearness_fhw - low) / (high - low) if high > low else torch.zeros_like(nearness_fhw)
    return grey[..., None].expand(-1, -1, -1, 3).contiguous()


def _shown(nearness_hw: Tensor) -> Tensor:
    return as_grey(nearness_hw[None])[0]
