"""Which text and which seed led to a picture, found in the graph that made it.

A graph is ComfyUI's API form: {id: {"class_type", "inputs"}}, where an input is a value or a link [id, output].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SEEDS = ("seed", "noise_seed")
TEXTS = ("text", "prompt", "positive_prompt", "t5xxl", "text_g", "clip_l")
HELD = ("value", "int", "string", "number")  # where nodes that only hold a value keep it
AWAY = "negative"  # inputs that say what is not wanted
DEEPEST = 16  # nodes between an input and the value it gets


@dataclass(frozen=True)
class Origin:
    """The text ("" if none is found) and the seed of a picture."""

    prompt: str = ""
    seed: int | None = None


def origin_of(graph: Mapping[str, Any], node_id: str, input_name: str) -> Origin:
    """The nearest text and the nearest seed upstream of a node's input, each alone; nearer counts in links.

    Never fails: what can't be read in the graph is not found.
    """
    start = _inputs(graph, node_id).get(input_name)
    prompt: str | None = None
    seed: int | None = None
    for inputs in _upstream(graph, start):
        if seed is None:
            numbers = [_number(_held(graph, inputs.get(name))) for name in SEEDS]
            seed = next((number for number in numbers if number is not None), None)
        if prompt is None:
            texts = [found for name in TEXTS if isinstance(found := _held(graph, inputs.get(name)), str)]
            prompt = next((text for text in texts if text.strip()), texts[0] if texts else None)
    return Origin((prompt or "").strip(), seed)


def _upstream(graph: Mapping[str, Any], start: Any) -> Iterator[Mapping[str, Any]]:
    """The inputs of each node from `start` on, the nearest first; what is behind a negative text is left out."""
    seen: set[str] = set()
    waiting = deque([start])
    while waiting:
        link = waiting.popleft()
        if not _is_link(link) or str(link[0]) in seen:
            continue
        seen.add(str(link[0]))
        inputs = _inputs(graph, str(link[0]))
        yield inputs
        waiting.extend(value for name, value in inputs.items() if not str(name).startswith(AWAY))


def _held(graph: Mapping[str, Any], given: Any) -> Any:
    """The value that an input gets, through nodes that only hold or pass on one; None if it is computed."""
    for _ in range(DEEPEST):
        if not _is_link(given):
            return given
        inputs = _inputs(graph, str(given[0]))
        given = next((inputs[name] for name in (*HELD, *SEEDS, *TEXTS) if name in inputs), None)
    return None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _inputs(graph: Mapping[str, Any], node_id: str) -> Mapping[str, Any]:
    node = graph.get(node_id)
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}


def _is_link(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2 and isinstance(value[0], str)
