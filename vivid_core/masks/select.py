"""From a box or a few clicks to a mask of the object, on one frame, without weights.

A box says where the background surely is: GrabCut learns both colour models from it. Clicks alone say little, so first
an object is grown from them (see grow.py), and GrabCut then finds its outline. Both run on a small copy of the
surroundings; the outline is put back onto the full picture's edges by a guided filter (He et al. 2013).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import checked_frames
from ..optional import opencv
from .grow import Click, Corners, Picture, claimed_background, grow_from_clicks, middle_of, start_in_box
from .prompts import Prompt
from .shapes import Bounds, Margins, bounds

WORK_SIDE = 360  # longest side of the small copy, pixels
SURROUNDINGS = 0.35  # of the box's size on each side: enough background to learn its colours
ITERATIONS = 6
CLICK_RADIUS = 0.008  # of the small copy's longest side: what a click marks for certain
PART_SHARE = 0.08  # of the largest part's area: smaller parts without a click are specks
KEPT = 0.5  # IoU of GrabCut's result with its start: below, it lost the object
HOLE_SHARE = 0.02  # of the object's area: larger holes are real, such as the space under an arm


def select_object(image_hwc: Tensor, prompt: Prompt) -> Tensor:
    """The mask of the object that `prompt` marks on `image_hwc` (float 0..1): float32 [H, W], 0 or 1.

    A prompt with a mask returns that mask. The same input gives the same mask: OpenCV's generator is seeded.
    Raises ValueError when the prompt has neither a box nor a point on the object.
    """
    image_hwc = checked_frames(image_hwc[None], "Select object")[0]
    if prompt.mask_hw is not None:
        return (prompt.mask_hw > 0.5).float()
    if prompt.box is None and not any(label for _, _, label in prompt.points):
        raise ValueError(
            f"Select object: {prompt.name} has only points on the background; add a point on the object, or a box."
        )
    image = (image_hwc.clamp(0, 1) * 255).round().byte().numpy()
    return torch.from_numpy(_select(opencv("Track Mask"), image, prompt)).float()


def _select(cv2: Any, image: np.ndarray, prompt: Prompt) -> np.ndarray:
    height, width = image.shape[:2]
    left, top, right, bottom = _surroundings(prompt, width, height)
    part = image[top:bottom, left:right]
    scale = min(1.0, WORK_SIDE / max(part.shape[:2]))
    small_size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, small_size, interpolation=cv2.INTER_AREA)

    def to_small(x: float, y: float) -> tuple[float, float]:
        return (x * width - left) * small_size[0] / (right - left), (y * height - top) * small_size[1] / (bottom - top)

    points = [
        (min(x, small_size[0] - 1), min(y, small_size[1] - 1), label)
        for x, y, label in ((*to_small(x, y), label) for x, y, label in prompt.points)
        if 0 <= x <= small_size[0] and 0 <= y <= small_size[1]  # background far from the box is background anyway
    ]
    box = None if prompt.box is None else (*to_small(*prompt.box[:2]), *to_small(*prompt.box[2:]))
    inside = _select_small(cv2, small, points, box)
    selected = np.zeros((height, width), bool)
    selected[top:bottom, left:right] = _at_full_size(cv2, inside, part)
    return selected


def _surroundings(prompt: Prompt, width: int, height: int) -> tuple[int, int, int, int]:
    if prompt.box is None:
        return 0, 0, width, height
    x0, y0, x1, y1 = prompt.box
    more_x, more_y = (max(16 / side, SURROUNDINGS * size) for side, size in ((width, x1 - x0), (height, y1 - y0)))
    across = [x for x, _, label in prompt.points if label]
    down = [y for _, y, label in prompt.points if label]
    return (
        int(max(0, min([x0 - more_x, *across])) * width),
        int(max(0, min([y0 - more_y, *down])) * height),
        int(np.ceil(min(1, max([x1 + more_x, *(x + 1 / width for x in across)])) * width)),
        int(np.ceil(min(1, max([y1 + more_y, *(y + 1 / height for y in down)])) * height)),
    )


def _select_small(cv2: Any, small: np.ndarray, points: list[Click], box: Corners | None) -> np.ndarray:
    cv2.setRNGSeed(0)
    colours = cv2.cvtColor(cv2.bilateralFilter(small, 5, 30, 3), cv2.COLOR_RGB2LAB)
    picture = Picture(cv2, colours)
    background = claimed_background(picture, points)

    def finished(guess: np.ndarray) -> np.ndarray:
        guess[background] = cv2.GC_BGD
        return _refined(picture, colours, guess, points)

    if box is None:
        return finished(grow_from_clicks(picture, points))
    if any(label for _, _, label in points):
        grown = grow_from_clicks(picture, points) == cv2.GC_PR_FGD
        return finished(start_in_box(picture, box, grown))
    guesses = [start_in_box(picture, box)]
    for seed in _likely_clicks(picture, box):
        grown = grow_from_clicks(picture, [*points, seed]) == cv2.GC_PR_FGD
        guesses.append(start_in_box(picture, box, grown))
    return max((finished(guess) for guess in guesses), key=lambda inside: _merit(picture, inside, box))


def _likely_clicks(picture: Picture, box: Corners) -> list[Click]:
    """Where a user would click on the object in a box: most enclosed by edges, and in the largest flat part."""
    inside, middle = middle_of(picture.shape, box)
    cv2 = picture.cv2
    dx, dy = (cv2.Sobel(picture.smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    edge = np.sqrt((dx**2 + dy**2).sum(axis=2))
    flat = inside & (edge < 2 * np.median(edge[inside]))
    room = cv2.distanceTransform(np.pad(flat, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    enclosed = np.zeros(picture.shape) if inside.all() else picture.distance(~inside)
    places = [np.unravel_index(int(np.argmax(worth * middle)), picture.shape) for worth in (room, enclosed)]
    return [(float(x), float(y), 1) for y, x in places]


def _merit(picture: Picture, inside: np.ndarray, box: Corners) -> float:
    """How good a selection is: its outline lies on edges, and it is as large as the box that was drawn around it."""
    around = bounds(inside)
    if around is None:
        return 0.0
    filled = around.area / ((box[2] - box[0]) * (box[3] - box[1]))
    return picture.outline_contrast(inside) * min(1.0, filled)


def _refined(picture: Picture, colours: np.ndarray, guess: np.ndarray, points: list[Click]) -> np.ndarray:
    """`guess` (GrabCut's labels) cut along the edges. Only its surroundings count: the far rest of the picture may well
    hold the object's colours."""
    cv2 = picture.cv2
    labels = guess.copy()
    _mark_clicks(cv2, labels, points)
    start = (labels == cv2.GC_PR_FGD) | (labels == cv2.GC_FGD)
    inside = start
    if (around := bounds(start)) is not None:
        window = _window(around, start.shape)
        cut = np.zeros_like(start)
        cut[window] = _grabcut(cv2, colours[window], labels[window])
        if (cut & start).sum() >= KEPT * (cut | start).sum():
            inside = cut
    return tidied(cv2, inside, points)


def _window(around: Bounds, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """This box of a picture [H, W], and as much again on every side as it is long."""
    more = max(10, around.right - around.left, around.bottom - around.top)
    return around.grown(Margins(more, more, more, more), *shape).slices


def _mark_clicks(cv2: Any, labels: np.ndarray, points: list[Click]) -> None:
    radius = max(1, round(CLICK_RADIUS * max(labels.shape)))
    for x, y, label in points:
        cv2.circle(labels, (int(x), int(y)), radius, cv2.GC_FGD if label else cv2.GC_BGD, -1)


def _grabcut(cv2: Any, colours: np.ndarray, labels: np.ndarray) -> np.ndarray:
    possible = (labels == cv2.GC_PR_FGD) | (labels == cv2.GC_FGD)
    if not possible.any() or possible.all():  # nothing to tell apart
        return possible
    models = np.zeros((1, 65)), np.zeros((1, 65))
    labels = labels.copy()
    cv2.grabCut(colours, labels, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def tidied(cv2: Any, inside: np.ndarray, points: list[Click]) -> np.ndarray:
    """`inside` (bool [H, W]) without specks and small holes, except those that a click marks as object or background.

    Specks are parts below PART_SHARE of the largest one, small holes those up to HOLE_SHARE of what is left.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    clicked = {int(parts[int(y), int(x)]) for x, y, label in points if label}
    keep = [n for n in range(1, count) if n in clicked or areas[n] >= PART_SHARE * areas.max()]
    kept = np.isin(parts, keep)
    _, holes, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    rim = set(np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])))
    marked = {int(holes[int(y), int(x)]) for x, y, label in points if not label}
    limit = HOLE_SHARE * kept.sum()
    small = [n for n in range(1, len(stats)) if n not in rim | marked and stats[n, cv2.CC_STAT_AREA] <= limit]
    return kept | np.isin(holes, small)


def _at_full_size(cv2: Any, inside: np.ndarray, part: np.ndarray) -> np.ndarray:
    """`inside` at the size of `part`, its outline moved onto the edges that only the full size shows."""
    height, width = part.shape[:2]
    scale = width / inside.shape[1]
    soft = cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    if scale <= 1.2:
        return soft > 0.5
    return guided(cv2, part.astype(np.float32) / 255, soft, radius=round(2 * scale)) > 0.5


def guided(cv2: Any, guide_hwc: np.ndarray, soft: np.ndarray, radius: int) -> np.ndarray:
    """Guided filter (He et al. 2013): `soft` [H, W] as a linear function of the picture (float32 [H, W, 3], 0..1) near
    each pixel, within `radius`. The channels are taken one by one, as if none told of another."""
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, size, borderType=cv2.BORDER_REFLECT)

    guide_mean, soft_mean = mean(guide_hwc), mean(soft)
    slope_dot = np.zeros_like(soft)
    spread = sum(mean(guide_hwc[..., c] ** 2) - guide_mean[..., c] ** 2 for c in range(3)) + 3e-4
    offset = soft_mean.copy()
    for c in range(3):
        slope = (mean(guide_hwc[..., c] * soft) - guide_mean[..., c] * soft_mean) / spread
        offset -= slope * guide_mean[..., c]
        slope_dot += mean(slope) * guide_hwc[..., c]
    return slope_dot + mean(offset)
