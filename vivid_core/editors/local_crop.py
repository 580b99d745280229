"""Which part of the frame the model sees, and at what size: local edits cost what they cover, not what the frame is.

"fine" gives all of the model's pixels to a steady crop around the subject, "fast" gives that crop only as many as it
would have had in the whole frame, so that the time follows the mask. "off" shows the whole frame. "auto" takes "fine"
where the subject is small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clips import Clip
from ..video.crop import Stitch, crop, uncrop
from ..video.crop_plan import WIDEST, follow_corners, plan_sizes, subject_boxes
from .contract import Traits

CROPS = ("auto", "off", "fast", "fine")
SMALL = 0.5  # share of the frame, up to which a subject's box counts as small
PADDING = 0.25  # of a fast crop: room around the subject, on each side, as a part of its size
ENLARGED = 2  # the most that a side is enlarged; more would show the model nothing but blur
FEWEST = 1 / 4  # of the model's pixels, for a fast crop: models fail far below the size that they were trained at


@dataclass(frozen=True)
class LocalCrop:
    """Where the model looks in one shot. `mode` is what was chosen ("auto" has become another one); the sizes and
    places are those of `stitch`, whose `out_size` is what the model sees."""

    stitch: Stitch
    mode: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what the model sees."""
        return self.stitch.out_size

    def part(self, first: int, stop: int) -> LocalCrop:
        """The same for some of the frames."""
        return replace(self, stitch=replace(self.stitch, corners=self.stitch.corners[first:stop]))

    def shown(self, frames_fhwc: Clip) -> Tensor:
        """What the model sees of frames; themselves where nothing is cut or scaled."""
        stitch, whole = self.stitch, isinstance(frames_fhwc, Tensor)
        if stitch.source_size == stitch.out_size == stitch.box_size:
            return frames_fhwc if whole else frames_fhwc[:]
        if whole:
            return crop(frames_fhwc, stitch)
        seen = torch.empty((len(frames_fhwc), *self.size, 3))
        for index, frame_hwc in enumerate(frames_fhwc):
            seen[index] = crop(frame_hwc[None], self.part(index, index + 1).stitch)[0]
        return seen

    def hole(self, mask_fhw: Clip) -> Tensor:
        """The edit mask at the model's size, 0 or 1: a pixel of it is a hole if any part of it is to be edited, so
        that the edge of what is replaced never shows."""
        unscaled = replace(self.stitch, out_size=self.stitch.box_size)
        hole = torch.empty((len(mask_fhw), *self.size))
        for index, corner in enumerate(self.stitch.corners):
            cut = crop(mask_fhw[index : index + 1], replace(unscaled, corners=(corner,)))
            hole[index] = F.adaptive_max_pool2d((cut > 0.5).float(), self.size)[0]
        return hole

    def placed(self, shown_hwc: Tensor, index: int, original_hwc: Tensor) -> Tensor:
        """A whole frame [H, W, 3]: what the model made of frame `index`, and the original around it."""
        return uncrop(shown_hwc[None], self.part(index, index + 1).stitch, original_hwc[None])[0]

    def described(self) -> str:
        """For the report."""
        (height, width), (box_height, box_width) = self.stitch.source_size, self.stitch.box_size
        shown = f"seen by the model at {self.size[1]}x{self.size[0]}"
        if self.mode == "off":
            return f"Crop: none; the frames of {width}x{height} are {shown}."
        return f"Crop ({self.mode}): {box_width}x{box_height} of {width}x{height} around the subject, {shown}."


def plan_local_crop(mask_fhw: Clip, traits: Traits, mode: str = "auto") -> LocalCrop:
    """Where the model looks in a shot with this edit mask [F, H, W] (above 0.5 = edit).

    Raises ValueError on an unknown mode and, unless it is "off", when the mask is empty on all frames.
    """
    if mode not in CROPS:
        raise ValueError(f"Crop: got the mode {mode!r}; use one of {', '.join(CROPS)}.")
    count, height, width = mask_fhw.shape
    whole = whole_frame(count, height, width, traits)
    if mode == "off":
        return whole
    boxes = subject_boxes(mask_fhw, [])
    across, down = ((boxes[:, axis + 2] - boxes[:, axis]).amax().item() for axis in (0, 1))
    if mode == "auto" and across * down > SMALL * height * width:
        return whole
    density = math.prod(whole.size) / (height * width)
    dense = mode == "fast"
    # A tiny subject gets more of its surroundings, so that neither the picture grows blurred nor the crop too small.
    least = traits.pixels * FEWEST / density if dense else traits.pixels / ENLARGED**2
    padding = max(PADDING if dense else traits.room, (math.sqrt(least / (across * down)) - 1) / 2)
    area = _area(across, down, padding, height, width)
    pixels = min(traits.pixels, area * (density if dense else ENLARGED**2))
    subject, frame = torch.tensor([across, down]), (width, height)
    box_size, out_size = plan_sizes(subject, frame, padding, traits.multiple, pixels / 1e6)
    corners = follow_corners(boxes, box_size, frame)
    return LocalCrop(Stitch(corners, box_size[::-1], out_size[::-1], (height, width)), "fast" if dense else "fine")


def whole_frame(count: int, height: int, width: int, traits: Traits) -> LocalCrop:
    """The whole frame on `count` frames, in the model's size nearest to its aspect; small frames are enlarged twice at
    most, but for rounding to sides that the model takes."""
    pixels = min(traits.pixels, ENLARGED**2 * height * width)
    size = replace(traits, pixels=pixels).size_for(height, width)
    return LocalCrop(Stitch(((0, 0),) * count, (height, width), size, (height, width)), "off")


def _area(across: float, down: float, padding: float, height: int, width: int) -> float:
    """Pixels of the frame in the box around a subject, as `plan_sizes` will take it."""
    across, down = across * (1 + 2 * padding), down * (1 + 2 * padding)
    return min(max(across, down / WIDEST), width) * min(max(down, across / WIDEST), height)
