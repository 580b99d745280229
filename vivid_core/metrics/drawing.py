"""What the pictures are drawn with: colours, text, badges and outlines, on uint8 arrays [H, W, 3] and [H, W, 4]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..optional import opencv
from .consistency import box_around

Colour = tuple[int, int, int]

BACKGROUND: Colour = (20, 22, 27)
PANEL: Colour = (30, 33, 40)
LINE: Colour = (62, 68, 80)
TEXT: Colour = (236, 239, 243)
QUIET: Colour = (158, 167, 180)
MASK: Colour = (255, 64, 150)
KEY: Colour = (255, 184, 28)
WHITE: Colour = (255, 255, 255)

SMOOTH = 4  # shapes are drawn this many times larger and shrunk, which makes their edges smooth


def to_bytes(image_hwc: Tensor) -> np.ndarray:
    """An image_hwc (float 0..1) as a contiguous uint8 array [H, W, 3]."""
    return (image_hwc[..., :3].float().clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()


def to_image(picture: np.ndarray) -> Tensor:
    """A uint8 array [H, W, 3] as an image_hwc (float 0..1)."""
    return torch.tensor(picture, dtype=torch.float32).div_(255)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """A colour between two others, `share` of the second."""
    red, green, blue = (round((1 - share) * one + share * other) for one, other in zip(first, second))
    return red, green, blue


def even(length: float) -> int:
    """`length` rounded up to an even number of pixels, as video encoders want it."""
    return 2 * math.ceil(length / 2)


def fitted(width: int, height: int, box_width: int, box_height: int) -> tuple[int, int]:
    """The largest size with the aspect of width x height that fits the box; at least 1x1."""
    scale = min(box_width / width, box_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def line_width(width: int, height: int) -> float:
    """How wide an outline should be on a picture of this size, in pixels."""
    return max(1.5, min(width, height) / 300)


def checked_keys(key_indices: Sequence[int], count: int) -> tuple[int, ...]:
    """The key frames in order, without repeats, counted from the start. Raises ValueError outside the clip."""
    for index in key_indices:
        if not -count <= index < count:
            raise ValueError(
                f"Keyframes: frame {index} was marked as a keyframe, but the clip has {count} frames; use indices "
                f"in 0..{count - 1}."
            )
    return tuple(sorted({int(index) % count for index in key_indices}))


def resized_mask(mask_hw: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Where the mask, resized to (width, height), is above 0.5: bool [height, width]."""
    return resized((mask_hw.float() * 255).round().to(torch.uint8).contiguous().numpy(), size) > 127


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A uint8 picture [H, W, 3] or [H, W] at (width, height); large magnifications show the pixels as they are."""
    from PIL import Image

    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    magnified = size[0] >= 2 * picture.shape[1]
    kind = Image.Resampling.NEAREST if magnified else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize(size, kind))


def outlined(picture: np.ndarray, inside_hw: np.ndarray, colour: Colour, width_px: float) -> np.ndarray:
    """The picture with a smooth line along the border of `inside_hw` (bool [H, W]) and a thin shade around it."""
    box = box_around(inside_hw, math.ceil(width_px) + 4)
    if box is None:
        return picture
    cv2 = opencv("Compare")
    inside = np.ascontiguousarray(inside_hw[box]).view(np.uint8)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    without = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    distance = np.where(inside > 0, within - 0.5, 0.5 - without)
    distance = np.abs(cv2.GaussianBlur(distance, (0, 0), 0.9))  # the steps of the pixel grid are smoothed away
    line = np.clip(width_px / 2 + 0.5 - distance, 0, 1)[..., None]
    shade = 0.45 * np.clip(width_px / 2 + 1.75 - distance, 0, 1)[..., None]
    result = picture.copy()
    part = picture[box] * (1 - shade)
    result[box] = np.rint(part * (1 - line) + np.float32(colour) * line).astype(np.uint8)
    return result


def font(size: int) -> Any:
    """Pillow's own typeface at `size` pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """How many pixels wide `text` is."""
    return math.ceil(font(size).getlength(text))


def write(
    picture: Any, xy: tuple[float, float], text: str, size: int, colour: Colour | int = TEXT, anchor: str = "lm"
) -> None:
    """Write on a PIL picture; `anchor` as in Pillow: by default `xy` is the left end of the middle line."""
    from PIL import ImageDraw

    ImageDraw.Draw(picture).text(xy, text, fill=colour, font=font(size), anchor=anchor)


def diamond(size: int, colour: Colour = KEY) -> np.ndarray:
    """The sign of a keyframe: RGBA [size, size, 4]."""
    edge = SMOOTH * size - 1
    return _shape((size, size), colour, "polygon", [(edge / 2, 0), (edge, edge / 2), (edge / 2, edge), (0, edge / 2)])


def disc(size: int, colour: Colour = WHITE) -> np.ndarray:
    """A round dot: RGBA [size, size, 4]."""
    edge = SMOOTH * size - 1
    return _shape((size, size), colour, "ellipse", (0, 0, edge, edge))


def lettering(text: str, size: int, colour: Colour = TEXT) -> np.ndarray:
    """The text alone, on nothing: RGBA, as high as a line."""
    from PIL import Image

    width, height = text_width(text, size), round(1.5 * size)
    letters = Image.new("L", (width, height), 0)
    write(letters, (width / 2, height / 2), text, size, 255, "mm")
    return _tinted(np.asarray(letters), colour)


def pill(text: str, size: int) -> np.ndarray:
    """White text on a dark, see-through label with rounded ends: RGBA."""
    letters = lettering(text, size, WHITE)
    height, width = letters.shape[0] + size // 3, letters.shape[1] + round(1.3 * size)
    ends = (0, 0, SMOOTH * width - 1, SMOOTH * height - 1)
    badge = _shape((width, height), (0, 0, 0), "rounded_rectangle", ends, SMOOTH * height // 2)
    alpha = np.zeros((height, width), np.float32)
    top, left = (height - letters.shape[0]) // 2, (width - letters.shape[1]) // 2
    alpha[top : top + letters.shape[0], left : left + letters.shape[1]] = letters[..., 3] / 255
    ground = 0.6 * badge[..., 3] / 255 * (1 - alpha)
    lightness = 255 * alpha / np.maximum(alpha + ground, 1e-6)
    return np.rint(np.stack([lightness] * 3 + [255 * (alpha + ground)], -1)).astype(np.uint8)


def stamp(picture: np.ndarray, badge: np.ndarray, left: int, top: int) -> None:
    """Lay an RGBA badge on a picture [H, W, 3], in place; what sticks out is cut off."""
    height, width = picture.shape[:2]
    rows, columns = slice(max(top, 0), max(top + badge.shape[0], 0)), slice(max(left, 0), max(left + badge.shape[1], 0))
    part = picture[rows, columns]
    badge = badge[max(-top, 0) :, max(-left, 0) :][: max(height - max(top, 0), 0), : max(width - max(left, 0), 0)]
    alpha = badge[..., 3:] / np.float32(255)
    part[:] = np.rint(part * (1 - alpha) + badge[..., :3] * alpha).astype(np.uint8)


def _shape(size: tuple[int, int], colour: Colour, kind: str, *place: Any) -> np.ndarray:
    from PIL import Image, ImageDraw

    large = Image.new("L", (SMOOTH * size[0], SMOOTH * size[1]), 0)
    getattr(ImageDraw.Draw(large), kind)(*place, fill=255)
    return _tinted(np.asarray(large.resize(size, Image.Resampling.BOX)), colour)


def _tinted(alpha: np.ndarray, colour: Colour) -> np.ndarray:
    return np.concatenate([np.broadcast_to(np.uint8(colour), (*alpha.shape, 3)), alpha[..., None]], -1)
