"""The board's state in the page: it is the one that the node reads, and no choice loses another."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from harness.server import PACK
from playwright.sync_api import Page

from vivid_core.editors.candidates import read_board

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "js" / "board"
TEXT = re.compile(r'\btext\(\s*"(\w+)"')
ID, OTHER = "0123456789abcdef", "fedcba9876543210"
NAME = f"f000008_{ID}.png"


def run(page: Page, module: str, code: str, value: Any = None) -> Any:
    """The value of `code`, a function of a module of the board and `value`."""
    source = f"/extensions/{PACK}/board/{module}.js"
    return page.evaluate(f"async value => {{ const m = await import('{source}'); return ({code})(m, value) }}", value)


def document(**changes: Any) -> str:
    return json.dumps({"version": 1, "id": ID, "picks": {}, "pins": [], **changes})


RANDOM_CHOICES = """(m, [seed, steps, names]) => {
    let number = seed
    const next = most => { number = (number * 1103515245 + 12345) % 2147483648; return Math.floor(number / 8) % most }
    let state = m.parse(JSON.stringify({version: 1, id: m.newId(), picks: {}, pins: [], kept: {by: "hand"}}))
    const texts = []
    for (let step = 0; step < steps; step++) {
        const name = names[next(names.length)], frame = Number(name.slice(1, 7))
        const choices = [
            () => m.withPick(state, frame, name), () => m.withPick(state, frame, null),
            () => m.withPin(state, name, true), () => m.withPin(state, name, false), () => m.without(state, name),
        ]
        const before = JSON.stringify(state)
        const after = choices[next(choices.length)]()
        if (JSON.stringify(state) !== before) throw new Error("changed in place")
        state = m.parse(m.serialise(after))
        texts.push(m.serialise(state))
    }
    return texts
}"""


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_chosen_is_read_by_the_node_and_what_it_does_not_know_is_kept(page: Page, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"f{frame:06d}_{chance.getrandbits(64):016x}.png" for frame in (0, 0, 8, 12)]
    for text in run(page, "state", RANDOM_CHOICES, [seed + 1, 60, names]):
        read = read_board(text)
        assert json.loads(text)["kept"] == {"by": "hand"}
        assert {str(frame): name for frame, name in read.picks.items()} == json.loads(text)["picks"]
        assert sorted(read.pins) == sorted(json.loads(text)["pins"])


TEXTS = [
    "", "   ", "{", "[]", "7", "null", '"text"', '{"version": 2}', '{"version": true}', "{}",
    document(), document(id=None), document(id="0123"), document(id="0123456789ABCDEF"), document(id=7),
    document(picks={"8": NAME}), document(picks={"9": NAME}), document(picks={"08": NAME}),
    document(picks={"-8": NAME}), document(picks=[NAME]), document(picks=None), document(picks="8"),
    document(pins=NAME), document(pins=[NAME]), document(pins=None), document(pins=["../secret.png"]),
    document(picks={"8": "../../secret.png"}), document(picks={"8": "/etc/passwd"}), document(picks={"8": None}),
    document(picks={"8": "C:\\windows\\secret.png"}), document(picks={"8": NAME + "\u0000"}),
    document(picks={"8": NAME + "\n"}), document(pins=[f"before_{NAME}"]), document(id=""),
]  # fmt: skip


def test_the_page_and_the_node_refuse_the_same_texts(page: Page) -> None:
    code = "(m, texts) => texts.map(text => { try { m.parse(text); return true } catch { return false } })"
    for text, taken in zip(TEXTS, run(page, "state", code, TEXTS)):
        try:
            read_board(text)
        except ValueError:
            assert not taken, text
        else:
            assert taken, text


def test_every_new_board_has_another_id(page: Page) -> None:
    made = run(page, "state", "(m) => Array.from({length: 50}, () => m.newId())")
    assert len(set(made)) == 50
    assert all(read_board(document(id=one)).board_id == one for one in made)


def test_an_id_given_later_is_in_every_step_that_undo_goes_back_to(page: Page) -> None:
    code = """(m, text) => {
        const step = values => ({nodes: [
            {id: 3, type: "B", widgets_values: values}, {id: 4, type: "B", widgets_values: ["", false]},
            {id: 3, type: "Other", widgets_values: ["", false]},
        ]})
        const inner = {nodes: [], definitions: {subgraphs: [{nodes: [{id: "3", type: "B", widgets_values: [""]}]}]}}
        const tracker = {undoQueue: [step(["", false]), step(["known", false]), {nodes: []}, inner],
                         activeState: step(["", true])}
        const app = {extensionManager: {workflow: {activeWorkflow: {changeTracker: tracker}}}}
        const widget = {}
        m.inHistory(app, {id: 3, type: "B", widgets: [widget]}, widget, text)
        m.inHistory({}, {id: 3, type: "B", widgets: [widget]}, widget, text)
        const values = one => one.nodes.map(node => node.widgets_values[0])
        return [...tracker.undoQueue.slice(0, 2).map(values), values(inner.definitions.subgraphs[0]),
                values(tracker.activeState)]
    }"""
    found = run(page, "history", code, "now")
    assert found == [["now", "", ""], ["known", "", ""], ["now"], ["now", "", ""]]


def test_every_text_of_the_board_is_there_in_every_language() -> None:
    sources = [path.read_text() for path in MODULES.glob("*.js")]
    used = {key for source in sources for key in TEXT.findall(source)}
    texts = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))["vivid"]["board"]
        for path in (ROOT / "locales").glob("*/main.json")
    }
    assert len(used) > 25
    for language, known in texts.items():
        assert used <= set(known), language
        assert set(known) == set(texts["en"]), language
        for key, text in known.items():
            assert sorted(re.findall(r"%\d", text)) == sorted(re.findall(r"%\d", texts["en"][key])), (language, key)
    assert [key for key in texts["en"] if f'"{key}"' not in "".join(sources)] == []
