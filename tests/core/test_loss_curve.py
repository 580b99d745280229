"""The picture of a training run shows where the loss went."""

from __future__ import annotations

import math

import pytest
import torch

from vivid_core.metrics import drawing
from vivid_core.metrics.curve import loss_curve


def rows_of_the_mean(losses: list[float]) -> list[float]:
    """How far down the clear line is, at the beginning and at the end."""
    picture = loss_curve(losses, "heart: loss")
    near = (picture - torch.tensor(drawing.KEY) / 255).abs().amax(-1) < 0.1
    columns = near.any(0).nonzero()[:, 0]
    ends = (int(columns.min()) + 5, int(columns.max()) - 5)
    return [float(near[:, at].nonzero().float().mean()) for at in ends]


def test_a_falling_loss_goes_down_and_a_rising_one_up() -> None:
    falling = [math.exp(-step / 50) for step in range(200)]
    first, last = rows_of_the_mean(falling)
    assert first + 100 < last
    first, last = rows_of_the_mean(falling[::-1])
    assert last + 100 < first


@pytest.mark.parametrize("losses", ([], [0.3], [0.5, 0.5, 0.5]))
def test_runs_of_no_step_one_step_or_one_loss_have_a_picture(losses: list[float]) -> None:
    picture = loss_curve(losses, "heart: loss")
    assert picture.shape == (480, 1200, 3) and 0 <= float(picture.min()) <= float(picture.max()) <= 1
