"""Training the embedded Stable Diffusion stage by stage: a run, its checkpoint, and the file that comes out of it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..models import embedded_sd
from .checkpoints import log_line, read_checkpoint, write_checkpoint
from .optimizers import Optimizers, adamw
from .sd_lessons import IMAGE_BATCH, SCENES, SETTINGS, STAGES, WAYS, lesson
from .settings import TrainSettings
from .stepwise import StepwiseTraining

MODEL = "embedded_sd.safetensors"


class SDTraining(StepwiseTraining):
    """Trains one stage, with means of its weights beside them: those are to be used.

    A step depends on its number and the seed alone; a run that is stopped goes on with what it would have had. Files go
    to FOLDER/STAGE: checkpoint, log, and the model with all that was trained up to here.
    """

    def __init__(self, folder: str | Path, stage: str, settings: TrainSettings | None = None) -> None:
        """Goes on from the stage's checkpoint if there is one.

        Raises ValueError when that is damaged or was trained with other settings or on another model, or when the stage
        before this one has not been trained.
        """
        self.stage, self.settings, self.step = stage, settings or SETTINGS[stage], 0
        self.folder = Path(folder) / stage
        base = _base(Path(folder), stage)
        before, self._notes = (None, {}) if base is None else embedded_sd.load(base)
        self.lesson = lesson(stage, before, self.settings.seed)
        frozen = {id(one): one for part in self.lesson.parts.values() for one in part.parameters() if _is_frozen(one)}
        self.averaged = {name: copy.deepcopy(part, frozen) for name, part in self.lesson.parts.items()}
        self._weights = [weight for weights, _ in self.lesson.rates for weight in weights]
        groups = [adamw(weights, rate * self.settings.learning_rate) for weights, rate in self.lesson.rates]
        self._optimizers = Optimizers([one for group in groups for one in group.parts], [g.rates[0] for g in groups])
        batches = {"images": IMAGE_BATCH, "clips": SCENES * WAYS}
        kinds = {"unet": json.dumps(embedded_sd.UNET), "noise": json.dumps(embedded_sd.NOISE)}
        self._about = {"stage": stage, **kinds, "batches": batches, "base": _print(base)}
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
            "model": {name: _trained(part) for name, part in self.lesson.parts.items()},
            "averaged": {name: _named(part, self.lesson.parts[name]) for name, part in self.averaged.items()},
        }
        write_checkpoint(self.folder, state)
        steps = self._notes.get(f"{self.stage}_steps", 0) + self.step
        notes = {**self._notes, "seed": self.settings.seed, f"{self.stage}_steps": steps}
        embedded_sd.save(self.lesson.result(self.averaged), self.folder / MODEL, notes)
        if losses:
            log_line(self.folder, self.step, sum(losses) / len(losses))

    def _wrong(self) -> Tensor:
        return self.lesson.loss(self.step)

    @torch.no_grad()
    def _average(self) -> None:
        kept = self.settings.ema_at(self.step)
        for name, part in self.lesson.parts.items():
            for mean, weight in zip(self.averaged[name].parameters(), part.parameters()):
                if weight.requires_grad:
                    mean.lerp_(weight, 1 - kept)

    def _resume(self, state: Mapping[str, Any]) -> None:
        for name, part in self.lesson.parts.items():
            part.load_state_dict(state["model"][name], strict=False)
            self.averaged[name].load_state_dict(state["averaged"][name], strict=False)
        self._optimizers.load_state_dict(state["optimizer"])
        self.step = state["step"]


def settings_for(stage: str, seed: int, steps: int | None) -> TrainSettings:
    """A stage's usual settings, with a seed, and another number of steps if one is given."""
    usual = SETTINGS[stage]
    return replace(usual, seed=seed, total_steps=steps or usual.total_steps)


def _base(folder: Path, stage: str) -> Path | None:
    """The model that the stage before this one made; None for the first."""
    place = STAGES.index(stage) if stage in STAGES else 0
    if not place:
        return None
    file = folder / STAGES[place - 1] / MODEL
    if not file.is_file():
        raise ValueError(f"Training: the stage {stage} starts from {file}, which is not there; train that stage first.")
    return file


def _print(file: Path | None) -> str:
    """What tells one base from another."""
    return "" if file is None else hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _is_frozen(weight: Tensor) -> bool:
    return not weight.requires_grad


def _trained(part: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in part.named_parameters() if weight.requires_grad}


def _named(part: nn.Module, like: nn.Module) -> dict[str, Tensor]:
    """Those weights of `part` that are trained in `like`."""
    wanted = _trained(like)
    return {name: weight.detach() for name, weight in part.named_parameters() if name in wanted}
