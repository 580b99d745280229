"""Training batches of the world: images or clips with captions and depth, each known by seed, stage and number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..draws import Draws
from .render import Shown, render
from .scene import FRAMES, SIDE, TRAINED, SDScene, draw_scene, ways_of

NO_CAPTION = 0.12  # of the samples, for guidance and for inversion without a prompt
SIZE_SAID, TEXTURE_SAID = 0.7, 0.6
MOST = 1_000_000  # samples in one step, more than any run has


@dataclass(frozen=True)
class SDBatch:
    """`frames_bcfhw` in -1..1 [B, 3, F, H, W], a caption for each row (empty where none is told), and depth
    `depth_bfhw` in 0..1 [B, F, H, W], near = 1, stretched over 0..1 in each frame."""

    frames_bcfhw: Tensor
    captions: tuple[str, ...]
    depth_bfhw: Tensor


def draw_batch(seed: int, stage: str, step: int, count: int, frames: int = 1, motion_said: float = 0.0) -> SDBatch:
    """Batch `step` of a stage: `count` samples of `frames` frames (1: an image from any time of a scene); of the
    captions that are told, the share `motion_said` names motion."""
    clips, captions = [], []
    for draws in _draws(seed, stage, step, count):
        scene = draw_scene(draws)
        clips.append(render(scene, SIDE, frames, draws.between(0, FRAMES - frames)))
        captions.append("" if draws.chance(NO_CAPTION) else _caption(draws, scene, motion_said))
    return _batch(clips, captions)


def draw_ways(seed: int, stage: str, step: int, count: int, ways: int) -> SDBatch:
    """Batch `step` of a stage: `count` scenes as whole clips, each in a row in so many `ways` that begin with one frame
    and are told apart by the motion in their captions; or all without one."""
    clips, captions = [], []
    for draws in _draws(seed, stage, step, count):
        scenes = ways_of(draw_scene(draws), ways, draws)
        silent, size, texture = (draws.chance(share) for share in (NO_CAPTION, SIZE_SAID, TEXTURE_SAID))
        clips += [render(scene) for scene in scenes]
        captions += ["" if silent else scene.caption(True, size, texture) for scene in scenes]
    return _batch(clips, captions)


def _draws(seed: int, stage: str, step: int, count: int) -> Iterator[Draws]:
    return (Draws(f"{TRAINED}/{seed}/{stage}", step * MOST + index) for index in range(count))


def _batch(clips: list[Shown], captions: list[str]) -> SDBatch:
    frames_bfhwc = torch.stack([clip.frames_fhwc for clip in clips])
    depths = torch.stack([clip.depth_fhw for clip in clips])
    return SDBatch(frames_bfhwc.permute(0, 4, 1, 2, 3) * 2 - 1, tuple(captions), depths)


def _caption(draws: Draws, scene: SDScene, motion_said: float) -> str:
    return scene.caption(draws.chance(motion_said), draws.chance(SIZE_SAID), draws.chance(TEXTURE_SAID))
