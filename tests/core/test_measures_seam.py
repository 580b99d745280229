"""The seam of an edit: against plain loops, and on rendered scenes where one knows where a seam is."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import scenes
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vivid_core.metrics.definitions import MEASURES
from vivid_core.metrics.seam import ALONG_PX, BESIDE_PX, EDGE_LEAST, EDGE_SHARE, seam
from vivid_core.training.world.render import render
from vivid_core.training.world.trials import trial
from vivid_core.training.world.words import COLOURS

MEASURE = next(measure for measure in MEASURES if measure.key == "seam")
TINTS = {"red": (1.3, 0.7, 0.6), "blue": (0.5, 0.7, 1.5)}
Case = tuple[Tensor, Tensor, Tensor]  # original_hwc, edited_hwc, mask_hw (bool)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def verdict(case: Case) -> str:
    original, edited, mask = case
    return MEASURE.verdict(seam(original, edited, mask.float()))


def pasted(original: Tensor, colours: Tensor, mask: Tensor) -> Case:
    return original, torch.where(mask[..., None], colours.clamp(0, 1), original), mask


def rectangle(height: int, width: int, rows: tuple[float, float], columns: tuple[float, float]) -> Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[int(rows[0] * height) : int(rows[1] * height), int(columns[0] * width) : int(columns[1] * width)] = True
    return mask


def changed_size(mask: Tensor, pixels: int) -> Tensor:
    change = cv2.dilate if pixels > 0 else cv2.erode
    kernel = np.ones((2 * abs(pixels) + 1,) * 2, np.uint8)
    return torch.from_numpy(change(mask.numpy().astype(np.uint8), kernel)) > 0


def waves(height: int = 96, width: int = 128) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return 0.5 + 0.3 * torch.sin(torch.stack([x * 3, y * 5, x * 2 + y * 3], -1))


def textured(seed: int) -> tuple[Tensor, Tensor]:
    """A frame in which object and ground have the same texture, and the object's mask."""
    made = scenes.make_scene(seed, frames=3, width=224, height=168)
    return made.frames_fhwc[1], made.masks_fhw[1] > 0.5


def recoloured(number: int, side: int = 96) -> Case:
    """A frame of the Demo Clip world, the same with its object in another colour, and the object's mask."""
    one = trial("modify", "seen", number, 9)
    entity = one.source.entities[one.index]
    colour = [name for name in COLOURS if name != entity.colour][number % (len(COLOURS) - 1)]
    before = render(one.source, side, 9)
    after = render(one.source.with_changed(one.index, entity.shape, colour), side, 9)
    return before.frames_fhwc[4], after.frames_fhwc[4], before.shape_fhw(one.index)[4] > 0.5


def border_of(inside: np.ndarray) -> list[tuple[int, int]]:
    height, width = inside.shape
    found = []
    for y, x in np.ndindex(height, width):
        near = [(y + dy, x + dx) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        if inside[y, x] and not all(inside[v, u] for v, u in near if 0 <= v < height and 0 <= u < width):
            found.append((y, x))
    return found


def step(lab: np.ndarray, inside: np.ndarray, y: int, x: int, radius: int) -> float:
    rows, columns = slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1)
    here = inside[rows, columns]
    if here.all() or not here.any():
        return 0.0
    return float(np.linalg.norm(lab[rows, columns][here].mean(0) - lab[rows, columns][~here].mean(0)))


def near_mean(values: dict[tuple[int, int], list[float]], y: int, x: int, radius: int) -> float:
    chosen = [one for (v, u), held in values.items() if abs(v - y) <= radius and abs(u - x) <= radius for one in held]
    return float(np.mean(chosen)) if chosen else 0.0


def seam_by_loops(original: Tensor, edited: Tensor, mask: Tensor, radius: int) -> float:
    labs = [cv2.cvtColor(image.numpy(), cv2.COLOR_RGB2Lab).astype(np.float64) for image in (original, edited)]
    inside = mask.numpy() > 0.5
    border = border_of(inside)
    steps = {place: [step(labs[0], inside, *place, 1)] for place in border}
    beside: dict[tuple[int, int], list[float]] = {}
    for line in (changed_size(mask > 0.5, BESIDE_PX).numpy(), changed_size(mask > 0.5, -BESIDE_PX).numpy()):
        for place in border_of(line):
            beside.setdefault(place, []).append(step(labs[0], line, *place, 1))
    total = []
    for place in border:
        typical = near_mean(beside, *place, ALONG_PX + BESIDE_PX)
        edge = (near_mean(steps, *place, ALONG_PX) - typical) / max(EDGE_SHARE * typical, EDGE_LEAST)
        excess = step(labs[1], inside, *place, radius) - step(labs[0], inside, *place, radius)
        total.append(max(excess, 0.0) * (1 - min(max(edge, 0.0), 1.0)))
    return float(np.mean(total)) if total else math.nan


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 1000), st.integers(1, 3), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_seam_is_the_step_without_an_edge_of_a_plain_loop(
    height: int, width: int, seed: int, radius: int, rough: bool
) -> None:
    original, edited = noise(seed, height, width, 3), noise(seed + 1, height, width, 3)
    if rough:
        mask = (noise(seed + 2, height, width) > 0.6).float()
    else:
        mask = rectangle(height, width, (0.25, 0.8), (0.2, 0.7)).float()
        original = original * 0.2 + mask[..., None] * (seed % 5) * 0.1
    expected = seam_by_loops(original, edited, mask, radius)
    assert seam(original, edited, mask, radius) == pytest.approx(expected, abs=2e-3, nan_ok=True)


@pytest.mark.parametrize("number", range(6))
def test_a_recolouring_that_stops_at_the_objects_own_edge_is_good(number: int) -> None:
    original, edited, mask = recoloured(number)
    assert verdict((original, edited, mask)) == "good", "with its soft edge"
    assert verdict(pasted(original, edited, mask)) == "good", "cut out hard"


@pytest.mark.parametrize("tint", list(TINTS))
@pytest.mark.parametrize("seed", range(3))
def test_a_recolouring_is_good_even_where_only_the_texture_ends_at_the_objects_edge(seed: int, tint: str) -> None:
    frame, mask = textured(seed)
    assert verdict(pasted(frame, frame * torch.tensor(TINTS[tint]), mask)) == "good"


def test_a_hard_rectangle_on_a_smooth_ground_is_poor_and_a_faint_one_is_not() -> None:
    ground = waves()
    mask = rectangle(96, 128, (0.3, 0.7), (0.25, 0.7))
    assert verdict(pasted(ground, torch.tensor([0.8, 0.2, 0.2]).expand_as(ground), mask)) == "poor"
    assert verdict(pasted(ground, ground * 1.1, mask)) == "fair"
    assert verdict(pasted(ground, ground * 1.02, mask)) == "good"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tint", list(TINTS))
def test_a_hard_rectangle_is_poor_on_a_textured_ground_too(seed: int, tint: str) -> None:
    frame, _ = textured(seed)
    mask = rectangle(168, 224, (0.05, 0.25), (0.05, 0.3))
    assert verdict(pasted(frame, frame * torch.tensor(TINTS[tint]), mask)) == "poor"


@pytest.mark.parametrize("number", range(6))
def test_new_colour_beyond_the_object_or_a_rim_of_the_old_is_poor(number: int) -> None:
    original, edited, mask = recoloured(number)
    flat = edited[mask].mean(0).expand_as(edited)
    assert verdict(pasted(original, flat, changed_size(mask, 4))) == "poor", "spilt over the edge"
    assert verdict(pasted(original, flat, changed_size(mask, -4))) == "poor", "a rim was left"


def test_a_feather_makes_the_seam_smaller_and_an_unedited_picture_has_none() -> None:
    ground = waves()
    mask = rectangle(96, 128, (0.3, 0.7), (0.25, 0.7))
    tint = (ground * torch.tensor([1.3, 0.7, 0.6])).clamp(0, 1)
    soft = torch.from_numpy(cv2.GaussianBlur(mask.float().numpy(), (0, 0), 4))[..., None]
    feathered = ground * (1 - soft) + tint * soft
    assert 0 < seam(ground, feathered, mask.float()) < 0.6 * seam(*pasted(ground, tint, mask)[:2], mask.float())
    assert seam(tint, tint, mask.float()) == 0
    assert math.isnan(seam(ground, tint, torch.zeros(96, 128))) and math.isnan(seam(ground, tint, torch.ones(96, 128)))
