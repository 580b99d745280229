"""Texts that others wrote, shown in the page: whatever is in them is shown as text and nothing of it runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from boarding import a_try, make_board, tries
from harness.server import PACK, Server
from marking import NODE, close_editor, make_graph, open_editor
from PIL import Image, PngImagePlugin
from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parents[2]
NAME = f"f000002_{'1' * 16}.png"
HOSTILE = (
    '"><img src=x onerror="window.vividHurt=1"><script>window.vividHurt=2</script><svg onload=window.vividHurt=3>'
    "<iframe srcdoc='<script>parent.vividHurt=4</script>'></iframe>{{7*7}}${7*7}%1 javascript:window.vividHurt=5 &amp;"
)
AS_MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|srcdoc|DOMParser|setHTMLUnsafe"
    r"|\beval\(|new Function\(|javascript:"
)

expect.set_options(timeout=30_000)


def put_hostile_try(folder: Path) -> None:
    """A picture in a board's folder that says hostile things of itself."""
    about = PngImagePlugin.PngInfo()
    about.add_itxt("vivid_board", json.dumps({"prompt": HOSTILE, "seed": 7, "time": HOSTILE, "frames": 9}))
    Image.new("RGB", (48, 48), (200, 0, 0)).save(folder / NAME, "PNG", pnginfo=about)


def assert_unhurt(page: Page) -> None:
    page.wait_for_timeout(300)  # what would load or run has had its time
    assert page.evaluate("() => window.vividHurt ?? null") is None
    assert page.evaluate("() => document.querySelectorAll('img[onerror], iframe[srcdoc], svg[onload]').length") == 0


def test_a_hostile_prompt_of_a_candidate_is_shown_as_text(drawn_page: Page, page_server: Server) -> None:
    board = make_board(drawn_page)
    tries(drawn_page, [0xFF0000])
    boards = (page_server.base / "output" / "vivid_boards").iterdir()  # others were there before
    folder = max(boards, key=lambda one: one.stat().st_mtime)
    put_hostile_try(folder)
    tries(drawn_page, [0x00FF00])
    one = a_try(board, NAME)
    expect(one).to_be_visible()
    one.click()
    assert HOSTILE in drawn_page.evaluate("() => [...document.querySelectorAll('.vivid-board *')].map(e => e.title)")
    assert_unhurt(drawn_page)
    shutil.rmtree(folder)


def test_a_hostile_name_of_an_object_is_shown_as_text(drawn_page: Page) -> None:
    make_graph(drawn_page)
    mark = {"frame": 0, "object": 1, "points": [[0.5, 0.5, 1]]}
    text = json.dumps({"version": 1, "clip": None, "objects": [{"id": 1, "name": HOSTILE}], "marks": [mark]})
    drawn_page.evaluate(
        f"""text => {{ const widget = {NODE}.widgets.find(w => w.name === 'marks'); widget.value = text;
            widget.callback?.(text) }}""",
        text,
    )
    try:
        open_editor(drawn_page)
        shown = "() => [...document.querySelectorAll('.vm-objects input')].map(one => one.value)"
        assert HOSTILE in drawn_page.evaluate(shown)
        assert_unhurt(drawn_page)
    finally:
        close_editor(drawn_page)


def test_an_element_takes_any_text_as_text(page: Page) -> None:
    shown = page.evaluate(
        f"""async text => {{
            const {{ el, put }} = await import('/extensions/{PACK}/common/dom.js')
            const made = el("p", {{ title: text, "aria-label": text }}, text)
            document.body.append(made)
            const before = made.childNodes.length === 1 && made.firstChild.nodeType === Node.TEXT_NODE
            put(made, {{ textContent: text }})
            const after = made.children.length === 0 && made.textContent === text
            return [before, after, made.title === text]
        }}""",
        HOSTILE,
    )
    assert shown == [True, True, True]
    assert_unhurt(page)


def test_no_script_of_the_page_makes_markup_or_code_of_a_text() -> None:
    sources = sorted((ROOT / "js").rglob("*.js"))
    assert len(sources) > 20
    found = [f"{path.name}: {line.strip()}" for path in sources for line in path.read_text().splitlines()]
    assert [line for line in found if AS_MARKUP.search(line)] == []
