"""Cut a steady crop around the subject, and put it back exactly where it was."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..runtime import Runtime
from .crop_plan import CROP_MODES, follow_corners, plan_sizes, static_corners, subject_boxes
from .keyframes import ASPECT_TOLERANCE

MOST_MULTIPLE = 1024  # pixels; no model asks for more than 128

__all__ = ["CROP_MODES", "Stitch", "check_crop_size", "check_source", "crop", "plan_crop", "uncrop"]


@dataclass(frozen=True)
class Stitch:
    """Where a crop was taken: plain integers in source pixels, safe to pickle and to print.

    `corners` is (left, top) of the box on each frame; a box may reach over the frame's edge (also at negative
    places), where the edge is repeated. Sizes are (height, width): `box_size` is the same on every frame, `out_size`
    is what the crop is resized to (equal to `box_size` if it isn't), `source_size` is the frame's.
    """

    corners: tuple[tuple[int, int], ...]
    box_size: tuple[int, int]
    out_size: tuple[int, int]
    source_size: tuple[int, int]

    @property
    def frame_count(self) -> int:
        return len(self.corners)

    @property
    def scaled(self) -> bool:
        return self.out_size != self.box_size


def plan_crop(
    mask_fhw: Tensor,
    *,
    mode: str = "static",
    padding: float = 0.25,
    multiple: int = 16,
    megapixels: float = 0.0,
    notes: list[str] | None = None,
) -> Stitch:
    """Plan a crop around the mask (above 0.5), with one size for the whole clip.

    "static" takes one box for all frames. "follow" lets it glide with the subject: as smoothly as it can while the
    subject stays inside, in whole pixels. `padding` is the room on each side, as a part of the subject's size. The
    crop's sides are multiples of `multiple` and at most 2 : 1. `megapixels` (10^6 pixels) above 0 is the size that the
    crop is resized to; 0 keeps the source's pixels. Boxes lie inside the frame where they can; a frame smaller than
    the box is continued by repeating its edge. Frames with an empty mask take boxes in between those around them.

    Raises ValueError when the mask is empty on all frames or a setting is out of range.
    """
    if mode not in CROP_MODES:
        raise ValueError(f"Crop: got the mode {mode!r}; use one of {', '.join(CROP_MODES)}.")
    if not 0 <= padding <= 10 or not 1 <= multiple <= MOST_MULTIPLE or not 0 <= megapixels <= 100:
        raise ValueError(
            f"Crop: got a padding of {padding}, a multiple of {multiple} and {megapixels} megapixels; use a padding of "
            f"0 to 10, a multiple of 1 to {MOST_MULTIPLE} and 0 to 100 megapixels."
        )
    notes = [] if notes is None else notes
    height, width = int(mask_fhw.shape[-2]), int(mask_fhw.shape[-1])
    boxes = subject_boxes(mask_fhw, notes)
    if mode == "static":
        boxes = (boxes.amin(0) * boxes.new_tensor([1, 1, 0, 0]) + boxes.amax(0) * boxes.new_tensor([0, 0, 1, 1]))[None]
    subject = (boxes[:, 2:] - boxes[:, :2]).amax(0)
    box_size, out_size = plan_sizes(subject, (width, height), padding, multiple, megapixels)
    if box_size[0] > width or box_size[1] > height:
        notes.append(
            f"Crop: the frame ({width}x{height}) is smaller than the crop needs ({box_size[0]}x{box_size[1]}, sides "
            f"that are multiples of {multiple}), so its edge is repeated; the return is still exact."
        )
    place = static_corners if mode == "static" else follow_corners
    corners = place(boxes, box_size, (width, height))
    return Stitch(
        corners * (mask_fhw.shape[0] if mode == "static" else 1), box_size[::-1], out_size[::-1], (height, width)
    )


def crop(clip: Tensor, stitch: Stitch, runtime: Runtime | None = None) -> Tensor:
    """The crop of frames_fhwc or of mask_fhw, a new tensor of the same kind in `stitch.out_size`.

    Raises ValueError when the clip is not the one that the crop was planned for.
    """
    check_source(clip, stitch)
    runtime = runtime or Runtime()
    cropped = torch.empty((clip.shape[0], *stitch.out_size, *clip.shape[3:]), dtype=clip.dtype)
    for frame, corner, target in zip(clip, stitch.corners, cropped):
        target.copy_(_resized(_cut(frame, corner, stitch.box_size), stitch.out_size))
        runtime.advance()
    return cropped


def uncrop(
    cropped: Tensor,
    stitch: Stitch,
    original: Tensor | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> Tensor:
    """Put an edited crop back: a new clip that is `original` outside the boxes, to the bit.

    `cropped` is frames_fhwc or mask_fhw; without `original` the rest is 0, as masks want it. If the crop was not
    resized, the pixels come back to the bit, too; otherwise they are resampled to the box. A crop of another size but
    the same aspect (within 1 %) is resized, and noted.

    Raises ValueError when the number of frames, a size or the aspect doesn't fit the plan.
    """
    check_crop_size(cropped, stitch, notes)
    if original is not None:
        check_source(original, stitch)
        if original.shape[3:] != cropped.shape[3:]:
            raise ValueError(
                f"Uncrop: got a crop of shape {tuple(cropped.shape)} for a clip of shape {tuple(original.shape)}; both "
                "must be frames [F, H, W, 3] or both masks [F, H, W]."
            )
    runtime = runtime or Runtime()
    shape = (stitch.frame_count, *stitch.source_size, *cropped.shape[3:])
    result = torch.zeros(shape, dtype=cropped.dtype) if original is None else torch.empty(shape, dtype=original.dtype)
    for index, corner in enumerate(stitch.corners):
        if original is not None:
            result[index] = original[index]
        inner, rows, columns = _inner(corner, stitch.box_size, stitch.source_size)
        result[index][rows, columns] = _resized(cropped[index], stitch.box_size)[inner]
        runtime.advance()
    return result


def _cut(frame: Tensor, corner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    height, width = frame.shape[:2]
    rows = torch.arange(corner[1], corner[1] + size[0]).clamp_(0, height - 1)
    columns = torch.arange(corner[0], corner[0] + size[1]).clamp_(0, width - 1)
    first = frame[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    if first.shape[:2] == size:
        return first
    return frame[rows][:, columns]


def _inner(
    corner: tuple[int, int], size: tuple[int, int], frame_size: tuple[int, int]
) -> tuple[tuple[slice, slice], slice, slice]:
    """The part of a box that lies inside the frame: counted in the box, then its rows and columns in the frame."""
    left, top = max(corner[0], 0), max(corner[1], 0)
    right, bottom = min(corner[0] + size[1], frame_size[1]), min(corner[1] + size[0], frame_size[0])
    inner = (slice(top - corner[1], bottom - corner[1]), slice(left - corner[0], right - corner[0]))
    return inner, slice(top, bottom), slice(left, right)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image_hwc or mask_hw in another size; the input itself if it has it already."""
    if image.shape[:2] == size:
        return image
    if image.ndim == 2:
        return F.interpolate(image[None, None], size, mode="bilinear", antialias=True)[0, 0].clamp_(0, 1)
    batch = rearrange(image, "h w c -> 1 c h w")
    batch = F.interpolate(batch, size, mode="bicubic", antialias=True).clamp_(0, 1)
    return rearrange(batch, "1 c h w -> h w c")


def check_source(clip: Tensor, stitch: Stitch) -> None:
    """Raise ValueError when the clip is not the one that the crop was planned for."""
    if clip.shape[0] != stitch.frame_count or tuple(clip.shape[1:3]) != stitch.source_size:
        height, width = stitch.source_size
        raise ValueError(
            f"Crop: got {clip.shape[0]} frames of {clip.shape[2]}x{clip.shape[1]}, but the crop was planned for "
            f"{stitch.frame_count} frames of {width}x{height}; use the same clip for both."
        )


def check_crop_size(cropped: Tensor, stitch: Stitch, notes: list[str] | None) -> None:
    """Raise ValueError when an edited crop has another number of frames or another aspect; another size is noted."""
    if cropped.shape[0] != stitch.frame_count:
        raise ValueError(
            f"Uncrop: the edited crop has {cropped.shape[0]} frames, but {stitch.frame_count} were cropped; give all "
            "of them, in their order."
        )
    height, width = int(cropped.shape[1]), int(cropped.shape[2])
    if (height, width) == stitch.out_size:
        return
    wanted_height, wanted_width = stitch.out_size
    if abs((width / height) / (wanted_width / wanted_height) - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"Uncrop: the edited crop is {width}x{height}, but {wanted_width}x{wanted_height} was cropped; the aspect "
            "differs by more than 1 %, so resize it back first."
        )
    if notes is not None:
        notes.append(f"Uncrop: the edited crop was resized from {width}x{height} to {wanted_width}x{wanted_height}.")
