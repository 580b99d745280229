"""Training batches of the world: images or clips with captions and depth, each known by seed, stage and number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..draws import Draws
from .render import render
from .scene import FRAMES, SIDE, TRAINED, SDScene, draw_scene

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
    clips, captions, depths = [], [], []
    for index in range(count):
        draws = Draws(f"{TRAINED}/{seed}/{stage}", step * MOST + index)
        scene = draw_scene(draws)
        shown = render(scene, SIDE, frames, draws.between(0, FRAMES - frames))
        clips.append(shown.frames_fhwc)
        depths.append(shown.depth_fhw)
        captions.append("" if draws.chance(NO_CAPTION) else _caption(draws, scene, motion_said))
    return SDBatch(torch.stack(clips).permute(0, 4, 1, 2, 3) * 2 - 1, tuple(captions), torch.stack(depths))


def _caption(draws: Draws, scene: SDScene, motion_said: float) -> str:
    return scene.caption(draws.chance(motion_said), draws.chance(SIZE_SAID), draws.chance(TEXTURE_SAID))
