"""Demo Clip: a clip, its mask, its words and its answer belong together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from harness.inprocess import Result

GOOD = {"task": "modify", "clip": 0, "frame_count": 9, "side": 48, "group": "seen"}


def made(call: Callable[..., Result], **changed: Any) -> list[Any]:
    result = call("VividDemoClip", **{**GOOD, **changed})
    assert result.ok, result.exception
    return result.outputs["node"]


@pytest.mark.parametrize(
    ("task", "group"),
    [("remove", "seen"), *((task, group) for task in ("modify", "add") for group in ("seen", "unseen", "new"))],
)
def test_the_answer_differs_from_the_clip_inside_the_mask_only(
    call: Callable[..., Result], task: str, group: str
) -> None:
    frames, mask, caption, answer, shape = made(call, task=task, group=group)
    assert frames.shape == answer.shape == (9, 48, 48, 3) and mask.shape == shape.shape == (9, 48, 48)
    changed = (frames - answer).abs().amax(-1) > 0
    assert changed.flatten(1).any(1).all()
    assert not (changed & (mask == 0)).any()
    assert not ((shape > 0) & (mask == 0)).any() and bool(shape.any()) == (task != "remove")
    assert ("heart" in caption) == (group == "new")


def test_length_and_size_are_as_asked_and_a_number_is_always_the_same_clip(call: Callable[..., Result]) -> None:
    first, again = made(call, clip=5, frame_count=21, side=96), made(call, clip=5, frame_count=21, side=96)
    assert first[0].shape == (21, 96, 96, 3) and made(call, frame_count=1)[0].shape == (1, 48, 48, 3)
    assert all(torch.equal(one, other) for one, other in zip(first, again) if isinstance(one, torch.Tensor))
    assert not torch.equal(first[0], made(call, clip=6, frame_count=21, side=96)[0])


@pytest.mark.parametrize("group", ["unseen", "new"])
def test_what_is_removed_is_of_one_group(call: Callable[..., Result], group: str) -> None:
    result = call("VividDemoClip", **{**GOOD, "task": "remove", "group": group})
    assert f'got the group "{group}" for remove, which has only "seen"' in str(result.exception)
