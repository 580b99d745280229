"""What the editors of clips return, with and without a model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Propagation:
    """An edited clip: `frames_fhwc`, bit-exact the original where `blend_mask_fhw` is 0.

    `confidence_f` [F] in 0..1 says how much of each frame's edit rests on what was seen rather than guessed;
    `report` is a text for the user.
    """

    frames_fhwc: Tensor
    blend_mask_fhw: Tensor
    confidence_f: Tensor
    report: str
