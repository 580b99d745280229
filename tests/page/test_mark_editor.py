"""The editor of Mark Object in the hands of a user, over a real clip, with the nodes drawn the old and the new way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.page import screenshot
from marking import (
    NODE,
    click,
    close_editor,
    drag,
    make_graph,
    open_editor,
    posted_prompts,
    ready,
    saved,
    stage_place,
    tool,
)
from playwright.sync_api import Page, expect

SOON = 60_000

expect.set_options(timeout=60_000)


@pytest.fixture
def editor(drawn_page: Page) -> Iterator[Page]:
    """A fresh graph with the editor open on its node; closed afterwards whatever happened."""
    make_graph(drawn_page)
    open_editor(drawn_page)
    yield drawn_page
    close_editor(drawn_page)


def marks(page: Page) -> list[dict[str, Any]]:
    """Save without closing, and read what the node holds now."""
    page.keyboard.press("Control+s")
    document = saved(page)
    return document["marks"] if document else []


def near(found: list[float], wanted: tuple[float, ...], by: float = 0.01) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def expect_frame(page: Page, frame: int) -> None:
    expect(page.locator(".vm-timeline")).to_have_attribute("aria-valuenow", str(frame))


def timeline_place(page: Page, frame: int, frames: int = 16, lane: int | None = None) -> tuple[float, float]:
    """Where a frame lies on the timeline: on the ruler, or on an object's lane."""
    area = page.locator(".vm-timeline").bounding_box()
    assert area is not None
    cell = (area["width"] - 108 - 14) / frames
    return area["x"] + 108 + (frame + 0.5) * cell, area["y"] + (10 if lane is None else 22 + 24 * lane + 12)


def test_the_button_on_the_node_opens_the_editor_and_the_text_is_hidden(drawn_page: Page, shots: Path) -> None:
    make_graph(drawn_page)
    drawn_page.wait_for_timeout(300)
    screenshot(drawn_page, shots / "mark_node.png")
    button = drawn_page.get_by_role("button", name="Mark object…")
    if button.count():  # the new way draws nodes as elements
        button.click()
        assert drawn_page.locator("textarea[placeholder=marks]").count() == 0
    else:
        x, y = drawn_page.evaluate(
            f"""() => {{
                const [node, canvas] = [{NODE}, window.app.canvas]
                const widget = node.widgets.find(w => w.type === "button")
                const [x, y] = canvas.ds.convertOffsetToCanvas([node.pos[0] + 60, node.pos[1] + widget.last_y + 10])
                const area = canvas.canvas.getBoundingClientRect()
                return [x + area.left, y + area.top]
            }}"""
        )
        drawn_page.mouse.click(x, y)
        hidden = drawn_page.locator("textarea[placeholder=marks]")
        assert hidden.count() == 0 or not hidden.is_visible()
    ready(drawn_page)
    drawn_page.keyboard.press("Escape")
    expect(drawn_page.locator("dialog.vivid-mark")).to_have_count(0, timeout=SOON)


def test_opening_runs_the_graph_once_and_only_up_to_the_node(drawn_page: Page) -> None:
    make_graph(drawn_page)
    with posted_prompts(drawn_page) as prompts:
        open_editor(drawn_page)
        drawn_page.keyboard.press("Escape")
        open_editor(drawn_page)
        drawn_page.keyboard.press("Escape")
    assert len(prompts) == 1, "\n".join(json.dumps(one["prompt"]) for one in prompts)
    node_id = drawn_page.evaluate(f"() => String({NODE}.id)")
    assert prompts[0]["partial_execution_targets"] == [node_id]


def test_another_clip_at_the_input_is_fetched_anew(drawn_page: Page) -> None:
    make_graph(drawn_page)
    with posted_prompts(drawn_page) as prompts:
        open_editor(drawn_page)
        drawn_page.keyboard.press("Escape")
        drawn_page.evaluate("() => window.app.graph.nodes.find(n => n.type === 'ImageFromBatch').widgets[1].value = 9")
        open_editor(drawn_page)
        expect(drawn_page.locator(".vm-about")).to_have_text("9 frames, 192 × 128")
        drawn_page.keyboard.press("Escape")
    assert len(prompts) == 2


def test_clicks_become_points_where_they_fell(editor: Page) -> None:
    click(editor, 0.25, 0.5)
    click(editor, 0.8, 0.2, button="right")
    editor.keyboard.press("x")  # the last one is on the object after all
    editor.keyboard.press("x")
    editor.locator("[data-label='1']").click()
    click(editor, 0.3, 0.6)
    click(editor, 0.9, 0.9, modifiers=["Alt"])
    found = marks(editor)
    assert [(mark["frame"], mark["object"]) for mark in found] == [(0, 1)]
    wanted = [(0.25, 0.5, 1), (0.8, 0.2, 0), (0.3, 0.6, 1), (0.9, 0.9, 0)]
    assert all(near(point, expected) for point, expected in zip(found[0]["points"], wanted, strict=True))


def test_x_turns_what_is_clicked_next_and_the_point_that_is_selected(editor: Page) -> None:
    editor.keyboard.press("x")
    click(editor, 0.5, 0.5)
    assert [point[2] for point in marks(editor)[0]["points"]] == [0]
    editor.keyboard.press("x")
    assert [point[2] for point in marks(editor)[0]["points"]] == [1]


def test_a_point_is_dragged_to_another_place(editor: Page) -> None:
    click(editor, 0.4, 0.4)
    drag(editor, (0.4, 0.4), (0.6, 0.7))
    (point,) = marks(editor)[0]["points"]
    assert near(point, (0.6, 0.7, 1))


def test_a_box_is_drawn_and_its_side_is_pulled(editor: Page) -> None:
    tool(editor, "box")
    drag(editor, (0.5, 0.7), (0.15, 0.25))
    assert near(marks(editor)[0]["box"], (0.15, 0.25, 0.5, 0.7))
    drag(editor, (0.5, 0.5), (0.6, 0.55))
    assert near(marks(editor)[0]["box"], (0.15, 0.25, 0.6, 0.7))
    drag(editor, (0.8, 0.8), (1.3, 1.2))  # beyond the edge of the frame
    assert near(marks(editor)[0]["box"], (0.8, 0.8, 1.0, 1.0))
    click(editor, 0.3, 0.3)  # no drag, no box
    assert near(marks(editor)[0]["box"], (0.8, 0.8, 1.0, 1.0))


def test_paint_and_erase_are_strokes_with_the_brush_that_is_set(editor: Page) -> None:
    tool(editor, "paint")
    drag(editor, (0.2, 0.5), (0.4, 0.5), (0.4, 0.7))
    editor.keyboard.press("]")
    drag(editor, (0.6, 0.6), (0.7, 0.6))
    tool(editor, "erase")
    drag(editor, (0.2, 0.5), (0.3, 0.5))
    (mark,) = marks(editor)
    assert mark["painted"] and mark["base"] is None
    assert [stroke["erase"] for stroke in mark["strokes"]] == [False, False, True]
    radii = [stroke["radius"] for stroke in mark["strokes"]]
    assert radii[0] < radii[1] == radii[2]
    first, last = mark["strokes"][0]["path"][0], mark["strokes"][0]["path"][-1]
    assert near(first, (0.2, 0.5)) and near(last, (0.4, 0.7))
    assert len(mark["strokes"][0]["path"]) > 5


def test_strokes_are_a_hint_when_no_finished_mask_is_wanted(editor: Page) -> None:
    tool(editor, "paint")
    editor.get_by_label("Finished mask").uncheck()
    drag(editor, (0.2, 0.5), (0.4, 0.5))
    (mark,) = marks(editor)
    assert not mark["painted"] and len(mark["strokes"]) == 1
    editor.get_by_label("Finished mask").check()


def test_delete_takes_the_selected_mark_and_then_the_last_one(editor: Page) -> None:
    for x in (0.2, 0.4, 0.6):
        click(editor, x, 0.5)
    click(editor, 0.2, 0.5)  # selects the first again
    editor.keyboard.press("Delete")
    assert [round(point[0], 1) for point in marks(editor)[0]["points"]] == [0.4, 0.6]
    editor.keyboard.press("Delete")
    editor.keyboard.press("Delete")
    assert marks(editor) == []
    tool(editor, "paint")
    drag(editor, (0.2, 0.5), (0.4, 0.5))
    editor.keyboard.press("Delete")
    assert marks(editor) == []  # and not an empty painted mask, which would mean "not here"


def test_undo_and_redo_keep_to_the_frame_that_is_looked_at(editor: Page) -> None:
    click(editor, 0.2, 0.5)
    editor.keyboard.press("ArrowRight")
    click(editor, 0.4, 0.5)
    click(editor, 0.6, 0.5)
    editor.keyboard.press("Control+z")
    editor.keyboard.press("ArrowLeft")
    assert [(mark["frame"], len(mark["points"])) for mark in marks(editor)] == [(0, 1), (1, 1)]
    editor.keyboard.press("Control+z")
    assert [(mark["frame"], len(mark["points"])) for mark in marks(editor)] == [(1, 1)]
    assert editor.locator("[data-do=undo]").is_disabled()
    editor.keyboard.press("Control+Shift+z")
    editor.keyboard.press("ArrowRight")
    editor.locator("[data-do=redo]").click()
    assert [(mark["frame"], len(mark["points"])) for mark in marks(editor)] == [(0, 1), (1, 2)]


def test_not_here_says_so_and_a_click_takes_it_back(editor: Page) -> None:
    editor.keyboard.press("End")
    editor.locator("[data-do=absent]").click()
    (mark,) = marks(editor)
    assert mark["frame"] == 15 and mark["painted"] and not mark["strokes"] and mark["base"] is None
    click(editor, 0.5, 0.5)
    (mark,) = marks(editor)
    assert not mark["painted"] and len(mark["points"]) == 1


def test_several_objects_have_their_own_marks_names_and_colours(editor: Page) -> None:
    click(editor, 0.2, 0.5)
    editor.locator("[data-do=add-object]").click()
    click(editor, 0.8, 0.5)
    editor.locator("[data-object='2'] input").fill("ball")
    editor.keyboard.press("Enter")
    editor.keyboard.press("1")
    click(editor, 0.3, 0.5)
    editor.keyboard.press("Control+s")
    document = saved(editor)
    assert document is not None
    assert document["objects"] == [{"id": 1, "name": ""}, {"id": 2, "name": "ball"}]
    assert [(mark["object"], len(mark["points"])) for mark in document["marks"]] == [(1, 2), (2, 1)]
    dots = editor.locator(".vm-dot").evaluate_all("dots => dots.map(dot => getComputedStyle(dot).backgroundColor)")
    assert dots == ["rgb(255, 90, 95)", "rgb(43, 179, 255)"]
    editor.locator("[data-object='2'] [data-do=remove-object]").click()
    assert [mark["object"] for mark in marks(editor)] == [1]
    editor.keyboard.press("Control+z")
    assert [mark["object"] for mark in marks(editor)] == [1, 2]


def test_keys_and_the_timeline_go_through_the_frames(editor: Page) -> None:
    editor.keyboard.press("ArrowRight")
    editor.keyboard.press("Shift+ArrowRight")
    expect_frame(editor, 11)
    editor.keyboard.press("ArrowLeft")
    expect_frame(editor, 10)
    editor.mouse.move(*timeline_place(editor, 3))
    editor.mouse.down()
    expect_frame(editor, 3)
    editor.mouse.move(*timeline_place(editor, 13), steps=5)
    editor.mouse.up()
    expect_frame(editor, 13)
    editor.wait_for_function("() => document.querySelector('.vm-stage').dataset.drawn === '13'", timeout=SOON)
    editor.get_by_label("Frame", exact=True).and_(editor.locator("input")).fill("7")
    editor.keyboard.press("Enter")
    expect_frame(editor, 7)
    click(editor, 0.5, 0.5)
    editor.keyboard.press("Home")
    editor.get_by_role("button", name="Next mark").click()
    expect_frame(editor, 7)


def test_playing_goes_on_by_itself_until_it_is_stopped(editor: Page) -> None:
    editor.keyboard.press("k")
    editor.wait_for_function("() => Number(document.querySelector('.vm-timeline').ariaValueNow) > 3", timeout=SOON)
    editor.keyboard.press("ArrowRight")
    editor.wait_for_timeout(100)
    at = editor.locator(".vm-timeline").get_attribute("aria-valuenow")
    editor.wait_for_timeout(400)
    assert editor.locator(".vm-timeline").get_attribute("aria-valuenow") == at


def test_zoomed_and_moved_a_click_still_falls_where_it_is_seen(editor: Page) -> None:
    x, y = stage_place(editor, 0.25, 0.5)
    editor.mouse.move(x, y)
    for _ in range(5):
        editor.mouse.wheel(0, -240)
    editor.wait_for_timeout(100)
    editor.keyboard.down("Space")
    editor.mouse.down()
    editor.mouse.move(x + 120, y + 60, steps=4)
    editor.mouse.up()
    editor.keyboard.up("Space")
    editor.mouse.down(button="middle")
    editor.mouse.move(x + 140, y + 50, steps=4)
    editor.mouse.up(button="middle")
    assert marks(editor) == []  # moving is no marking
    editor.mouse.click(x + 140, y + 50)
    (point,) = marks(editor)[0]["points"]
    assert near(point, (0.25, 0.5, 1))
    editor.keyboard.press("0")
    click(editor, 0.7, 0.7)
    assert near(marks(editor)[0]["points"][1], (0.7, 0.7, 1))


def test_fingers_mark_move_and_pinch(editor: Page) -> None:
    session = editor.context.new_cdp_session(editor)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    at = stage_place(editor, 0.3, 0.4)
    touch("touchStart", at)
    touch("touchEnd")
    assert near(marks(editor)[0]["points"][0], (0.3, 0.4, 1))
    middle = stage_place(editor, 0.6, 0.6)
    fingers = [(middle[0] - 30, middle[1]), (middle[0] + 30, middle[1])]
    touch("touchStart", fingers[0])
    touch("touchStart", *fingers)
    touch("touchMove", (fingers[0][0] - 60, middle[1]), (fingers[1][0] + 60, middle[1]))
    touch("touchEnd")
    assert len(marks(editor)[0]["points"]) == 1  # the first finger of two marks nothing
    touch("touchStart", (middle[0] - 90, middle[1]))
    touch("touchEnd")
    far = stage_place(editor, 0.6, 0.6)[0] - stage_place(editor, 0.0, 0.0)[0]
    point = marks(editor)[0]["points"][1]
    assert near(point, (0.6 - 30 * 0.6 / far, 0.6, 1))
    session.detach()


def test_enter_saves_and_escape_asks_only_when_something_is_unsaved(editor: Page) -> None:
    click(editor, 0.5, 0.5)
    editor.keyboard.press("Escape")
    question = editor.get_by_role("alertdialog")
    expect(question).to_be_visible()
    editor.keyboard.press("Escape")
    expect(question).to_be_hidden()
    editor.keyboard.press("Escape")
    editor.get_by_role("button", name="Discard").click()
    expect(editor.locator("dialog.vivid-mark")).to_have_count(0)
    assert saved(editor) is None
    open_editor(editor)
    click(editor, 0.5, 0.5)
    editor.keyboard.press("Enter")
    expect(editor.locator("dialog.vivid-mark")).to_have_count(0)
    assert saved(editor) is not None
    open_editor(editor)
    editor.keyboard.press("Escape")
    expect(editor.locator("dialog.vivid-mark")).to_have_count(0)


def test_what_is_pressed_in_the_editor_does_not_reach_the_graph(editor: Page) -> None:
    editor.evaluate(f"() => window.app.canvas.selectNode({NODE})")
    before = editor.evaluate("() => window.app.graph.nodes.length")
    click(editor, 0.5, 0.5)
    for key in ("Delete", "Control+z", "Control+z", "Control+y", "r", "Control+Shift+z", "Backspace"):
        editor.keyboard.press(key)
    editor.wait_for_timeout(400)
    assert editor.evaluate("() => window.app.graph.nodes.length") == before
    assert editor.locator("dialog.vivid-mark[open]").count() == 1


def test_the_focus_stays_in_the_editor_and_everything_has_a_name(editor: Page) -> None:
    inside = (
        "() => document.activeElement === document.body || Boolean(document.activeElement.closest('dialog.vivid-mark'))"
    )
    names = set()
    for _ in range(45):
        editor.keyboard.press("Tab")
        assert editor.evaluate(inside)
        names.add(editor.evaluate("() => document.activeElement.ariaLabel ?? document.activeElement.innerText"))
    assert len(names) > 15
    nameless = editor.evaluate(
        """() => [...document.querySelectorAll('dialog.vivid-mark button, dialog.vivid-mark input')].filter(e =>
            !e.innerText.trim() && !e.ariaLabel && !e.labels?.length).map(e => e.outerHTML)"""
    )
    assert nameless == []


def test_nothing_stays_behind_when_the_editor_is_closed(drawn_page: Page) -> None:
    make_graph(drawn_page)
    session = drawn_page.context.new_cdp_session(drawn_page)

    def listeners() -> int:
        count = 0
        for name in ("window", "document", "document.body"):
            found = session.send("Runtime.evaluate", {"expression": name})["result"]["objectId"]
            count += len(session.send("DOMDebugger.getEventListeners", {"objectId": found})["listeners"])
        return count

    open_editor(drawn_page)
    drawn_page.keyboard.press("Escape")
    before = listeners()
    for _ in range(2):
        open_editor(drawn_page)
        drawn_page.keyboard.press("Escape")
    assert listeners() == before
    assert drawn_page.locator("dialog.vivid-mark").count() == 0
    session.detach()
