"""How a clip is asked: in windows that overlap where there is motion, in plain parts or whole where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from vivid_core.editors.clip_windows import TRAINED, ClipAsk, spans, weights

SIZE = (64, 96)


@dataclass
class Backbone:
    """What `ClipAsk.make` asks of one."""

    motion: bool
    longest: int | None

    def ask(self, depth_fhw: Tensor | None, strength: float) -> Any:
        return lambda latents, timestep, texts, frames: latents


def made(motion: bool, longest: int | None, frames: int, **options: Any) -> ClipAsk:
    backbone: Any = Backbone(motion, longest)
    return ClipAsk.make(backbone, frames, SIZE, **options)


@pytest.mark.parametrize("frames, overlap", [(20, 4), (33, 4), (40, 1), (17, 0), (64, 15)])
def test_motion_is_asked_in_windows_of_what_it_was_trained_with_that_share_frames(frames: int, overlap: int) -> None:
    ask = made(True, 32, frames, overlap=overlap)
    assert list(ask.windows) == spans(frames, TRAINED, overlap)
    for before, after in zip(ask.windows, ask.windows[1:]):
        assert before.stop - after.start >= overlap
    assert ask.windowed and ask.at_once == TRAINED and ask.chunk is None


def test_motion_that_takes_fewer_frames_is_asked_for_no_more() -> None:
    assert made(True, 8, 30).at_once == 8


@pytest.mark.parametrize("frames", [1, 15, TRAINED])
def test_a_clip_that_goes_at_once_is_one_window(frames: int) -> None:
    ask = made(True, 32, frames)
    assert list(ask.windows) == [slice(0, frames)] and not ask.windowed and ask.weighted is None
    assert ask.averaged is ask.ask


@pytest.mark.parametrize("frames, chunk", [(20, 4), (21, 7), (5, 5), (9, None)])
def test_images_are_asked_in_parts_that_share_nothing_but_a_filled_up_end(frames: int, chunk: int | None) -> None:
    ask = made(False, None, frames, chunk=chunk, overlap=3)
    assert list(ask.windows) == spans(frames, chunk or frames, 0)
    assert not ask.windowed and ask.chunk == chunk and ask.weighted is None
    if frames % (chunk or frames) == 0:
        assert sum(window.stop - window.start for window in ask.windows) == frames, "no frame twice"


def test_each_frame_of_a_window_counts_by_how_far_it_is_from_an_end() -> None:
    ask = made(True, 32, 30)
    assert ask.weighted is not None
    for (window, counted), wanted in zip(ask.weighted, ask.windows):
        assert window == wanted and torch.equal(counted, weights(TRAINED))
    assert weights(5).tolist() == [1, 2, 3, 2, 1] and weights(4).tolist() == [1, 2, 2, 1]
