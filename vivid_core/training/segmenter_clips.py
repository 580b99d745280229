"""Clips of the world to learn following from: several objects with exact masks, and a prompt on the first frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from .draws import Draws
from .world.render import render
from .world.scene import Scene, draw_scene

SIDE = 128  # pixels
TRAINED, HELD_OUT = "segmenter/train", "segmenter/held-out"
PROMPTS = (("click", 0.6), ("clicks", 0.15), ("box", 0.15), ("mask", 0.1))  # kinds, and how often
MOST_CLICKS = 3
VANISHES = 0.25  # of the clips: one object is gone for a while
GAP, LONGEST_GAP = 0.25, 24  # of the batches: so many frames are left out after the first
LEAST_SEEN = 0.0025  # of the picture, on the frame of the prompt
INSIDE = 5  # pixels: a click lies in the middle of a square of this side that is all object, where there is one


@dataclass(frozen=True)
class FollowedClips:
    """Objects to follow: `images` uint8 [I, 3, side, side]; `rows` [B, T], which image each object is on; `masks`
    [B, T, side, side] in 0..1, how much of each pixel is the object's; `times` [T], the frames' numbers.

    The prompt of the first frame is a mask where `points` is None, else `points` [B, P, 2] in pixels with `labels`
    [B, P]: 1 object, 0 background, 2 and 3 the corners of a box.
    """

    images: Tensor
    rows: Tensor
    masks: Tensor
    times: tuple[int, ...]
    points: Tensor | None
    labels: Tensor | None

    @property
    def present(self) -> Tensor:
        """Where an object is seen at all: bool [B, T]."""
        return (self.masks > 0.5).flatten(2).any(2)


def draw_clips(seed: int, number: int, objects: int, frames: int, side: int = SIDE) -> FollowedClips:
    """Batch `number` of a run: `objects` of as many clips as they need, `frames` of each."""
    draws = Draws(f"{TRAINED}/{seed}", number)
    gap = 1 + draws.below(LONGEST_GAP) if frames > 1 and draws.chance(GAP) else 1
    times = (0, *range(gap, gap + frames - 1))
    images: list[np.ndarray] = []
    rows: list[Tensor] = []
    masks: list[np.ndarray] = []
    while len(rows) < objects:
        levels, weights = _clip(draws, side, frames, gap)
        at = sum(len(one) for one in images) + torch.arange(frames)
        images.append(levels)
        for weight in weights:
            if len(rows) < objects and float((weight[0] > 0.5).mean()) >= LEAST_SEEN:
                rows.append(at)
                masks.append(weight)
    pictures = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2)
    whole = torch.from_numpy(np.stack(masks))
    points = _prompts(draws, whole[:, 0] > 0.5, only_points=frames == 1)
    return FollowedClips(pictures, torch.stack(rows), whole, times, *points)


def held_out(count: int, frames: int, side: int = SIDE) -> Iterator[tuple[Tensor, Tensor, tuple[float, float]]]:
    """Clips that are never trained: frames [F, side, side, 3] in 0..1, one object's masks [F, side, side], and a click
    (x, y) in 0..1 on it in the first frame."""
    for number in range(count):
        draws = Draws(HELD_OUT, number)
        while True:
            shown = render(draw_scene(draws), side, frames)
            seen = [index for index, one in enumerate(shown.weights_nfhw) if (one[0] > 0.5).mean() >= LEAST_SEEN]
            if seen:
                break
        index = draws.one_of(seen)
        mask_fhw = shown.shape_fhw(index)
        x, y = _place(draws, mask_fhw[0] > 0.5)
        yield shown.frames_fhwc, mask_fhw, ((x + 0.5) / side, (y + 0.5) / side)


def _clip(draws: Draws, side: int, frames: int, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels [T, side, side, 3], and the weights [N, T, side, side] of the objects, some of which may be gone."""
    scene, times = draw_scene(draws), _times(draws, frames, gap)
    levels, weights = _shown(scene, side, times)
    if frames > 2 and draws.chance(VANISHES):
        gone = draws.below(len(scene.entities))
        first = 1 + draws.below(frames - 1)
        span = slice(first, first + 1 + draws.below(frames - first))
        without = scene.without(gone)
        others, their_weights = _shown(without, side, times)
        levels[span] = others[span]
        weights[gone, span] = 0
        for index, weight in zip([one for one in range(len(weights)) if one != gone], their_weights):
            weights[index, span] = weight[span]
    return levels, weights


def _times(draws: Draws, frames: int, gap: int) -> list[float]:
    """When each frame is: that of the prompt, and after the gap the others, forward or backward in time."""
    start, way = draws.between(0, 40), 1 if draws.chance(0.5) else -1
    return [start, *(start + way * (gap + step) for step in range(frames - 1))]


def _shown(scene: Scene, side: int, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    shown = [render(scene, side, 1, time) for time in times]
    return np.concatenate([one.levels_fhwc for one in shown]), np.concatenate([one.weights_nfhw for one in shown], 1)


def _prompts(draws: Draws, masks: Tensor, only_points: bool) -> tuple[Tensor | None, Tensor | None]:
    """Points and labels for all objects [B, side, side], of one kind, since a batch has one number of points."""
    kind = _kind(draws)
    if kind == "mask" and not only_points:  # the answer to a mask is that mask: there is nothing to learn in it alone
        return None, None
    if kind == "box":
        corners = [_box(draws, mask) for mask in masks]
        return torch.tensor(corners), torch.tensor([[2, 3]] * len(corners), dtype=torch.int32)
    count = 2 + draws.below(MOST_CLICKS - 1) if kind == "clicks" else 1
    inside = [1, *(int(draws.chance(0.5)) for _ in range(count - 1))]
    places = [[_place(draws, mask if label else ~mask) for label in inside] for mask in masks]
    return torch.tensor(places, dtype=torch.float32) + 0.5, torch.tensor([inside] * len(masks), dtype=torch.int32)


def _kind(draws: Draws) -> str:
    left = draws.between(0, 1)
    for kind, share in PROMPTS:
        left -= share
        if left < 0:
            return kind
    return PROMPTS[0][0]


def _box(draws: Draws, mask: Tensor) -> list[list[float]]:
    """The corners of a box around a mask, as loose or tight as a hand draws it."""
    rows, columns = torch.nonzero(mask, as_tuple=True)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    left, top, right, bottom = (float(edge) + draws.between(-2, 2) for edge in edges)
    return [[left, top], [right, bottom]]


def _place(draws: Draws, mask: Tensor) -> tuple[int, int]:
    """A pixel (x, y) of a mask, off its rim where it has an inside; the middle of the picture where it is empty."""
    outside = 1 - mask.float()
    inner = max_pool2d(outside[None], INSIDE, stride=1, padding=INSIDE // 2)[0] == 0
    for choice in (inner, mask):
        places = torch.nonzero(choice)
        if len(places):
            y, x = places[draws.below(len(places))].tolist()
            return x, y
    return mask.shape[1] // 2, mask.shape[0] // 2


def correction(draws: Draws, found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Where a user would click to put `found` right: points [B, 1, 2] in pixels and labels [B, 1], for masks
    [B, side, side] (bool)."""
    places, labels = [], []
    for ours, true in zip(found, truth):
        wrong = ours ^ true
        aim = wrong if bool(wrong.any()) else true
        x, y = _place(draws, aim)
        places.append([[x + 0.5, y + 0.5]])
        labels.append([int(true[y, x])])
    return torch.tensor(places), torch.tensor(labels, dtype=torch.int32)
