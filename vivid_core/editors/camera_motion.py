"""A still picture as a short clip, seen by a camera that moves: what UniEdit needs to set a picture in motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import checked_frames, checked_mask_for
from ..runtime import Runtime

EASES = ("even", "eased")
MOST_FRAMES = 1024
MOST_ZOOM, MOST_PAN = 2.0, 0.5
LOBES = 3  # of the Lanczos filter; with two, sharpness would pulse as the picture glides between pixels
NOTHING = 1e-12  # a weight that is only there because pi is rounded


@dataclass(frozen=True)
class CameraPath:
    """How the camera goes in `count` frames.

    `zoom` is the magnification at the end over that at the start: above 1 it goes closer, below 1 away. `pan_x` and
    `pan_y` are how far the view goes right and down, as parts of the picture's width and height. "even" keeps one
    speed; "eased" starts and ends at rest. The view never leaves the picture: a pan is seen from as much closer as it
    needs, so that without one the whole picture is the widest view.
    """

    count: int = 16
    zoom: float = 1.1
    pan_x: float = 0.0
    pan_y: float = 0.0
    ease: str = "eased"

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST_FRAMES:
            raise ValueError(f"Camera Motion: got {self.count} frames; use 1 to {MOST_FRAMES}.")
        if not 1 / MOST_ZOOM <= self.zoom <= MOST_ZOOM:
            raise ValueError(f"Camera Motion: got a zoom of {self.zoom:g}; use {1 / MOST_ZOOM:g} to {MOST_ZOOM:g}.")
        if not (abs(self.pan_x) <= MOST_PAN and abs(self.pan_y) <= MOST_PAN):
            raise ValueError(
                f"Camera Motion: got a pan of {self.pan_x:g} to the right and {self.pan_y:g} down; use "
                f"{-MOST_PAN:g} to {MOST_PAN:g} of the picture's width and height."
            )
        if self.ease not in EASES:
            raise ValueError(f"Camera Motion: got the speed {self.ease!r}; use one of {', '.join(EASES)}.")

    def views(self) -> list[View]:
        """What is seen in each frame."""
        nearest = 1 / (1 - max(abs(self.pan_x), abs(self.pan_y)))  # so that both ends of a pan stay inside
        begin = nearest * max(1.0, 1 / self.zoom)
        shares = [index / max(self.count - 1, 1) for index in range(self.count)]
        if self.ease == "eased":
            shares = [share * share * (3 - 2 * share) for share in shares]
        return [
            View(begin * self.zoom**share, 0.5 + self.pan_x * (share - 0.5), 0.5 + self.pan_y * (share - 0.5))
            for share in shares
        ]


class View(NamedTuple):
    """A part of the picture: the magnification (1: all of it), and its middle as a part of the width and height."""

    zoom: float
    middle_x: float
    middle_y: float


class MovedClip(NamedTuple):
    """The frames, the mask that moved with them, and how fast the picture moves, in pixels from frame to frame."""

    frames_fhwc: Tensor
    mask_fhw: Tensor
    fastest: float


def camera_motion(
    image_1hwc: Tensor,
    path: CameraPath,
    mask_1hw: Tensor | None = None,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> MovedClip:
    """The picture as a clip of `path.count` frames of its own size (UniEdit, image input).

    Each frame is sampled from the picture itself, at fractions of pixels, with a Lanczos filter; a view of the whole
    picture is the picture to the bit. The mask (without one: 1 everywhere) goes the same way, linearly.

    Raises ValueError when there is more than one picture, or the mask doesn't fit.
    """
    image_1hwc = checked_frames(image_1hwc, "Camera Motion", notes)
    if len(image_1hwc) != 1:
        raise ValueError(
            f"Camera Motion: got {len(image_1hwc)} pictures, but it makes a clip of one; pick one of them, or use the "
            "clip as it is."
        )
    _, height, width, _ = image_1hwc.shape
    mask = torch.ones(1, height, width) if mask_1hw is None else checked_mask_for(mask_1hw, image_1hwc, "Camera Motion")
    views = path.views()
    frames = torch.empty(len(views), height, width, 3)
    masks = torch.empty(len(views), height, width)
    runtime = runtime or Runtime()
    runtime.begin(len(views))
    for view, frame, moved in zip(views, frames, masks):
        frame.copy_(_seen(image_1hwc[0], view, LOBES))
        moved.copy_(_seen(mask[0, ..., None], view, 1)[..., 0])
        runtime.advance(preview=frame.contiguous)
    return MovedClip(frames, masks, _fastest(views, height, width))


def _seen(picture_hwc: Tensor, view: View, lobes: int) -> Tensor:
    """What a view shows, in the picture's own size."""
    height, width = picture_hwc.shape[:2]
    rows = _sampled(picture_hwc.float(), 0, _places(height, view.zoom, view.middle_y), lobes)
    return _sampled(rows, 1, _places(width, view.zoom, view.middle_x), lobes).clamp_(0, 1)


def _places(size: int, zoom: float, middle: float) -> Tensor:
    """Where in the picture the middle of each pixel of a view lies, counted in pixels from the middle of the first."""
    at = torch.arange(size, dtype=torch.float64) + 0.5
    return (at - size / 2) / zoom + middle * size - 0.5


def _sampled(picture_hwc: Tensor, axis: int, places: Tensor, lobes: int) -> Tensor:
    """The picture at these places of one axis. One lobe is linear, more are Lanczos; the edge is repeated."""
    first = places.floor().long() - lobes + 1
    taps = torch.stack([first + tap for tap in range(2 * lobes)])
    distance = taps - places
    if lobes == 1:
        weights = (1 - distance.abs()).clamp_(min=0)
    else:
        weights = torch.sinc(distance) * torch.sinc(distance / lobes) * (distance.abs() < lobes)
    weights = weights.masked_fill(weights.abs() < NOTHING, 0)
    weights = (weights / weights.sum(0)).float()
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    result = torch.zeros_like(picture_hwc)
    for tap, weight in zip(taps.clamp_(0, picture_hwc.shape[axis] - 1), weights):
        result.addcmul_(picture_hwc.index_select(axis, tap), weight.view(shape))
    return result


def _fastest(views: list[View], height: int, width: int) -> float:
    """How far a corner of the picture goes at most from one frame to the next, in pixels of the frame."""

    def corner(view: View, x: float, y: float) -> tuple[float, float]:
        return view.zoom * (x - view.middle_x) * width, view.zoom * (y - view.middle_y) * height

    most = 0.0
    for one, other in zip(views, views[1:]):
        for x, y in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
            (left, top), (right, bottom) = corner(one, x, y), corner(other, x, y)
            most = max(most, abs(right - left), abs(bottom - top))
    return most
