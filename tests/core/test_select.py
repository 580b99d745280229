"""Selecting an object on one frame, against textured scenes whose truth is known."""

import numpy as np
import pytest
import torch

from vivid_core.masks.prompts import Prompt
from vivid_core.masks.select import HOLE_SHARE, PART_SHARE, guided, select_object, tidied

HEIGHT, WIDTH = 120, 160


def texture(rng: np.random.Generator, colour: tuple[float, float, float], contrast: float = 0.12) -> np.ndarray:
    import cv2

    fine, coarse = (cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH, 3)), (0, 0), s) for s in (1.5, 6))
    grain = fine / fine.std() + coarse / coarse.std()
    return np.clip(np.array(colour) + contrast / 2 * grain, 0, 1).astype(np.float32)


def scene(seed: int, shape: str = "disc") -> tuple[torch.Tensor, np.ndarray]:
    """A textured shape on another texture: image_hwc and the true mask."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    x, y = rng.uniform(60, 100), rng.uniform(50, 70)
    if shape == "disc":
        truth = (columns - x) ** 2 + (rows - y) ** 2 < rng.uniform(18, 30) ** 2
    else:
        truth = ((columns - x) / 35) ** 2 + ((rows - y) / 18) ** 2 < 1
    pairs = [((0.7, 0.3, 0.25), (0.3, 0.5, 0.3)), ((0.25, 0.35, 0.7), (0.55, 0.5, 0.4)), ((0.8, 0.75, 0.6), (0.3,) * 3)]
    inner, outer = pairs[seed % len(pairs)]
    image = np.where(truth[..., None], texture(rng, inner), texture(rng, outer))
    return torch.from_numpy(image.astype(np.float32)), truth


def loose_box(
    truth: np.ndarray, slack: float = 0.15, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    dx, dy = slack * (x1 - x0), slack * (y1 - y0)
    width, height = size
    return max(0, x0 - dx) / width, max(0, y0 - dy) / height, min(1, (x1 + dx) / width), min(1, (y1 + dy) / height)


def inner_points(
    truth: np.ndarray, count: int, seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> tuple[tuple[float, float, int], ...]:
    """Points well inside the truth."""
    import cv2

    depth = cv2.distanceTransform(truth.astype(np.uint8), cv2.DIST_L2, 5)
    rows, columns = np.nonzero(depth > 0.4 * depth.max())
    chosen = np.random.default_rng(seed).integers(0, len(rows), count)
    return tuple((columns[i] / size[0], rows[i] / size[1], 1) for i in chosen)


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


@pytest.mark.parametrize("seed", range(3))
def test_a_striking_detail_is_not_taken_for_the_object_that_the_box_was_drawn_around(seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    truth, detail = ((columns - 80) ** 2 + (rows - 60) ** 2 < radius**2 for radius in (28, 5))
    image = np.where(truth[..., None], texture(rng, (0.54, 0.44, 0.27), 0.06), texture(rng, (0.3, 0.5, 0.3), 0.06))
    image = np.where(detail[..., None], np.array((0.95, 0.95, 0.2)), image)
    prompt = Prompt(0, box=loose_box(truth))
    assert overlap(select_object(torch.from_numpy(image.astype(np.float32)), prompt), truth) >= 0.9


@pytest.mark.parametrize("seed", range(4))
def test_an_object_beside_the_middle_of_a_box_is_found(seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    truth = (columns - 60) ** 2 + (rows - 60) ** 2 < 22**2
    image = np.where(truth[..., None], texture(rng, (0.7, 0.4, 0.25)), texture(rng, (0.3, 0.5, 0.3)))
    prompt = Prompt(0, box=(0.2, 0.2, 0.85, 0.8))
    assert overlap(select_object(torch.from_numpy(image.astype(np.float32)), prompt), truth) >= 0.9


def two_discs() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    left, right = ((columns - x) ** 2 + (rows - 60) ** 2 < 20**2 for x in (55, 100))
    image = np.where((left | right)[..., None], texture(rng, (0.7, 0.3, 0.25)), texture(rng, (0.3, 0.5, 0.3)))
    return torch.from_numpy(image.astype(np.float32)), left, right


def test_a_click_on_each_part_selects_both_parts():
    image, left, right = two_discs()
    points = ((55 / WIDTH, 0.5, 1), (100 / WIDTH, 0.5, 1))
    assert overlap(select_object(image, Prompt(0, points=points)), left | right) >= 0.9


def test_a_background_click_takes_a_part_away():
    image, left, right = two_discs()
    points = ((55 / WIDTH, 0.5, 1), (100 / WIDTH, 0.5, 0))
    assert overlap(select_object(image, Prompt(0, points=points)), left) >= 0.9
    box = loose_box(left | right)
    assert overlap(select_object(image, Prompt(0, points=points, box=box)), left) >= 0.85


def enlarged(image: torch.Tensor, truth: np.ndarray, times: int) -> tuple[torch.Tensor, np.ndarray]:
    import cv2

    size = (times * truth.shape[1], times * truth.shape[0])
    larger = cv2.resize(image.numpy(), size, interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(larger), cv2.resize(truth.astype(np.float32), size) > 0.5


def test_a_picture_that_is_larger_than_what_is_worked_on_gives_a_mask_as_good():
    image, truth = enlarged(*scene(1, "ellipse"), times=4)
    box, points = loose_box(truth, size=(640, 480)), inner_points(truth, 2, 0, size=(640, 480))
    upright = tuple((y, x, label) for x, y, label in points)
    assert overlap(select_object(image, Prompt(0, box=box)), truth) >= 0.93
    assert overlap(select_object(image.transpose(0, 1), Prompt(0, points=upright)), truth.T) >= 0.9


@pytest.mark.parametrize("box", [(0.4, 0.3, 0.7, 0.7), (0.5, 0.5, 0.5625, 0.575)])
def test_what_is_far_from_the_box_has_no_influence(box):
    """Beyond 35 % of its size, and never less than 16 pixels."""
    image, _ = scene(2)
    sides = ((box[0], box[2], WIDTH), (box[1], box[3], HEIGHT))
    (left, right), (top, bottom) = (
        (near * side - more - 1, far * side + more + 1)
        for near, far, side in sides
        for more in [max(16, 0.35 * (far - near) * side)]
    )
    rows, columns = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)[None]
    far = (rows < top) | (rows > bottom) | (columns < left) | (columns > right)
    other = torch.where(far[..., None], 1 - image, image)
    assert 0.3 < far.float().mean() < 0.95
    assert torch.equal(select_object(image, Prompt(0, box=box)), select_object(other, Prompt(0, box=box)))


@pytest.mark.parametrize("place", [(0.5, 0.05), (0.5, 0.95), (0.05, 0.5), (0.95, 0.5), (1.0, 1.0), (0.0, 0.0)])
def test_a_click_far_from_the_box_is_on_the_object(place):
    image, truth = scene(1)
    prompt = Prompt(0, box=loose_box(truth), points=((*place, 1),))
    x, y = min(int(place[0] * WIDTH), WIDTH - 1), min(int(place[1] * HEIGHT), HEIGHT - 1)
    assert select_object(image, prompt)[y, x] == 1


@pytest.mark.parametrize("place", [(0.5, 0.01), (0.5, 0.99), (0.01, 0.5), (0.99, 0.5), (0.99, 0.01)])
def test_a_click_on_the_background_far_from_the_box_does_not_matter(place):
    image, _ = scene(1)
    box = (0.4, 0.4, 0.6, 0.6)
    without = select_object(image, Prompt(0, box=box))
    assert torch.equal(select_object(image, Prompt(0, box=box, points=((*place, 0),))), without)


@pytest.mark.parametrize("seed", range(40))
def test_specks_and_small_holes_go_unless_they_are_clicked(seed):
    """Against counting connected parts with scipy."""
    import cv2
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    inside = cv2.GaussianBlur(rng.standard_normal((30, 40)), (0, 0), rng.uniform(0.6, 2)) > rng.uniform(-0.1, 0.1)
    clicks = [(float(x), float(y), int(on)) for x, y, on in zip(*rng.integers(0, ((40,), (30,), (2,)), (3, 6)))]
    parts, count = ndimage.label(inside)
    areas = ndimage.sum_labels(inside, parts, range(count + 1))
    on, off = ({(int(y), int(x)) for x, y, label in clicks if label == wanted} for wanted in (1, 0))
    kept = np.zeros_like(inside)
    for part in range(1, count + 1):
        clicked = any(parts[place] == part for place in on)
        kept |= (parts == part) & (clicked or areas[part] >= PART_SHARE * areas.max())
    wanted = kept.copy()
    holes, count = ndimage.label(~kept)
    for hole in range(1, count + 1):
        rows, columns = np.nonzero(holes == hole)
        open_ = rows.min() == 0 or columns.min() == 0 or rows.max() == 29 or columns.max() == 39
        clicked = any(holes[place] == hole for place in off)
        wanted |= (holes == hole) & (not open_ and not clicked and len(rows) <= HOLE_SHARE * kept.sum())
    assert np.array_equal(tidied(cv2, inside, clicks), wanted)


@pytest.mark.parametrize("radius", [1, 3])
def test_on_a_grey_picture_the_guided_filter_is_that_of_its_paper(radius):
    """He et al. 2013, equations 5, 6 and 8, with windows mirrored at the border."""
    import cv2

    rng = np.random.default_rng(radius)
    grey, soft = (rng.random((9, 12)).astype(np.float32) for _ in range(2))

    def windows(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values.astype(np.float64), radius, mode="symmetric")
        return np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2).reshape(*values.shape, -1)

    guide, given = windows(grey), windows(soft)
    slope = ((guide * given).mean(-1) - guide.mean(-1) * given.mean(-1)) / (guide.var(-1) + 1e-4)
    offset = given.mean(-1) - slope * guide.mean(-1)
    wanted = windows(slope).mean(-1) * grey + windows(offset).mean(-1)
    found = guided(cv2, np.repeat(grey[..., None], 3, axis=2), soft, radius)
    assert np.abs(found - wanted).max() < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_what_opencv_drew_before_has_no_influence(seed):
    import cv2

    image = torch.rand((40, 60, 3), generator=torch.Generator().manual_seed(seed))
    masks = []
    for before in range(4):
        cv2.setRNGSeed(before)
        masks.append(select_object(image, Prompt(0, box=(0.2, 0.2, 0.8, 0.8))))
    assert all(torch.equal(mask, masks[0]) for mask in masks)


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
