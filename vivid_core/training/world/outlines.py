"""The outlines of the world's shapes, as distances.

Every shape fills its square from -1 to 1 in both directions and stands upright. So a box around an object tells where
it is and how large, whatever its shape, and a box and a caption together tell all of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

ROOT5 = math.sqrt(5.0)
RING_MIDDLE, RING_HALF_WIDTH = 0.71, 0.29
CROSS_HALF_WIDTH = 0.36


def outline(shape: str, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The distance to the outline of `shape` at these points, negative inside, exact near straight and round edges.

    Raises ValueError on a shape that is not known.
    """
    if shape not in OUTLINES:
        raise ValueError(f'World: got the shape "{shape}"; choose one of {", ".join(OUTLINES)}.')
    return OUTLINES[shape](right, down)


def _circle(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.sqrt(right * right + down * down) - 1


def _square(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(right), np.abs(down)) - 1


def _triangle(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.maximum((2 * np.abs(right) - down - 1) / ROOT5, down - 1)


def _cross(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    across, along = np.abs(right), np.abs(down)
    return np.maximum(np.maximum(across, along) - 1, np.minimum(across, along) - CROSS_HALF_WIDTH)


def _ring(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(right * right + down * down) - RING_MIDDLE) - RING_HALF_WIDTH


def _heart(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    across = np.abs(right)
    lobe = np.sqrt((across - 0.5) ** 2 + (down + 0.5) ** 2) - 0.5
    tip = np.maximum(0.8 * across + 0.6 * (down - 1), np.maximum(across - 1, -0.5 - down))  # its side touches the lobe
    return np.minimum(lobe, tip)


OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
}
