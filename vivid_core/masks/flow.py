"""Dense optical flow and the arithmetic of maps, on numpy arrays.

A flow [h, w, 2] holds (dx, dy) in pixels; a map [h, w, 2] holds absolute (x, y) coordinates: where in another picture
the content of this pixel is found. Pixel centres have whole coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..distance import lengths
from ..optional import opencv

Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Flags: TypeAlias = NDArray[np.bool_]
Preset = Literal["ultrafast", "fast", "medium", "fine"]

PRESETS: dict[Preset, int] = {"ultrafast": 0, "fast": 1, "medium": 2, "fine": 2}
SMALLEST_SIDE = 32  # the flow's coarse-to-fine search needs a few patches on each side
PURPOSE = "Optical flow"


def picture(image_hwc: Tensor, width: int | None = None, height: int | None = None) -> Bytes:
    """An image_hwc (float 0..1) as uint8 [h, w, 3], shrunk to `width` x `height` by area averaging if given."""
    cv2 = opencv(PURPOSE)
    image = image_hwc.numpy()
    if width is not None and height is not None:
        image = resized(image, width, height)
    return cv2.convertScaleAbs(image, alpha=255.0)


def resized(image: NDArray, width: int, height: int) -> NDArray:
    """`image` shrunk to `width` x `height` by area averaging; as it is when it has that size."""
    cv2 = opencv(PURPOSE)
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def luminance(image: Bytes) -> Bytes:
    """The luminance (Rec. 601) of an RGB picture: uint8 [h, w, 3] to uint8 [h, w]."""
    cv2 = opencv(PURPOSE)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def dense_flow(gray_a: Bytes, gray_b: Bytes, preset: Preset = "medium", init: Floats | None = None) -> Floats:
    """The flow [h, w, 2] from `gray_a` to `gray_b` (uint8 [h, w]): a(x) looks like b(x + flow(x)).

    Dense inverse search (Kroeger et al. 2016). "fine" is "medium" down to single pixels: what "medium" finds in a
    picture of twice the size. `init` is a first guess, which the search refines.
    Raises ValueError when the pictures differ in size.
    """
    cv2 = opencv(PURPOSE)
    check_same_size(gray_a, gray_b)
    height, width = gray_a.shape
    more_rows, more_columns = max(0, SMALLEST_SIDE - height), max(0, SMALLEST_SIDE - width)
    if more_rows or more_columns:
        sides = (0, more_rows, 0, more_columns, cv2.BORDER_REPLICATE)
        gray_a, gray_b = cv2.copyMakeBorder(gray_a, *sides), cv2.copyMakeBorder(gray_b, *sides)
        init = None if init is None else cv2.copyMakeBorder(init, *sides)
    search = cv2.DISOpticalFlow_create(PRESETS[preset])
    if preset == "fine":
        search.setFinestScale(0)
    start = (
        None if init is None else np.array(init, np.float32, order="C")
    )  # the search writes its answer into this one
    flow = search.calc(np.ascontiguousarray(gray_a), np.ascontiguousarray(gray_b), start)
    return flow[:height, :width]


class FlowEstimator(Protocol):
    """What finds the motion between two pictures: inverse search by default, or a model."""

    def both_ways(self, first: Bytes, second: Bytes) -> tuple[Floats, Floats]:
        """The flows [h, w, 2] from `first` to `second` and from `second` to `first`: RGB pictures, uint8 [h, w, 3].

        Raises ValueError when they differ in size.
        """


@dataclass(frozen=True)
class InverseSearch:
    """`dense_flow` on luminance: needs no weights."""

    preset: Preset = "medium"

    def both_ways(self, first: Bytes, second: Bytes) -> tuple[Floats, Floats]:
        """As `FlowEstimator` says."""
        gray = luminance(first), luminance(second)
        return dense_flow(gray[0], gray[1], self.preset), dense_flow(gray[1], gray[0], self.preset)


INVERSE_SEARCH = InverseSearch()


def check_same_size(first: Bytes, second: Bytes) -> None:
    """Raises ValueError when two pictures [h, w, ...] differ in size."""
    if first.shape[:2] != second.shape[:2]:
        raise ValueError(
            f"Optical flow: got pictures of {first.shape[1]}x{first.shape[0]} and {second.shape[1]}x{second.shape[0]}; "
            "both must have the same size, so resize one of them."
        )


def pixel_grid(width: int, height: int, left: float = 0.0, top: float = 0.0) -> Floats:
    """The map [h, w, 2] that sends every pixel to itself, its first pixel at (`left`, `top`)."""
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0] = np.arange(left, left + width, dtype=np.float32)[:width]
    grid[..., 1] = np.arange(top, top + height, dtype=np.float32)[:height, None]
    return grid


def warp(image: NDArray, map_xy: Floats, border: Literal["repeat", "zero"] = "repeat") -> NDArray:
    """`image` [H, W] or [H, W, C] seen through `map_xy` [h, w, 2]: bilinear; outside of it the edge repeated, or 0."""
    cv2 = opencv(PURPOSE)
    mode = cv2.BORDER_REPLICATE if border == "repeat" else cv2.BORDER_CONSTANT
    return cv2.remap(image, map_xy, None, cv2.INTER_LINEAR, borderMode=mode)


def resampled(image: NDArray, to_image: NDArray[np.float64], width: int, height: int) -> NDArray:
    """`image` seen through the affine [2, 3] `to_image` on `width` x `height` pixels: bilinear, its edge repeated."""
    cv2 = opencv(PURPOSE)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, to_image, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)


def forward_backward_error(flow_ab: Floats, flow_ba: Floats) -> Floats:
    """How far a pixel of a lands from itself after going to b and back, in pixels: [h, w]."""
    height, width = flow_ab.shape[:2]
    there = flow_ab + pixel_grid(width, height)
    back = flow_ab + warp(flow_ba, there)
    return lengths(back)
