"""Scenes to pixels, with masks that are exact under occlusion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .outlines import outline
from .scene import Backdrop, Entity, Scene
from .words import COLOURS

SIDE, FRAMES = 48, 9


@dataclass(frozen=True)
class Rendering:
    """A clip and who is seen where: `levels_fhwc` uint8 [F, H, W, 3], `weights_nfhw` float32 [N, F, H, W].

    An entity's weight is its part of the pixel: 1 inside, less on its rim or behind another's, 0 where it changes
    nothing at all.
    """

    levels_fhwc: np.ndarray
    weights_nfhw: np.ndarray

    @property
    def frames_fhwc(self) -> Tensor:
        """The clip as float32 in 0..1."""
        return torch.from_numpy(self.levels_fhwc).float() / 255

    def touched_fhw(self, index: int) -> Tensor:
        """1 on every pixel that an entity has a part of; without the entity, no other pixel changes, to the bit."""
        return torch.from_numpy(self.weights_nfhw[index] > 0).float()

    def shape_fhw(self, index: int) -> Tensor:
        """1 where an entity is most of the pixel: its shape as it is seen."""
        return torch.from_numpy(self.weights_nfhw[index] > 0.5).float()


def render(scene: Scene, side: int = SIDE, frames: int = FRAMES, start: float = 0.0) -> Rendering:
    """The scene as a square clip of `side` pixels and `frames` frames, from time `start` (frames) on."""
    times = start + np.arange(frames, dtype=np.float64)
    clip = _backdrop(scene.backdrop, side, times)
    weights = np.zeros((len(scene.entities), frames, side, side), np.float32)
    for index, entity in enumerate(scene.entities):
        part = coverage(entity, side, times)
        weights[:index] *= 1 - part
        weights[index] = part
        colour = np.array(COLOURS[entity.colour], np.float32) / 255
        clip += part[..., None] * (colour - clip)
    return Rendering((clip * 255 + 0.5).astype(np.uint8), weights)


def coverage(entity: Entity, side: int, times: np.ndarray) -> np.ndarray:
    """How much of each pixel an entity covers, whoever is in front of it: float32 [T, side, side]."""
    right, down = _grid(side)
    centres = entity.centres(times).astype(np.float32)[:, :, None, None]
    distance = outline(entity.shape, (right - centres[:, 0]) / entity.radius, (down - centres[:, 1]) / entity.radius)
    return np.clip(0.5 - distance * np.float32(entity.radius * side), 0, 1)


def _backdrop(backdrop: Backdrop, side: int, times: np.ndarray) -> np.ndarray:
    """float32 [T, side, side, 3] in 0..1."""
    right, down = _grid(side)
    times = times.astype(np.float32)[:, None, None]
    moved_right, moved_down = right - backdrop.pan[0] * times, down - backdrop.pan[1] * times
    cosine, sine = np.float32(np.cos(backdrop.angle)), np.float32(np.sin(backdrop.angle))
    along = (cosine * moved_right + sine * moved_down) * np.float32(2 * np.pi / backdrop.period) + backdrop.phase
    across = (cosine * moved_down - sine * moved_right) * np.float32(2 * np.pi / backdrop.period)
    share = _texture(backdrop.texture, along, across)[..., None]
    first, second = np.array(backdrop.first_rgb, np.float32), np.array(backdrop.second_rgb, np.float32)
    light = backdrop.slope[0] * (right - 0.5) + backdrop.slope[1] * (down - 0.5)
    return np.clip(first + light[..., None].astype(np.float32) + share * (second - first), 0, 1)


def _texture(name: str, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """How much of the second colour there is, 0..1."""
    if name == "stripes":
        return np.clip(0.5 + np.sin(along), 0, 1)
    if name == "checks":
        return np.clip(0.5 + 1.5 * np.sin(along / 2) * np.sin(across / 2), 0, 1)
    if name == "waves":
        return 0.5 + 0.25 * (np.sin(along + 1.2 * np.sin(across / 2)) + np.sin(0.6 * across))
    if name == "dots":
        return np.clip(0.9 * (1 + np.cos(along)) * (1 + np.cos(across)) / 2 - 0.3, 0, 1)
    raise ValueError(f'World: got the texture "{name}", which is not known; choose stripes, checks, waves or dots.')


@lru_cache(maxsize=4)
def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle of each pixel: right [1, side] and down [side, 1], as parts of the side."""
    middles = ((np.arange(side) + 0.5) / side).astype(np.float32)
    return middles[None, :], middles[:, None]
