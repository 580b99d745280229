"""Marks as a part of the workflow: kept, copied, moved into a subgraph, run, and looked at again with their masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.clips import FRAMES, HEIGHT, SIDE, START, STEP, WIDTH
from harness.page import load_workflow, screenshot
from harness.server import Server
from marking import NODE, click, close_editor, drag, make_graph, open_editor, posted_prompts, saved, tool
from playwright.sync_api import APIResponse, Locator, Page, Route, expect

from vivid_core.masks.marks_text import read_marks
from vivid_core.masks.runs import from_runs

RUN_MS = 120_000
EDITOR = "dialog.vivid-mark"
TRACK = "**/view?*track_*"  # where the page reads the masks of a track
INNER = """window.app.graph.nodes.find(n => n.subgraph).subgraph.nodes.find(n => n.type === 'VividPromptEditor')"""

expect.set_options(timeout=60_000)


@pytest.fixture
def graph(drawn_page: Page) -> Iterator[Page]:
    make_graph(drawn_page)
    yield drawn_page
    close_editor(drawn_page)


def mark_square(page: Page) -> None:
    """Paint the square of the first frame as a finished mask, save and close."""
    tool(page, "paint")
    x, y = (START[0] / WIDTH, START[1] / HEIGHT)
    right, bottom = (START[0] + SIDE) / WIDTH, (START[1] + SIDE) / HEIGHT
    brush = 0.035
    rows = np.arange(y + brush, bottom - brush / 2, brush)
    drag(page, *((edge, row) for row in rows for edge in (x + brush, right - brush)))


def run_in_editor(page: Page) -> None:
    page.locator("[data-do=run]").click()
    page.wait_for_function("() => document.querySelector('[data-do=stop]').hidden", timeout=RUN_MS)


def marks_sent(prompts: list[dict[str, Any]]) -> dict[str, Any]:
    """The marks of the last prompt that the page sent."""
    (text,) = {
        node["inputs"]["marks"] for node in prompts[-1]["prompt"].values() if node["class_type"] == "VividPromptEditor"
    }
    return json.loads(text)


def last_track(server: Server) -> dict[str, Any]:
    """The file of the newest track that the server tells of."""
    runs = server.get("/history?max_items=4")
    found = [
        output["vivid_track"][0]
        for run in runs.values()
        for output in run["outputs"].values()
        if "vivid_track" in output
    ]
    return server.get(f"/view?filename={found[-1]['filename']}&subfolder={found[-1]['subfolder']}&type=temp")


def masks_of(track: dict[str, Any], object_id: int = 1) -> list[np.ndarray]:
    empty = [track["width"] * track["height"]]
    (runs,) = [one["runs"] for one in track["objects"] if one["id"] == object_id]
    return [from_runs(each or empty, track["width"], track["height"]) for each in runs]


def overlap_with_square(mask: np.ndarray, frame: int) -> float:
    truth = np.zeros((HEIGHT, WIDTH), bool)
    x, y = START[0] + STEP[0] * frame, START[1] + STEP[1] * frame
    truth[y : y + SIDE, x : x + SIDE] = True
    return (mask & truth).sum() / (mask | truth).sum()


def colour_at(page: Page, x: float, y: float) -> list[int]:
    """What the stage shows at a place of the frame, while the whole frame is shown."""
    return page.evaluate(
        """([x, y, width, height]) => {
            const canvas = document.querySelector(".vm-stage canvas")
            const scale = Math.min((canvas.width - 32) / width, (canvas.height - 32) / height)
            const along = (room, length, part) => (room - length * scale) / 2 + part * length * scale
            const at = [along(canvas.width, width, x), along(canvas.height, height, y)]
            return [...canvas.getContext("2d").getImageData(...at, 1, 1).data]
        }""",
        [x, y, WIDTH, HEIGHT],
    )


def at_the_square_at_the_end(page: Page) -> tuple[float, float]:
    """Go to the last frame, once there are masks to show; where the middle of the square is there, in 0..1."""
    page.wait_for_function("() => !document.querySelector('[data-do=masks]').disabled", timeout=60_000)
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelector('.vm-stage').dataset.drawn === '15'")
    return (START[0] + STEP[0] * 15 + SIDE / 2) / WIDTH, (START[1] + STEP[1] * 15 + SIDE / 2) / HEIGHT


def banner(page: Page) -> Locator:
    return page.locator(".vm-banner")


def test_run_sends_the_marks_and_lays_the_mask_over_the_frames(graph: Page, page_server: Server, shots: Path) -> None:
    open_editor(graph)
    mark_square(graph)
    graph.keyboard.press("ArrowRight")
    graph.locator("[data-do=add-object]").click()
    tool(graph, "box")
    drag(graph, (0.6, 0.05), (0.9, 0.3))
    graph.keyboard.press("m")
    graph.keyboard.press("m")
    with posted_prompts(graph) as prompts:
        run_in_editor(graph)
    assert banner(graph).is_hidden(), banner(graph).inner_text()
    (prompt,) = prompts
    sent = marks_sent(prompts)
    assert sent == saved(graph)
    assert sent["clip"]["frames"] == FRAMES and (sent["clip"]["width"], sent["clip"]["height"]) == (WIDTH, HEIGHT)
    kinds = [prompt["prompt"][key]["class_type"] for key in prompt["partial_execution_targets"]]
    assert sorted(kinds) == ["VividPromptEditor", "VividTrackMask"]  # and not what comes after the mask

    masks = masks_of(last_track(page_server))
    painted = read_marks(json.dumps(sent)).on(0)[0].mask(HEIGHT, WIDTH)
    assert painted is not None and torch.equal(torch.from_numpy(masks[0]).float(), painted)
    assert min(overlap_with_square(mask, frame) for frame, mask in enumerate(masks)) > 0.6

    graph.keyboard.press("Escape")
    open_editor(graph)  # the last run's mask is there again, and nothing was run
    at = at_the_square_at_the_end(graph)
    with_mask = colour_at(graph, *at)
    graph.keyboard.press("m")
    graph.wait_for_timeout(150)
    without = colour_at(graph, *at)
    assert with_mask[0] > without[0] + 20, "the first object's mask is red"
    graph.keyboard.press("m")
    screenshot(graph, shots / "mark_run.png")


def test_a_late_answer_with_an_older_track_hides_no_newer_one(graph: Page) -> None:
    held: list[tuple[Route, APIResponse]] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    open_editor(graph)
    tool(graph, "box")
    drag(graph, (0.6, 0.05), (0.9, 0.3))
    run_in_editor(graph)
    close_editor(graph)
    graph.route(TRACK, hold_the_first)
    open_editor(graph)  # and it asks for that track
    graph.locator("[data-do=add-object]").click()
    mark_square(graph)
    run_in_editor(graph)
    at = at_the_square_at_the_end(graph)
    with_both = colour_at(graph, *at)
    ((route, first),) = held
    assert len(first.json()["objects"]) == 1, "asked before the second object was there"
    with graph.expect_response(TRACK):
        route.fulfill(response=first)
    graph.wait_for_timeout(300)
    graph.unroute(TRACK)
    assert colour_at(graph, *at) == with_both
    graph.keyboard.press("m")
    graph.wait_for_timeout(150)
    assert colour_at(graph, *at) != with_both, "there was a mask"


def test_a_correction_is_painted_over_the_mask_of_the_last_run(graph: Page, page_server: Server) -> None:
    open_editor(graph)
    mark_square(graph)
    run_in_editor(graph)
    before = masks_of(last_track(page_server))
    for _ in range(6):
        graph.keyboard.press("ArrowRight")
    tool(graph, "erase")
    drag(graph, (0.3, 0.5), (0.5, 0.5))
    with posted_prompts(graph) as prompts:
        run_in_editor(graph)
    mark = next(mark for mark in marks_sent(prompts)["marks"] if mark["frame"] == 6)
    base = from_runs(mark["base"]["runs"], mark["base"]["width"], mark["base"]["height"])
    assert mark["painted"] and np.array_equal(base, before[6])
    after = masks_of(last_track(page_server))
    corrected = read_marks(json.dumps(marks_sent(prompts))).on(6)[0].mask(HEIGHT, WIDTH)
    assert corrected is not None and torch.equal(torch.from_numpy(after[6]).float(), corrected)
    assert 0 < after[6].sum() < before[6].sum()


def test_marks_survive_saving_and_loading_the_workflow(graph: Page) -> None:
    open_editor(graph)
    click(graph, 0.3, 0.5)
    graph.keyboard.press("Enter")
    document = saved(graph)
    workflow = json.loads(json.dumps(graph.evaluate("() => window.app.graph.serialize()")))
    (node,) = [node for node in workflow["nodes"] if node["type"] == "VividPromptEditor"]
    assert json.loads(node["widgets_values"][0]) == document
    graph.reload()
    graph.wait_for_function("() => window.app?.graph && window.app.canvas", timeout=60_000)
    graph.wait_for_function("() => 'VividTrackMask' in window.LiteGraph.registered_node_types", timeout=60_000)
    load_workflow(graph, workflow)
    assert saved(graph) == document
    open_editor(graph)
    click(graph, 0.6, 0.5)
    graph.keyboard.press("Enter")
    again = saved(graph)
    assert again is not None and document is not None
    assert again["marks"][0]["points"][0] == document["marks"][0]["points"][0]
    assert len(again["marks"][0]["points"]) == 2


def test_a_copied_node_has_marks_of_its_own(graph: Page) -> None:
    open_editor(graph)
    click(graph, 0.3, 0.5)
    graph.keyboard.press("Enter")
    document = saved(graph)
    graph.evaluate(
        f"""() => {{
            const canvas = window.app.canvas
            canvas.selectNode({NODE})
            canvas.copyToClipboard()
            canvas.pasteFromClipboard({{connectInputs: true}})
        }}"""
    )
    copy = "window.app.graph.nodes.filter(n => n.type === 'VividPromptEditor')[1]"
    assert saved(graph, copy) == document
    open_editor(graph, copy)
    click(graph, 0.6, 0.5)
    graph.keyboard.press("Enter")
    changed = saved(graph, copy)
    assert changed is not None and len(changed["marks"][0]["points"]) == 2
    assert saved(graph) == document


def test_it_works_inside_a_subgraph(graph: Page, page_server: Server) -> None:
    graph.evaluate(
        """() => {
            const inner = window.app.graph.nodes.filter(n => ["VividPromptEditor", "VividTrackMask"].includes(n.type))
            window.app.graph.convertToSubgraph(new Set(inner))
        }"""
    )
    open_editor(graph, INNER)
    mark_square(graph)
    with posted_prompts(graph) as prompts:
        run_in_editor(graph)
    assert banner(graph).is_hidden(), banner(graph).inner_text()
    outer = graph.evaluate("() => String(window.app.graph.nodes.find(n => n.subgraph).id)")
    assert all(key.startswith(f"{outer}:") for key in prompts[0]["partial_execution_targets"])
    assert marks_sent(prompts) == saved(graph, INNER)
    assert overlap_with_square(masks_of(last_track(page_server))[8], 8) > 0.6
    graph.wait_for_function("() => !document.querySelector('[data-do=masks]').disabled", timeout=60_000)
    graph.keyboard.press("Enter")
    workflow = graph.evaluate("() => window.app.graph.serialize()")
    load_workflow(graph, workflow)
    document = saved(graph, INNER)
    assert document is not None and len(document["marks"][0]["strokes"]) == 1


def test_what_the_nodes_refuse_is_told_and_the_marks_stay(graph: Page) -> None:
    open_editor(graph)
    graph.keyboard.press("x")
    click(graph, 0.3, 0.5)  # background only
    run_in_editor(graph)
    expect(banner(graph)).to_contain_text("background")
    assert banner(graph).inner_text().strip().count("\n") == 0
    document = saved(graph)
    assert document is not None and document["marks"][0]["points"][0][2] == 0


@pytest.mark.parametrize("length", [9, 16])
def test_a_clip_that_was_replaced_is_noticed_and_no_mark_is_lost(graph: Page, length: int) -> None:
    open_editor(graph)
    click(graph, 0.3, 0.5)
    graph.keyboard.press("Shift+ArrowRight")
    graph.keyboard.press("ArrowRight")
    click(graph, 0.6, 0.5)
    graph.keyboard.press("Enter")
    before = saved(graph)
    assert before is not None
    if length == 9:
        graph.evaluate("() => window.app.graph.nodes.find(n => n.type === 'ImageFromBatch').widgets[1].value = 9")
    else:
        graph.evaluate("() => window.app.graph.nodes.find(n => n.type === 'ImageFromBatch').widgets[0].value = 0")
        turn_upside_down(graph)
    open_editor(graph)
    expect(banner(graph)).to_contain_text("another clip")
    graph.keyboard.press("Escape")
    assert saved(graph) == before
    open_editor(graph)
    if length == 9:
        expect(banner(graph)).to_contain_text("after the last one (8): 1")
        graph.locator("[data-do=removeBeyond]").click()
    graph.locator("[data-do=adopt]").click()
    expect(banner(graph)).to_be_hidden()
    graph.keyboard.press("Enter")
    after = saved(graph)
    assert after is not None and after["clip"] != before["clip"] and after["clip"]["frames"] == length
    assert after["marks"] == (before["marks"][:1] if length == 9 else before["marks"])


def turn_upside_down(page: Page) -> None:
    """Another picture of the same size and length comes to the node."""
    page.evaluate(
        f"""() => {{
            const [mark, invert] = [{NODE}, window.LiteGraph.createNode("ImageInvert")]
            window.app.graph.add(invert)
            window.app.graph.nodes.find(n => n.type === "ImageFromBatch").connect(0, invert, 0)
            invert.connect(0, mark, mark.inputs.findIndex(i => i.name === "frames"))
        }}"""
    )


def test_a_text_that_can_not_be_read_is_kept(graph: Page) -> None:
    graph.evaluate(f"() => {{ {NODE}.widgets.find(w => w.name === 'marks').value = '{{\"version\": 7}}' }}")
    open_editor(graph)
    expect(banner(graph)).to_contain_text("another version")
    graph.keyboard.press("Enter")
    assert saved(graph) == {"version": 7}
    open_editor(graph)
    click(graph, 0.3, 0.5)
    graph.keyboard.press("Enter")
    document = saved(graph)
    assert document is not None and json.loads(document["unread"]) == {"version": 7}
    assert len(document["marks"]) == 1


def test_without_a_clip_one_sentence_says_what_to_do(graph: Page) -> None:
    graph.evaluate(f"() => {NODE}.disconnectInput({NODE}.inputs.findIndex(i => i.name === 'frames'))")
    graph.evaluate(f"() => {{ {NODE}.widgets.find(w => w.type === 'button').callback() }}")
    expect(graph.locator(".vm-cover")).to_contain_text("Connect a clip")
    graph.keyboard.press("Escape")
    expect(graph.locator(EDITOR)).to_have_count(0)
    graph.evaluate(f"() => {{ {NODE}.mode = 4 }}")
    graph.evaluate(f"() => {{ {NODE}.widgets.find(w => w.type === 'button').callback() }}")
    expect(graph.locator(".vm-cover")).to_contain_text("bypassed")
    graph.keyboard.press("Escape")


def test_what_fails_before_the_node_is_told_in_one_sentence(graph: Page) -> None:
    graph.evaluate("() => window.app.graph.nodes.find(n => n.type === 'LoadVideo').widgets[0].value = 'nowhere.mp4'")
    graph.evaluate(f"() => {{ {NODE}.widgets.find(w => w.type === 'button').callback() }}")
    expect(graph.locator(".vm-cover")).to_contain_text("nowhere.mp4", timeout=RUN_MS)
    graph.evaluate("() => window.app.graph.nodes.find(n => n.type === 'LoadVideo').widgets[0].value = 'clip.mp4'")
    graph.locator("[data-do=retry]").click()
    graph.wait_for_function("() => document.querySelector('.vm-stage').dataset.drawn", timeout=RUN_MS)
    graph.keyboard.press("Escape")


def test_the_pages_own_undo_takes_back_what_was_saved(graph: Page) -> None:
    load_workflow(graph, graph.evaluate("() => window.app.graph.serialize()"))
    open_editor(graph)
    click(graph, 0.3, 0.5)
    graph.keyboard.press("Enter")
    assert saved(graph) is not None
    graph.mouse.click(400, 640)  # on the empty graph
    graph.keyboard.press("Control+z")
    graph.wait_for_function(f"() => {NODE}?.widgets.find(w => w.name === 'marks').value === ''", timeout=60_000)
