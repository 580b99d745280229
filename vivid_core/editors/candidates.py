"""The tries on a keyframe board: what the page keeps of it, how its files are called, which of them go when it is full.

The text that a workflow keeps names files. Only names of our own making are taken, so that no text leads out of the
board's folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from torch import Tensor

from ..masks.prompt_text import read_json

VERSION = 1
WHAT = "Keyframe Board"
ADVICE = "undo what was changed by hand, or clear the text and pick on the board again"
MOST, MOST_BYTES = 64, 512_000_000
MOST_FRAMES = 1_000_000  # as many as six digits can number
MOST_SEED = 2**64 - 1
MOST_TEXT = 4000  # characters of a prompt that are kept
ID = re.compile(r"[0-9a-f]{16}")
FRAME = re.compile(r"0|[1-9][0-9]{0,5}")
NAME = re.compile(r"f([0-9]{6})_[0-9a-f]{16}\.png")
BEFORE = re.compile(r"before_f[0-9]{6}_[0-9a-f]{16}\.png")


@dataclass(frozen=True)
class BoardState:
    """What a workflow keeps of a board: its id ("" before it has one), the picked file of each frame, the pinned."""

    board_id: str = ""
    picks: Mapping[int, str] = field(default_factory=dict)
    pins: frozenset[str] = frozenset()

    @property
    def spared(self) -> frozenset[str]:
        """What a full board keeps."""
        return self.pins | frozenset(self.picks.values())


@dataclass(frozen=True)
class Candidate:
    """One try for one frame. `time` is ISO in UTC, `frames` the length of its clip, `before` the picture of that frame
    before the edit ("" if there is none), `size_bytes` the size of its file."""

    name: str
    prompt: str = ""
    seed: int | None = None
    time: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    before: str = ""
    size_bytes: int = 0

    @property
    def frame(self) -> int:
        return frame_of(self.name)

    def metadata(self) -> str:
        """What is kept inside the file, as JSON."""
        names = ("frame", "prompt", "seed", "time", "width", "height", "frames", "before")
        return json.dumps({name: getattr(self, name) for name in names})


def read_board(text: str) -> BoardState:
    """The state that the page keeps; an empty text is a new board. Keys that aren't known are left alone.

    Raises ValueError on malformed JSON, an unknown version, a wrong id, and on any name that is not a candidate's.
    """
    content = read_json(text, WHAT, ADVICE)
    if content is None:
        return BoardState()
    if not isinstance(content, Mapping):
        raise ValueError(f"{WHAT}: the text of the board is no JSON object; {ADVICE}.")
    version = content.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ValueError(
            f"{WHAT}: the board has the version {_shown(version)}, but this node reads version {VERSION}; update the "
            "pack if the workflow comes from a newer one."
        )
    board_id = content.get("id")
    picks, pins = content.get("picks") or {}, content.get("pins") or []
    if not isinstance(picks, Mapping) or not isinstance(pins, list):
        raise ValueError(f"{WHAT}: picks must name a file for each frame and pins must be a list of files; {ADVICE}.")
    return BoardState(
        "" if board_id is None else checked_id(board_id),
        dict(_pick(frame, name) for frame, name in picks.items()),
        frozenset(checked_name(name) for name in pins),
    )


def spared_in(graph: Mapping[str, Any], node_type: str, board_id: str) -> set[str]:
    """What all nodes of a graph in ComfyUI's API form that show this board have picked or pinned.

    Copied nodes show one board, and one must not lose what another one uses. Nodes that can't be read are passed over.
    """
    spared: set[str] = set()
    for node_id, node in graph.items():
        inputs = node.get("inputs") if isinstance(node, Mapping) and node.get("class_type") == node_type else None
        text = inputs.get("board") if isinstance(inputs, Mapping) else None
        if not isinstance(text, str):
            continue
        with suppress(ValueError):
            state = read_board(text)
            if (state.board_id or derived_id(node_id)) == board_id:
                spared |= state.spared
    return spared


def spared_in_workflow(workflow: Any, node_type: str, board_id: str) -> set[str]:
    """What all nodes that show this board have picked or pinned in a workflow as the page saves it, in subgraphs too.

    Pins are only there: in the graph that runs, they would make all that follows run again. Never fails: what can't be
    read is passed over.
    """
    spared: set[str] = set()
    for node in _saved_nodes(workflow):
        values = node.get("widgets_values")
        if node.get("type") != node_type or not isinstance(values, list):
            continue
        for text in values:
            with suppress(ValueError):
                state = read_board(text) if isinstance(text, str) and text.lstrip().startswith("{") else BoardState()
                if (state.board_id or derived_id(str(node.get("id")))) == board_id:
                    spared |= state.spared
    return spared


def _saved_nodes(workflow: Any) -> Iterator[Mapping[str, Any]]:
    definitions = workflow.get("definitions") if isinstance(workflow, Mapping) else None
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    for graph in (workflow, *(subgraphs if isinstance(subgraphs, list) else ())):
        nodes = graph.get("nodes") if isinstance(graph, Mapping) else None
        yield from (node for node in (nodes if isinstance(nodes, list) else ()) if isinstance(node, Mapping))


def checked_id(board_id: Any) -> str:
    """A board's id as it is. Raises ValueError unless it is 16 hex digits."""
    if not isinstance(board_id, str) or not ID.fullmatch(board_id):
        raise ValueError(f"{WHAT}: got {_shown(board_id)} for the id of a board, but it is 16 hex digits; {ADVICE}.")
    return board_id


def checked_name(name: Any) -> str:
    """The name of a candidate's file as it is. Raises ValueError on everything else."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"{WHAT}: got {_shown(name)} for a candidate, but its name is like f000012_0123456789abcdef.png; {ADVICE}."
        )
    return name


def is_before(name: Any) -> bool:
    """Whether it is the name of a picture from before the edit."""
    return isinstance(name, str) and BEFORE.fullmatch(name) is not None


def frame_of(name: str) -> int:
    """The frame that a candidate belongs to, by its name."""
    return int(name[1:7])


def derived_id(node_id: str) -> str:
    """The board of a node that has none of its own: always the same for the same node."""
    return hashlib.sha256(f"{WHAT} {node_id}".encode()).hexdigest()[:16]


def eight_bits(image_hwc: Tensor) -> np.ndarray:
    """A picture in 0..1 as uint8 [H, W, 3], as its file holds it."""
    return image_hwc.mul(255).round().clamp(0, 255).byte().contiguous().numpy()


def candidate_name(frame: int, pixels_hwc: np.ndarray) -> str:
    """The file of a candidate. The same pixels for the same frame have the same name.

    Raises ValueError for a frame that six digits can't number.
    """
    if not 0 <= frame < MOST_FRAMES:
        raise ValueError(
            f"{WHAT}: got frame {frame}, but a board numbers frames up to {MOST_FRAMES - 1}; cut the clip."
        )
    shape = "x".join(map(str, pixels_hwc.shape))
    return f"f{frame:06d}_{hashlib.sha256(shape.encode() + pixels_hwc.tobytes()).hexdigest()[:16]}.png"


def before_name(frame: int, pixels_hwc: np.ndarray) -> str:
    """The file of a frame before the edit."""
    return f"before_{candidate_name(frame, pixels_hwc)}"


def read_candidate(name: str, metadata: Any, width: int, height: int, size_bytes: int) -> Candidate:
    """The candidate in a file, from what the file says of itself; what it doesn't say, or says wrongly, stays empty."""
    try:
        content = json.loads(metadata) if isinstance(metadata, str) else {}
    except (ValueError, RecursionError):
        content = {}
    content = content if isinstance(content, dict) else {}
    prompt, time, seed, frames, before = (content.get(key) for key in ("prompt", "time", "seed", "frames", "before"))
    return Candidate(
        name,
        prompt[:MOST_TEXT] if isinstance(prompt, str) else "",
        seed if _is_count(seed, MOST_SEED) else None,
        time[:40] if isinstance(time, str) else "",
        width,
        height,
        frames if _is_count(frames, MOST_FRAMES) else 0,
        before if isinstance(before, str) and is_before(before) else "",
        size_bytes,
    )


def _is_count(value: Any, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def newest_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """In the order in which the page shows them."""
    return sorted(candidates, key=lambda one: (one.time, one.name), reverse=True)


def to_drop(
    candidates: Sequence[Candidate], befores: Mapping[str, int], spared: Iterable[str], most: int, most_bytes: int
) -> list[Candidate]:
    """What must go until at most so many, and so many bytes, are left: the oldest first, and never what is spared.

    `befores` gives the bytes of each picture from before the edit; one counts as long as a candidate needs it.
    """
    kept, gone = newest_first(candidates), []
    for oldest in reversed(list(kept)):
        needed = {one.before for one in kept}
        size = sum(one.size_bytes for one in kept) + sum(befores.get(name, 0) for name in needed)
        if len(kept) <= most and size <= most_bytes:
            break
        if oldest.name not in spared:
            kept.remove(oldest)
            gone.append(oldest)
    return gone


def _pick(frame: Any, name: Any) -> tuple[int, str]:
    if not isinstance(frame, str) or not FRAME.fullmatch(frame):
        raise ValueError(f"{WHAT}: got a pick for frame {_shown(frame)}, but frames are numbers from 0; {ADVICE}.")
    if frame_of(checked_name(name)) != int(frame):
        raise ValueError(
            f"{WHAT}: frame {frame} has the pick {name}, which belongs to frame {frame_of(name)}; {ADVICE}."
        )
    return int(frame), name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
