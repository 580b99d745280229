"""Stands for "any image editor" in the demo: paints a star on a keyframe and returns it in a size of its own."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw


def paint_star(source: Path, target: Path, multiple: int = 8) -> None:
    """Write `source` with a star in its middle to `target`, resized as editors do: sides in steps of `multiple`."""
    image = Image.open(source).convert("RGB")
    width, height = image.size
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    centre, radius = (0.5 * width, 0.56 * height), 0.16 * min(width, height)
    draw.polygon(star(centre, radius * 1.12), fill=(120, 30, 20, 230))
    draw.polygon(star(centre, radius), fill=(250, 205, 60, 235))
    image.paste(layer, mask=layer.getchannel("A"))
    size = tuple(max(multiple, round(side * 1.5 / multiple) * multiple) for side in image.size)
    image.resize(size, Image.Resampling.LANCZOS).save(target)


def star(centre: tuple[float, float], radius: float, points: int = 5) -> list[tuple[float, float]]:
    """The corners of a star, one point up."""
    corners = []
    for index in range(2 * points):
        reach = radius if index % 2 == 0 else radius * 0.45
        angle = math.pi * index / points - math.pi / 2
        corners.append((centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)))
    return corners
