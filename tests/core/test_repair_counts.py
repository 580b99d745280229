"""The bar of a repair: as many steps as were promised, no more and no fewer, whatever is repaired."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vivid_core.masks.repair import repair_mask
from vivid_core.runtime import Runtime


class Counting(Runtime):
    """Counts also what is beyond the promise, which the plain one cuts off."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0

    def advance(self, steps: int = 1, *others: Any, **more: Any) -> None:
        self.counted += steps


def square(at: int) -> Tensor:
    mask_hw = torch.zeros(24, 24)
    mask_hw[at : at + 6, at : at + 6] = 1
    return mask_hw


MASKS = torch.stack([square(2), square(2) * 0, square(2) * 0, square(10), square(10) * 0, square(14)])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"in_between": True},
        {"in_between": True, "overrides": {1: square(4)}},
        {"in_between": True, "overrides": {0: square(1), 5: square(9)}},
        {"in_between": True, "median_frames": 3},
        {"median_frames": 5, "min_speck": 0.5, "max_hole": 0.5},
    ],
    ids=["plain", "gaps", "gaps and one painted", "between two painted", "gaps and median", "median and specks"],
)
def test_every_step_is_counted_once(options: dict[str, Any]) -> None:
    runtime = Counting()
    repair_mask(MASKS, runtime=runtime, **options)
    assert runtime.counted == runtime.total > 0
