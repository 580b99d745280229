"""What our nodes say they take and give, read from their V3 schemas as the running ComfyUI has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
PREFIX = "Vivid"


@dataclass(frozen=True)
class Taken:
    """One input of a node."""

    name: str
    kind: str
    optional: bool
    default: Any = None
    least: Any = None
    most: Any = None
    options: tuple[str, ...] = ()

    @property
    def is_widget(self) -> bool:
        return self.kind in WIDGETS


@dataclass(frozen=True)
class Node:
    """One node: its inputs in order, and the types of its outputs."""

    node_id: str
    display_name: str
    inputs: tuple[Taken, ...]
    outputs: tuple[str, ...]

    def places_of(self, kind: str) -> list[int]:
        """The numbers of its outputs of one type."""
        return [number for number, given in enumerate(self.outputs) if given == kind]


def our_nodes() -> dict[str, Node]:
    """All nodes of the pack by their ids, in the order of these."""
    import nodes

    found = {name: made for name, made in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith(PREFIX)}
    shown = nodes.NODE_DISPLAY_NAME_MAPPINGS
    return {name: _node(name, shown.get(name, name), made) for name, made in sorted(found.items())}


def _node(node_id: str, display_name: str, made: Any) -> Node:
    told = made.INPUT_TYPES()
    inputs = [
        _taken(name, spec, group == "optional")
        for group in ("required", "optional")
        for name, spec in told.get(group, {}).items()
    ]
    return Node(node_id, display_name, tuple(inputs), tuple(made.RETURN_TYPES))


def _taken(name: str, spec: Any, optional: bool) -> Taken:
    kind, more = spec[0], spec[1] if len(spec) > 1 else {}
    options = more.get("options", ())
    if isinstance(kind, list):  # how older cores tell of choices
        kind, options = "COMBO", kind
    return Taken(name, kind, optional, more.get("default"), more.get("min"), more.get("max"), tuple(options))
