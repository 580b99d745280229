"""What a picture of the world shows, told from its pixels alone: which colour, which shape, where, how large."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..world.outlines import outline
from ..world.words import COLOURS, SHAPES

FAR = 0.3  # in RGB, from a colour to what is still called by its name; a backdrop is farther from all of them
LEAST = 0.01  # of a picture, that something of one colour must fill to be seen
GRID, REACH = 32, 1.6  # points to a side, and half a side in units of the square root of the area
ANGLES = np.arange(0, 2 * np.pi, np.pi / 12)


@dataclass(frozen=True)
class Seen:
    """What is seen of a colour: `mask_hw`, `area` as a part of the picture, its middle (right, down) as parts of the
    side, and the shape that it looks most like, with their IoU."""

    colour: str
    mask_hw: Tensor
    area: float
    middle: tuple[float, float]
    shape: str
    likeness: float


def colour_masks(image_hwc: Tensor) -> dict[str, Tensor]:
    """For each colour of the world, a mask [H, W] of the pixels that are called by its name."""
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255
    distances = (image_hwc[..., None, :] - palette).norm(dim=-1)
    nearest, which = distances.min(-1)
    return {colour: ((which == index) & (nearest < FAR)).float() for index, colour in enumerate(COLOURS)}


def seen_of(image_hwc: Tensor, colour: str) -> Seen | None:
    """What a picture in 0..1 shows of one colour; None where that is next to nothing."""
    mask = colour_masks(image_hwc)[colour]
    area = float(mask.mean())
    if area < LEAST:
        return None
    rows, columns = torch.nonzero(mask, as_tuple=True)
    height, width = mask.shape
    middle = (float(columns.float().mean() + 0.5) / width, float(rows.float().mean() + 0.5) / height)
    shape, likeness = _looks_like(mask, middle, area)
    return Seen(colour, mask, area, middle, shape, likeness)


def seen(image_hwc: Tensor) -> Seen | None:
    """What a picture shows of the colour that it shows most of; None where it shows none of them."""
    masks = colour_masks(image_hwc)
    return seen_of(image_hwc, max(masks, key=lambda colour: float(masks[colour].sum())))


def iou(first: Tensor, second: Tensor) -> float:
    """Of two masks; 1 when both are empty."""
    both, either = torch.minimum(first, second).sum(), torch.maximum(first, second).sum()
    return float(both / either) if either > 0 else 1.0


def _looks_like(mask_hw: Tensor, middle: tuple[float, float], area: float) -> tuple[str, float]:
    names, templates = _templates()
    along = torch.linspace(-REACH, REACH, GRID) * area**0.5
    down, right = torch.meshgrid(along, along, indexing="ij")
    places = torch.stack([2 * (right + middle[0]) - 1, 2 * (down + middle[1]) - 1], -1)
    own = F.grid_sample(mask_hw[None, None], places[None], align_corners=False)[0, 0]
    overlaps = torch.minimum(own, templates).sum((1, 2)) / torch.maximum(own, templates).sum((1, 2))
    best = int(overlaps.argmax())
    return names[best], float(overlaps[best])


@lru_cache(maxsize=1)
def _templates() -> tuple[tuple[str, ...], Tensor]:
    """Every shape at every angle, around its centre of mass and in units of the square root of its area."""
    names, masks = [], []
    fine = (np.arange(256) + 0.5) / 128 - 1
    for shape in SHAPES:
        inside = outline(shape, *(grid.astype(np.float64) for grid in np.meshgrid(fine, fine))) < 0
        unit = 2 * float(inside.mean()) ** 0.5  # the square root of the area, in radii
        rows = np.nonzero(inside)[0]
        low = float(fine[rows].mean())  # a triangle's centre of mass lies below the middle of its box
        along = np.linspace(-REACH, REACH, GRID) * unit
        right, down = np.meshgrid(along, along)
        for angle in ANGLES if shape not in ("circle", "ring") else ANGLES[:1]:
            cosine, sine = np.cos(angle), np.sin(angle)
            own = outline(shape, cosine * right + sine * down, cosine * down - sine * right + low)
            names.append(shape)
            masks.append(torch.from_numpy(np.clip(0.5 - own / unit * GRID / (2 * REACH), 0, 1)).float())
    return tuple(names), torch.stack(masks)
