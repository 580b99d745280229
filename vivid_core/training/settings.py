"""How the weights are moved, and what of it must stay the same for a run to go on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .tasks import Recipe

# What may change in the middle of a run: how fast it goes and where it ends, and what is time and memory alone.
FREE = ("learning_rate", "save_every", "total_steps", "decay_from", "checkpointing", "at_once")


@dataclass(frozen=True)
class TrainSettings:
    """How the weights are moved. The learning rate rises over `warmup` steps, stays, and from `decay_from` (a share of
    `total_steps`) on falls to zero along a cosine; a run may be resumed with another end. `matrix_rate` is Muon's, for
    the matrices of the blocks; 0 leaves all to AdamW. `last_time_share` of the samples are trained at the last time,
    where nothing but noise is left; `outside` is the weight of what needs no edit in the loss. `bf16` computes in
    bfloat16 with fp32 weights, `checkpointing` computes activations again instead of keeping them, `at_once` is how
    many samples go through the model together (0: all of a step)."""

    seed: int = 0
    total_steps: int = 100_000
    learning_rate: float = 1.5e-3
    matrix_rate: float = 2e-2
    warmup: int = 100
    decay_from: float = 0.7
    ema: float = 0.9995
    outside: float = 0.1
    last_time_share: float = 0.1
    clip_gradients: float = 1.0
    bf16: bool = True
    save_every: int = 500
    checkpointing: bool = False
    at_once: int = 0

    def rate_at(self, step: int) -> float:
        """The share of the learning rates at a step."""
        decay = max(0.0, step / self.total_steps - self.decay_from) / (1 - self.decay_from)
        return min(1.0, (step + 1) / self.warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, decay)))

    def ema_at(self, step: int) -> float:
        """How much of the mean of the weights is kept in a step; little at first, when they change fast."""
        return min(self.ema, (1 + step) / (10 + step))


def made_with(recipe: Recipe, settings: TrainSettings, about: Mapping[str, Any]) -> str:
    """All that must be the same for a run to go on, as text; `about` is what else the model was made with."""
    fixed = {key: value for key, value in asdict(settings).items() if key not in FREE}
    groups = {"recipe": asdict(recipe), "settings": fixed, "about": dict(about)}
    return json.dumps({name: group for name, group in groups.items() if group}, sort_keys=True)


def differences(before: str, now: str) -> list[str]:
    """The names of what differs between two texts of `made_with`; what one of them doesn't know yet had its default."""
    defaults = made_with(Recipe(), TrainSettings(), {})
    old, new = ({**_flat(json.loads(defaults)), **_flat(json.loads(text))} for text in (before, now))
    return sorted(key for key in {*old, *new} - set(FREE) if old.get(key) != new.get(key))


def _flat(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value for group in groups.values() for key, value in group.items()}
