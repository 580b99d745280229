"""The whole loop in one graph in the page: only what has changed is computed again; and a newcomer's way, in clicks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boarding import FOLLOWED, PageRun, a_try, do, ended, gallery, id_of, run, said, set_value, state
from harness.page import MAKE, load_workflow, open_page, press_run, screenshot
from harness.server import Server
from marking import open_editor, stage_place, tool
from playwright.sync_api import Page, Playwright, expect

from vivid_core.training.world.trials import trial

NAME = "Try keyframes on a board (embedded model)"
WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / f"{NAME}.json"
MOST_CLICKS, SIDE = 8, 48
TRIES = {"VividEditKeyframe", "VividKeyframeBoard"}
AFTER = {"VividPropagate", "ImageScale of the edit", "VividCompare", "SaveImage"}

# Mark Object and Track Mask in place of the mask that comes with the clip; and less work for the test.
MARKED = (
    """() => {
    const graph = window.app.graph
    const of = type => graph.nodes.find(n => n.type === type)
"""
    + MAKE
    + """
    const input = (node, name) => node.inputs.findIndex(i => i.name === name)
    const clip = of("VividDemoClip")
    const [mark, track] = [make("VividPromptEditor", -900, 0), make("VividTrackMask", -500, 0)]
    mark.widgets.find(w => w.name === "marks").value = ""
    clip.connect(0, mark, input(mark, "frames"))
    clip.connect(0, track, input(track, "frames"))
    mark.connect(0, track, input(track, "prompts"))
    for (const type of ["VividEditKeyframe", "VividPropagate"]) track.connect(0, of(type), input(of(type), "mask"))
    clip.widgets.find(w => w.name === "frame_count").value = 9
    of("VividEditKeyframe").widgets.find(w => w.name === "frame").value = 4
    for (const type of ["VividEditKeyframe", "VividPropagate"]) of(type).widgets.find(w => w.name === "steps").value = 2
}"""
)

expect.set_options(timeout=60_000)


@pytest.fixture
def story(page_server: Server, playwright: Playwright) -> Iterator[Page]:
    with open_page(page_server, playwright, (1280, 720)) as page:
        load_workflow(page, json.loads(WORKFLOW.read_text()), NAME)
        page.evaluate(MARKED)
        yield page


def kinds(page: Page, ids: list[str]) -> set[str]:
    """The types of nodes; of the two that scale, which one."""
    types: dict[str, str] = page.evaluate(
        """() => Object.fromEntries(window.app.graph.nodes.map(n => {
            const scales = n.type === "ImageScale"
            const from = scales && n.graph.getNodeById(n.graph.links.get(n.inputs[0].link).origin_id).type
            return [String(n.id), scales ? `ImageScale of the ${from === "VividPropagate" ? "edit" : "clip"}` : n.type]
        }))"""
    )
    return {types[key] for key in ids}


def computed(page: Page, outcome: PageRun) -> set[str]:
    assert outcome.ending == "execution_success", outcome.error
    return kinds(page, outcome.executing)


def propagated(page: Page, outcome: PageRun) -> bool:
    """Whether the model carried the edit through the clip, and the result was shown."""
    worked = id_of(page, "VividPropagate") in outcome.progress
    assert worked == (id_of(page, "VividCompare") in outcome.outputs)
    return worked


def box_on(frame: int) -> list[tuple[float, float]]:
    """Two corners around what is edited on a frame of the clip, in 0..1."""
    rows, columns = trial("modify", "seen", 0, 9).truth(SIDE).edit_mask_fhw[frame].nonzero().T
    return [(float(x) / SIDE, float(y) / SIDE) for x, y in ((columns.min(), rows.min()), (columns.max(), rows.max()))]


def mark_and_run(page: Page, frame: int) -> PageRun:
    """Drag a box on a frame in the editor of Mark Object, run from there, save and close."""
    open_editor(page)
    for _ in range(frame):
        page.keyboard.press("ArrowRight")
    tool(page, "box")
    start, end = (stage_place(page, *corner, (SIDE, SIDE)) for corner in box_on(frame))
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()
    page.evaluate(FOLLOWED)
    page.locator("[data-do=run]").click()
    outcome = ended(page)
    page.wait_for_function("() => document.querySelector('[data-do=stop]').hidden")
    page.keyboard.press("Enter")
    expect(page.locator("dialog.vivid-mark")).to_have_count(0)
    return outcome


def try_with(page: Page, seed: int) -> tuple[str, PageRun]:
    """A try with this seed: its file, and the run that made it."""
    set_value(page, "VividEditKeyframe", "seed", seed)
    outcome = run(page)
    assert outcome.ending == "execution_success", outcome.error
    return outcome.outputs[id_of(page, "VividKeyframeBoard")]["vivid_board"][0]["added"], outcome


def test_in_the_whole_story_only_what_has_changed_is_computed_again(story: Page, shots: Path) -> None:
    marking = mark_and_run(story, frame=0)
    assert computed(story, marking) == {"VividPromptEditor", "VividTrackMask"}, "the editor had the clip's frames"

    first, outcome = try_with(story, 1)
    # Another test may have left the engine in ComfyUI's cache.
    assert computed(story, outcome) - AFTER | {"VividLoadEngine"} == {
        "VividLoadEngine",
        "VividEncodePrompt",
        *TRIES,
        "ImageScale of the clip",
    }
    assert kinds(story, outcome.cached) >= {"VividDemoClip", "VividPromptEditor", "VividTrackMask"}
    assert not propagated(story, outcome), "nothing is picked"
    tried = [first]
    for seed in (2, 3):
        name, outcome = try_with(story, seed)
        tried.append(name)
        assert computed(story, outcome) - AFTER == TRIES
        assert not propagated(story, outcome)
    assert len(set(tried)) == 3
    board = gallery(story)
    expect(said(board)).to_have_text("Pick one: nothing downstream runs until then.")
    expect(board.locator(".vb-facts")).to_contain_text("seed 3")
    screenshot(story, shots / "story_tries.png")

    a_try(board, tried[1]).click()
    do(board, "use")
    outcome = run(story)
    assert computed(story, outcome) == {"VividKeyframeBoard", *AFTER}, "the try itself is not made again"
    assert propagated(story, outcome)
    screenshot(story, shots / "story_propagated.png")

    correction = mark_and_run(story, frame=6)
    assert computed(story, correction) == {"VividPromptEditor", "VividTrackMask"}
    set_value(story, "VividKeyframeBoard", "hold", True)
    corrected, outcome = try_with(story, 3)
    assert corrected not in tried, "the mask has changed"
    assert computed(story, outcome) - AFTER == TRIES
    assert not propagated(story, outcome), "only collecting"

    do(board, "use")
    do(board, "release")
    kept = state(story)
    assert kept is not None and kept["picks"] == {"4": corrected}
    outcome = run(story)
    assert computed(story, outcome) == {"VividKeyframeBoard", *AFTER}
    assert propagated(story, outcome)
    outcome = run(story)
    assert computed(story, outcome) == set(), "nothing has changed"
    screenshot(story, shots / "story_again.png")


def test_a_newcomer_comes_from_the_template_browser_to_a_propagated_edit_in_few_clicks(
    page_server: Server, playwright: Playwright, shots: Path
) -> None:
    with open_page(page_server, playwright, (1280, 720)) as page:
        clicks: list[str] = []

        def click(what: Any, name: str) -> None:
            what.click()
            clicks.append(name)

        click(page.get_by_role("button", name=re.compile("^Templates")).first, "open the template browser")
        dialog = page.get_by_role("dialog")
        click(dialog.get_by_text("vivid-video-edit").first, "the pack")
        screenshot(page, shots / "newcomer_browser.png")
        click(dialog.get_by_text(NAME).first, "the template")
        expect(dialog).to_be_hidden()
        board = gallery(page)
        page.evaluate(FOLLOWED)
        press_run(page)
        clicks.append("Run")
        outcome = ended(page)
        assert outcome.ending == "execution_success" and not propagated(page, outcome)
        screenshot(page, shots / "newcomer_try.png")
        click(board.locator("[data-do=use]"), "Use this")
        page.evaluate(FOLLOWED)
        press_run(page)
        clicks.append("Run again")
        outcome = ended(page)
        screenshot(page, shots / "newcomer_done.png")
        assert outcome.ending == "execution_success", outcome.error
        assert propagated(page, outcome)
        assert len(clicks) <= MOST_CLICKS, clicks
