"""The page as a user has it: templates load, Run works, results and help appear."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from harness.clips import BOX, WIDTH
from harness.page import (
    alerts,
    as_prompt,
    load_workflow,
    press_run,
    screenshot,
    unknown_nodes,
    wait_for_end,
    watch_runs,
)
from harness.prompts import API_FORMS, Prompt, shipped
from harness.server import PACK
from playwright.sync_api import Page

NAMES = sorted(path.stem for path in API_FORMS.glob("*.json"))


def template(page: Page, name: str) -> dict[str, Any]:
    """A template as the page itself fetches it."""
    return page.evaluate(
        "async path => (await fetch(path)).json()", f"/api/workflow_templates/{PACK}/{urllib.parse.quote(name)}.json"
    )


def means_the_same(prompt: Prompt, api_form: Prompt) -> bool:
    """The same nodes, links and values; a newer core may have given its own nodes more inputs, or fewer."""
    if {key: node["class_type"] for key, node in prompt.items()} != {k: n["class_type"] for k, n in api_form.items()}:
        return False
    for key, node in api_form.items():
        inputs = prompt[key]["inputs"]
        ours = node["class_type"].startswith("Vivid")
        if ours and inputs != node["inputs"]:
            return False
        if any(inputs[name] != value for name, value in node["inputs"].items() if name in inputs):
            return False
    return True


def set_widget(page: Page, node_type: str, name: str, value: Any) -> None:
    page.evaluate(
        """([type, name, value]) => {
            for (const node of window.app.graph.nodes.filter(n => n.type === type)) {
                node.widgets.find(w => w.name === name).value = value
            }
        }""",
        [node_type, name, value],
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_template_loads_whole_and_means_the_same_as_its_api_form(page: Page, name: str) -> None:
    load_workflow(page, template(page, name), name)
    assert unknown_nodes(page) == []
    assert alerts(page) == []
    assert means_the_same(as_prompt(page), shipped(name))


@pytest.mark.parametrize("name", NAMES)
def test_no_two_nodes_of_a_template_overlap(page: Page, name: str) -> None:
    load_workflow(page, template(page, name), name)
    boxes = page.evaluate(
        """() => window.app.graph.nodes.map(n =>
            [n.title, n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0], n.pos[1] + n.size[1]])"""
    )
    for index, (title, left, top, right, bottom) in enumerate(boxes):
        for other, left2, top2, right2, bottom2 in boxes[index + 1 :]:
            apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
            assert apart, f"{title} lies over {other}"


def test_the_run_button_runs_a_template_and_its_results_appear(page: Page, shots: Path) -> None:
    load_workflow(page, template(page, "Recolour an object (no weights)"))
    set_widget(page, "VividTrackMask", "box", BOX)
    watch_runs(page)
    press_run(page)
    run = wait_for_end(page)
    assert run["ending"] == "execution_success", run["error"]
    assert run["progress"] > 20
    page.wait_for_function(
        "() => [...document.querySelectorAll('video')].some(v => v.videoWidth && v.src.includes('type=output'))"
    )
    page.wait_for_function("() => window.app.graph.nodes.find(n => n.type === 'SaveImage').imgs?.[0]?.naturalWidth > 0")
    page.wait_for_function(
        "() => window.app.graph.nodes.find(n => n.type === 'VividMeasureEdit').imgs?.[0]?.naturalWidth > 0"
    )
    widths = page.evaluate("() => [...document.querySelectorAll('video')].map(v => v.videoWidth)")
    assert WIDTH in widths
    screenshot(page, shots / "recoloured.png")


def test_a_wrong_input_is_shown_as_our_sentence(page: Page, shots: Path) -> None:
    load_workflow(page, template(page, "Recolour an object (no weights)"))
    set_widget(page, "VividTrackMask", "box", "900, 900, 10, 10")
    watch_runs(page)
    press_run(page)
    run = wait_for_end(page)
    assert run["ending"] == "execution_error" and "192x128" in run["error"]
    shown = page.get_by_text("192x128").or_(page.locator("[data-testid*=error]")).first
    shown.wait_for(timeout=10_000)
    screenshot(page, shots / "sentence.png")
    page.keyboard.press("Escape")


@pytest.mark.parametrize("node_type", ["VividTrackMask", "VividCompare"])
def test_the_help_page_of_a_node_opens(page: Page, shots: Path, node_type: str) -> None:
    load_workflow(page, template(page, "Recolour an object (no weights)"))
    page.evaluate(
        """type => {
            const node = window.app.graph.nodes.find(n => n.type === type)
            window.app.canvas.centerOnNode(node)
            window.app.canvas.selectNode(node)
            window.app.canvas.setDirty(true, true)
        }""",
        node_type,
    )
    page.get_by_test_id("info-button").click(timeout=10_000)
    help_page = Path(__file__).resolve().parents[2] / "js" / "docs" / f"{node_type}.md"
    first_words = " ".join(help_page.read_text().split()[:6])
    page.get_by_text(first_words).first.wait_for(timeout=10_000)
    screenshot(page, shots / f"help_{node_type}.png")


@pytest.mark.parametrize("name", NAMES)
def test_a_template_loads_with_the_new_node_rendering_too(new_nodes_page: Page, shots: Path, name: str) -> None:
    load_workflow(new_nodes_page, template(new_nodes_page, name), name)
    assert unknown_nodes(new_nodes_page) == []
    assert means_the_same(as_prompt(new_nodes_page), shipped(name))
    screenshot(new_nodes_page, shots / f"new_rendering_{name}.png")
