"""The blueprint as people take it: from the search over the canvas, wired up, and run, as one node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from harness.blueprints import FOLDER, definition
from harness.clips import BOX
from harness.page import alerts, as_prompt, load_workflow, open_page, wait_for_end, watch_runs
from harness.server import Server
from playwright.sync_api import Page, Playwright

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


@pytest.fixture(params=["nodes 1.0", "nodes 2.0"])
def page_with_the_blueprint(
    request: pytest.FixtureRequest, page_server: Server, playwright: Playwright
) -> Iterator[Page]:
    """A page of its own: the search leaves newer pages in the middle of putting the node down."""
    with open_page(page_server, playwright, (1280, 720), new_nodes=request.param == "nodes 2.0") as page:
        load_workflow(page, EMPTY)
        page.mouse.dblclick(640, 400)
        page.wait_for_function("() => document.activeElement?.tagName === 'INPUT'")
        page.keyboard.type(NAME)
        page.get_by_text(NAME).first.wait_for()
        page.wait_for_timeout(500)  # what is found first is chosen a moment later
        page.keyboard.press("Enter")
        page.wait_for_function("() => window.app.graph.nodes.some(node => node.isSubgraphNode?.())")
        yield page


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
