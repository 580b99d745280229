"""Selecting an object on one frame, against textured scenes whose truth is known."""

import numpy as np
import pytest
import torch

from vivid_core.masks.prompts import Prompt
from vivid_core.masks.select import select_object

HEIGHT, WIDTH = 240, 320


def texture(rng: np.random.Generator, colour: tuple[float, float, float], contrast: float = 0.12) -> np.ndarray:
    import cv2

    fine, coarse = (cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH, 3)), (0, 0), s) for s in (1.5, 6))
    grain = fine / fine.std() + coarse / coarse.std()
    return np.clip(np.array(colour) + contrast / 2 * grain, 0, 1).astype(np.float32)


def scene(seed: int, shape: str = "disc") -> tuple[torch.Tensor, np.ndarray]:
    """A textured shape on another texture: image_hwc and the true mask."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    x, y = rng.uniform(120, 200), rng.uniform(100, 140)
    if shape == "disc":
        truth = (columns - x) ** 2 + (rows - y) ** 2 < rng.uniform(35, 60) ** 2
    else:
        truth = ((columns - x) / 70) ** 2 + ((rows - y) / 35) ** 2 < 1
    pairs = [((0.7, 0.3, 0.25), (0.3, 0.5, 0.3)), ((0.25, 0.35, 0.7), (0.55, 0.5, 0.4)), ((0.8, 0.75, 0.6), (0.3,) * 3)]
    inner, outer = pairs[seed % len(pairs)]
    image = np.where(truth[..., None], texture(rng, inner), texture(rng, outer))
    return torch.from_numpy(image.astype(np.float32)), truth


def loose_box(truth: np.ndarray, slack: float = 0.15) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    dx, dy = slack * (x1 - x0), slack * (y1 - y0)
    return max(0, x0 - dx) / WIDTH, max(0, y0 - dy) / HEIGHT, min(1, (x1 + dx) / WIDTH), min(1, (y1 + dy) / HEIGHT)


def inner_points(truth: np.ndarray, count: int, seed: int) -> tuple[tuple[float, float, int], ...]:
    """Points well inside the truth."""
    import cv2

    depth = cv2.distanceTransform(truth.astype(np.uint8), cv2.DIST_L2, 5)
    rows, columns = np.nonzero(depth > 0.4 * depth.max())
    chosen = np.random.default_rng(seed).integers(0, len(rows), count)
    return tuple((columns[i] / WIDTH, rows[i] / HEIGHT, 1) for i in chosen)


def overlap(mask_hw: torch.Tensor, truth: np.ndarray) -> float:
    mask = mask_hw.numpy() > 0.5
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize("shape", ["disc", "ellipse"])
@pytest.mark.parametrize("seed", range(3))
def test_a_loose_box_selects_the_textured_object(seed, shape):
    image, truth = scene(seed, shape)
    assert overlap(select_object(image, Prompt(0, box=loose_box(truth))), truth) >= 0.9


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_few_clicks_select_the_textured_object(seed, count):
    image, truth = scene(seed)
    assert overlap(select_object(image, Prompt(0, points=inner_points(truth, count, seed))), truth) >= 0.8


def two_discs() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    left, right = ((columns - x) ** 2 + (rows - 120) ** 2 < 40**2 for x in (110, 200))
    image = np.where((left | right)[..., None], texture(rng, (0.7, 0.3, 0.25)), texture(rng, (0.3, 0.5, 0.3)))
    return torch.from_numpy(image.astype(np.float32)), left, right


def test_a_click_on_each_part_selects_both_parts():
    image, left, right = two_discs()
    points = ((110 / WIDTH, 0.5, 1), (200 / WIDTH, 0.5, 1))
    assert overlap(select_object(image, Prompt(0, points=points)), left | right) >= 0.9


def test_a_background_click_takes_a_part_away():
    image, left, right = two_discs()
    points = ((110 / WIDTH, 0.5, 1), (200 / WIDTH, 0.5, 0))
    assert overlap(select_object(image, Prompt(0, points=points)), left) >= 0.9
    box = loose_box(left | right)
    assert overlap(select_object(image, Prompt(0, points=points, box=box)), left) >= 0.85


def test_the_same_prompt_gives_the_same_mask():
    image, truth = scene(1)
    prompt = Prompt(0, box=loose_box(truth), points=inner_points(truth, 1, 0))
    assert torch.equal(select_object(image, prompt), select_object(image, prompt))


def test_a_mask_is_taken_as_it_is():
    image, truth = scene(0)
    mask = torch.from_numpy(truth).float() * 0.75
    assert torch.equal(select_object(image, Prompt(0, mask_hw=mask)), (mask > 0.5).float())


def test_only_background_points_are_refused():
    with pytest.raises(ValueError, match="only points on the background"):
        select_object(torch.zeros(20, 20, 3), Prompt(3, points=((0.5, 0.5, 0),)))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 31), (8, 400)])
@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(0, box=(0, 0, 1, 1)),
        Prompt(0, box=(0.4, 0.4, 0.401, 0.401)),
        Prompt(0, points=((1, 1, 1), (0, 0, 1))),
        Prompt(0, points=((0.9, 0.9, 1), (0, 0, 0)), box=(0.1, 0.1, 0.5, 0.5)),
    ],
)
def test_small_odd_and_flat_pictures_give_a_binary_mask(size, prompt):
    for image in (torch.full((*size, 3), 0.5), torch.rand((*size, 3), generator=torch.Generator().manual_seed(0))):
        mask = select_object(image, prompt)
        assert mask.shape == size and mask.dtype == torch.float32 and set(mask.unique().tolist()) <= {0.0, 1.0}


def test_a_click_on_a_flat_picture_is_kept_in_the_mask():
    mask = select_object(torch.full((60, 80, 3), 0.5), Prompt(0, points=((0.5, 0.5, 1),)))
    assert mask[30, 40] == 1
