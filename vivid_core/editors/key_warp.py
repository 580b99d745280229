"""One keyframe's edit seen on another frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..masks.carry import Carried
from ..masks.fields import Box, box_of
from ..masks.flow import Floats, warp
from ..masks.matching import smooth_step
from ..optional import opencv
from .key_edit import CELL, PURPOSE, KeyEdit, cells, recoloured
from .membrane import resize
from .steady_map import steadied

LIGHT_CELLS = 10.0  # how far the light of a frame is averaged before a copied pixel takes it on
MOST_LIGHT = 1.6  # by how much it may become brighter or darker
STEADY = 3.0  # pixels; how far confidence is averaged
UNSURE, SURE = 0.3, 0.7  # confidence between which what depends on the place gives way to what colour alone tells
COLOUR_TRUST = 0.9  # trust in a pixel whose edit is told by its colour


@dataclass(frozen=True)
class Warped:
    """On `box` of the frame: the edited `picture` [h, w, 3], how much of it the keyframe shows, `trust` [h, w] in
    0..1, and where the keyframe's own mask lets it count, `cover` [h, w] in 0..1."""

    box: Box
    picture: Floats
    trust: Floats
    cover: Floats


def warped_edit(
    edit: KeyEdit, carried: Carried, frame_hwc: Floats, edit_mask_hw: Floats, shown_hw: NDArray[np.bool_]
) -> Warped | None:
    """The edit on the frame that `carried` leads to; `shown_hw` is where it can be seen. None if that is nowhere."""
    cv2 = opencv(PURPOSE)
    place = box_of(shown_hw[carried.box.slices])
    if place is None:
        return None
    left, top = carried.box.left, carried.box.top
    box = Box(place.left + left, place.top + top, place.right + left, place.bottom + top)
    points = carried.map_xy[place.slices] - np.array([edit.box.left, edit.box.top], np.float32)
    confidence = cv2.GaussianBlur(np.ascontiguousarray(carried.confidence[place.slices]), (0, 0), STEADY)
    seen = smooth_step(confidence, UNSURE, SURE)
    original = np.ascontiguousarray(frame_hwc[box.slices])
    points = steadied(points, confidence, original)
    inside = edit_mask_hw[box.slices] > 0.5
    placed, new = warp(edit.placed, points), warp(edit.new, points, "zero")
    picture = edit.table.apply(original)
    if placed.any():
        here = _placed(edit, points, original, new, seen)
        here = original + (here - original) * warp(edit.changed, points)[..., None]
        picture += (here - picture) * (placed * seen)[..., None]
    rim = warp(edit.changed_rim, points)
    picture = original + (picture - original) * np.where(inside, 1, rim)[..., None]
    # Told by colour alone, a pixel is as good on every frame: between two keyframes it changes evenly.
    trust = confidence * placed + COLOUR_TRUST * (1 - placed)
    cover = np.ones_like(trust) if edit.vote is None else warp(edit.vote, points)
    return Warped(box, np.clip(picture, 0, 1).astype(np.float32), trust, cover)


def _placed(edit: KeyEdit, points: Floats, original: Floats, new: Floats, seen: Floats) -> Floats:
    """The part of the edit that depends on the place: recoloured there, or copied out of the keyframe."""
    picture = recoloured(original, _at_cells(edit.colour_map, points))
    if new.any():
        picture += (_copied(edit, points, original, seen) - picture) * new[..., None]
    return picture


def _at_cells(colour_map: Floats, points: Floats) -> Floats:
    """The colour map seen from the frame: colour maps are smooth, so one value for each of its cells will do."""
    cv2 = opencv(PURPOSE)
    there = (cells(points) + 0.5) / CELL - 0.5
    parts = [
        cv2.remap(
            np.ascontiguousarray(colour_map[..., first : first + 4]),
            there,
            None,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for first in (0, 4, 8)
    ]
    return np.concatenate(parts, -1)


def _copied(edit: KeyEdit, points: Floats, original: Floats, seen: Floats) -> Floats:
    """The keyframe's pixels, in the light of the frame: its broad brightness against the keyframe's."""
    cv2 = opencv(PURPOSE)
    copied = cv2.remap(edit.edited, points, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    weight = (seen * (edit_inside(edit, points) > 0))[..., None]
    both = np.concatenate([original * weight, warp(edit.original, points) * weight, weight], -1)
    broad = cv2.GaussianBlur(cells(both), (0, 0), LIGHT_CELLS)
    floor = 0.02 * broad[..., 6:] + 1e-4  # black tells nothing about light
    light = np.clip((broad[..., :3] + floor) / (broad[..., 3:6] + floor), 1 / MOST_LIGHT, MOST_LIGHT)
    light = resize(light, light.shape[1] * CELL, light.shape[0] * CELL)[: copied.shape[0], : copied.shape[1]]
    return np.clip(copied * light, 0, 1)


def edit_inside(edit: KeyEdit, points: Floats) -> Floats:
    """1 where a point lies on the keyframe's box."""
    return warp(np.ones(edit.new.shape, np.float32), points, "zero")
