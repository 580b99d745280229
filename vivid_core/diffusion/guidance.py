"""Guidance by text: how far a prediction goes from the negative prompt's towards the prompt's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_number

MOST = 1000.0  # far beyond the scales at which pictures still look like anything


@dataclass(frozen=True)
class Guidance:
    """`scale` 1 or less means that only the prompt is asked: half the work, and no negative prompt.

    `dynamic` lets the scale change from step to step, as CogVideoX-5B is sampled with DPM. `batched` asks for both
    predictions in one call; otherwise they are made one after the other, which takes half the memory.

    Raises ValueError for a scale below 0, above 1000, or that is no number.
    """

    scale: float = 6.0
    dynamic: bool = False
    batched: bool = True

    def __post_init__(self) -> None:
        check_number(self.scale, 0, MOST, "Guidance")

    @property
    def active(self) -> bool:
        return self.scale > 1

    def at(self, timestep: float, steps: int) -> float:
        """The scale at one timestep (0..999) of a run of `steps`.

        The dynamic form is CogVideoX's own, which sets the timestep against the number of steps, though these count
        different things: the scale jumps in early steps and settles in late ones. Models are judged with it.
        """
        if not self.dynamic:
            return self.scale
        return 1 + self.scale * (1 - math.cos(math.pi * ((steps - timestep) / steps) ** 5.0)) / 2


def texts_for(prompted: tuple[bool, ...], text_bld: Tensor, negative_bld: Tensor | None) -> Tensor:
    """The embedding for each equal part of a batch, [parts * B, tokens, channels]: the prompt's where `prompted`.

    Raises ValueError when the negative prompt's is needed and is None.
    """
    texts = [text_bld if one else negative_bld for one in prompted]
    if any(text is None for text in texts):
        raise ValueError("Guidance above 1 needs a negative prompt, which may be empty: encode one, or use 1.")
    return torch.cat([text for text in texts if text is not None])


def guided(negative: Tensor, positive: Tensor, scale: float) -> Tensor:
    """The prediction `scale` times as far from `negative` as `positive` is."""
    return negative + scale * (positive - negative)
