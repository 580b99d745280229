"""Shot cuts are found; motion, flashes and fades are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import make_scene, texture
from torch import Tensor

from vivid_core.masks.shots import shot_cuts
from vivid_core.runtime import Runtime


def shot(seed: int, frames: int = 12, motion: str = "mixed") -> Tensor:
    return make_scene(seed, motion, frames, 256, 192).frames_fhwc


@pytest.mark.parametrize("seed", range(5))
def test_every_cut_is_found_where_it_is(seed: int) -> None:
    clip = torch.cat([shot(seed), shot(seed + 50, 9), shot(seed + 100)])
    assert shot_cuts(clip) == (12, 21)


@pytest.mark.parametrize("seed", range(3))
def test_a_flash_is_no_cut(seed: int) -> None:
    clip = shot(seed)
    clip[4] = (clip[4] * 1.5 + 0.3).clamp(0, 1)
    clip[7:10] = 1.0
    assert shot_cuts(clip) == ()


def test_a_fast_pan_is_no_cut() -> None:
    wide = torch.from_numpy(texture(np.random.default_rng(0), 900, 192))
    assert shot_cuts(torch.stack([wide[:, 48 * index : 48 * index + 256] for index in range(12)])) == ()


def test_a_fade_is_no_cut() -> None:
    clip = shot(1)
    assert shot_cuts(clip * torch.linspace(0.2, 1, 12)[:, None, None, None]) == ()


def test_something_that_passes_close_to_the_camera_is_no_cut() -> None:
    clip = shot(2)
    close = torch.from_numpy(texture(np.random.default_rng(9), 256, 192))
    for index, edge in ((5, 160), (6, 256), (7, 120)):
        clip[index, :, :edge] = close[:, :edge]
    assert shot_cuts(clip) == ()


def test_a_cut_to_a_plain_picture_is_found() -> None:
    assert shot_cuts(torch.cat([shot(3), torch.full((10, 192, 256, 3), 0.1)])) == (12,)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (31, 17)])
def test_tiny_and_odd_frames_are_looked_at(size: tuple[int, int]) -> None:
    assert shot_cuts(torch.full((4, *size, 3), 0.5)) == ()


def test_one_frame_has_no_cut_and_each_frame_advances_the_bar() -> None:
    runtime = Runtime()
    runtime.begin(20)
    assert shot_cuts(shot(0, 1), runtime) == () and runtime.done == 1
