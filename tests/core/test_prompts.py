"""Prompts: what is read from points, boxes and frame numbers, and what is refused in one sentence."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.masks.prompts import Prompt, Prompts, mask_prompts, parse_box, parse_ids, parse_indices, parse_points

WIDTH, HEIGHT = 320, 200


def only(prompts: Prompts) -> Prompt:
    assert len(prompts) == 1
    return next(iter(prompts))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 1)), min_size=1))
def test_points_come_back_as_written(points):
    text = json.dumps([{"x": x, "y": y, "label": label} for x, y, label in points])
    found = only(parse_points(text, WIDTH, HEIGHT, 7))
    pixels = [(round(x * WIDTH), round(y * HEIGHT), label) for x, y, label in found.points]
    assert pixels == list(dict.fromkeys(points)) and found.frame == 7


@pytest.mark.parametrize(
    "given_points",
    [
        '[{"x": 10, "y": 20}]',
        "[{'x': 10, 'y': 20}]",
        ['{"x": 10, "y": 20}'],
        ['[{"x": 10, "y": 20}]'],
        '["[{\\"x\\": 10, \\"y\\": 20}]"]',
        "[[10, 20]]",
        "[10, 20]",
        '{"positive": [{"x": 10, "y": 20}], "negative": []}',
        {"positive": '[{"x": 10, "y": 20}]', "negative": None},
    ],
)
def test_every_common_form_of_a_point_is_understood(given_points):
    assert only(parse_points(given_points, WIDTH, HEIGHT)).points == ((10 / WIDTH, 20 / HEIGHT, 1),)


def test_positive_and_negative_lists_become_labels():
    text = '{"positive": [{"x": 1, "y": 2}], "negative": [{"x": 3, "y": 4}]}'
    assert [label for *_, label in only(parse_points(text, WIDTH, HEIGHT)).points] == [1, 0]


def test_points_name_their_own_frame_and_object():
    text = '[{"x": 1, "y": 2, "frame": -1, "object": 3}, {"x": 1, "y": 2}]'
    prompts = parse_points(text, WIDTH, HEIGHT, 5)
    assert [(prompt.frame, prompt.object_id) for prompt in prompts] == [(-1, 3), (5, 1)]
    assert prompts.object_ids == (1, 3) and prompts.frames == (-1, 5)
    assert [prompt.frame for prompt in prompts.of_object(3)] == [-1]


@pytest.mark.parametrize("nothing", ["", "  \n", "[]", '{"positive": [], "negative": []}'])
def test_no_points_are_no_prompts(nothing):
    assert len(parse_points(nothing, WIDTH, HEIGHT)) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"x": 1, "y": }]', "line 1, column 16"),
        ('[{"x": 1, "y": 2}', "line 1, column 18"),
        ("nonsense", "no valid JSON"),
        ("[" * 5000, "brackets"),
        ("[" * 50 + "]" * 50, "brackets"),
        ('[{"x": 1}]', "numbers for x and y"),
        ('[{"x": "1", "y": 2}]', "numbers for x and y"),
        ('[{"x": NaN, "y": 2}]', "numbers for x and y"),
        ('[{"x": 1e400, "y": 2}]', "numbers for x and y"),
        ('[{"x": 1, "y": 2, "label": 2}]', "label 2"),
        ('[{"x": 1, "y": 2, "frame": 1.5}]', "whole number"),
        ("5", "where a point belongs"),
        ('[{"x": 320, "y": 2}]', "outside the 320x200 frame"),
        ('[{"x": 5, "y": -1}]', "outside the 320x200 frame"),
    ],
)
def test_wrong_points_get_one_sentence(text, says):
    with pytest.raises(ValueError, match=says) as caught:
        parse_points(text, WIDTH, HEIGHT)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and len(message) < 300


@pytest.mark.parametrize(
    "given_box",
    [
        "32, 20, 64, 100",
        "32 20 64 100",
        "[32, 20, 64, 100]",
        {"x": 32, "y": 20, "width": 64, "height": 100},
        [{"x": 32, "y": 20, "width": 64, "height": 100}],
        [32, 20, 64, 100],
    ],
)
def test_every_common_form_of_a_box_is_understood(given_box):
    found = only(parse_box(given_box, WIDTH, HEIGHT, 4))
    assert found.box == pytest.approx((0.1, 0.1, 0.3, 0.6)) and found.frame == 4


def test_each_box_of_a_list_is_an_object_of_its_own():
    box = {"x": 1, "y": 2, "width": 3, "height": 4}
    assert parse_box([box, box, box], WIDTH, HEIGHT).object_ids == (1, 2, 3)


@pytest.mark.parametrize("nothing", ["", " ", None, []])
def test_no_box_is_no_prompt(nothing):
    assert len(parse_box(nothing, WIDTH, HEIGHT)) == 0


def test_a_box_that_leaves_the_frame_by_rounding_is_cut_there():
    assert only(parse_box("-0.6, 0, 320.6, 200.9", WIDTH, HEIGHT)).box == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1, 2, 3", "four numbers"),
        ("1, 2, 3, x", "four numbers"),
        ({"x": 1, "y": 2, "width": 3}, "four numbers"),
        ("1, 2, nan, 4", "four numbers"),
        ("1, 2, 0, 4", "no area"),
        ("1, 2, 3, -4", "no area"),
        ("300, 2, 40, 4", "leaves the 320x200 frame"),
        ("-5, 2, 40, 4", "leaves the 320x200 frame"),
        ("320, 2, 1, 4", "outside the 320x200 frame"),
        (7, "four numbers"),
    ],
)
def test_wrong_boxes_get_one_sentence(text, says):
    with pytest.raises(ValueError, match=says):
        parse_box(text, WIDTH, HEIGHT)


def test_frame_numbers_keep_their_order_and_count_from_the_end():
    assert parse_indices("0, 24, -1", 48) == (0, 24, 47)
    assert parse_indices("[3 1;2]", 48) == (3, 1, 2)
    assert parse_indices("0, -1") == (0, -1)
    assert parse_indices("  ", 48) == ()


@pytest.mark.parametrize("text", ["48", "-49", "1.5", "a", "1-2", "0x1"])
def test_wrong_frame_numbers_get_one_sentence(text):
    with pytest.raises(ValueError, match="Frame numbers: got"):
        parse_indices(text, 48)


def test_points_of_one_object_and_frame_add_up_and_keep_its_box():
    first = Prompt(2, 1, points=((0.1, 0.2, 1),), box=(0, 0, 0.5, 0.5))
    second = Prompt(2, 1, points=((0.3, 0.4, 0), (0.1, 0.2, 1)))
    merged = only(Prompts([first]).merged([second]))
    assert merged.points == ((0.1, 0.2, 1), (0.3, 0.4, 0)) and merged.box == first.box


def test_two_different_boxes_or_masks_for_one_object_are_refused():
    with pytest.raises(ValueError, match="two boxes"):
        Prompts([Prompt(0, box=(0, 0, 0.5, 0.5)), Prompt(0, box=(0, 0, 0.5, 0.6))])
    with pytest.raises(ValueError, match="two masks"):
        Prompts([Prompt(0, mask_hw=torch.zeros(4, 4)), Prompt(0, mask_hw=torch.ones(4, 4))])


def test_prompts_are_ordered_by_frame_and_object():
    prompts = Prompts(Prompt(f, o, points=((0.5, 0.5, 1),)) for f, o in [(3, 1), (0, 2), (3, 0), (0, 1)])
    assert [(prompt.frame, prompt.object_id) for prompt in prompts] == [(0, 1), (0, 2), (3, 0), (3, 1)]


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (Prompt(0), "no point, box or mask"),
        (Prompt(0, points=((1.2, 0.5, 1),)), "0..1"),
        (Prompt(0, points=((float("nan"), 0.5, 1),)), "0..1"),
        (Prompt(0, points=((0.5, 0.5, 3),)), "label 3"),
        (Prompt(0, box=(0.5, 0, 0.5, 1)), "needs an area"),
        (Prompt(0, mask_hw=torch.zeros(2, 4, 4)), "takes one"),
        (Prompt(0, mask_hw=torch.full((4, 4), 2.0)), "0..1"),
    ],
)
def test_an_impossible_prompt_is_refused(prompt, says):
    with pytest.raises(ValueError, match=says):
        Prompts([prompt])


def test_prompts_are_fitted_to_the_clip():
    frames = torch.zeros(6, 10, 12, 3)
    fitted = Prompts([Prompt(-1, mask_hw=torch.zeros(10, 12)), Prompt(0, points=((0, 1, 1),))]).fitted(frames)
    assert fitted.frames == (0, 5)
    with pytest.raises(ValueError, match="got frame 6, but the clip has 6 frames"):
        Prompts([Prompt(6, points=((0, 1, 1),))]).fitted(frames)
    with pytest.raises(ValueError, match="12x10"):
        Prompts([Prompt(0, mask_hw=torch.zeros(10, 11))]).fitted(frames)


def test_object_numbers_are_read_and_all_means_no_choice():
    assert parse_ids("1, 3 3") == (1, 3) and parse_ids("all") is None and parse_ids(" ") is None
    with pytest.raises(ValueError, match='got "two"'):
        parse_ids("1, two")


def test_masks_become_prompts_on_their_frames():
    masks = torch.zeros(2, 4, 5)
    assert [prompt.frame for prompt in mask_prompts(masks, (0, -1))] == [0, -1]
    assert [prompt.frame for prompt in mask_prompts(masks, None, 7)] == [7, 8]
    with pytest.raises(ValueError, match="2 masks and 1 frame numbers"):
        mask_prompts(masks, (3,))
