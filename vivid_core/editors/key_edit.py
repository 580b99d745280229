"""What an edited keyframe did to its frame, taken apart so that it can be carried to other frames.

Three things are told apart for every pixel: what was left alone, what was recoloured (a local affine map of colours
explains it) and what was painted anew. A recoloured pixel is best remade from the frame's own pixel, which keeps its
detail, light and sharpness; only what is new has to be copied out of the keyframe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..masks.fields import Box, box_of
from ..masks.flow import Floats
from ..masks.matching import smooth_step
from ..optional import opencv
from .colour_table import ColourTable, colour_table
from .membrane import resize, spread

PURPOSE = "Preview Propagation"
CELL = 4  # pixels that share one colour map
WINDOW = 4.0  # cells; standard deviation of the surroundings that a colour map is fitted to
SMOOTHNESS = 0.015**2  # variance of colour below which surroundings tell only an offset
LEFT_ALONE, CHANGED = 1.5 / 255, 5 / 255  # difference of an untouched and of a surely changed pixel
TOLD_BY_COLOUR, TOLD_BY_PLACE = 0.02, 0.04  # error of the colour table: surely good enough, surely not
EXPLAINED, NEW = 0.025, 0.07  # error of the colour map: surely a recolouring below, surely new above
ENOUGH = 0.05  # share of changed pixels around a cell from which its colour map is trusted
SOFT_EDGE = 6  # pixels inside the mask in which an edit may fade
MARGIN = 8  # pixels around the blend mask


@dataclass(frozen=True)
class KeyEdit:
    """A keyframe's edit on `box` [h, w] of its frame.

    `table` is the edit as a function of colour alone, and `placed` (0..1) says where it isn't one: there it depends
    on the place, as `colour_map` [h / CELL, w / CELL, 12] has it (row by row the 3x4 matrix that takes an original
    colour with a 1 at its end to the edited one), or is `new` (0..1), painted without regard to the original.
    `changed` (0..1) is known inside the mask and continued beyond it, `changed_rim` the same for the soft rim outside.
    """

    box: Box
    original: Floats
    edited: Floats
    table: ColourTable
    placed: Floats
    colour_map: Floats
    new: Floats
    changed: Floats
    changed_rim: Floats
    vote: Floats | None
    recoloured_share: float


def analyse(
    original_hwc: Floats, edited_hwc: Floats, edit_mask_hw: Floats, blend_mask_hw: Floats, vote_hw: Floats | None
) -> KeyEdit:
    """Take the keyframe `edited_hwc` apart; `vote_hw` is its own mask. The blend mask must not be empty."""
    inside = box_of(blend_mask_hw > 0)
    assert inside is not None
    box = inside.grown(MARGIN, original_hwc.shape[1], original_hwc.shape[0])
    original, edited = (np.ascontiguousarray(image[box.slices]) for image in (original_hwc, edited_hwc))
    within, known = edit_mask_hw[box.slices] > 0.5, blend_mask_hw[box.slices] > 0
    if vote_hw is not None:
        known = known & (vote_hw[box.slices] > 0)
    within &= known
    touched = smooth_step(_softened(np.abs(edited - original).max(-1)), LEFT_ALONE, CHANGED)
    table = colour_table(original, edited, within)
    soft = _near_the_edge(within)
    placed = smooth_step(_error(table.apply(original), original, edited, soft), TOLD_BY_COLOUR, TOLD_BY_PLACE)
    colour_map = _colour_map(original, edited, (touched * known).astype(np.float32))
    new = smooth_step(_error(recoloured(original, colour_map), original, edited, soft), EXPLAINED, NEW) * placed * known
    counted = touched * within
    return KeyEdit(
        box,
        original,
        edited,
        table,
        _continued(placed, within),
        colour_map,
        new.astype(np.float32),
        _continued(touched, within),
        _continued(touched, known & ~within),
        None if vote_hw is None else np.ascontiguousarray(vote_hw[box.slices], np.float32),
        float((counted * (1 - new)).sum() / max(float(counted.sum()), 1e-6)),
    )


def recoloured(original: Floats, colour_map: Floats) -> Floats:
    """`original` [h, w, 3] through the colour map of its cells [ceil(h / CELL), ceil(w / CELL), 12]."""
    height, width = original.shape[:2]
    whole = (colour_map.shape[1] * CELL, colour_map.shape[0] * CELL)
    result = np.empty_like(original)
    for channel in range(3):
        row = resize(colour_map[..., 4 * channel : 4 * channel + 4], *whole)[:height, :width]
        result[..., channel] = np.einsum("hwc,hwc->hw", row[..., :3], original) + row[..., 3]
    return result


def cells(values: Floats) -> Floats:
    """Mean over CELL x CELL pixels: [ceil(h / CELL), ceil(w / CELL), C]; the edge is repeated to whole cells."""
    height, width = values.shape[:2]
    size = (-(-width // CELL), -(-height // CELL))
    padded = np.pad(values, ((0, size[1] * CELL - height), (0, size[0] * CELL - width), (0, 0)), mode="edge")
    return resize(padded.reshape(*padded.shape[:2], -1), *size, area=True)


def _colour_map(original: Floats, edited: Floats, weight: Floats) -> Floats:
    """Local linear regression of the edit on the original colours (the model of the guided filter, He et al. 2013).

    Where colours hardly vary the original's detail is kept and only its level is changed.
    """
    cv2 = opencv(PURPOSE)
    change = edited - original

    def near(values: Floats) -> Floats:
        return cv2.GaussianBlur(cells(values), (0, 0), WINDOW).reshape(*mass.shape[:2], -1)

    mass = cv2.GaussianBlur(cells(weight[..., None]), (0, 0), WINDOW)[..., None]
    safe = np.maximum(mass, 1e-6)
    mean_original = near(original * weight[..., None]) / safe
    mean_change = near(change * weight[..., None]) / safe
    spreads = np.empty((*mass.shape[:2], 3, 3), np.float32)
    together = np.empty_like(spreads)
    for channel in range(3):
        weighted = original[..., channel : channel + 1] * weight[..., None]
        one = mean_original[..., channel : channel + 1]
        spreads[..., channel, :] = near(weighted * original) / safe - one * mean_original
        together[..., channel, :] = near(weighted * change) / safe - one * mean_change
    slope = np.linalg.solve(spreads + SMOOTHNESS * np.eye(3, dtype=np.float32), together).swapaxes(-1, -2)
    offset = mean_change - np.einsum("hwij,hwj->hwi", slope, mean_original)
    matrix = np.concatenate([slope + np.eye(3, dtype=np.float32), offset[..., None]], -1)
    flat = matrix.reshape(*mass.shape[:2], 12).astype(np.float32)
    trusted = np.clip(mass[..., 0] / ENOUGH, 0, 1).astype(np.float32)
    if not trusted.any():
        return np.broadcast_to(np.eye(3, 4, dtype=np.float32).ravel(), flat.shape).copy()
    return cv2.GaussianBlur(spread(flat, trusted), (0, 0), WINDOW / 2)


def _error(explained: Floats, original: Floats, edited: Floats, soft: NDArray[np.bool_]) -> Floats:
    """How far a recolouring is from the edit, the largest around. In `soft` places a part of it will do as well."""
    change, wanted = explained - original, edited - original
    part = (change * wanted).sum(-1) / np.maximum(np.square(change).sum(-1), 1e-6)
    part = np.where(soft, np.clip(part, 0, 1), 1)
    return _widest(_softened(np.sqrt(np.square(wanted - change * part[..., None]).mean(-1))))


def _near_the_edge(within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where an image editor's own soft edge may have mixed the edit with the original."""
    cv2 = opencv(PURPOSE)
    reach = np.ones((2 * SOFT_EDGE + 1,) * 2, np.uint8)
    return cv2.erode(within.astype(np.uint8), reach, borderValue=1) == 0


def _softened(values: Floats) -> Floats:
    cv2 = opencv(PURPOSE)
    return cv2.blur(values, (3, 3))


def _widest(error: Floats) -> Floats:
    """The largest error around, softly: what is new is copied whole, with its seams in places that agree."""
    cv2 = opencv(PURPOSE)
    return cv2.blur(cv2.dilate(error, np.ones((9, 9), np.uint8)), (9, 9))


def _continued(values: Floats, where: NDArray[np.bool_]) -> Floats:
    """`values` where they are known, and beyond what is next to them."""
    smooth = spread(values[..., None], where.astype(np.float32))[..., 0]
    return np.where(where, values, smooth).astype(np.float32)
