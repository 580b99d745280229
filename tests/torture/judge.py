"""What may come of a run: a result that keeps the promises, or one helpful sentence from where the fault was found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.inprocess import Result
from harness.server import ROOT

from .schemas import Node

SHORTEST, LONGEST = 20, 420
# Words of a program, or of torch about shapes that nobody who uses a node has seen.
NO_SENTENCE = re.compile(
    r"Traceback|NoneType|tensor\(|has no attribute|positional argument|object is not|size mismatch|"
    r"must match the size|invalid for input of size|Expected \d|expected \w+ but|not supported between|"
    r"unsupported operand|index \d+ is out of bounds|<class|<built-in|Errno|\\x[0-9a-f]{2}|0x[0-9a-f]{6}"
)
FILE_OF_FRAME = re.compile(r'File "([^"]+)"')
ON_WIRES = ("keyframe", "frame", "mask", "track", "engine", "prompt", "clip", "picture")
REFUSED = ("return_type_mismatch", "value_smaller_than_min", "value_bigger_than_max", "value_not_in_list")
REFUSED += ("invalid_input_type", "custom_validation_failed", "required_input_missing")


@dataclass
class Verdict:
    """How a run ended: `kind` is "ok", "refused" (by our sentence) or "core" (before it began); faults if it's none."""

    kind: str
    said: str = ""
    faults: list[str] = field(default_factory=list)


def judged(result: Result, nodes: dict[str, Node], prompt: dict[str, Any]) -> Verdict:
    """The verdict on how a run ended, without a look at what it made."""
    kind, text = result.exception
    if result.ok:
        return Verdict("ok")
    if kind == "validation":
        known = any(name in text for name in REFUSED)
        return Verdict("core", text[:LONGEST], [] if known else [f"refused for an unknown reason: {text[:300]}"])
    node_id = result.error.get("node_type", "")
    faults = [] if node_id not in nodes else list(sentence_faults(kind, text, nodes[node_id]))
    origin = [*FILE_OF_FRAME.findall("".join(result.error.get("traceback", ())))][-1:]
    if not any(_of_the_pack(path) for path in origin):
        faults.append(f"raised in {origin}, not where the fault was found")
    if node_id not in nodes:
        faults.append(f"failed in {node_id}, which is not ours")
    return Verdict("refused", f"{node_id}: {kind}: {text}"[:600], faults)


def sentence_faults(kind: str, text: str, node: Node) -> list[str]:
    """What is wrong with what a node said, for somebody who has to do something about it."""
    faults = []
    if kind != "ValueError":
        faults.append(f"a {kind}")
    if not SHORTEST <= len(text) <= LONGEST:
        faults.append(f"{len(text)} characters")
    if "\n" in text or not text.endswith("."):
        faults.append("not one sentence")
    if found := NO_SENTENCE.search(text):
        faults.append(f"speaks of {found[0]!r}")
    if not names_something(text, node):
        faults.append("names neither the node nor an input")
    return faults


def names_something(text: str, node: Node) -> bool:
    """Whether a text has the node's name, that of one of its inputs or of what goes over them, or a file."""
    names = [node.display_name.split(" (")[0], *(one.name for one in node.inputs), *ON_WIRES]
    names += [name.replace("_", " ") for name in names]
    low = text.lower()
    return any(name.lower().rstrip("s") in low for name in names) or ".safetensors" in low or "/" in low


def _of_the_pack(path: str) -> bool:
    return any(Path(path).resolve().is_relative_to(ROOT / room) for room in ("vivid_core", "nodes"))
