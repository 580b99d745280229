"""Dense flow by RAFT: the model in front of what asks for a `FlowEstimator`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..checks import check_number
from ..masks.fields import WORKING_SIDE
from ..masks.flow import Bytes, Floats, check_same_size, resized
from ..runtime import Runtime
from . import raft

UPDATES = 12  # torchvision's own default
MOST_UPDATES, SIDES = 1000, (8, 8192)  # pixels


def check_settings(longest_side: int, updates: int) -> None:
    """Raise ValueError for a side in pixels, or a number of updates, that no model was ever used with."""
    check_number(longest_side, *SIDES, "Load Optical Flow, longest_side")
    check_number(updates, 1, MOST_UPDATES, "Load Optical Flow, updates")


@dataclass(frozen=True)
class RaftFlow:
    """A RAFT module, held by `runtime` for each pair of pictures, which it computes on `device` in fp32.

    Pictures longer than `longest_side` (pixels) are shrunk before, and their flow is enlarged; `updates` is how often
    the flow is refined. Both directions go through the model together.

    Raises ValueError as `check_settings` does.
    """

    module: nn.Module
    runtime: Runtime
    device: torch.device | str = "cpu"
    longest_side: int = WORKING_SIDE
    updates: int = UPDATES

    def __post_init__(self) -> None:
        check_settings(self.longest_side, self.updates)

    def both_ways(self, first: Bytes, second: Bytes) -> tuple[Floats, Floats]:
        """The flows [h, w, 2] from `first` to `second` and from `second` to `first`: RGB pictures, uint8 [h, w, 3].

        Raises ValueError when they differ in size, or with weights that give no numbers.
        """
        check_same_size(first, second)
        height, width = first.shape[:2]
        small_width, small_height = self._size(width, height)
        pictures = np.stack([resized(one, small_width, small_height) for one in (first, second)])
        flows = self._flows(torch.from_numpy(pictures))
        if not bool(torch.isfinite(flows).all()):
            raise ValueError("Optical flow: the RAFT model gives no numbers; its file is damaged, download it again.")
        if (small_width, small_height) != (width, height):
            flows = functional.interpolate(flows, (height, width), mode="bilinear", align_corners=False)
            flows *= torch.tensor([width / small_width, height / small_height]).view(1, 2, 1, 1)
        there, back = flows.permute(0, 2, 3, 1).contiguous().numpy()
        return there, back

    def _size(self, width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, self.longest_side / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _flows(self, pictures_nhwc: Tensor) -> Tensor:
        """[2, 2, h, w]: from the first of two pictures (uint8) to the second, and back."""
        height, width = pictures_nhwc.shape[1:3]
        sides = _padding(height, width)
        padded = (height + sides[2] + sides[3], width + sides[0] + sides[1])
        needed = raft.activation_bytes(raft.size_of(self.module), 2, *padded)
        with self.runtime.hold(self.module, activations=needed), torch.no_grad():
            images = pictures_nhwc.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
            images = functional.pad(images, sides, mode="replicate")
            try:
                flows = self.module(images, images.flip(0), num_flow_updates=self.updates)[-1]
            finally:
                self.module.corr_block.corr_pyramid = []  # type: ignore[union-attr, assignment]  # it would stay on the device
            left, top = sides[0], sides[2]
            return flows[..., top : top + height, left : left + width].float().cpu()


def _padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Pixels to add on the left, right, top and bottom, so that RAFT takes a picture of this size."""
    missing = [max(raft.LEAST_SIDE, -(-side // raft.STRIDE) * raft.STRIDE) - side for side in (width, height)]
    before = [more // 2 for more in missing]
    return before[0], missing[0] - before[0], before[1], missing[1] - before[1]
