"""Clips for trying the tuning-free editors: a held-out scene, the words for it, its depth, and the answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .claims.steered_trials import new_motion, recolouring

TASKS = {"recolour": recolouring, "move": new_motion}
ROOM = 2  # pixels around the object where its new edge may lie


@dataclass(frozen=True)
class DemoScene:
    """Frames in 0..1 [8, 64, 64, 3] with `answer_fhwc` as a perfect edit; `mask_fhw` 1 where the edit goes;
    `depth_fhw` in 0..1, 1 the nearest; `caption` says what is there, `prompt` what is asked for."""

    frames_fhwc: Tensor
    mask_fhw: Tensor
    depth_fhw: Tensor
    answer_fhwc: Tensor
    caption: str
    prompt: str


def demo_scene(task: str, number: int) -> DemoScene:
    """Held-out scene `number` where an object gets another colour, or moves in another direction.

    Raises ValueError for another task.
    """
    if task not in TASKS:
        raise ValueError(f'Demo Scene: got the task "{task}"; choose one of {", ".join(TASKS)}.')
    trial = TASKS[task](number)
    truth = trial.truth
    touched = (torch.maximum(truth.was_fhw, truth.object_fhw) > 0).float()
    return DemoScene(
        frames_fhwc=truth.source_fhwc,
        mask_fhw=F.max_pool2d(touched, 2 * ROOM + 1, stride=1, padding=ROOM),
        depth_fhw=truth.depth_fhw,
        answer_fhwc=truth.oracle_fhwc,
        caption=trial.caption,
        prompt=trial.prompt,
    )
