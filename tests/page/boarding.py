"""A small graph with a Keyframe Board in it, and what a user does with its gallery."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from harness.page import MAKE, press_run
from playwright.sync_api import Locator, Page

# A clip, one frame of it tinted inside its mask as a try, the board, and what follows the board.
MADE = (
    """() => {
    const graph = window.app.rootGraph ?? window.app.graph
    window.app.canvas.setGraph(graph) // a test may have left it in a subgraph
    graph.clear()
"""
    + MAKE
    + """
    const set = (node, values) => {
        for (const [name, value] of Object.entries(values)) node.widgets.find(w => w.name === name).value = value
    }
    const join = (from, output, to, input) =>
        from.connect(from.outputs.findIndex(o => o.name === output), to, to.inputs.findIndex(i => i.name === input))
    const [clip, frame] = [make("VividDemoClip", 0, 60), make("ImageFromBatch", 0, 400)]
    const [colour, tint] = [make("EmptyImage", 300, 60), make("ImageCompositeMasked", 300, 300)]
    const [board, show] = [make("VividKeyframeBoard", 620, 60), make("PreviewImage", 620, 760)]
    set(clip, {control_after_generate: "fixed", frame_count: 9, side: 48})
    set(colour, {width: 48, height: 48, color: 0xff0000})
    set(board, {board: "", hold: false, candidate_frame: 0, note: ""}) // newer pages remember them by the node's number
    clip.connect(0, frame, 0)
    clip.connect(0, board, board.inputs.findIndex(i => i.name === "frames"))
    join(frame, "IMAGE", tint, "destination")
    join(colour, "IMAGE", tint, "source")
    clip.connect(1, tint, tint.inputs.findIndex(i => i.name === "mask"))
    join(tint, "IMAGE", board, "candidate")
    board.connect(1, show, 0)
    window.app.canvas.ds.scale = 1
    window.app.canvas.ds.offset = [-420, 40]
    window.app.canvas.setDirty(true, true)
}"""
)

BOARD = "window.app.graph.nodes.find(n => n.type === 'VividKeyframeBoard')"
RUN_MS = 120_000

FOLLOWED = """() => {
    const run = window.vividRun = {ending: "", error: "", outputs: {}, executing: [], cached: [], progress: {}}
    const api = window.app.api ?? window.comfyAPI.api.api
    window.vividListening?.abort()
    window.vividListening = new AbortController()
    const on = (name, heard) => api.addEventListener(name, heard, {signal: window.vividListening.signal})
    on("executing", ({detail}) => detail && run.executing.push(String(detail.node ?? detail)))
    on("execution_cached", ({detail}) => run.cached.push(...detail.nodes.map(String)))
    on("progress", ({detail}) => run.progress[detail.node] = (run.progress[detail.node] ?? 0) + 1)
    on("executed", ({detail}) => run.outputs[String(detail.node)] = detail.output)
    for (const name of ["execution_success", "execution_error", "execution_interrupted"])
        on(name, ({detail}) => { run.ending = name; run.error = detail?.exception_message ?? "" })
}"""


@dataclass(frozen=True)
class PageRun:
    """What the page heard of one run; nodes by their ids."""

    ending: str
    error: str
    outputs: dict[str, Any]
    executing: list[str]
    cached: list[str]
    progress: dict[str, int]


def make_board(page: Page) -> Locator:
    """The graph with an empty board; gives the gallery."""
    page.evaluate(MADE)
    return gallery(page)


def gallery(page: Page, index: int = 0) -> Locator:
    found = page.locator(".vivid-board:visible").nth(index)
    found.wait_for(timeout=10_000)
    return found


def run(page: Page) -> PageRun:
    """Press Run and follow it to its end."""
    page.evaluate(FOLLOWED)
    press_run(page)
    return ended(page)


def ended(page: Page) -> PageRun:
    """What was heard since FOLLOWED, once the run has ended."""
    page.wait_for_function("() => window.vividRun.ending", timeout=RUN_MS)
    page.wait_for_timeout(50)  # the page draws what it has heard
    return PageRun(**json.loads(page.evaluate("() => JSON.stringify(window.vividRun)")))


def set_value(page: Page, node_type: str, name: str, value: Any) -> None:
    page.evaluate(
        """([type, name, value]) => {
            const widget = window.app.graph.nodes.find(n => n.type === type).widgets.find(w => w.name === name)
            widget.value = value
            widget.callback?.(value)
        }""",
        [node_type, name, value],
    )


def id_of(page: Page, node_type: str) -> str:
    return page.evaluate("type => String(window.app.graph.nodes.find(n => n.type === type).id)", node_type)


def tries(page: Page, colours: list[int]) -> list[str]:
    """Run once for each colour; the files of the tries, the newest last."""
    names = []
    for colour in colours:
        set_value(page, "EmptyImage", "color", colour)
        outcome = run(page)
        assert outcome.ending == "execution_success", outcome.error
        told = outcome.outputs[id_of(page, "VividKeyframeBoard")]["vivid_board"][0]
        names.append(told["added"])
    return names


def state(page: Page, board: str = BOARD) -> dict[str, Any] | None:
    """What the node keeps; None when that is empty."""
    text = page.evaluate(f"() => {board}.widgets.find(w => w.name === 'board').value")
    return json.loads(text) if text else None


def a_try(board: Locator, name: str) -> Locator:
    return board.locator(f".vb-try[data-name='{name}']")


def do(board: Locator, name: str) -> None:
    board.locator(f"[data-do='{name}']:visible").click()


def said(board: Locator) -> Locator:
    return board.locator(".vb-status p")
