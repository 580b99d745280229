"""Two test-only nodes that carry Python values into and out of a real graph, and a call that uses them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .inprocess import Executor, Result

GIVE, TAKE = "HarnessGive", "HarnessTake"
PLAIN = (bool, int, float, str)


class AnyType(str):
    """A socket type that fits every other one: ComfyUI compares types with `!=`."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


ANY = AnyType("*")


class Shelf:
    """The values on their way; one for each process, as ComfyUI's own node registry is."""

    given: dict[str, Any] = {}
    taken: dict[str, Any] = {}
    keys = itertools.count()


class HarnessGive:
    RETURN_TYPES = (ANY,)
    FUNCTION = "give"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"key": ("STRING", {})}}

    def give(self, key: str) -> tuple[Any]:
        return (Shelf.given[key],)


class HarnessTake:
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "take"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": (ANY, {}), "key": ("STRING", {})}}

    def take(self, value: Any, key: str) -> dict[str, Any]:
        Shelf.taken[key] = value
        return {}


def install() -> None:
    """Add the probes to ComfyUI's nodes."""
    import nodes

    nodes.NODE_CLASS_MAPPINGS[GIVE] = HarnessGive
    nodes.NODE_CLASS_MAPPINGS[TAKE] = HarnessTake


def output_count(node_id: str) -> int:
    import nodes

    node_class = nodes.NODE_CLASS_MAPPINGS[node_id]
    return len(node_class.RETURN_TYPES)


def call(
    executor: Executor, node_id: str, on_progress: Callable[[int, int], None] | None = None, **inputs: Any
) -> Result:
    """Run one node of the pack through the executor with these inputs; `outputs["node"]` holds what it returned."""
    graph: dict[str, Any] = {"node": {"class_type": node_id, "inputs": {}}}
    for name, value in inputs.items():
        if isinstance(value, PLAIN):
            graph["node"]["inputs"][name] = value
            continue
        key = f"{name}-{next(Shelf.keys)}"
        Shelf.given[key] = value
        graph[name] = {"class_type": GIVE, "inputs": {"key": key}}
        graph["node"]["inputs"][name] = [name, 0]
    count = output_count(node_id)
    keys = [f"out-{next(Shelf.keys)}" for _ in range(count)]
    for index, key in enumerate(keys):
        graph[f"take {index}"] = {"class_type": TAKE, "inputs": {"value": ["node", index], "key": key}}
    try:
        result = executor.run(graph, on_progress)
        result.outputs["node"] = [Shelf.taken[key] for key in keys if key in Shelf.taken]
    finally:
        Shelf.given.clear()
        Shelf.taken.clear()
    return result
