"""A board as a part of the workflow: reloaded, copied, in a subgraph, without its files or its server; the preview."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boarding import BOARD, FOLLOWED, a_try, do, ended, gallery, id_of, make_board, run, said, set_value, state, tries
from harness.page import load_workflow, screenshot
from harness.server import Server
from marking import posted_prompts
from playwright.sync_api import Locator, Page, Route, expect

RED, GREEN, BLUE = 0xFF0000, 0x00FF00, 0x0000FF
PICK_ONE = "Pick one: nothing downstream runs until then."
SECOND = "window.app.graph.nodes.filter(n => n.type === 'VividKeyframeBoard')[1]"

expect.set_options(timeout=30_000)


@pytest.fixture
def board(drawn_page: Page) -> Iterator[Locator]:
    yield make_board(drawn_page)


def serialised(page: Page) -> dict[str, Any]:
    return json.loads(page.evaluate("() => JSON.stringify((window.app.rootGraph ?? window.app.graph).serialize())"))


def types(page: Page) -> list[str]:
    return page.evaluate("() => window.app.graph.nodes.map(n => n.type)")


def folder_of(page: Page, server: Server) -> Path:
    kept = state(page)
    assert kept is not None
    return server.base / "output" / "vivid_boards" / kept["id"]


def test_a_reloaded_workflow_finds_its_tries_and_its_pick_again(board: Locator, drawn_page: Page) -> None:
    names = tries(drawn_page, [RED, GREEN])
    a_try(board, names[0]).click()
    do(board, "use")
    workflow, kept = serialised(drawn_page), state(drawn_page)
    drawn_page.reload()
    drawn_page.wait_for_function("() => window.app?.graph && window.app.canvas", timeout=60_000)
    drawn_page.wait_for_function("() => 'VividKeyframeBoard' in window.LiteGraph.registered_node_types", timeout=60_000)
    drawn_page.wait_for_timeout(500)
    load_workflow(drawn_page, workflow)
    board = gallery(drawn_page)
    expect(board.locator(".vb-try")).to_have_count(2)
    expect(a_try(board, names[0])).to_have_attribute("data-picked", "true")
    expect(said(board)).to_have_text("Picked for frame 0. Run to go on with it.")
    assert state(drawn_page) == kept
    assert id_of(drawn_page, "PreviewImage") in run(drawn_page).outputs


def test_a_workflow_that_was_never_run_is_loaded_as_it_is_and_gets_a_board_of_its_own(
    board: Locator, drawn_page: Page
) -> None:
    workflow = serialised(drawn_page)
    ids = []
    for _ in range(2):
        load_workflow(drawn_page, workflow)
        assert state(drawn_page) is None
        expect(gallery(drawn_page).locator(".vb-try")).to_have_count(0)
        tries(drawn_page, [RED])
        kept = state(drawn_page)
        assert kept is not None
        ids.append(kept["id"])
    assert ids[0] != ids[1]


def test_a_missing_file_is_said_and_another_can_be_picked(
    board: Locator, drawn_page: Page, page_server: Server
) -> None:
    names = tries(drawn_page, [RED, GREEN])
    a_try(board, names[0]).click()
    do(board, "use")
    (folder_of(drawn_page, page_server) / names[0]).unlink()
    outcome = run(drawn_page)
    assert outcome.ending == "execution_success" and id_of(drawn_page, "PreviewImage") not in outcome.outputs
    expect(said(board)).to_have_text("The file picked for frame 0 is gone. Pick another one.")
    a_try(board, names[1]).click()
    do(board, "use")
    expect(said(board)).to_have_text("Picked for frame 0. Run to go on with it.")
    assert id_of(drawn_page, "PreviewImage") in run(drawn_page).outputs
    (folder_of(drawn_page, page_server) / names[1]).unlink()
    load_workflow(drawn_page, serialised(drawn_page))
    board = gallery(drawn_page)
    expect(said(board)).to_have_text("The file picked for frame 0 is gone. Pick another one.")
    do(board, "unpick")
    expect(said(board)).not_to_contain_text("gone")
    kept = state(drawn_page)
    assert kept is not None and kept["picks"] == {}


def test_a_picture_that_can_not_be_had_is_said_in_its_place(board: Locator, drawn_page: Page) -> None:
    lost = "**/view?filename=f000000*"
    drawn_page.route(lost, lambda route: route.fulfill(status=404))
    try:
        names = tries(drawn_page, [0x123456])
        expect(board.locator(".vb-note")).to_have_text("Its file is gone.")
        expect(a_try(board, names[0])).to_have_class("vb-try vb-gone")
    finally:
        drawn_page.unroute(lost)


def test_a_copied_node_shows_the_same_tries_and_picks_for_itself(board: Locator, drawn_page: Page) -> None:
    names = tries(drawn_page, [RED, GREEN])
    do(board, "use")
    drawn_page.evaluate(
        f"""() => {{
            const canvas = window.app.canvas
            canvas.selectNode({BOARD})
            canvas.copyToClipboard()
            canvas.pasteFromClipboard({{connectInputs: true}})
            const copy = {SECOND}
            copy.pos = [1160, 60]
            canvas.setDirty(true, true)
        }}"""
    )
    first, second = state(drawn_page), state(drawn_page, SECOND)
    assert first == second and first is not None
    copy = gallery(drawn_page, 1)
    expect(copy.locator(".vb-try")).to_have_count(2)
    drawn_page.evaluate("() => { window.app.canvas.ds.offset = [-900, 40]; window.app.canvas.setDirty(true, true) }")
    a_try(copy, names[0]).click()
    do(copy, "use")
    changed = state(drawn_page, SECOND)
    assert changed is not None and changed["picks"] == {"0": names[0]} and changed["id"] == first["id"]
    assert state(drawn_page) == first
    tries(drawn_page, [BLUE])
    expect(gallery(drawn_page, 0).locator(".vb-try")).to_have_count(3)
    expect(copy.locator(".vb-try")).to_have_count(3)


def test_it_works_inside_a_subgraph(board: Locator, drawn_page: Page) -> None:
    drawn_page.evaluate(
        """() => {
            const inner = window.app.graph.nodes.filter(n =>
                ["EmptyImage", "ImageCompositeMasked", "VividKeyframeBoard", "PreviewImage"].includes(n.type))
            window.app.graph.convertToSubgraph(new Set(inner))
            const outer = window.app.graph.nodes.find(n => n.subgraph)
            window.app.canvas.openSubgraph(outer.subgraph, outer)
            window.app.canvas.ds.scale = 1
            window.app.canvas.ds.offset = [-420, 40]
            window.app.canvas.setDirty(true, true)
        }"""
    )
    inner = "window.app.graph.nodes.find(n => n.subgraph).subgraph.nodes.find(n => n.type === 'VividKeyframeBoard')"
    board = gallery(drawn_page)
    outcome = run(drawn_page)
    assert outcome.ending == "execution_success", outcome.error
    expect(board.locator(".vb-try")).to_have_count(1)
    do(board, "use")
    kept = state(drawn_page, inner)
    assert kept is not None and len(kept["picks"]) == 1
    outcome = run(drawn_page)
    assert any("images" in output and not output.get("vivid_board") for output in outcome.outputs.values())
    drawn_page.evaluate("() => window.app.canvas.setGraph(window.app.rootGraph ?? window.app.graph)")
    load_workflow(drawn_page, serialised(drawn_page))
    assert state(drawn_page, inner) == kept


def test_a_server_without_the_routes_leaves_the_board_usable(board: Locator, drawn_page: Page) -> None:
    def lacking(route: Route) -> None:
        route.fulfill(status=404, content_type="text/plain", body="404: Not Found")

    drawn_page.route("**/vivid/boards/**", lacking)
    try:
        names = tries(drawn_page, [RED, GREEN])
        do(board, "ask")
        do(board, "remove")
        expect(said(board)).to_contain_text("404")
        expect(board.locator(".vb-try")).to_have_count(2)
        do(board, "use")
        expect(said(board)).to_have_text("Picked for frame 0. Run to go on with it.")
        load_workflow(drawn_page, serialised(drawn_page))
        kept = state(drawn_page)
        assert kept is not None and kept["picks"] == {"0": names[1]}
        assert id_of(drawn_page, "PreviewImage") in run(drawn_page).outputs
    finally:
        drawn_page.unroute("**/vivid/boards/**", lacking)


def test_undo_takes_back_a_pick_and_never_the_tries(board: Locator, drawn_page: Page) -> None:
    load_workflow(drawn_page, serialised(drawn_page))
    tries(drawn_page, [RED])
    board = gallery(drawn_page)
    before = state(drawn_page)
    do(board, "use")
    expect(said(board)).to_have_text("Picked for frame 0. Run to go on with it.")
    drawn_page.mouse.click(850, 300)  # on the empty graph
    drawn_page.keyboard.press("Control+z")
    expect(said(gallery(drawn_page))).to_have_text(PICK_ONE)
    assert state(drawn_page) == before
    drawn_page.keyboard.press("Control+z")
    drawn_page.wait_for_timeout(300)
    expect(gallery(drawn_page).locator(".vb-try")).to_have_count(1)


@pytest.mark.parametrize("text", ['{"version": 7}', "no state", '{"version": 1, "id": "../..", "picks": {}}'])
def test_a_state_that_can_not_be_read_is_said_and_kept_inside_a_new_one(
    board: Locator, drawn_page: Page, text: str
) -> None:
    set_value(drawn_page, "VividKeyframeBoard", "board", text)
    load_workflow(drawn_page, serialised(drawn_page))
    board = gallery(drawn_page)
    expect(said(board)).to_contain_text("begin anew")
    outcome = run(drawn_page)
    assert outcome.ending == "execution_error" and "Keyframe Board" in outcome.error
    drawn_page.keyboard.press("Escape")
    do(board, "anew")
    kept = state(drawn_page)
    assert kept is not None and kept["unread"] == text
    tries(drawn_page, [RED])
    expect(said(board)).to_have_text(PICK_ONE)


def test_the_preview_adds_its_nodes_once_and_leaves_pick_and_tries_alone(
    board: Locator, drawn_page: Page, shots: Path
) -> None:
    names = tries(drawn_page, [RED, GREEN])
    do(board, "use")
    kept = state(drawn_page)
    a_try(board, names[0]).click()
    drawn_page.evaluate(FOLLOWED)
    with posted_prompts(drawn_page) as prompts:
        do(board, "preview")
        outcome = ended(drawn_page)
        expect(said(board)).to_contain_text("The preview is here and in Compare")
    assert outcome.ending == "execution_success", outcome.error
    assert types(drawn_page).count("VividPreviewPropagation") == types(drawn_page).count("VividCompare") == 1
    assert state(drawn_page) == kept
    expect(board.locator(".vb-try")).to_have_count(2)
    (prompt,) = prompts
    flat = prompt["prompt"]
    (key,) = (key for key, node in flat.items() if node["class_type"] == "VividPreviewPropagation")
    beside = flat[flat[key]["inputs"]["keyframes"][0]]
    assert json.loads(beside["inputs"]["board"])["picks"] == {"0": names[0]}
    assert beside["inputs"]["hold"] is False and "candidate" not in beside["inputs"]
    assert [flat[key]["class_type"] for key in prompt["partial_execution_targets"]] == ["VividCompare"]
    assert id_of(drawn_page, "VividCompare") in outcome.outputs
    assert id_of(drawn_page, "PreviewImage") not in outcome.outputs
    overlaps = drawn_page.evaluate(
        """() => {
            const added = new Set(["VividPreviewPropagation", "VividCompare"])
            const box = ({pos: [x, y], size: [w, h]}) => [x, y - 30, x + w, y + h]
            const over = ([a, b, c, d], [e, f, g, h]) => a < g && e < c && b < h && f < d
            const {nodes} = window.app.graph
            return nodes.filter(n => added.has(n.type)).flatMap(one =>
                nodes.filter(n => n !== one && over(box(n), box(one))).map(n => `${one.type} lies over ${n.type}`))
        }"""
    )
    screenshot(drawn_page, shots / "board_preview.png")
    assert overlaps == []
    drawn_page.evaluate(FOLLOWED)
    do(board, "preview")
    ended(drawn_page)
    assert types(drawn_page).count("VividPreviewPropagation") == 1
    after = run(drawn_page)
    assert id_of(drawn_page, "ImageCompositeMasked") in after.cached, "the preview left the other results alone"


def test_what_keeps_a_preview_from_running_is_told_in_one_sentence(board: Locator, drawn_page: Page) -> None:
    drawn_page.evaluate(
        """() => {
            const board = window.app.graph.nodes.find(n => n.type === "VividKeyframeBoard")
            const colour = window.app.graph.nodes.find(n => n.type === "EmptyImage")
            colour.connect(0, board, board.inputs.findIndex(i => i.name === "candidate"))
        }"""
    )
    tries(drawn_page, [RED])
    do(board, "preview")
    expect(said(board)).to_contain_text("No mask was found")
    assert "VividPreviewPropagation" not in types(drawn_page)
    drawn_page.evaluate(f"() => {{ {BOARD}.mode = 4 }}")
    do(board, "preview")
    expect(said(board)).to_contain_text("bypassed")
    drawn_page.evaluate(f"() => {{ {BOARD}.mode = 0 }}")
    drawn_page.evaluate(f"() => {BOARD}.disconnectInput({BOARD}.inputs.findIndex(i => i.name === 'frames'))")
    do(board, "preview")
    expect(said(board)).to_contain_text("Connect the clip")
