"""Demo Scene: a clip, its mask, its words, its depth and its answer belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from harness.inprocess import Result


def made(call: Callable[..., Result], task: str = "recolour", clip: int = 0) -> list[Any]:
    result = call("VividDemoScene", task=task, clip=clip)
    assert result.ok, result.exception
    return result.outputs["node"]


@pytest.mark.parametrize("task", ["recolour", "move"])
@pytest.mark.parametrize("clip", [0, 7, 64, 99999])
def test_the_answer_differs_from_the_scene_inside_the_mask_only(
    call: Callable[..., Result], task: str, clip: int
) -> None:
    frames, mask, source_prompt, prompt, depth, answer = made(call, task, clip)
    assert frames.shape == answer.shape == depth.shape == (8, 64, 64, 3) and mask.shape == (8, 64, 64)
    changed = (frames - answer).abs().amax(-1) > 0
    assert changed.any() and not (changed & (mask == 0)).any()
    assert source_prompt != prompt and prompt.startswith("a ")
    assert depth.amin((1, 2, 3)).eq(0).all() and depth.amax((1, 2, 3)).eq(1).all()


def test_the_object_is_nearer_than_what_is_behind_it(call: Callable[..., Result]) -> None:
    frames, _, _, _, depth, answer = made(call)
    changed = (frames - answer).abs().amax(-1) > 0.2  # a recoloured object
    assert depth[..., 0][changed].mean() > depth[..., 0][~changed].mean() + 0.2


def test_a_number_is_always_the_same_scene(call: Callable[..., Result]) -> None:
    first, again, other = made(call, clip=5), made(call, clip=5), made(call, clip=6)
    assert all(torch.equal(one, two) for one, two in zip(first, again) if isinstance(one, torch.Tensor))
    assert first[2:4] == again[2:4] and not torch.equal(first[0], other[0])
