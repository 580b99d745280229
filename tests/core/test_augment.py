"""Mask augmentation against brute force: dilation by its definition, hull by half planes, box by min and max."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.masks.augment import MODES, augment_mask, drawn_expansion, size_verdict
from vivid_core.masks.shapes import Margins, bounds, convex_hull, dilate_ellipse, dilate_rectangle, ellipse
from vivid_core.runtime import Runtime


def blob(seed: int, height: int, width: int, share: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < share


def dilated_by_definition(mask: np.ndarray, element: np.ndarray, top: int, left: int) -> np.ndarray:
    grown = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask)):
        for dy, dx in zip(*np.nonzero(element)):
            if 0 <= y + dy - top < mask.shape[0] and 0 <= x + dx - left < mask.shape[1]:
                grown[y + dy - top, x + dx - left] = True
    return grown


def hull_by_half_planes(mask: np.ndarray) -> np.ndarray:
    """A pixel is outside if some line through two mask pixels has the whole mask on its other side."""
    points = np.argwhere(mask)
    inside = np.ones(mask.shape, bool)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    for a in points:
        for b in points:
            normal = np.array([b[1] - a[1], a[0] - b[0]])
            if (a != b).any() and ((points - a) @ normal <= 0).all():
                inside &= (rows - a[0]) * normal[0] + (columns - a[1]) * normal[1] <= 0
    y0, x0 = points.min(axis=0)
    y1, x1 = points.max(axis=0)
    return inside & (rows >= y0) & (rows <= y1) & (columns >= x0) & (columns <= x1)


margins = st.builds(Margins, *[st.integers(0, 5)] * 4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 14), margins)
def test_dilation_is_what_its_definition_says(seed, height, width, sides):
    import cv2

    mask = blob(seed, height, width)
    box = np.ones((sides.top + sides.bottom + 1, sides.left + sides.right + 1), bool)
    for element, grown in (
        (box, dilate_rectangle(cv2, mask, sides)),
        (ellipse(sides), dilate_ellipse(mask, sides)),
    ):
        assert np.array_equal(grown, dilated_by_definition(mask, element, sides.top, sides.left))


@given(margins)
def test_the_element_of_a_dilation_is_a_quarter_of_an_ellipse_to_each_side(sides):
    """With half axes of half a pixel more than the margin."""
    element = ellipse(sides)
    assert element.shape == (sides.top + sides.bottom + 1, sides.left + sides.right + 1)
    for (row, column), within in np.ndenumerate(element):
        down, across = row - sides.top, column - sides.left
        height = (sides.bottom if down > 0 else sides.top) + 0.5
        width = (sides.right if across > 0 else sides.left) + 0.5
        assert within == ((down * width) ** 2 + (across * height) ** 2 <= (height * width) ** 2)


def test_dilation_reaches_far():
    mask = np.zeros((700, 3), bool)
    mask[350, 1] = True
    assert np.flatnonzero(dilate_ellipse(mask, Margins(0, 300, 0, 260))[:, 1]).tolist() == list(range(50, 611))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.03, 0.1, 0.5]))
def test_the_hull_holds_exactly_the_pixels_inside_all_half_planes(seed, height, width, share):
    import cv2

    mask = blob(seed, height, width, share)
    hull = convex_hull(cv2, mask)
    assert np.array_equal(hull, hull_by_half_planes(mask) if mask.any() else mask)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 15), st.integers(1, 15))
def test_the_box_is_min_and_max(seed, height, width):
    mask = blob(seed, height, width)
    boxed = augment_mask(torch.from_numpy(mask).float(), "box")[0].numpy() > 0.5
    truth = np.zeros_like(mask)
    if mask.any():
        (y0, x0), (y1, x1) = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0)
        truth[y0 : y1 + 1, x0 : x1 + 1] = True
        assert bounds(mask) == (x0, y0, x1 + 1, y1 + 1)
    assert np.array_equal(boxed, truth)


def clip() -> torch.Tensor:
    """Four frames: an ellipse, the same moved, nothing, and a speck at the border."""
    rows, columns = np.mgrid[:90, :160]
    masks = [((columns - x) / 20) ** 2 + ((rows - 45) / 12) ** 2 < 1 for x in (60, 80)]
    masks += [np.zeros((90, 160), bool), (columns < 2) & (rows > 87)]
    return torch.from_numpy(np.stack(masks)).float()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("randomise", [False, True])
def test_every_mode_is_binary_holds_the_mask_and_leaves_empty_frames_empty(mode, randomise):
    mask = clip()
    edit = augment_mask(mask, mode, 0.4, randomise, seed=3)
    assert edit.shape == mask.shape and edit.dtype == torch.float32
    assert set(edit.unique().tolist()) == {0.0, 1.0}
    assert bool((edit >= mask).all()) and not edit[2].any()
    if "expand" in mode or mode == "box":
        assert (edit[0] != mask[0]).any()


@pytest.mark.parametrize("mode", ["expand", "hull+expand", "box+expand"])
def test_the_box_grows_by_half_the_amount_on_each_side(mode):
    mask = clip()[:1]
    before, after = bounds(mask[0].numpy() > 0.5), bounds(augment_mask(mask, mode, 0.4)[0].numpy() > 0.5)
    across, down = int(np.ceil(0.2 * (before.right - before.left))), int(np.ceil(0.2 * (before.bottom - before.top)))
    assert after == (before.left - across, before.top - down, before.right + across, before.bottom + down)


def test_a_pixel_of_just_a_half_is_no_object():
    half = torch.full((2, 9, 9), 0.5)
    assert not any(augment_mask(half, mode).any() for mode in MODES) and "0 of 2 frames" in size_verdict(half)


def test_no_side_grows_more_than_half_the_way_to_the_border():
    mask = torch.zeros(1, 50, 80)
    mask[0, 10:45, 6:75] = 1
    for mode in ("expand", "hull+expand", "box+expand"):
        assert bounds(augment_mask(mask, mode, 10.0)[0].numpy() > 0.5) == (3, 5, 77, 47)


def test_expanding_by_nothing_changes_nothing():
    mask = clip()
    assert torch.equal(augment_mask(mask, "expand", 0.0), mask)
    assert torch.equal(augment_mask(mask, "box+expand", 0.0), augment_mask(mask, "box"))


def test_an_expanded_box_is_a_box():
    edit = augment_mask(clip()[:1], "box+expand", randomise=True, seed=1)
    assert torch.equal(edit, augment_mask(edit, "box"))


def test_random_amounts_are_drawn_once_for_the_clip_and_from_the_seed():
    still = clip()[:1].expand(3, -1, -1)
    for mode in ("expand", "hull+expand", "box+expand"):
        first = augment_mask(still, mode, randomise=True, seed=5)
        assert torch.equal(first[0], first[1]) and torch.equal(first[0], first[2])
        assert torch.equal(first, augment_mask(still, mode, 0.9, randomise=True, seed=5))
        others = [augment_mask(still, mode, randomise=True, seed=seed) for seed in range(6, 10)]
        assert any(not torch.equal(first, other) for other in others)


def test_drawn_amounts_stay_in_the_papers_ranges():
    for mode, most in (("expand", 0.3), ("hull+expand", 0.2), ("box+expand", 0.5)):
        for seed in range(50):
            drawn = drawn_expansion(mode, seed)
            assert all(0 <= side <= most for side in (drawn.left, drawn.top, drawn.right, drawn.bottom))
            assert 1 <= drawn.iterations <= 10


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_several_iterations_are_the_dilations_one_after_the_other(seed):
    mask = np.zeros((40, 60), bool)
    mask[14:26, 20:40] = blob(seed, 12, 20, 0.2)
    if not mask.any():
        return
    drawn = drawn_expansion("expand", seed)
    box = bounds(mask)
    wanted = np.array([drawn.left, drawn.top, drawn.right, drawn.bottom])
    wanted *= [box.right - box.left, box.bottom - box.top] * 2
    room = np.array([box.left, box.top, 60 - box.right, 40 - box.bottom])
    total = np.minimum(np.ceil(wanted - 1e-9), room // 2).astype(int)
    truth = mask
    for step in range(drawn.iterations):
        part = Margins(*(total * (step + 1) // drawn.iterations - total * step // drawn.iterations))
        element = ellipse(part) if step % 2 == 0 else np.ones_like(ellipse(part))
        truth = dilated_by_definition(truth, element, part.top, part.left)
    edit = augment_mask(torch.from_numpy(mask).float(), "expand", randomise=True, seed=seed)
    assert np.array_equal(edit[0].numpy() > 0.5, truth)


def test_the_bar_ends_full():
    runtime = Runtime()
    augment_mask(clip(), "hull+expand", runtime=runtime)
    assert runtime.done == runtime.total == 4


def test_the_size_filter_says_what_is_wrong():
    mask = torch.zeros(4, 100, 100)
    assert "0 of 4 frames" in size_verdict(mask)
    mask[:2, 20:50, 20:50] = 1
    assert size_verdict(mask) is None
    assert "1 of 4 frames" in size_verdict(torch.cat([mask[:1], torch.zeros(3, 100, 100)]))
    tiny, large, corners = torch.zeros(3, 2, 100, 100)
    tiny[:, :7, :7] = 1
    large[:, :, :61] = 1
    corners[:, :5, :5] = corners[:, -5:, -5:] = 1
    assert "0.49%" in size_verdict(tiny) and "61%" in size_verdict(large) and "box" in size_verdict(corners)


def test_masks_of_just_the_smallest_and_largest_size_pass():
    for rows, columns in ((5, 10), (60, 100)):
        mask = torch.zeros(1, 100, 100)
        mask[0, :rows, :columns] = 1
        assert size_verdict(mask) is None
    assert size_verdict(torch.ones(1, 3, 100) * (torch.arange(100) < 60)) is None, "as much of a wide frame"
    assert "61%" in size_verdict(torch.ones(1, 100, 3) * (torch.arange(100) < 61)[:, None])
    corners = torch.zeros(1, 100, 100)
    corners[0, :50, :50] = corners[0, 80:90, 90:] = 1  # the box has 90 rows and all columns
    assert size_verdict(corners) is None


def test_a_seed_has_at_most_64_bits():
    assert drawn_expansion("expand", 2**64 - 1) != drawn_expansion("expand", 0)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=f"got {seed}; use a whole number from 0 to"):
            drawn_expansion("expand", seed)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((torch.zeros(1, 4, 4), "blow up"), "choose one of original"),
        ((torch.zeros(1, 4, 4), "expand", -0.1), "amount is -0.1"),
        ((torch.zeros(1, 4, 4), "expand", float("nan")), "amount is nan"),
        ((torch.zeros(4), "hull"), "connect a MASK"),
    ],
)
def test_wrong_input_gets_one_sentence(arguments, says):
    with pytest.raises(ValueError, match=says):
        augment_mask(*arguments)
