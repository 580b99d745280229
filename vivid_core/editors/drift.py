"""Colour drift: what a window does to the colours of a frame it knows, it does to all; so it can be undone.

A model gets its anchors clean and still makes them anew with all other frames. Where the anchor as it came out differs
in colour from the anchor that went in, the codec or the model has shifted it. Chained windows would add these shifts
up: each one starts from the shifted frame of the one before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..video.colour import FLAT_STD, ColourTransform, Triple

SHIFT_LIMIT = 24 / 255  # a larger difference says that the model has painted something else, not drifted
GAIN_LIMIT = 1.25
LARGE = 8 / 255  # a shift that the user should hear of
FEWEST_PIXELS = 16  # fewer say nothing about a colour
ALIKE = 64  # pixels that come from one latent, so that they are wrong together


@dataclass(frozen=True)
class Drift:
    """How far the colours of the edit came back from where they were. `shift` is what each channel lacks, in 0..1;
    `transform` undoes as much as may be undone."""

    shift: Triple
    transform: ColourTransform

    @property
    def large(self) -> bool:
        """Whether the user should hear of it."""
        return max(abs(value) for value in self.shift) > LARGE

    def described(self) -> str:
        """For the report."""
        largest = max(abs(value) for value in self.shift)
        undone = f"{255 * SHIFT_LIMIT:.0f} were undone" if largest > SHIFT_LIMIT else "which was undone"
        return f"its colours came back up to {255 * largest:.0f} of 255 off its anchor, {undone}"


def measured_drift(decoded_fhwc: Tensor, anchors_fhwc: Tensor, edit_mask_fhw: Tensor) -> Drift | None:
    """The drift of a window: its anchors as they went in, as they came out, and the edit mask on them, all of one size.

    The middle of the differences is made 0, as far as it can't be chance: what a model gets wrong at random on its
    anchor, it gets wrong otherwise on all other frames. Spreads are made equal only where both are wide enough to mean
    something. Both are bounded. None where there is too little to compare.
    """
    inside = edit_mask_fhw > 0.5
    if int(inside.sum()) < FEWEST_PIXELS:
        return None
    came, went = (frames[inside].double() for frames in (decoded_fhwc, anchors_fhwc))
    gain, middle = _gain(came, went), came.mean(0)
    lacking = went - middle - (came - middle) * gain
    # The median: where an edge slipped or a detail was lost, differences are large and say nothing of colours.
    shift = lacking.median(0).values
    doubt = lacking.std(0, correction=0) * (math.pi / 2 * ALIKE / len(lacking)) ** 0.5  # of a median
    shift = _sure(shift, doubt)
    offset = middle * (1 - gain) + shift.clamp(-SHIFT_LIMIT, SHIFT_LIMIT)
    return Drift(_triple(shift), ColourTransform("mean_std", _triple(gain), _triple(offset)))


def _gain(came_nc: Tensor, went_nc: Tensor) -> Tensor:
    """By how much to spread each channel. A blurred picture has a smaller spread than the true one, though no colour
    of it is wrong; to widen it would overdo the contrast a little more in every window. Blur and faults alike lower
    the correlation of the two, so of all gains that it allows the one nearest to 1 is taken, as far as it can't be
    chance: of few pixels, or of two pictures that are little alike, the spreads differ by much without any drift."""
    came_std, went_std = came_nc.std(0, correction=0), went_nc.std(0, correction=0)
    ratio = went_std / came_std.clamp_min(1e-9)
    together = ((came_nc - came_nc.mean(0)) * (went_nc - went_nc.mean(0))).mean(0)
    correlation = (together / (came_std * went_std).clamp_min(1e-18)).clamp(1e-3, 1)
    gain = torch.ones_like(ratio).clamp(ratio * correlation, ratio / correlation)
    doubt = ((1 - correlation.square()) * ALIKE / len(came_nc)).sqrt()  # of the logarithm of such a ratio
    gain = _sure(gain.log(), doubt).exp()
    flat = torch.minimum(came_std, went_std) < FLAT_STD["mean_std"]
    return torch.where(flat, 1.0, gain).clamp(1 / GAIN_LIMIT, GAIN_LIMIT)


def _sure(value: Tensor, doubt: Tensor) -> Tensor:
    """The part of a value that its standard error leaves: nothing where it is no larger than that."""
    return value * (1 - (doubt / value.abs().clamp_min(1e-9)).square()).clamp_min(0)


def _triple(values: Tensor) -> Triple:
    red, green, blue = values.tolist()
    return red, green, blue
