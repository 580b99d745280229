"""The seam of an edit: a colour step along the mask's border that the original gives no reason for.

A recoloured object meets its background in a new colour step, and rightly so, since its own edge is there. So a step
counts only where the original has no edge on the border: where its own step there is no larger than on two lines
beside the border, one inside and one outside. That also tells an edge from a texture, which has steps everywhere.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from torch import Tensor

from ..optional import opencv
from .consistency import box_around, lab_colours

SEAM_RADIUS_PX = 3  # how far on each side of the border colours are averaged
EDGE_RADIUS_PX = 1  # the same for the original's edge: narrow, so that it must lie on the border
BESIDE_PX = 2 * EDGE_RADIUS_PX + 2  # how far beside the border the two lines lie: their windows don't touch it
ALONG_PX = 9  # how far along the border steps are averaged before they are compared
EDGE_SHARE = 0.5  # an edge exceeds the steps beside it by this share of them
EDGE_LEAST = 4.0  # and by this many dE at least, about twice what is just noticeable


def seam(original_hwc: Tensor, edited_hwc: Tensor, mask_hw: Tensor, radius_px: int = SEAM_RADIUS_PX) -> float:
    """Colour step across the mask border where the original has no edge, in CIE dE 1976; lower is better.

    At each border pixel (inside, with a neighbour outside) the mean Lab colour of the inside pixels within
    `radius_px` (a square window) is compared with that of the outside pixels. The edit's step minus the original's,
    where positive, counts by how little the original has an edge there (see `_edge`), and is averaged over the border.
    About 2.3 dE is just noticeable. NaN without a border.
    """
    cv2 = opencv("Measure Edit")
    inside = (mask_hw > 0.5).numpy()
    box = box_around(inside, max(radius_px, EDGE_RADIUS_PX + BESIDE_PX) + ALONG_PX)
    if box is None:
        return math.nan
    inside = np.ascontiguousarray(inside[box]).view(np.uint8)
    border = _border(cv2, inside)
    if not border.any():
        return math.nan
    original = lab_colours(cv2, original_hwc, box)
    before = _steps(cv2, original, inside, radius_px)[border]
    after = _steps(cv2, lab_colours(cv2, edited_hwc, box), inside, radius_px)[border]
    return float((np.maximum(after - before, 0) * (1 - _edge(cv2, original, inside, border))).mean())


def _edge(cv2: ModuleType, lab: np.ndarray, inside: np.ndarray, border: np.ndarray) -> np.ndarray:
    """How much of an edge the original has at each border pixel: 0 none, 1 a full one.

    Steps over EDGE_RADIUS_PX are averaged along the border, over windows of ALONG_PX on each side, and so are those
    on the borders of the mask grown and shrunk by BESIDE_PX. The former minus the latter is a full edge from
    EDGE_SHARE of the latter and EDGE_LEAST on.
    """
    square = np.ones((2 * BESIDE_PX + 1, 2 * BESIDE_PX + 1), np.uint8)
    on_it = _averaged(cv2, [_steps(cv2, lab, inside, EDGE_RADIUS_PX)], [border], ALONG_PX)
    lines = [cv2.dilate(inside, square), cv2.erode(inside, square)]
    steps = [_steps(cv2, lab, line, EDGE_RADIUS_PX) for line in lines]
    beside = _averaged(cv2, steps, [_border(cv2, line) for line in lines], ALONG_PX + BESIDE_PX)
    excess = (on_it - beside)[border] / np.maximum(EDGE_SHARE * beside[border], EDGE_LEAST)
    edge: np.ndarray = np.clip(excess, 0, 1)
    return edge


def _border(cv2: ModuleType, inside: np.ndarray) -> np.ndarray:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    border: np.ndarray = (inside > 0) & (cv2.erode(inside, cross) == 0)
    return border


def _steps(cv2: ModuleType, lab: np.ndarray, inside: np.ndarray, radius_px: int) -> np.ndarray:
    """The distance of the mean colours inside and outside, within `radius_px` of each pixel; 0 where one is missing."""

    def local_mean(side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = _sums(cv2, lab * side[..., None], radius_px)
        count = _sums(cv2, side, radius_px)
        return total / np.maximum(count, 1)[..., None], count > 0

    (within, some), (without, others) = local_mean(inside.astype(np.float32)), local_mean(1 - inside.astype(np.float32))
    steps: np.ndarray = np.linalg.norm(within - without, axis=-1) * (some & others)
    return steps


def _averaged(cv2: ModuleType, values: list[np.ndarray], where: list[np.ndarray], radius_px: int) -> np.ndarray:
    """The mean of all `values` that are `where` it is true, within `radius_px` of each pixel; 0 if there are none."""
    total = sum(_sums(cv2, (value * chosen).astype(np.float32), radius_px) for value, chosen in zip(values, where))
    count = sum(_sums(cv2, chosen.astype(np.float32), radius_px) for chosen in where)
    mean: np.ndarray = total / np.maximum(count, 1)
    return mean


def _sums(cv2: ModuleType, values: np.ndarray, radius_px: int) -> np.ndarray:
    window = (2 * radius_px + 1, 2 * radius_px + 1)
    sums: np.ndarray = cv2.boxFilter(values, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return sums
