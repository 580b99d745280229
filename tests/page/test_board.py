"""The gallery of a Keyframe Board: tries collect, are looked at, picked, pinned and deleted; old and new nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from boarding import BOARD, a_try, do, gallery, id_of, make_board, run, said, set_value, state, tries
from harness.page import screenshot
from harness.server import Server
from PIL import Image
from playwright.sync_api import APIResponse, FloatRect, Locator, Page, Route, expect

RED, GREEN, BLUE = 0xFF0000, 0x00FF00, 0x0000FF
FOLDER = "**/vivid/boards/*"  # where the page asks what a board's folder holds
PICK_ONE = "Pick one: nothing downstream runs until then."

expect.set_options(timeout=30_000)


@pytest.fixture
def board(drawn_page: Page) -> Iterator[Locator]:
    yield make_board(drawn_page)


def box_of(locator: Locator) -> FloatRect:
    box = locator.bounding_box()
    assert box is not None
    return box


def wipe_of(board: Locator) -> int:
    return int(board.locator(".vb-view").get_attribute("aria-valuenow") or -1)


def scale_of(page: Page) -> float:
    return page.evaluate("() => window.app.canvas.ds.scale")


def test_an_empty_board_says_what_to_do(board: Locator, drawn_page: Page, shots: Path) -> None:
    expect(said(board)).to_have_text("No tries yet.")
    expect(board.locator(".vb-note")).to_contain_text("Each run adds one try")
    expect(board.locator(".vb-actions")).to_be_hidden()
    screenshot(drawn_page, shots / "board_empty.png")


def test_each_run_adds_a_try_and_nothing_downstream_runs_until_one_is_picked(
    board: Locator, drawn_page: Page, page_server: Server, shots: Path
) -> None:
    names = tries(drawn_page, [RED, GREEN, BLUE])
    assert len(set(names)) == 3
    expect(said(board)).to_have_text(PICK_ONE)
    shown = board.locator(".vb-try")
    assert [shown.nth(index).get_attribute("data-name") for index in range(3)] == names[::-1], "the newest first"
    expect(a_try(board, names[2])).to_have_attribute("aria-selected", "true")
    preview = id_of(drawn_page, "PreviewImage")

    a_try(board, names[1]).click()
    do(board, "use")
    expect(said(board)).to_have_text("Picked for frame 0. Run to go on with it.")
    kept = state(drawn_page)
    assert kept is not None and kept["picks"] == {"0": names[1]}
    outcome = run(drawn_page)
    assert outcome.ending == "execution_success", outcome.error
    (shown_file,) = outcome.outputs[preview]["images"]
    folder = page_server.base / "output" / "vivid_boards" / kept["id"]
    ours = Image.open(folder / names[1]).convert("RGB")
    theirs = Image.open(page_server.base / "temp" / shown_file["filename"]).convert("RGB")
    assert ours.tobytes() == theirs.tobytes()
    colours = {colour for _, colour in ours.getcolors() or []}
    assert (0, 255, 0) in colours, "the second try"
    screenshot(drawn_page, shots / "board_picked.png")

    do(board, "use")
    expect(said(board)).to_have_text(PICK_ONE)
    outcome = run(drawn_page)
    assert outcome.ending == "execution_success" and preview not in outcome.outputs


def test_a_late_answer_about_the_folder_hides_no_newer_try(board: Locator, drawn_page: Page) -> None:
    held: list[tuple[Route, APIResponse]] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    drawn_page.route(FOLDER, hold_the_first)
    names = tries(drawn_page, [RED, GREEN])
    shown = board.locator(".vb-try")
    expect(shown).to_have_count(2)
    ((route, first),) = held
    assert [one["name"] for one in first.json()["candidates"]] == names[:1], "asked when there was one try"
    with drawn_page.expect_response(FOLDER):
        route.fulfill(response=first)
    drawn_page.wait_for_timeout(200)
    drawn_page.unroute(FOLDER)
    expect(shown).to_have_count(2)


def test_the_words_of_a_try_are_shown_as_they_are(board: Locator, drawn_page: Page) -> None:
    words = "a <b>red</b> hat & \"scarf\" <img src=x onerror='window.hit = 1'>"
    set_value(drawn_page, "VividKeyframeBoard", "note", words)
    tries(drawn_page, [RED])
    expect(board.locator(".vb-words")).to_have_text(words)
    expect(board.locator(".vb-facts")).to_contain_text("Frame 0")
    assert board.locator(".vb-words *").count() == 0
    drawn_page.wait_for_timeout(100)
    assert drawn_page.evaluate("() => window.hit") is None


def test_before_and_after_are_wiped_by_dragging_and_by_keys(board: Locator, drawn_page: Page, shots: Path) -> None:
    tries(drawn_page, [RED])
    view = board.locator(".vb-view")
    expect(view).to_have_attribute("data-shown", re.compile("png"))
    assert wipe_of(board) == 0
    at = box_of(view)
    places = "() => Object.fromEntries(window.app.graph.nodes.map(n => [n.type, [...n.pos]]))"
    place = drawn_page.evaluate(places)
    drawn_page.mouse.move(at["x"] + at["width"] / 2 - 40, at["y"] + at["height"] / 2)
    drawn_page.mouse.down()
    drawn_page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2, steps=5)
    drawn_page.mouse.up()
    assert 48 <= wipe_of(board) <= 52
    screenshot(drawn_page, shots / "board_wipe.png")
    assert drawn_page.evaluate(places) == place, "no node was dragged"
    drawn_page.keyboard.press("ArrowRight")
    assert 53 <= wipe_of(board) <= 57
    drawn_page.keyboard.press("End")
    assert wipe_of(board) == 100
    drawn_page.keyboard.press("Home")
    assert wipe_of(board) == 0


def test_the_wheel_zooms_the_picture_that_was_clicked_and_else_the_graph(board: Locator, drawn_page: Page) -> None:
    tries(drawn_page, [RED])
    view = board.locator(".vb-view")
    expect(view).to_have_attribute("data-shown", re.compile("png"))
    at = box_of(view)
    drawn_page.mouse.click(850, 300)  # on the empty graph
    drawn_page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    before = scale_of(drawn_page)
    drawn_page.mouse.wheel(0, 100)
    drawn_page.wait_for_function("before => window.app.canvas.ds.scale < before", arg=before)
    expect(view).to_have_attribute("data-zoomed", "false")
    drawn_page.mouse.wheel(0, -100)
    drawn_page.wait_for_timeout(100)
    before, at = scale_of(drawn_page), box_of(view)
    drawn_page.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    drawn_page.mouse.wheel(0, -300)
    expect(view).to_have_attribute("data-zoomed", "true")
    drawn_page.wait_for_timeout(100)
    assert scale_of(drawn_page) == before
    do(board, "fit")
    expect(view).to_have_attribute("data-zoomed", "false")
    view.dblclick()
    expect(view).to_have_attribute("data-zoomed", "true")
    view.dblclick()
    expect(view).to_have_attribute("data-zoomed", "false")


def test_by_touch_one_finger_wipes_two_zoom_and_a_tap_picks(board: Locator, drawn_page: Page) -> None:
    names = tries(drawn_page, [RED, GREEN])
    view = board.locator(".vb-view")
    expect(view).to_have_attribute("data-shown", names[1])
    session = drawn_page.context.new_cdp_session(drawn_page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def tap(locator: Locator) -> None:
        at = box_of(locator)
        touch("touchStart", (at["x"] + at["width"] / 2, at["y"] + at["height"] / 2))
        touch("touchEnd")

    at = box_of(view)
    x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    touch("touchStart", (x - 60, y))
    touch("touchMove", (x - 20, y))
    touch("touchMove", (x, y))
    touch("touchEnd")
    assert 47 <= wipe_of(board) <= 53
    touch("touchStart", (x - 20, y))
    touch("touchStart", (x - 20, y), (x + 20, y))
    touch("touchMove", (x - 60, y), (x + 60, y))
    touch("touchEnd")
    expect(view).to_have_attribute("data-zoomed", "true")
    assert 47 <= wipe_of(board) <= 53, "two fingers leave the wipe where it is"
    tap(a_try(board, names[0]))
    expect(a_try(board, names[0])).to_have_attribute("aria-selected", "true")
    tap(board.locator("[data-do=use]"))
    expect(a_try(board, names[0])).to_have_attribute("data-picked", "true")
    session.detach()


def test_the_keyboard_goes_through_the_tries(board: Locator, drawn_page: Page) -> None:
    names = tries(drawn_page, [RED, GREEN, BLUE])
    a_try(board, names[2]).focus()
    drawn_page.keyboard.press("ArrowDown")
    expect(a_try(board, names[1])).to_be_focused()
    drawn_page.keyboard.press("Enter")
    expect(a_try(board, names[1])).to_have_attribute("data-picked", "true")
    drawn_page.keyboard.press("End")
    expect(a_try(board, names[0])).to_have_attribute("aria-selected", "true")
    drawn_page.keyboard.press("p")
    expect(a_try(board, names[0])).to_have_attribute("data-pinned", "true")
    drawn_page.keyboard.press("Delete")
    expect(board.get_by_role("alertdialog")).to_be_visible()
    drawn_page.keyboard.press("Escape")
    expect(board.get_by_role("alertdialog")).to_be_hidden()
    assert drawn_page.evaluate(f"() => Boolean({BOARD})"), "Delete was for the try and not for the node"
    kept = state(drawn_page)
    assert kept is not None and (kept["picks"], kept["pins"]) == ({"0": names[1]}, [names[0]])


def test_a_pin_is_saved_and_makes_nothing_run_again(board: Locator, drawn_page: Page) -> None:
    names = tries(drawn_page, [RED])
    do(board, "use")
    preview = id_of(drawn_page, "PreviewImage")
    assert preview in run(drawn_page).executing
    do(board, "pin")
    expect(a_try(board, names[0])).to_have_attribute("data-pinned", "true")
    again = run(drawn_page)
    assert again.ending == "execution_success" and not again.executing and preview in again.cached
    kept = state(drawn_page)
    assert kept is not None and kept["pins"] == names
    do(board, "use")
    assert run(drawn_page).ending == "execution_success"
    expect(a_try(board, names[0])).to_have_attribute("data-pinned", "true")


def test_deleting_asks_once_and_takes_pick_pin_and_file_with_it(
    board: Locator, drawn_page: Page, page_server: Server
) -> None:
    names = tries(drawn_page, [RED, GREEN])
    do(board, "use")
    do(board, "pin")
    kept = state(drawn_page)
    assert kept is not None and kept["pins"] == [names[1]]
    file = page_server.base / "output" / "vivid_boards" / kept["id"] / names[1]
    do(board, "ask")
    expect(board.locator(".vb-question")).to_have_text("It is in use. Delete it and its file?")
    do(board, "keep")
    expect(a_try(board, names[1])).to_be_visible()
    assert file.exists()
    do(board, "ask")
    do(board, "remove")
    expect(a_try(board, names[1])).to_have_count(0)
    assert not file.exists()
    expect(said(board)).to_have_text(PICK_ONE)
    after = state(drawn_page)
    assert after is not None and (after["picks"], after["pins"], after["id"]) == ({}, [], kept["id"])
    assert run(drawn_page).ending == "execution_success"
    expect(a_try(board, names[1])).to_have_count(0)  # the same graph does not bring it back


def test_each_frame_has_its_own_tries_and_its_own_pick(board: Locator, drawn_page: Page, shots: Path) -> None:
    first = tries(drawn_page, [RED, GREEN])
    set_value(drawn_page, "VividKeyframeBoard", "candidate_frame", -1)
    last = tries(drawn_page, [RED])
    expect(board.locator(".vb-chip")).to_have_text(["All", "Frame 0", "Frame 8"])
    do(board, "use")
    board.locator(".vb-chip[data-frame='0']").click()
    expect(board.locator(".vb-try")).to_have_count(2)
    do(board, "use")
    board.locator(".vb-chip[data-frame=all]").click()
    expect(board.locator(".vb-try")).to_have_count(3)
    screenshot(drawn_page, shots / "board_frames.png")
    expect(said(board)).to_have_text("Picked for frame 0, 8. Run to go on with it.")
    kept = state(drawn_page)
    assert kept is not None and kept["picks"] == {"0": first[1], "8": last[0]}
    outcome = run(drawn_page)
    assert len(outcome.outputs[id_of(drawn_page, "PreviewImage")]["images"]) == 2


def test_hold_is_said_and_let_go_from_the_gallery(board: Locator, drawn_page: Page) -> None:
    tries(drawn_page, [RED])
    do(board, "use")
    set_value(drawn_page, "VividKeyframeBoard", "hold", True)
    expect(said(board)).to_have_text("Only collecting: what follows does not run.")
    preview = id_of(drawn_page, "PreviewImage")
    assert preview not in run(drawn_page).outputs
    do(board, "release")
    expect(said(board)).to_have_text("Picked for frame 0. Run to go on with it.")
    assert drawn_page.evaluate(f"() => {BOARD}.widgets.find(w => w.name === 'hold').value") is False
    assert preview in run(drawn_page).outputs


def test_everything_can_be_seen_and_reached_at_1280_by_720(board: Locator, drawn_page: Page) -> None:
    tries(drawn_page, [RED, GREEN])
    whole = box_of(gallery(drawn_page))
    for part in (".vb-status", ".vb-view", ".vb-tries", ".vb-about", ".vb-actions"):
        box = box_of(board.locator(part))
        assert box["x"] >= whole["x"] - 1 and box["x"] + box["width"] <= whole["x"] + whole["width"] + 1, part
        assert box["y"] >= whole["y"] - 1 and box["y"] + box["height"] <= whole["y"] + whole["height"] + 1, part
    view = box_of(board.locator(".vb-view"))
    assert view["height"] >= 140 and view["width"] >= 200
    for button in board.locator("button:visible").all():
        box = box_of(button)
        assert box["height"] >= 26 and box["width"] >= 30
