"""The blueprint as people take it: from the search over the canvas, wired up, and run, as one node."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.blueprints import FOLDER, definition
from harness.clips import BOX
from harness.page import alerts, as_prompt, load_workflow, wait_for_end, watch_runs
from playwright.sync_api import Page

NAME = "Edit an object in a video"
EMPTY: dict[str, Any] = {"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "groups": [], "version": 0.4}

WIRE = """box => {
    const graph = window.app.graph
    const add = type => { const node = window.LiteGraph.createNode(type); graph.add(node); return node }
    const edit = graph.nodes.find(node => node.isSubgraphNode?.())
    const [load, parts, engine, show] = ["LoadVideo", "GetVideoComponents", "VividLoadEngine", "PreviewImage"].map(add)
    load.widgets.find(w => w.name === "file").value = "clip.mp4"
    const input = name => edit.inputs.findIndex(entry => entry.name === name)
    load.connect(0, parts, 0)
    parts.connect(0, edit, input("frames"))
    engine.connect(0, edit, input("engine"))
    edit.connect(0, show, 0)
    const shown = widget => widget.label ?? widget.name
    edit.widgets.find(w => shown(w) === "box").value = box
    edit.widgets.find(w => shown(w) === "text").value = "a red ball"
    return edit.widgets.map(shown)
}"""


@pytest.fixture
def page_with_the_blueprint(drawn_page: Page) -> Page:
    load_workflow(drawn_page, EMPTY)
    drawn_page.mouse.dblclick(640, 400)
    drawn_page.wait_for_function("() => document.activeElement?.tagName === 'INPUT'")
    drawn_page.keyboard.type(NAME)
    drawn_page.get_by_text(NAME).first.wait_for()
    drawn_page.wait_for_timeout(500)  # what is found first is chosen a moment later
    drawn_page.keyboard.press("Enter")
    drawn_page.wait_for_function("() => window.app.graph.nodes.some(node => node.isSubgraphNode?.())")
    drawn_page.wait_for_timeout(300)
    drawn_page.mouse.move(600, 380, steps=3)
    drawn_page.mouse.click(600, 380)  # in newer pages it hangs on the pointer until it is put down
    drawn_page.wait_for_function("() => window.app.canvas.state?.ghostNodeId == null")
    return drawn_page


def test_it_comes_from_the_search_as_one_node_and_runs(page_with_the_blueprint: Page) -> None:
    page = page_with_the_blueprint
    ports = definition(json.loads((FOLDER / f"{NAME}.json").read_text()))["inputs"]
    shown = page.evaluate(WIRE, BOX)
    assert shown == [port["name"] for port in ports if port["type"] in ("STRING", "INT", "FLOAT", "COMBO")]
    prompt = as_prompt(page)
    (track,) = (node for node in prompt.values() if node["class_type"] == "VividTrackMask")
    (encode,) = (node for node in prompt.values() if node["class_type"] == "VividEncodePrompt")
    assert track["inputs"]["box"] == BOX and encode["inputs"]["text"] == "a red ball"
    watch_runs(page)
    page.evaluate("() => window.app.queuePrompt(0)")
    run = wait_for_end(page)
    assert run["ending"] == "execution_success", run["error"]
    assert alerts(page) == []
