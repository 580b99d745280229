"""The editor's text: what becomes of points, boxes and paint, what is refused and what is noted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.masks.interop import anchor_frame, bounding_boxes, painted_masks, points_json
from vivid_core.masks.marks import Marks
from vivid_core.masks.marks_text import read_marks
from vivid_core.masks.prompts import parse_box, parse_points
from vivid_core.masks.runs import from_runs, to_runs
from vivid_core.masks.strokes import MOST_POINTS, Stroke, paint
from vivid_core.metrics.marked import COLOURS, marked_frames, object_colour

HEIGHT, WIDTH, COUNT = 36, 64, 6
CLIP = {"frames": COUNT, "width": WIDTH, "height": HEIGHT, "digest": "abc"}
LINE = {"path": [[0.25, 0.5], [0.75, 0.5]], "radius": 0.1, "erase": False}


def frames(count: int = COUNT, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.full((count, height, width, 3), 0.2)


def mark(frame: int = 2, number: int = 1, **what: Any) -> dict[str, Any]:
    nothing = {"points": [], "box": None, "strokes": [], "painted": False, "base": None}
    return {"frame": frame, "object": number, **nothing, **what}


def state(*marks: dict[str, Any], **other: Any) -> str:
    numbers = sorted({one["object"] for one in marks})
    whole = {"version": 1, "clip": CLIP, "objects": [{"id": number, "name": ""} for number in numbers]}
    return json.dumps({**whole, "marks": list(marks), **other})


def mask_of(text: str, frame: int = 2) -> torch.Tensor:
    (found,) = [prompt for prompt in read_marks(text).prompts(HEIGHT, WIDTH) if prompt.frame == frame]
    assert found.mask_hw is not None
    return found.mask_hw


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_masks_come_back_from_their_runs(height: int, width: int, data: st.DataObject) -> None:
    pixels = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(pixels).reshape(height, width)
    runs = to_runs(mask)
    assert sum(runs) == mask.size and all(run > 0 for run in runs[1:]), "only the first run may be 0"
    assert np.array_equal(from_runs(runs, width, height), mask)
    walked = [index % 2 == 1 for index, run in enumerate(runs) for _ in range(run)]
    assert walked == mask.reshape(-1).tolist()


def test_runs_are_those_of_the_page() -> None:
    assert to_runs(np.array([[0, 1, 1], [1, 0, 0]], bool)) == [1, 3, 2]
    assert to_runs(np.array([[1, 0], [0, 0]], bool)) == [0, 1, 3]
    assert to_runs(np.zeros((2, 2), bool)) == [4] and to_runs(np.ones((2, 2), bool)) == [0, 4]


@pytest.mark.parametrize("runs", [[3], [5], [2, 3], [-1, 5], [2.0, 2], ["4"], [True, 3], [10**12]])
def test_runs_that_do_not_cover_the_mask_are_refused(runs: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"^Runs: .*\.$"):
        from_runs(runs, 2, 2)


@pytest.mark.parametrize("size", [(0, 4), (-2, -2), (1 << 20, 1 << 20)])
def test_masks_of_impossible_size_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="both sides"):
        from_runs([4], *size)


@pytest.mark.parametrize("text", ["", "  \n", state(), state(mark())])
def test_nothing_marked_is_no_prompt_and_is_said(text: str) -> None:
    marks = read_marks(text)
    assert len(marks) == 0 and len(marks.prompts(HEIGHT, WIDTH)) == 0
    assert "nothing is marked yet" in marks.text()


def test_points_and_boxes_become_prompts_as_they_are() -> None:
    given_points, box = [[0.1, 0.25, 1], [0.9, 1.0, 0]], [0.25, 0.0, 0.5, 1.0]
    (prompt,) = read_marks(state(mark(points=given_points, box=box))).prompts(HEIGHT, WIDTH)
    assert (prompt.frame, prompt.object_id, prompt.mask_hw) == (2, 1, None)
    assert prompt.points == ((0.1, 0.25, 1), (0.9, 1.0, 0)) and prompt.box == (0.25, 0.0, 0.5, 1.0)


def test_a_painted_mask_is_its_base_with_the_strokes_over_it() -> None:
    base = np.zeros((HEIGHT, WIDTH), bool)
    base[4:30, 4:20] = True
    erase = {**LINE, "path": [[0.15, 0.3]], "erase": True}
    runs = {"width": WIDTH, "height": HEIGHT, "runs": to_runs(base)}
    mask = mask_of(state(mark(painted=True, base=runs, strokes=[LINE, erase])))
    strokes = [Stroke(((0.25, 0.5), (0.75, 0.5)), 0.1), Stroke(((0.15, 0.3),), 0.1, erase=True)]
    assert torch.equal(mask, paint(torch.from_numpy(base).float(), strokes))


def test_a_base_alone_comes_back_exactly_and_on_a_larger_clip_keeps_its_share() -> None:
    base = np.zeros((HEIGHT, WIDTH), bool)
    base[9:27, 16:48] = True
    text = state(mark(painted=True, base={"width": WIDTH, "height": HEIGHT, "runs": to_runs(base)}))
    assert torch.equal(mask_of(text), torch.from_numpy(base).float())
    (prompt,) = read_marks(text).prompts(3 * HEIGHT, 3 * WIDTH)
    assert prompt.mask_hw is not None and set(prompt.mask_hw.unique().tolist()) == {0.0, 1.0}
    assert float(prompt.mask_hw.mean()) == pytest.approx(base.mean(), abs=0.01)


def test_painted_with_nothing_says_that_the_object_is_not_here() -> None:
    assert not bool(mask_of(state(mark(painted=True))).any())


def test_strokes_that_are_no_finished_mask_are_points_along_them() -> None:
    text = state(mark(strokes=[LINE, {**LINE, "erase": True}], points=[[0.1, 0.1, 1]]))
    (prompt,) = read_marks(text).prompts(HEIGHT, WIDTH)
    assert prompt.mask_hw is None and prompt.points[0] == (0.1, 0.1, 1)
    assert 2 <= len(prompt.points) - 1 <= MOST_POINTS and {label for *_, label in prompt.points[1:]} == {0, 1}


def test_extra_keys_are_left_alone() -> None:
    text = state({**mark(points=[[0.5, 0.5, 1]]), "colour": "red"}, view={"zoom": 3})
    assert len(read_marks(text).prompts(HEIGHT, WIDTH)) == 1


BAD_STATES = [
    ("{", "no valid JSON at line 1"),
    ("[1]", "no JSON object"),
    ("{}", "version None"),
    (json.dumps({"version": 2}), "version 2"),
    (state(marks="x"), "is a list"),
    (state(objects=[{"id": 0}]), "an id of its own"),
    (state(objects=[{"id": 1}, {"id": 1}]), "an id of its own"),
    (state(clip={"frames": 3}), "frames, width and height"),
    (state(mark(points=[[0.5, 0.5, 1]]), mark(points=[[0.1, 0.5, 1]])), "two marks"),
]
BAD_MARKS: list[tuple[dict[str, Any], str]] = [
    ({"points": [[1.5, 0.5, 1]]}, "outside the frame"),
    ({"points": [[0.5, float("nan"), 1]]}, "point is"),
    ({"points": [[0.5, 0.5]]}, "point is"),
    ({"points": [[0.5, 0.5, 3]]}, "label 3"),
    ({"points": "0.5"}, "is a list"),
    ({"box": [0.5, 0.5, 0.4, 0.6]}, "span an area"),
    ({"box": [0, 0, 1, 1.2]}, "span an area"),
    ({"box": [0, 0, 1]}, "box is"),
    ({"strokes": [{"path": [], "radius": 0.1}]}, "stroke has a path"),
    ({"strokes": [{"path": [[0, "1"]], "radius": 0.1}]}, "stroke has a path"),
    ({"strokes": [[0.5]]}, "stroke has a path"),
    ({"strokes": [{**LINE, "radius": 0}]}, "radius 0"),
    ({"strokes": [{**LINE, "radius": 1.5}]}, "radius 1.5"),
    ({"painted": "yes"}, "true or false"),
    ({"painted": True, "base": {"width": 2, "height": 2, "runs": [3]}}, "is damaged"),
    ({"painted": True, "base": {"width": 2, "height": 2}}, "width, height and runs"),
]


def one_sentence(caught: pytest.ExceptionInfo[ValueError]) -> str:
    said = str(caught.value)
    assert said.startswith("Mark Object: ") and said.endswith(".") and "\n" not in said and len(said) < 340
    return said


@pytest.mark.parametrize(("text", "says"), BAD_STATES)
def test_a_text_that_is_no_state_gets_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        read_marks(text)
    one_sentence(caught)


@pytest.mark.parametrize(("what", "says"), BAD_MARKS)
def test_a_wrong_mark_is_named_by_object_and_frame(what: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        read_marks(state(mark(3, 2, **what)))
    assert "object 2 on frame 3" in one_sentence(caught)


@pytest.mark.parametrize("wrong", [{"frame": -1}, {"frame": 1.5}, {"object": 0}, {"object": None}, {"frame": True}])
def test_a_mark_without_frame_or_object_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="numbers of its frame and object") as caught:
        read_marks(json.dumps({"version": 1, "marks": [{**mark(points=[[0.5, 0.5, 1]]), **wrong}]}))
    one_sentence(caught)


def good(**other: Any) -> Marks:
    return read_marks(state(mark(2, points=[[0.5, 0.5, 1]]), **other))


def test_marks_fit_the_clip_they_were_made_on_and_the_same_clip_in_another_size() -> None:
    notes: list[str] = []
    good().check_for(frames(), "abc", notes)
    good().check_for(frames(height=2 * HEIGHT, width=2 * WIDTH), "other", notes)
    good().check_for(frames(height=HEIGHT, width=WIDTH + 1), "other", notes)
    good(clip=None).check_for(frames(height=60, width=60), "other", notes)
    assert notes == []


def test_marks_of_a_clip_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="object 1 on frame 2.*64x36.*36x64") as caught:
        good().check_for(frames(height=WIDTH, width=HEIGHT))
    one_sentence(caught)


def test_marks_beyond_the_end_are_refused_with_object_and_frame() -> None:
    marks = read_marks(state(mark(2, points=[[0.5, 0.5, 1]]), objects=[{"id": 1, "name": "the car"}]))
    with pytest.raises(
        ValueError, match=r'object 1 \("the car"\) is marked on frame 2, but the clip has only 2'
    ) as caught:
        marks.check_for(frames(2))
    one_sentence(caught)


def test_another_length_another_clip_and_objects_without_marks_are_notes() -> None:
    notes: list[str] = []
    good().check_for(frames(COUNT + 3), "abc", notes)
    good().check_for(frames(), "another", notes)
    good(objects=[{"id": 1}, {"id": 4, "name": "dog"}]).check_for(frames(), "abc", notes)
    assert ["6 frames and this one has 9" in notes[0], "another one" in notes[1], 'object 4 ("dog")' in notes[2]] == [
        True
    ] * 3
    assert len(notes) == 3


def test_the_text_names_what_is_marked_where() -> None:
    text = state(mark(0, points=[[0.5, 0.5, 1]], box=[0, 0, 1, 1]), mark(4, painted=True), mark(1, 2, strokes=[LINE]))
    lines = read_marks(text).text().splitlines()
    assert lines == [
        "Object 1: points on frame 0; a box on frame 0; a painted mask on frame 4.",
        "Object 2: strokes on frame 1.",
    ]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 3000), st.data())
def test_points_go_out_and_come_back_to_the_same_pixel(width: int, height: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    text = json.dumps([{"x": x, "y": y}])
    assert json.loads(points_json(parse_points(text, width, height), 0, 1, width, height)) == [{"x": x, "y": y}]


def test_points_for_other_nodes_are_those_of_the_first_object_on_one_frame() -> None:
    prompts = read_marks(
        state(
            mark(1, 1, points=[[0.5, 0.5, 0]]),
            mark(3, 1, points=[[0.5, 0.5, 1], [1.0, 1.0, 0]]),
            mark(3, 2, points=[[0.0, 0.0, 1]]),
        )
    ).prompts(HEIGHT, WIDTH)
    assert anchor_frame(prompts) == 3
    assert json.loads(points_json(prompts, 3, 1, WIDTH, HEIGHT)) == [{"x": 32, "y": 18}]
    assert json.loads(points_json(prompts, 3, 0, WIDTH, HEIGHT)) == [{"x": 63, "y": 35}]
    assert points_json(read_marks("").prompts(HEIGHT, WIDTH), 0, 1, WIDTH, HEIGHT) == "[]"


def test_boxes_go_out_and_come_back() -> None:
    one = read_marks(state(mark(box=[0.25, 0.5, 0.5, 1.0]))).prompts(HEIGHT, WIDTH)
    two = one.merged(read_marks(state(mark(2, 2, box=[0, 0, 1, 1]))).prompts(HEIGHT, WIDTH))
    assert bounding_boxes(one, 2, WIDTH, HEIGHT) == {"x": 16, "y": 18, "width": 16, "height": 18}
    for prompts in (one, two):
        back = parse_box(bounding_boxes(prompts, 2, WIDTH, HEIGHT), WIDTH, HEIGHT, 2)
        assert [prompt.box for prompt in back] == [prompt.box for prompt in prompts]
    assert bounding_boxes(one, 0, WIDTH, HEIGHT) == []


def test_boxes_given_by_frame_are_read_on_their_frame() -> None:
    """As ComfyUI's own detectors give them, with scores."""
    by_frame = [[], [{"x": 8.0, "y": 9.0, "width": 8.0, "height": 9.0, "score": 0.9}], []]
    assert [prompt.box for prompt in parse_box(by_frame, WIDTH, HEIGHT, 1)] == [(0.125, 0.25, 0.25, 0.5)]
    assert len(parse_box(by_frame, WIDTH, HEIGHT, -1)) == 0
    (everywhere,) = parse_box(by_frame[1:2], WIDTH, HEIGHT, 7)
    assert everywhere.frame == 7
    (cut,) = parse_box([[{"x": -9.0, "y": 18.0, "width": 25.0, "height": 99.0, "score": 0.6}]], WIDTH, HEIGHT)
    assert cut.box == (0, 0.5, 0.25, 1), "a detector may guess beyond the frame"
    with pytest.raises(ValueError, match="leaves the 64x36 frame"):
        parse_box([[{"x": -9.0, "y": 18.0, "width": 25.0, "height": 9.0}]], WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="Boxes: got frame 7, but the clip has 3 frames"):
        parse_box(by_frame, WIDTH, HEIGHT, 7)


def test_points_as_the_sam3_nodes_and_kjnodes_write_them_are_read() -> None:
    """KJNodes gives each coordinate text as a list of {"x", "y"}; the page's points may carry more keys."""
    for text in ('[{"x": 16, "y": 18}]', "[{'x': 16, 'y': 18}]", '[{"x": 16.0, "y": 18.0, "highlighted": false}]'):
        (prompt,) = parse_points(text, WIDTH, HEIGHT)
        assert prompt.points == ((0.25, 0.5, 1),)
    (both,) = parse_points('{"positive": [{"x": 16, "y": 18}], "negative": [{"x": 0, "y": 0}]}', WIDTH, HEIGHT)
    assert both.points == ((0.25, 0.5, 1), (0.0, 0.0, 0))


def test_painted_masks_are_on_their_frames_and_all_objects_together() -> None:
    marks = read_marks(
        state(mark(1, 1, painted=True, strokes=[LINE]), mark(1, 2, painted=True), mark(3, strokes=[LINE]))
    )
    masks = painted_masks(marks, COUNT, HEIGHT, WIDTH)
    assert masks.shape == (COUNT, HEIGHT, WIDTH) and masks.dtype == torch.float32
    assert torch.equal(masks[1], paint(torch.zeros(HEIGHT, WIDTH), [Stroke(((0.25, 0.5), (0.75, 0.5)), 0.1)]))
    assert not bool(masks[[0, 2, 3, 4, 5]].any())
    assert painted_masks(read_marks(""), COUNT, HEIGHT, WIDTH).shape == masks.shape


def close_to(picture: torch.Tensor, colour: tuple[int, int, int]) -> torch.Tensor:
    return ((picture * 255 - torch.tensor(colour)).abs().amax(-1) < 24).nonzero()


def test_the_preview_shows_each_mark_in_its_objects_colour_where_it_is() -> None:
    clip = frames(height=144, width=256)
    text = state(mark(1, 1, points=[[0.75, 0.25, 1]]), mark(1, 2, box=[0.25, 0.5, 0.5, 0.75]), mark(4, 3, painted=True))
    pictures = marked_frames(clip, read_marks(text))
    assert pictures.shape == (2, 144, 256, 3) and 0 <= float(pictures.min()) <= float(pictures.max()) <= 1
    rows, columns = close_to(pictures[0], object_colour(1)).T.float()
    assert abs(float(rows.mean()) - 36) < 3 and abs(float(columns.mean()) - 192) < 3
    rows, columns = close_to(pictures[0], object_colour(2)).T
    edges = [int(side) for side in (rows.min(), rows.max(), columns.min(), columns.max())]
    assert np.abs(np.array(edges) - [72, 107, 64, 127]).max() <= 2
    assert len(close_to(pictures[1], object_colour(3))) == 0, "an empty mask has nothing to show"


def test_the_preview_shows_the_points_that_strokes_become() -> None:
    erase = {**LINE, "path": [[0.5, 0.8]], "erase": True}
    pictures = marked_frames(frames(height=144, width=256), read_marks(state(mark(strokes=[erase]))))
    rows, columns = (pictures[0] > 0.95).all(-1)[72:].nonzero().T.float()
    assert abs(float(rows.mean()) + 72 - 115) < 3 and abs(float(columns.mean()) - 128) < 3


def test_without_marks_the_preview_is_the_first_frame() -> None:
    pictures = marked_frames(frames(height=144, width=256), read_marks(""))
    assert pictures.shape[0] == 1 and torch.allclose(pictures[0, 72:], torch.full((72, 256, 3), 0.2), atol=1 / 255)


def test_colours_repeat_after_the_last_one_and_are_those_of_the_page() -> None:
    assert object_colour(1) == object_colour(1 + len(COLOURS)) == (0xFF, 0x5A, 0x5F)
    script = (Path(__file__).resolve().parents[2] / "js" / "mark" / "state.js").read_text()
    listed = re.search(r"COLOURS = \[(.*?)\]", script, re.DOTALL)
    assert listed is not None
    assert re.findall(r"#(\w{6})", listed[1]) == [bytes(colour).hex() for colour in COLOURS]
