"""Strokes: painted pixel by pixel as the distance to the line says, or a trail of points along it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.masks.prompts import Prompts
from vivid_core.masks.strokes import MOST_POINTS, Stroke, paint, stroke_prompt

PLACES = st.lists(st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)), min_size=1, max_size=4)


def brute(height: int, width: int, stroke: Stroke) -> torch.Tensor:
    """Every pixel's middle against a fine walk along the line."""
    places = [(x * width, y * height) for x, y in stroke.path]
    walk = [
        (ax + (bx - ax) * step / 400, ay + (by - ay) * step / 400)
        for (ax, ay), (bx, by) in zip(places, places[1:] or places)
        for step in range(401)
    ]
    middles = torch.cartesian_prod(torch.arange(height) + 0.5, torch.arange(width) + 0.5).flip(1).double()
    return torch.cdist(middles, torch.tensor(walk, dtype=torch.float64)).amin(1).view(height, width)


@settings(max_examples=15, deadline=None)
@given(PLACES, st.floats(0.02, 0.4))
def test_a_stroke_touches_the_pixels_within_its_brush(path, radius) -> None:
    stroke = Stroke(tuple(path), radius)
    painted = paint(torch.zeros(9, 13), [stroke]) > 0
    distance, reach = brute(9, 13, stroke), radius * 13
    assert bool((painted | (distance > reach - 1e-6)).all()) and bool((~painted | (distance <= reach + 0.05)).all())


def test_strokes_are_drawn_in_their_order_and_leave_the_given_mask_as_it_is() -> None:
    mask = torch.zeros(20, 30)
    add, take = Stroke(((0.2, 0.5), (0.8, 0.5)), 0.1), Stroke(((0.5, 0.5),), 0.1, erase=True)
    assert not bool(paint(mask, [add, take])[10, 15]) and bool(paint(mask, [take, add])[10, 15])
    assert not bool(mask.any()) and paint(mask, []).sum() == 0
    whole = torch.ones(20, 30)
    assert torch.equal(1 - paint(whole, [take]), paint(mask, [Stroke(take.path, take.radius)]))


def test_over_a_mask_strokes_give_a_finished_mask() -> None:
    mask = torch.zeros(20, 30)
    strokes = [Stroke(((0.2, 0.5), (0.8, 0.5)), 0.1)]
    prompt = stroke_prompt(4, strokes, 2, mask)
    assert (prompt.frame, prompt.object_id, prompt.points) == (4, 2, ())
    assert prompt.mask_hw is not None and torch.equal(prompt.mask_hw, paint(mask, strokes))


def test_without_a_mask_strokes_give_points_along_them_with_labels() -> None:
    prompt = stroke_prompt(0, [Stroke(((0.1, 0.5), (0.9, 0.5)), 0.05), Stroke(((0.3, 0.9),), 0.05, erase=True)])
    on = [(x, y) for x, y, label in prompt.points if label]
    assert [(x, y) for x, y, label in prompt.points if not label] == [(0.3, 0.9)]
    assert on == [(pytest.approx(0.2 + 0.2 * place), 0.5) for place in range(4)]
    many = [Stroke(((index / 40, 0.5), (1.4, 0.9)), 0.05) for index in range(40)]
    assert 1 <= len(stroke_prompt(0, many).points) <= MOST_POINTS and len(Prompts([stroke_prompt(0, many)])) == 1


def test_the_largest_brush_reaches_as_far_as_the_frame_is_wide() -> None:
    painted = paint(torch.zeros(3, 30), [Stroke(((0.0, 0.5),), 1.0)])
    assert painted[1].all() and not bool(paint(torch.zeros(3, 60), [Stroke(((0.0, 0.5),), 0.5)])[1, 30:].any())


def test_points_of_a_stroke_that_leaves_the_frame_stay_at_its_border() -> None:
    prompt = stroke_prompt(0, [Stroke(((-0.5, 0.5), (1.5, 0.5)), 0.05), Stroke(((0.5, -1.0), (0.5, 2.0)), 0.05)])
    across, down = prompt.points[:4], prompt.points[4:]
    assert [x for x, _, _ in across] == pytest.approx([0.0, 0.25, 0.75, 1.0]) and {y for _, y, _ in across} == {0.5}
    assert [y for _, y, _ in down] == pytest.approx([0.0, 0.125, 0.875, 1.0]) and {x for x, _, _ in down} == {0.5}


def test_points_lie_evenly_along_a_bent_stroke_whatever_its_corners() -> None:
    bent = Stroke(((0.1, 0.1), (0.2, 0.1), (0.5, 0.1), (0.5, 0.9)), 0.05)
    places = [(x, y) for x, y, _ in stroke_prompt(0, [bent]).points]
    along = [(x - 0.1) + (y - 0.1) for x, y in places]
    assert along == pytest.approx([1.2 * (place + 0.5) / MOST_POINTS for place in range(MOST_POINTS)])


def test_of_too_many_strokes_the_first_and_the_last_and_some_evenly_between_count() -> None:
    for count in (1, 3, MOST_POINTS, MOST_POINTS + 1, 50):
        dots = [Stroke(((index / 50, 0.5),), 0.05) for index in range(count)]
        found = [round(50 * x) for x, _, _ in stroke_prompt(0, dots).points]
        assert len(found) == min(count, MOST_POINTS) and (found[0], found[-1]) == (0, count - 1)
        steps = [after - before for before, after in zip(found, found[1:])]
        assert not steps or max(steps) - min(steps) <= 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Stroke((), 0.1), "without a place"),
        (lambda: Stroke(((math.nan, 0.5),), 0.1), "without a place"),
        (lambda: Stroke(((0.5, 0.5),), 12), "the radius 12"),
        (lambda: Stroke(((0.5, 0.5),), 1.001), "the radius 1"),
        (lambda: Stroke(((0.5, 0.5),), 0.0), "the radius 0"),
        (lambda: Stroke(((0.5, 0.5),), -0.1), "the radius -0.1"),
        (lambda: stroke_prompt(3, [], 2), "object 2 has no stroke on frame 3"),
    ],
)
def test_an_impossible_stroke_gets_one_sentence(wrong, says) -> None:
    with pytest.raises(ValueError, match=says):
        wrong()
