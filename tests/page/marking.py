"""A small graph with Mark Object in it, and what a user does in its editor."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from harness.page import MAKE
from playwright.sync_api import Locator, Page, Request

MADE = (
    """() => {
    const graph = window.app.graph
    graph.clear()
"""
    + MAKE
    + """
    const [load, parts] = [make("LoadVideo", 0, 60), make("GetVideoComponents", 320, 60)]
    const part = make("ImageFromBatch", 320, 220)
    const [mark, track] = [make("VividPromptEditor", 640, 60), make("VividTrackMask", 1040, 60)]
    const [image, preview] = [make("MaskToImage", 1420, 60), make("PreviewImage", 1420, 200)]
    load.widgets.find(w => w.name === "file").value = "clip.mp4"
    part.widgets.find(w => w.name === "length").value = 16
    mark.widgets.find(w => w.name === "marks").value = "" // newer pages remember it by the node's number
    const join = (from, output, to, input) =>
        from.connect(from.outputs.findIndex(o => o.name === output), to, to.inputs.findIndex(i => i.name === input))
    load.connect(0, parts, 0)
    parts.connect(0, part, 0)
    part.connect(0, mark, mark.inputs.findIndex(i => i.name === "frames"))
    part.connect(0, track, track.inputs.findIndex(i => i.name === "frames"))
    join(mark, "prompts", track, "prompts")
    track.connect(0, image, 0)
    image.connect(0, preview, 0)
    window.app.canvas.ds.scale = 0.6
    window.app.canvas.ds.offset = [140, 140]
    window.app.canvas.setDirty(true, true)
}"""
)

OPEN_MS = 120_000
NODE = "window.app.graph.nodes.find(n => n.type === 'VividPromptEditor')"


def make_graph(page: Page) -> None:
    """Clip, Mark Object, Track Mask, and a preview of the mask."""
    page.evaluate(MADE)
    page.wait_for_timeout(300)


def open_editor(page: Page, node: str = NODE) -> Locator:
    """Press the node's button and wait for the first picture."""
    page.evaluate(f"() => {{ const b = {node}.widgets.find(w => w.type === 'button'); b.callback() }}")
    return ready(page)


def close_editor(page: Page) -> None:
    """Close it if it is open, and leave what is unsaved."""
    page.evaluate(
        """() => {
            const editor = document.querySelector("dialog.vivid-mark")
            editor?.querySelector("[data-do=close]").click()
            editor?.querySelector("[data-do=discard]")?.click()
        }"""
    )
    page.wait_for_function("() => !document.querySelector('dialog.vivid-mark')", timeout=OPEN_MS)


def ready(page: Page) -> Locator:
    editor = page.locator("dialog.vivid-mark[open]")
    editor.wait_for(timeout=OPEN_MS)
    page.wait_for_function(
        "() => document.querySelector('.vm-stage').dataset.drawn && document.querySelector('.vm-cover').hidden",
        timeout=OPEN_MS,
    )
    return editor


def tool(page: Page, name: str) -> None:
    page.locator(f"[data-tool={name}]").click()


@contextlib.contextmanager
def posted_prompts(page: Page) -> Iterator[list[dict[str, Any]]]:
    """What the page sends to be run, as the server gets it."""
    prompts: list[dict[str, Any]] = []

    def keep(request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/prompt"):
            prompts.append(request.post_data_json)

    page.on("request", keep)
    try:
        yield prompts
    finally:
        page.remove_listener("request", keep)


def stage_place(page: Page, x: float, y: float, size: tuple[int, int] = (192, 128)) -> tuple[float, float]:
    """Where (x, y) in 0..1 of the frame lies on the screen while the whole frame is shown."""
    area = page.locator(".vm-stage").bounding_box()
    assert area is not None
    scale = min((area["width"] - 32) / size[0], (area["height"] - 32) / size[1])
    left, top = (
        area[corner] + (area[side] - length * scale) / 2
        for corner, side, length in (("x", "width", size[0]), ("y", "height", size[1]))
    )
    return left + x * size[0] * scale, top + y * size[1] * scale


def click(page: Page, x: float, y: float, button: Any = "left", modifiers: Sequence[str] = ()) -> None:
    for key in modifiers:
        page.keyboard.down(key)
    page.mouse.click(*stage_place(page, x, y), button=button)
    for key in modifiers:
        page.keyboard.up(key)


def drag(page: Page, *places: tuple[float, float], button: Any = "left") -> None:
    page.mouse.move(*stage_place(page, *places[0]))
    page.mouse.down(button=button)
    for place in places[1:]:
        page.mouse.move(*stage_place(page, *place), steps=6)
    page.mouse.up(button=button)


def saved(page: Page, node: str = NODE) -> dict[str, Any] | None:
    """What the node's widget holds; None when it is empty."""
    text = page.evaluate(f"() => {node}.widgets.find(w => w.name === 'marks').value")
    return json.loads(text) if text else None
