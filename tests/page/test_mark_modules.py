"""The editor's arithmetic, by itself: it agrees with the nodes, and no edit is ever lost."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.server import PACK
from playwright.sync_api import Page

from vivid_core.masks.marks_text import read_marks
from vivid_core.masks.runs import to_runs
from vivid_core.masks.strokes import Stroke, paint

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "js" / "mark"
TEXT = re.compile(r'\btext\(\s*"(\w+)"')


def run(page: Page, module: str, code: str, value: Any = None, room: str = "mark") -> Any:
    """The value of `code`, a function of a module of the editor and `value`."""
    source = f"/extensions/{PACK}/{room}/{module}.js"
    return page.evaluate(f"async value => {{ const m = await import('{source}'); return ({code})(m, value) }}", value)


def scribble(chance: random.Random) -> dict[str, Any]:
    """A stroke that may begin outside the frame, stand still, or turn back."""
    count = chance.choice([1, 2, 2, 5])
    path = [[round(chance.uniform(-0.2, 1.2), 5), round(chance.uniform(-0.2, 1.2), 5)] for _ in range(count)]
    if chance.random() < 0.2:
        path.append(path[-1])
    return {"path": path, "radius": round(chance.uniform(0.002, 0.2), 5), "erase": chance.random() < 0.3}


def test_a_stroke_touches_the_pixels_that_the_node_will_touch(page: Page) -> None:
    chance = random.Random(1)
    for width, height in ((97, 53), (64, 120), (1, 1)):
        drawings = [[scribble(chance) for _ in range(chance.randint(1, 4))] for _ in range(25)]
        code = """(m, [drawings, width, height]) => drawings.map(strokes =>
            Array.from(m.painted({strokes, base: null}, width, height)))"""
        for strokes, pixels in zip(drawings, run(page, "runs", code, [drawings, width, height])):
            ours = [Stroke(tuple(map(tuple, one["path"])), one["radius"], one["erase"]) for one in strokes]
            assert np.array_equal(pixels, paint(torch.zeros(height, width), ours).flatten())


def test_painting_goes_on_over_the_mask_it_began_with(page: Page) -> None:
    base = np.random.default_rng(2).random((20, 30)) > 0.5
    stroke = {"path": [[0.1, 0.1], [0.9, 0.8]], "radius": 0.1, "erase": True}
    mark = {"strokes": [stroke], "base": {"width": 30, "height": 20, "runs": to_runs(base)}}
    pixels = run(page, "runs", "(m, mark) => Array.from(m.painted(mark, 30, 20))", mark)
    expected = paint(torch.from_numpy(base).float(), [Stroke(((0.1, 0.1), (0.9, 0.8)), 0.1, True)])
    assert np.array_equal(pixels, expected.flatten())


@pytest.mark.parametrize("density", [0.0, 0.01, 0.5, 1.0])
def test_runs_are_read_as_the_nodes_write_them(page: Page, density: float) -> None:
    mask = np.random.default_rng(3).random((31, 17)) < density
    runs = to_runs(mask)
    assert run(page, "runs", "(m, runs) => Array.from(m.decode(runs, 17, 31))", runs) == mask.reshape(-1).tolist()


def test_zooming_keeps_the_place_under_the_pointer(page: Page) -> None:
    code = """(m, [frame, stage]) => {
        let view = m.fitted(frame, stage), far = 0
        for (let step = 0; step < 60; step++) {
            const [right, down] = [0.3 + 0.4 * ((step * 7) % 11) / 11, 0.3 + 0.4 * ((step * 5) % 13) / 13]
            const at = {x: stage.width * right, y: stage.height * down}
            const before = m.toFrame(view, at, frame)
            view = m.zoomed(view, step % 3 ? 1.15 : 0.9, at, frame, stage)
            const after = m.toStage(view, before.x, before.y, frame)
            far = Math.max(far, Math.hypot(after.x - at.x, after.y - at.y))
        }
        return far
    }"""
    size = [{"width": 1920, "height": 1080}, {"width": 900, "height": 600}]
    assert run(page, "geometry", code, size, room="common") < 1e-6


def test_two_fingers_hold_what_they_hold(page: Page) -> None:
    code = """(m) => {
        const [frame, stage] = [{width: 640, height: 360}, {width: 800, height: 600}]
        const view = m.fitted(frame, stage)
        const [before, after] = [[{x: 300, y: 300}, {x: 500, y: 320}], [{x: 240, y: 280}, {x: 600, y: 316}]]
        const held = before.map(at => m.toFrame(view, at, frame))
        const moved = m.pinched(view, before, after, frame, stage)
        return held.map((place, finger) => {
            const at = m.toStage(moved, place.x, place.y, frame)
            return Math.hypot(at.x - after[finger].x, at.y - after[finger].y)
        })
    }"""
    assert max(run(page, "geometry", code, room="common")) < 1.0  # the fingers keep their angle, so both stay


def test_the_picture_can_not_be_moved_out_of_sight(page: Page) -> None:
    code = """(m) => {
        const [frame, stage] = [{width: 640, height: 360}, {width: 800, height: 600}]
        return [[1e5, 0], [-1e5, 0], [0, 1e5], [0, -1e5]].map(([dx, dy]) => {
            const v = m.moved(m.fitted(frame, stage), dx, dy, frame, stage)
            const seen = (from, length, room) => Math.min(from + length * v.scale, room) - Math.max(from, 0)
            return seen(v.x, frame.width, stage.width) > 20 && seen(v.y, frame.height, stage.height) > 20
        })
    }"""
    assert all(run(page, "geometry", code, room="common"))


RANDOM_SESSION = """(m, [seed, steps, removes]) => {
    let state = seed
    const next = most => { state = (state * 1103515245 + 12345) % 2147483648; return state % most }
    const editor = new m.Editor({version: 1, clip: null, objects: [{id: 1, name: ""}], marks: [], kept: "by hand"}, "")
    editor.clip = {frames: 5, width: 100, height: 50, digest: "d"}
    const stroke = () => ({path: [[next(100) / 100, next(100) / 100]], radius: 0.05, erase: next(2) === 1})
    const edits = [
        () => editor.edit(mark => ({...mark, points: [...mark.points, [next(100) / 100, next(100) / 100, next(2)]]})),
        () => editor.edit(mark => ({...mark, box: [0.1, 0.1, 0.2 + next(50) / 100, 0.9]})),
        () => editor.edit(mark => ({...mark, strokes: [...mark.strokes, stroke()], painted: true})),
        () => editor.flip(), () => editor.remove(), () => editor.toggleNotHere(), () => editor.clearFrame(),
        () => editor.addObject(), () => removes && editor.removeObject(editor.object),
        () => editor.renameObject(editor.object, "n" + next(9)), () => editor.undo(), () => editor.redo(),
        () => editor.setObject(editor.doc.objects[next(editor.doc.objects.length)].id),
        () => editor.goTo(next(5)), () => editor.goTo(next(5)),
    ]
    const texts = []
    for (let step = 0; step < steps; step++) { edits[next(edits.length)](); texts.push(JSON.stringify(editor.doc)) }
    const end = JSON.stringify(editor.doc)
    const undone = [0, 1, 2, 3, 4].map(frame => {
        let count = 0
        for (editor.goTo(frame); editor.canUndo; count++) editor.undo()
        return count
    })
    const left = editor.doc.marks.length
    undone.forEach((count, frame) => { editor.goTo(frame); for (; count > 0; count--) editor.redo() })
    return {texts, end, left, again: JSON.stringify(editor.doc)}
}"""


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_done_can_be_read_by_the_node_and_be_undone(page: Page, seed: int) -> None:
    removes = seed % 3 == 0  # an object that comes back brings back marks of frames on which they had been undone
    session = run(page, "editor", RANDOM_SESSION, [seed + 1, 80, removes])
    for text in session["texts"]:
        read_marks(text)
        assert json.loads(text)["kept"] == "by hand"
    if not removes:
        assert session["left"] == 0
        assert json.loads(session["again"])["marks"] == json.loads(session["end"])["marks"]


def test_undo_keeps_to_its_frame(page: Page) -> None:
    code = """(m) => {
        const editor = new m.Editor({version: 1, clip: null, objects: [{id: 1, name: ""}], marks: []}, "")
        editor.clip = {frames: 9, width: 10, height: 10, digest: ""}
        const point = x => editor.edit(mark => ({...mark, points: [...mark.points, [x, x, 1]]}))
        point(0.1); editor.goTo(4); point(0.2); point(0.3); editor.goTo(0); editor.undo()
        const first = editor.doc.marks.map(mark => [mark.frame, mark.points.length])
        editor.redo(); editor.goTo(4); editor.undo()
        return [first, editor.doc.marks.map(mark => [mark.frame, mark.points.length])]
    }"""
    assert run(page, "editor", code) == [[[4, 2]], [[0, 1], [4, 1]]]


def test_a_removed_object_comes_back_with_its_marks(page: Page) -> None:
    code = """(m) => {
        const empty = {points: [[0.5, 0.5, 1]], box: null, strokes: [], painted: false, base: null}
        const marks = [[0, 1], [1, 2], [3, 2]].map(([frame, object]) => ({frame, object, ...empty}))
        const doc = {version: 1, clip: null, objects: [{id: 1, name: ""}, {id: 2, name: "hat"}], marks}
        const editor = new m.Editor(doc, "")
        editor.clip = {frames: 9, width: 10, height: 10, digest: ""}
        editor.removeObject(2)
        const without = editor.doc.marks.length
        editor.undo()
        return [without, JSON.stringify(editor.doc) === JSON.stringify(doc)]
    }"""
    assert run(page, "editor", code) == [1, True]


def test_what_a_newer_version_wrote_beside_the_marks_is_kept(page: Page) -> None:
    mark = {"frame": 2, "object": 1, "points": [[0.5, 0.5, 1]], "box": None, "strokes": [], "painted": False}
    mark |= {"base": None, "why": "here"}
    objects = [{"id": 1, "name": "", "shade": 3}]
    text = {"version": 1, "clip": None, "objects": objects, "marks": [mark], "more": {"a": 1}}
    assert json.loads(run(page, "state", "(m, text) => m.serialise(m.parse(text))", json.dumps(text))) == text


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "null", '{"version": 2}', '{"version": 1, "marks": 3}', '{"version": 1, "marks": [{}]}',
        '{"version": 1, "marks": [null]}', '{"version": 1, "marks": [{"frame": 0, "object": 1, "points": [5]}]}',
        '{"version": 1, "marks": [{"frame": 0, "object": 1, "strokes": [{"path": [[0.5]], "radius": 0.1}]}]}',
    ],
)  # fmt: skip
def test_a_text_that_is_no_document_is_refused_with_a_reason(page: Page, text: str) -> None:
    code = "(m, text) => { try { m.parse(text); return null } catch (fault) { return fault.reason ?? String(fault) } }"
    assert run(page, "state", code, text) in ("unreadable", "otherVersion")


def test_nothing_marked_is_an_empty_text(page: Page) -> None:
    assert run(page, "state", "(m) => [m.serialise(m.parse('')), m.serialise(m.emptyDocument())]") == ["", ""]


def test_a_suggestion_leads_to_its_frame(page: Page) -> None:
    told = {2: "check frame 5 (its shape changes at once), add a click", 1: "add a click or a box at frame 3, if there"}
    objects = [{"object_id": number, "areas": [0.1] * 8, "suggestions": [text]} for number, text in told.items()]
    health = {"objects": objects, "cuts": []}
    content = {"version": 1, "frames": 8, "width": 4, "height": 4, "objects": [], "health": health}
    code = "(m, content) => m.suggestions(m.readTrack(content, 'd')).map(s => [s.object, s.frame, s.kind])"
    assert run(page, "health", code, content) == [[1, 3, "add"], [2, 5, "check"]]


def test_every_text_of_the_editor_is_there_in_every_language() -> None:
    sources = [path.read_text() for path in [*MODULES.glob("*.js"), ROOT / "js" / "vivid.js"]]
    used = {key for source in sources for key in TEXT.findall(source)}
    texts = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))["vivid"]["mark"]
        for path in (ROOT / "locales").glob("*/main.json")
    }
    assert len(used) > 30
    for language, known in texts.items():
        assert used <= set(known), language
        assert set(known) == set(texts["en"]), language
        for key, text in known.items():
            assert sorted(re.findall(r"%\d", text)) == sorted(re.findall(r"%\d", texts["en"][key])), (language, key)
    unused = [key for key in texts["en"] if f'"{key}"' not in "".join(sources) and not key.startswith("hint_")]
    assert unused == []


def test_what_an_input_depends_on_is_the_same_with_a_previews_empty_widget_and_another_with_any_other_change(
    page: Page,
) -> None:
    def graph(clip: dict[str, Any], start: int = 0) -> dict[str, Any]:
        return {
            "output": {
                "1": {"class_type": "LoadVideo", "inputs": clip},
                "2": {"class_type": "ImageFromBatch", "inputs": {"image": ["1", 0], "batch_index": start}},
                "3": {"class_type": "VividPromptEditor", "inputs": {"frames": ["2", 0]}},
                "4": {"class_type": "LoadImage", "inputs": {"image": "unlinked.png"}},
            }
        }

    graphs = [
        graph({"file": "a.mp4"}),
        graph({"file": "a.mp4", "video-preview": ""}),
        graph({"file": "b.mp4"}),
        graph({"file": "a.mp4"}, start=1),
        graph({"file": ""}),
    ]
    code = "(m, graphs) => graphs.map(one => m.signature(one, '3', 'frames'))"
    found = run(page, "graph", code, graphs, room="common")
    assert found[0] == found[1] and len(set(found)) == 4 and "unlinked" not in "".join(found)
