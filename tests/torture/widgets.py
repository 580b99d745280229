"""Values of widgets: usual ones that cost little, the ends of their range, and those that no widget would let in."""

from __future__ import annotations

import json
import random
from typing import Any

from .clips import Shape
from .schemas import Taken

# What would take minutes with its whole range, and proves nothing that a little of it doesn't.
CHEAP: dict[str, tuple[float, float]] = {
    "steps": (1, 2),
    "frame_count": (1, 9),
    "side": (32, 64),
    "VividEstimateDepth.side": (140, 140),
    "rank": (1, 4),
    "batch": (1, 2),
    "megapixels": (0.001, 0.01),
    "updates": (1, 2),
    "tries": (1, 1000),
    "padding": (0, 1),
    "VividEstimateCost.frame_count": (1, 200),
}
FIRST_CHOICE = (
    "model",
    "vae",
    "lora",
    "text_encoder",
    "file",
    "motion",
    "controlnet",
    "sampler",
)  # mostly it
SIZE_OF_MODELS = ("auto", "480p", "720p")  # too large for a quick run
WRONG = "wrong"  # names of files that are no model begin with it
WORDS = ("a red ring", "a blue square", "ring", "a red ring", "a blue square", "红色的圆环", "very " * 40 + "red")
LONG_TEXT = "ring " * 4000

MARKS = {"version": 1, "clip": None, "objects": [{"id": 1, "name": ""}]}
NASTY_TEXTS: tuple[str, ...] = (
    "", " ", "\n", "0", "-1", "0, 1", "0,0", "1e9", "nan", "NaN", "99999999999999999999", "0.5", "-0", "1-3", "all",
    "null", "[]", "{}", "[[]]", '"', '{"version": 1}', '{"version": "x", "objects": 3}', '[{"x": NaN, "y": 1}]',
    '[{"x": 1e400, "y": 1}]', '[{"x": 8, "y": 8, "frame": 99}]', '[{"x": 8, "y": 8}]', "[" * 5000, '{"a":' * 3000,
    "1, 2, 3", "-5, -5, 3, 3", "0, 0, 0, 0", "1e308, 0, 1e308, 1", "../../etc/passwd", "/etc/passwd", "a/b", "..",
    "a\x00b", "x" * 300, "CON", "name.", "ünï-测试 🎬", "\u202egnp.exe", "\ud800", "<img src=x onerror=alert(1)>",
    "%s%n{0}", LONG_TEXT,
)  # fmt: skip
NASTY_FLOATS = (float("nan"), float("inf"), float("-inf"), -1e308, 1e308, -1.0, 1e-320)
NASTY_WHOLES = (-1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30)


def usual(node_id: str, taken: Taken, shape: Shape, chance: random.Random) -> Any:
    """A value that the widget takes, and that costs little."""
    if taken.kind == "BOOLEAN":
        return chance.random() < 0.5
    if taken.kind == "COMBO":
        return _choice(taken, chance)
    if taken.kind == "STRING":
        return text(node_id, taken, shape, chance)
    least, most = CHEAP.get(f"{node_id}.{taken.name}", CHEAP.get(taken.name, (taken.least, taken.most)))
    drawn = chance.random()
    default = taken.default if least <= (taken.default or 0) <= most else least
    value = default if drawn < 0.5 else chance.choice((least, most)) if drawn < 0.7 else chance.uniform(least, most)
    if taken.name in ("frame", "candidate_frame", "anchor", "window_index", "start", "length"):
        value = chance.choice((0, -1 if taken.least and taken.least < 0 else 0, shape.count - 1, default))
    return int(value) if taken.kind == "INT" else float(value)


def _choice(taken: Taken, chance: random.Random) -> str:
    options = [one for one in taken.options if not one.startswith(WRONG)]
    if taken.name == "size":
        options = [one for one in options if one not in SIZE_OF_MODELS] or options
    if not options:
        return "nothing"
    first = taken.default if taken.default in options else options[0]
    return first if taken.name in FIRST_CHOICE and chance.random() < 0.6 else chance.choice(options)


def text(node_id: str, taken: Taken, shape: Shape, chance: random.Random) -> str:
    """A text that makes sense at this input."""
    x, y, across, down = shape.box
    known = {
        "box": f"{x}, {y}, {across}, {down}",
        "points": "",
        "at_frames": "0",
        "override_frames": "0",
        "mask_frames": "0",
        "objects": "all",
        "board": chance.choice(("", json.dumps({"version": 1, "id": "0123456789abcdef", "picks": {}, "pins": []}))),
        "marks": marks(shape),
        "dataset": chance.choice(("samples", "样本 ü")),
        "name": chance.choice(("one", "名字", "two words")),
    }
    return known[taken.name] if taken.name in known else chance.choice(WORDS)


def marks(shape: Shape) -> str:
    """What the editor of Mark Object writes for the box."""
    x, y, across, down = shape.box
    sides = [x / shape.width, y / shape.height, (x + across) / shape.width, (y + down) / shape.height]
    mark = {"frame": 0, "object": 1, "points": [[0.4, 0.4, 1]], "box": sides, "strokes": [], "painted": False}
    return json.dumps({**MARKS, "marks": [mark]})


def nasty(taken: Taken, chance: random.Random) -> Any:
    """A value that no widget gives, as another node may give it over a link, or as a saved workflow may hold it."""
    if taken.kind == "STRING":
        return chance.choice(NASTY_TEXTS)
    if taken.kind == "COMBO":
        wrong = [one for one in taken.options if one.startswith(WRONG)]
        return chance.choice(wrong * 8 + ["", "nothing that is offered", "../" * 20])
    if taken.kind == "BOOLEAN":
        return chance.choice((True, False))
    ends = (taken.least, taken.most)
    if taken.kind == "INT":
        return chance.choice([*NASTY_WHOLES, *(end + by for end, by in zip(ends, (-1, 1)) if end is not None)])
    return chance.choice([*NASTY_FLOATS, *(end + by for end, by in zip(ends, (-0.5, 0.5)) if end is not None)])
