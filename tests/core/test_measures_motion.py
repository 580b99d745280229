"""Warp error and motion fidelity: against plain loops, and on scenes whose motion is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scenes
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vivid_core.masks.flow import Bytes, Floats
from vivid_core.metrics.motion import motion_fidelity, path_share, warp_errors
from vivid_core.metrics.report import measure_edit

HEIGHT, WIDTH, SIDE = 144, 208, 56
STEP = 4  # pixels to the right in each frame


class Shift:
    """A flow estimator that always finds the same whole-pixel motion, (right, down)."""

    def __init__(self, right: int, down: int) -> None:
        self.right, self.down = right, down

    def both_ways(self, first: Bytes, second: Bytes) -> tuple[Floats, Floats]:
        there = np.broadcast_to(np.array([self.right, self.down], np.float32), (*first.shape[:2], 2))
        return there.copy(), -there


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def texture(seed: int, width: int, height: int) -> Tensor:
    return torch.from_numpy(scenes.texture(np.random.default_rng(seed), width, height))


def square_at(x: int) -> Tensor:
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[30 : 30 + SIDE, x : x + SIDE] = 1
    return mask


def gliding(look: int = 1, step: int = STEP, frames: int = 8) -> tuple[Tensor, Tensor]:
    """A textured square that glides over a textured ground: frames and its mask. `look` chooses its texture."""
    ground, square = texture(0, WIDTH, HEIGHT), texture(look, SIDE, SIDE) * torch.tensor([1.2, 0.8, 0.5])
    clip, masks = ground.repeat(frames, 1, 1, 1), []
    for index in range(frames):
        masks.append(square_at(20 + step * index))
        clip[index][masks[-1] > 0] = square.reshape(-1, 3).clamp(0, 1)
    return clip, torch.stack(masks)


def warp_by_loops(original: Tensor, edited: Tensor, masks: Tensor, right: int, down: int) -> list[float]:
    """The warp errors when everything moves by whole pixels; what comes from outside repeats the edge."""
    height, width = masks.shape[1:]
    found: tuple[list[float], list[float]] = ([], [])
    for y, x in np.ndindex(height, width):
        v, u = y - down, x - right
        within = 0 <= v < height and 0 <= u < width
        before, now = (float(masks[0, v, u]) if within else 0.0), float(masks[1, y, x])
        at = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
        error = [255 * float((clip[0][at] - clip[1, y, x]).abs().mean()) for clip in (original, edited)]
        if before > 0.5 and now > 0.5:
            found[0].append(error[1] - error[0])
        elif before == now == 0:
            found[1].append(error[1] - error[0])
    return [max(0.0, float(np.mean(values))) if values else math.nan for values in found]


@given(st.integers(8, 20), st.integers(8, 20), st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_warp_errors_are_those_of_a_plain_loop_for_a_known_motion(
    height: int, width: int, right: int, down: int, seed: int
) -> None:
    original, edited = noise(seed, 2, height, width, 3) * 0.4, noise(seed + 1, 2, height, width, 3)
    masks = (noise(seed + 2, 2, height, width) > 0.5).float()
    pairs = ((original[0], original[1]), (edited[0], edited[1]), (masks[0], masks[1]))
    found = warp_errors(*pairs, Shift(right, down))
    assert found == pytest.approx(warp_by_loops(original, edited, masks, right, down), abs=1e-3, nan_ok=True)


def test_a_steady_recolouring_of_a_moving_object_has_no_warp_error_and_keeps_its_path() -> None:
    clip, mask = gliding()
    edited = torch.where(mask[..., None] > 0, clip * torch.tensor([0.4, 0.7, 1.0]), clip)
    measures = measure_edit(clip, edited, mask)
    assert measures.mean("warp_inside") < 0.5 and measures.mean("warp_outside") == 0
    assert measures.mean("motion_fidelity") > 0.95


def test_a_pulse_of_the_edits_brightness_is_its_warp_error() -> None:
    clip, mask = gliding()
    clip = clip * 0.6
    pulse = torch.tensor([0.0, 0.1] * 4).view(8, 1, 1, 1)
    edited = clip + pulse * mask[..., None]
    measures = measure_edit(clip, edited, mask)
    assert measures.mean("warp_inside") == pytest.approx(25.5, rel=0.15)
    assert measures.mean("warp_outside") == 0
    everywhere = measure_edit(clip, clip + pulse, mask)
    assert everywhere.mean("warp_outside") == pytest.approx(25.5, rel=0.15)


def test_an_object_with_a_motion_of_its_own_jitters_no_more_than_one_that_keeps_the_path() -> None:
    ground = texture(0, WIDTH, HEIGHT).repeat(8, 1, 1, 1)
    added, mask = gliding()
    assert measure_edit(ground, added, mask).mean("warp_inside") < 3
    boiling = torch.stack([torch.where(mask[i, ..., None] > 0, gliding(2 + i)[0][i], ground[i]) for i in range(8)])
    assert measure_edit(ground, boiling, mask).mean("warp_inside") > 10


def test_an_unedited_clip_keeps_all_of_the_path_and_a_frozen_one_the_overlap_that_one_can_compute() -> None:
    clip, mask = gliding()
    assert motion_fidelity(clip, clip.clone(), mask)[1:] == (1.0,) * 7
    frozen = clip[:1].repeat(8, 1, 1, 1)
    found = motion_fidelity(clip, frozen, mask)
    shared = [(SIDE - STEP * index) / (SIDE + STEP * index) for index in range(1, 8)]
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx(shared, abs=0.08)


def test_an_object_at_another_speed_keeps_the_overlap_of_the_two_paths() -> None:
    clip, mask = gliding()
    slower, _ = gliding(step=1)
    found = motion_fidelity(clip, slower, mask)
    shared = [(SIDE - 3 * index) / (SIDE + 3 * index) for index in range(1, 8)]
    assert found[1:] == pytest.approx(shared, abs=0.08)


def test_an_added_object_is_held_to_the_mask_alone() -> None:
    ground = texture(0, WIDTH, HEIGHT).repeat(12, 1, 1, 1)
    added, mask = gliding(frames=12)
    found = motion_fidelity(ground, added, mask)
    assert min(found[1:]) > 0.85
    still = motion_fidelity(ground, added[:1].repeat(12, 1, 1, 1), mask)
    assert math.isnan(still[-1]), "neither clip shows anything on the mask's path"


def test_the_share_of_a_path_is_taken_from_the_original_only_where_that_can_be_followed() -> None:
    given_mask, half, none = (np.zeros((4, 8), bool) for _ in range(3))
    given_mask[:, :4] = True
    half[:2, :4] = True
    assert path_share(given_mask, half, given_mask) == 0.5
    assert path_share(half, half, given_mask) == 1.0
    assert path_share(half, given_mask, given_mask) == 1.0
    assert path_share(none, half, given_mask) == 0.5
    assert path_share(given_mask, none, given_mask) == 0.0
    assert math.isnan(path_share(none, none, given_mask)) and math.isnan(path_share(half, half, none))


def test_motion_starts_at_the_first_masked_frame_and_skips_frames_without_a_mask() -> None:
    clip, mask = gliding()
    mask[:2], mask[5] = 0, 0
    found = motion_fidelity(clip, clip.clone(), mask)
    assert [math.isnan(value) for value in found] == [True, True, True, False, False, True, False, False]
    assert all(math.isnan(value) for value in motion_fidelity(clip, clip, torch.zeros_like(mask)))
