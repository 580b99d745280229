"""Training a tiny SAM 2 in the embedded world: the run, its checkpoint, and the file that comes out of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..models import sam2
from .checkpoints import log_line, read_checkpoint, write_checkpoint
from .draws import Draws
from .optimizers import adamw
from .segmenter_clips import SIDE, draw_clips
from .segmenter_steps import follow_with_gradients, places_missed, wrongness
from .settings import TrainSettings
from .stepwise import StepwiseTraining

MODEL = "embedded_sam2.safetensors"
CONFIG: dict[str, Any] = {
    "version": "2.1",
    "image_size": SIDE,
    "trunk": {
        "embed_dim": 16,
        "num_heads": 1,
        "stages": [1, 2, 3, 1],
        "global_att_blocks": [4],
        "window_pos_embed_bkg_spatial_size": [4, 4],
        "window_spec": [8, 4, 8, 4],
    },
    "width": 64,
    "memory_width": 32,
    "memory_layers": 2,
    "memory_feedforward": 256,
}
SETTINGS = TrainSettings(total_steps=3200, learning_rate=2e-3, warmup=50, decay_from=0.5, ema=0.995, save_every=50)
BELIEF = 2.0  # the first presence: an object that was clicked is there, or no mask would be learned


@dataclass(frozen=True)
class Lesson:
    """From step `since` on: `objects` in a step, `frames` of each; 0 frames are clicks on noise (`places_missed`)."""

    since: int
    objects: int
    frames: int


# First where a click is, then what it marks, then to follow over a few frames, then over as many as the memory has.
LESSONS = (Lesson(0, 32, 0), Lesson(500, 24, 1), Lesson(1000, 12, 3), Lesson(1500, 10, 8))


def lesson_at(step: int) -> Lesson:
    """What a step trains."""
    return max((one for one in LESSONS if one.since <= step), key=lambda one: one.since)


def new_model(seed: int) -> nn.Module:
    """A SAM 2 as `CONFIG` says, with random weights from the seed.

    Raises ModuleNotFoundError without sam2.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: Any = sam2.build(CONFIG)
    module.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.fill_(BELIEF)
    return module.eval()  # as it is used: no dropout, and clicked masks are remembered as yes or no


class SegmenterTraining(StepwiseTraining):
    """Trains `module`, with `averaged` beside it: the weights to be used. Files go to `folder`.

    A step depends on its number and the seed alone; a run that is stopped goes on with what it would have had.
    """

    def __init__(self, folder: str | Path, settings: TrainSettings = SETTINGS) -> None:
        """Goes on from the checkpoint in `folder` if there is one.

        Raises ValueError when that is damaged or was trained with other settings, ModuleNotFoundError without sam2.
        """
        self.folder, self.settings, self.step = Path(folder), settings, 0
        self.module = new_model(settings.seed)
        self.averaged = copy.deepcopy(self.module).requires_grad_(False)
        self._weights = list(self.module.parameters())
        self._optimizers = adamw(self._weights, settings.learning_rate)
        self._about = {"config": json.dumps(CONFIG), "lessons": repr(LESSONS)}
        self.folder.mkdir(parents=True, exist_ok=True)
        state = read_checkpoint(self.folder, self._made_with)
        if state is not None:
            self._resume(state)

    def save(self, losses: list[float] | None = None) -> None:
        """Write the checkpoint and the model to be used; never half of one."""
        state = {
            "step": self.step,
            "made_with": self._made_with,
            "optimizer": self._optimizers.state_dict(),
            "model": self.module.state_dict(),
            "averaged": self.averaged.state_dict(),
        }
        write_checkpoint(self.folder, state)
        notes = {"seed": self.settings.seed, "step": self.step}
        sam2.save(self.averaged, CONFIG, self.folder / MODEL, notes)
        if losses:
            log_line(self.folder, self.step, sum(losses) / len(losses))

    def _wrong(self) -> Tensor:
        lesson, seed = lesson_at(self.step), self.settings.seed
        if not lesson.frames:
            return places_missed(self.module, seed, self.step, lesson.objects)
        clips = draw_clips(seed, self.step, lesson.objects, lesson.frames)
        draws = Draws(f"segmenter/corrections/{seed}", self.step)
        return wrongness(follow_with_gradients(self.module, clips, draws), clips)

    @torch.no_grad()
    def _average(self) -> None:
        kept = self.settings.ema_at(self.step)
        for mean, weight in zip(self.averaged.parameters(), self.module.parameters()):
            mean.lerp_(weight, 1 - kept)

    def _resume(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizers.load_state_dict(state["optimizer"])
        self.step = state["step"]
