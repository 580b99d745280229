"""A training in steps that depend on their number and the seed alone: what the small models beside VIVID's share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime import Runtime
from .checkpoints import check_finite
from .optimizers import Optimizers
from .settings import TrainSettings, made_with
from .tasks import Recipe


class StepwiseTraining(ABC):
    """The loop, the step and what a checkpoint must agree in; a training says what is wrong and what is kept of it."""

    folder: Path
    settings: TrainSettings
    step: int
    _about: dict[str, Any]
    _optimizers: Optimizers
    _weights: Sequence[nn.Parameter]  # those that learn

    def train(self, steps: int, runtime: Runtime | None = None) -> float:
        """Train `steps` more steps, at most up to the settings' total; returns the mean loss.

        Each counts one on `runtime`. Raises ValueError when the loss is no number; the last checkpoint is kept then.
        """
        runtime = runtime or Runtime()
        steps = max(0, min(steps, self.settings.total_steps - self.step))
        runtime.begin(steps)
        losses: list[float] = []
        for _ in range(steps):
            losses.append(self._stepped())
            if self.step % self.settings.save_every == 0:
                self.save(losses[-self.settings.save_every :])
            runtime.advance()
        return sum(losses) / len(losses) if losses else math.nan

    @abstractmethod
    def save(self, losses: list[float] | None = None) -> None:
        """Write the checkpoint and the model to be used, never half of one; log the mean of `losses`."""

    @abstractmethod
    def _wrong(self) -> Tensor:
        """The loss of this step."""

    @abstractmethod
    def _average(self) -> None:
        """Move the mean of the weights."""

    def _stepped(self) -> float:
        self._optimizers.zero_grad()
        with torch.enable_grad():
            wrong = self._wrong()
            wrong.backward()
        loss = float(wrong.detach())
        size = float(nn.utils.clip_grad_norm_(self._weights, self.settings.clip_gradients))
        check_finite(self.step, loss, size)
        self._optimizers.step(self.settings.rate_at(self.step))
        self._average()
        self.step += 1
        return loss

    @property
    def _made_with(self) -> str:
        return made_with(Recipe(), self.settings, self._about)
