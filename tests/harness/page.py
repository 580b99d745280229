"""ComfyUI's page in a real Chromium: open it, load a workflow, press Run, look."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Playwright, sync_playwright

from .server import Server

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
READY_MS = 60_000
# For scripts that build a graph in the page, after `graph` is known there:
MAKE = """
    const make = (type, x, y) => {
        const node = window.LiteGraph.createNode(type)
        node.pos = [x, y]
        graph.add(node)
        return node
    }
"""


@contextlib.contextmanager
def open_page(
    server: Server,
    playwright: Playwright | None = None,
    size: tuple[int, int] = (1600, 1000),
    *,
    new_nodes: bool = False,
) -> Iterator[Page]:
    """The page of `server`, with the graph ready, in a fresh browser profile; nodes drawn the old or the new way.

    A process can have one Playwright at a time: who opens several pages at once starts it and passes it on.
    """
    with contextlib.ExitStack() as stack:
        opening = stack.enter_context(contextlib.ExitStack())
        opening.enter_context(_drawn(server, new_nodes))
        profile = stack.enter_context(tempfile.TemporaryDirectory())
        context = (playwright or stack.enter_context(sync_playwright())).chromium.launch_persistent_context(
            profile,
            executable_path=os.environ["VIVID_CHROMIUM"],
            headless=True,
            args=FLAGS,
            viewport={"width": size[0], "height": size[1]},
        )
        stack.callback(context.close)
        page = context.pages[0] if context.pages else context.new_page()
        page.goto(server.url)
        page.wait_for_function("() => window.app?.graph && window.app.canvas", timeout=READY_MS)
        page.wait_for_function("() => 'VividTrackMask' in window.LiteGraph.registered_node_types", timeout=READY_MS)
        page.wait_for_timeout(500)  # the page still places its panels after the graph is there
        opening.close()
        yield page


@contextlib.contextmanager
def _drawn(server: Server, new_nodes: bool) -> Iterator[None]:
    """The server's setting of how nodes are drawn while a page opens; pages opened later find it as it was."""
    settings = server.base / "user" / "default" / "comfy.settings.json"
    before = settings.read_text()
    settings.write_text(json.dumps({**json.loads(before), "Comfy.VueNodes.Enabled": new_nodes}))
    try:
        yield
    finally:
        settings.write_text(before)


def load_workflow(page: Page, workflow: dict[str, Any], name: str = "workflow") -> None:
    """Load a UI-format workflow, as dropping its file on the page would."""
    page.evaluate("([flow, name]) => window.app.loadGraphData(flow, true, true, name)", [workflow, name])
    page.wait_for_timeout(300)


def as_prompt(page: Page) -> dict[str, Any]:
    """The graph on the page in API format, as the Run button would send it.

    Left out is what the page adds to a loader once its preview has arrived: no input of the node.
    """
    prompt = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    for node in prompt.values():
        node["inputs"].pop("video-preview", None)
    return prompt


def unknown_nodes(page: Page) -> list[str]:
    """Types of the nodes on the page that ComfyUI does not know."""
    return page.evaluate(
        "() => window.app.graph.nodes.map(n => n.type).filter(t => !(t in window.LiteGraph.registered_node_types))"
    )


def alerts(page: Page) -> list[str]:
    """What the page complains of in its corner."""
    return page.evaluate("() => [...document.querySelectorAll('.p-toast-message')].map(toast => toast.innerText)")


def press_run(page: Page) -> None:
    page.get_by_role("button", name=re.compile(r"^\s*Run\s*$")).first.click()


def wait_for_end(page: Page, timeout_ms: int = 240_000) -> dict[str, Any]:
    """Wait until the run that `watch_runs` follows has ended; returns {"ending", "outputs", "progress", "error"}."""
    page.wait_for_function("() => window.vividRun?.ending", timeout=timeout_ms)
    return json.loads(page.evaluate("() => JSON.stringify(window.vividRun)"))


def watch_runs(page: Page) -> None:
    """Collect what the page hears of the next run, from its own api object."""
    page.evaluate(
        """() => {
            const run = window.vividRun = {ending: "", outputs: {}, progress: 0, error: ""}
            const api = window.app.api ?? window.comfyAPI.api.api
            api.addEventListener("progress", () => run.progress++)
            api.addEventListener("executed", e => run.outputs[String(e.detail.node)] = e.detail.output)
            for (const name of ["execution_success", "execution_error", "execution_interrupted"])
                api.addEventListener(name, e => { run.ending = name; run.error = e.detail?.exception_message ?? "" })
        }"""
    )


def screenshot(page: Page, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path))
