"""Removal: what other frames show is put back truly, the rest is filled, and nothing else changes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from cancelling import CancelAfter, CancelledError
from scenes import texture
from torch import Tensor

from vivid_core.editors.hole_filling import fill_hole
from vivid_core.editors.membrane import fill_smoothly
from vivid_core.editors.removal import remove_by_flow
from vivid_core.runtime import Runtime
from vivid_core.video.composite import outside_difference


def walk(
    seed: int, camera: str, moving: bool, exposure: float = 0.0, frames: int = 48, width: int = 200, height: int = 140
) -> tuple[Tensor, Tensor, Tensor]:
    """A disc in front of a textured background: frames, the true background, masks of the disc."""
    random = np.random.default_rng(seed)
    back, front = texture(random, width + 160, height + 160), texture(random, width, height)
    heading = random.uniform(0, 2 * np.pi)
    shown, truth, masks = [], [], []
    for phase in np.linspace(-1, 1, frames):
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        middle = width / 2 + (0.28 * width * phase if moving else 0)
        inside = np.hypot(x - middle, y - height / 2) < 0.15 * height
        if camera == "pan":
            x, y = x + 80 + 40 * phase * np.cos(heading), y + 80 + 40 * phase * np.sin(heading)
        elif camera == "zoom":
            scale, turn = 1 + 0.15 * phase, 0.1 * phase
            u, v = (x - width / 2) * scale, (y - height / 2) * scale
            x = u * np.cos(turn) - v * np.sin(turn) + width / 2 + 80 + 15 * phase
            y = u * np.sin(turn) + v * np.cos(turn) + height / 2 + 80
        else:
            x, y = x + 80, y + 80
        picture = cv2.remap(back, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC)
        picture = np.clip(picture * (0.85 + exposure * phase), 0, 1)
        truth.append(picture)
        shown.append(np.where(inside[..., None], front, picture))
        masks.append(inside)
    return tuple(torch.from_numpy(np.stack(clip).astype(np.float32)) for clip in (shown, truth, masks))


def psnr(one: Tensor, other: Tensor) -> float:
    return float(-10 * torch.log10((one - other).square().mean().clamp_min(1e-12)))


@pytest.mark.parametrize(
    ("seed", "camera", "moving", "exposure", "decibels"),
    [
        (0, "pan", True, 0.0, 38),
        (1, "pan", False, 0.0, 38),
        (2, "zoom", True, 0.0, 36),
        (3, "still", True, 0.0, 80),
        (4, "pan", True, 0.12, 37),
    ],
)
def test_the_true_background_comes_back_where_other_frames_show_it(seed, camera, moving, exposure, decibels):
    frames, truth, masks = walk(seed, camera, moving, exposure)
    result = remove_by_flow(frames, masks)
    hole = masks > 0.5
    assert psnr(result.frames_fhwc[hole], truth[hole]) > decibels
    assert outside_difference(frames, result.frames_fhwc, result.blend_mask_fhw) == 0
    assert result.report.startswith("100.0 %")
    assert float(result.confidence_f.min()) > 0.99


def test_a_few_frames_with_a_fast_camera_show_what_is_behind_a_still_mask():
    frames, truth, masks = walk(4, "pan", moving=False, frames=6)
    result = remove_by_flow(frames, masks)
    assert result.report.startswith("100.0 %")
    assert psnr(result.frames_fhwc[masks > 0.5], truth[masks > 0.5]) > 35


def test_what_no_frame_shows_is_invented_once_and_stands_still():
    frames, _, masks = walk(3, "still", moving=False, frames=8)
    result = remove_by_flow(frames, masks)
    assert "100.0 % was inpainted" in result.report
    assert float((result.frames_fhwc - result.frames_fhwc[:1]).abs().max()) < 0.02
    hole = masks[0] > 0.5
    texture_there = float(result.frames_fhwc[0][hole].std(0).mean())
    assert texture_there > 0.5 * float(frames[0].reshape(-1, 3).std(0).mean())  # no smear


def test_what_passes_in_front_of_a_fixed_object_is_not_copied_into_its_place():
    frames = walk(1, "still", moving=False, frames=24)[0]
    masks = torch.zeros(frames.shape[:3])
    masks[:, 60:80, 90:110] = 1
    for index in range(24):  # a red wall comes in from the left and stays; the mask ends where it hides the object
        frames[index, :, : 8 * index] = torch.tensor([0.9, 0.1, 0.1])
        masks[index, :, : 8 * index] = 0
    result = remove_by_flow(frames, masks)
    first = result.frames_fhwc[0][masks[0] > 0.5]
    assert float(((first[:, 0] > 0.8) & (first[:, 1] < 0.2)).float().mean()) < 0.05
    assert "stays in its place" in result.report


def test_frames_with_an_empty_mask_are_bit_exact():
    frames, _, masks = walk(2, "pan", moving=True, frames=12)
    masks[[0, 5, 11]] = 0
    result = remove_by_flow(frames, masks)
    for index in (0, 5, 11):
        assert torch.equal(result.frames_fhwc[index], frames[index])
        assert float(result.confidence_f[index]) == 1


def test_nothing_is_copied_from_another_shot():
    first, _, masks = walk(0, "still", moving=False, frames=6)
    second = walk(5, "still", moving=False, frames=6)[0]
    masks = torch.cat([masks, masks * 0])
    result = remove_by_flow(torch.cat([first, second]), masks)
    assert "2 shots" in result.report and "100.0 % was inpainted" in result.report


def test_same_inputs_give_the_same_output_and_are_left_as_they_were():
    frames, _, masks = walk(4, "pan", moving=False, frames=6)
    before = frames.clone(), masks.clone()
    one, other = remove_by_flow(frames, masks), remove_by_flow(frames, masks)
    assert torch.equal(one.frames_fhwc, other.frames_fhwc)
    assert torch.equal(frames, before[0]) and torch.equal(masks, before[1])


@pytest.mark.parametrize("steps", [0, 5, 10, 15, 20, 27])
def test_a_cancel_passes_through(steps):
    frames, _, masks = walk(0, "still", moving=False, frames=6, width=96, height=64)
    with pytest.raises(CancelledError):
        remove_by_flow(frames, masks, runtime=CancelAfter(steps))


def test_the_bar_ends_full():
    frames, _, masks = walk(0, "still", moving=False, frames=6, width=96, height=64)
    runtime = Runtime()
    remove_by_flow(frames, masks, runtime=runtime)
    assert runtime.done == runtime.total


@pytest.mark.parametrize(("width", "height"), [(97, 63), (40, 33), (16, 16)])
def test_odd_and_tiny_sizes_and_single_frames_work(width, height):
    frames, _, masks = walk(0, "still", moving=False, frames=1, width=width, height=height)
    result = remove_by_flow(frames, masks, feather=2)
    assert result.frames_fhwc.shape == frames.shape
    assert bool(torch.isfinite(result.frames_fhwc).all())
    assert outside_difference(frames, result.frames_fhwc, result.blend_mask_fhw) == 0


def test_an_alpha_channel_is_dropped_and_one_mask_serves_all_frames():
    frames, _, masks = walk(0, "pan", moving=False, frames=4, width=96, height=64)
    notes: list[str] = []
    result = remove_by_flow(torch.cat([frames, frames[..., :1]], -1), masks[:1], notes=notes)
    assert torch.equal(result.frames_fhwc, remove_by_flow(frames, masks).frames_fhwc) and len(notes) == 2


def test_wrong_inputs_are_named_in_one_sentence():
    frames, _, masks = walk(0, "still", moving=False, frames=3, width=64, height=48)
    for wrong, sentence in (
        ((frames, masks * 0), "empty on all 3 frames"),
        ((frames, masks * 0 + 1), "covers every pixel"),
        ((frames, masks[:2]), "2 masks for 3 frames"),
        ((frames[..., :2], masks), "2 channels"),
    ):
        with pytest.raises(ValueError, match=sentence):
            remove_by_flow(*wrong)


def test_a_hole_in_a_regular_pattern_is_filled_with_that_pattern():
    y, x = np.mgrid[0:96, 0:128]
    image = np.repeat(((np.sin(x / 2.5) > 0).astype(np.float32) * 0.8 + 0.1)[..., None], 3, 2)
    hole = np.hypot(x - 64, y - 48) < 16
    damaged = np.where(hole[..., None], 0.5, image).astype(np.float32)
    filled = fill_hole(damaged, hole, ~hole)
    assert np.abs(filled - image)[hole].mean() < 0.08
    assert np.array_equal(filled[~hole], image[~hole])


def test_a_smooth_fill_continues_a_gradient_and_keeps_what_is_known():
    image = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 48, 0)
    known = np.ones((48, 64), bool)
    known[16:32, 24:40] = False
    filled = fill_smoothly(image * known[..., None], known)
    assert np.array_equal(filled[known], image[known])
    assert np.abs(filled - image).max() < 0.12
