"""Scenes to pixels, with exact masks, true depth and true flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..world import render as world
from ..world.outlines import outline
from ..world.scene import Scene
from ..world.words import COLOURS
from .scene import FRAMES, SIDE, SDScene, Thing


@dataclass(frozen=True)
class Shown:
    """A clip: `levels_fhwc` uint8 [F, H, W, 3]; `weights_nfhw` float32 [N, F, H, W], each thing's part of a pixel as it
    is seen; `near_fhw` float32 [F, H, W], how near each pixel is, 0..1 with 1 the nearest."""

    levels_fhwc: np.ndarray
    weights_nfhw: np.ndarray
    near_fhw: np.ndarray

    @property
    def frames_fhwc(self) -> Tensor:
        """The clip as float32 in 0..1."""
        return torch.from_numpy(self.levels_fhwc).float() / 255

    @property
    def depth_fhw(self) -> Tensor:
        """The depth, stretched over 0..1 in each frame by itself."""
        near = torch.from_numpy(self.near_fhw)
        low, high = near.amin((1, 2), keepdim=True), near.amax((1, 2), keepdim=True)
        return (near - low) / (high - low)

    def mask_fhw(self, index: int) -> Tensor:
        """1 where a thing is most of the pixel."""
        return torch.from_numpy(self.weights_nfhw[index] > 0.5).float()


def render(scene: SDScene, side: int = SIDE, frames: int = FRAMES, start: float = 0.0) -> Shown:
    """The scene as a square clip of `side` pixels and `frames` frames, from time `start` (frames) on."""
    times = start + np.arange(frames, dtype=np.float64)
    bare = world.render(Scene(scene.backdrop, ()), side, frames, start).levels_fhwc
    clip = bare.astype(np.float32) / 255
    rows = ((np.arange(side) + 0.5) / side).astype(np.float32)[:, None]
    near = np.broadcast_to(scene.far + (scene.ground - scene.far) * rows, (frames, side, side)).astype(np.float32)
    weights = np.zeros((len(scene.things), frames, side, side), np.float32)
    for index, thing in enumerate(scene.things):
        part = coverage(thing, side, times)
        weights[:index] *= 1 - part
        weights[index] = part
        clip += part[..., None] * (np.array(COLOURS[thing.colour], np.float32) / 255 - clip)
        own = np.minimum(thing.near * thing.scales(times), 1).astype(np.float32)[:, None, None]
        near = near + part * (own - near)
    return Shown((clip * 255 + 0.5).astype(np.uint8), weights, near)


def coverage(thing: Thing, side: int, times: np.ndarray) -> np.ndarray:
    """How much of each pixel a thing covers, whatever is in front of it: float32 [T, side, side]."""
    right, down = _own_places(thing, *_pixels(side), times)
    radius = (thing.radius * thing.scales(times)).astype(np.float32)[:, None, None]
    return np.clip(0.5 - outline(thing.shape, right, down) * radius * side, 0, 1).astype(np.float32)


def flow(scene: SDScene, side: int = SIDE, frames: int = FRAMES) -> np.ndarray:
    """Where each pixel's content is in the next frame: (dx, dy) in pixels, float32 [F - 1, side, side, 2].

    A pixel is that of the thing that is most of it, else of the backdrop.
    """
    times = np.arange(frames, dtype=np.float64)
    right, down = _pixels(side)
    found = np.broadcast_to(np.array(scene.backdrop.pan), (frames - 1, side, side, 2)).copy()
    shown = render(scene, side, frames)
    for thing, weights_fhw in zip(scene.things, shown.weights_nfhw):
        across, along = _own_places(thing, right, down, times[:-1])
        angle = thing.angles(times[1:])[:, None, None]
        radius = (thing.radius * thing.scales(times[1:]))[:, None, None]
        centres = thing.centres(times[1:])[:, :, None, None]
        new_right = centres[:, 0] + radius * (np.cos(angle) * across - np.sin(angle) * along)
        new_down = centres[:, 1] + radius * (np.sin(angle) * across + np.cos(angle) * along)
        its = weights_fhw[:-1] > 0.5
        found[its] = np.stack([new_right - right, new_down - down], -1)[its]
    return (found * side).astype(np.float32)


def _pixels(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle of each pixel: right [1, side] and down [side, 1], as parts of the side."""
    middles = ((np.arange(side) + 0.5) / side).astype(np.float32)
    return middles[None, :], middles[:, None]


def _own_places(thing: Thing, right: np.ndarray, down: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels as a thing sees them: upright, in units of its radius, from its middle; each [T, side, side]."""
    centres = thing.centres(times).astype(np.float32)[:, :, None, None]
    angle = thing.angles(times)[:, None, None]
    cosine, sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    radius = (thing.radius * thing.scales(times)).astype(np.float32)[:, None, None]
    across, along = (right - centres[:, 0]) / radius, (down - centres[:, 1]) / radius
    return cosine * across + sine * along, cosine * along - sine * across
