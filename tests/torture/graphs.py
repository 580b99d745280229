"""Random graphs of our nodes: sockets matched by type, one clip for all, and now and then something that is wrong.

The seed decides everything, so that a run can be had again.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from harness.probes import GIVE, TAKE, Shelf

from . import clips, widgets, world
from .clips import Shape
from .schemas import Node, Taken
from .watch import PASS

SINGLE = ("images", "candidate", "image", "masks", "overrides", "VividTrackMask.mask")  # one picture, not the clip
MODELS = ("VIVID_ENGINE", "VIVID_DIFFUSION")
SHARED = (*MODELS, "VIVID_INVERSION")  # an edit wants the same one everywhere
FROM_NODES = {"IMAGE": 0.2, "MASK": 0.3, "VIDEO": 0.1, "CONDITIONING": 1.0}  # how often, not from outside
HOW_MANY_WRONG = (0, 0, 0, 0, 1, 1, 1, 1, 2, 3)
DEEPEST = 3
Link = list[Any]
Make = Callable[[], Any]  # what is given is made when the graph runs: most graphs are only looked at


@dataclass
class Slot:
    """An input that was filled, and may be spoilt."""

    node: str
    taken: Taken
    shape: Shape


@dataclass
class Made:
    """A value that a node of the graph makes."""

    link: Link


@dataclass
class Graph:
    """A prompt, what is given to it from outside, and what was done to it."""

    seed: int
    shape: Shape
    target: str = ""
    prompt: dict[str, dict[str, Any]] = field(default_factory=dict)
    given: dict[str, Make] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Its nodes of ours, as they depend on each other."""
        ours = [one["class_type"] for one in self.prompt.values() if one["class_type"] not in (GIVE, TAKE, PASS)]
        return " ".join(ours)


class Drawer:
    """Draws one graph."""

    def __init__(self, seed: int, known: dict[str, Node], base: Path) -> None:
        self._chance = random.Random(seed)
        self._known, self._base = known, base
        self._ends = _depths(tuple(known.values()))
        self._slots: list[Slot] = []
        self._made: dict[str, list[Link]] = {}
        self.graph = Graph(seed, clips.drawn_shape(self._chance))

    def draw(self, target: str = "") -> Graph:
        """The graph, which ends in `target`. Without one the seeds go through our nodes in turn, and what is wrong
        first goes through the inputs of each."""
        turn, names = self.graph.seed, sorted(self._known)
        self.graph.target = self._node(target or names[turn % len(names)], self.graph.shape, 0)
        its = [slot for slot in self._slots if slot.node == self.graph.target]
        round_, count = turn // len(names), self._chance.choice(HOW_MANY_WRONG)
        for number in range(max(count, round_ < len(its))):
            if its:  # a node may have none, where all are optional
                self._spoil(its[round_ % len(its)] if number == 0 else self._chance.choice(self._slots))
        self._take_all()
        return self.graph

    # ---------------------------------------------------------------------------------------------------- what is right

    def _node(self, node_id: str, shape: Shape, depth: int) -> str:
        node, inputs = self._known[node_id], dict[str, Any]()
        if node_id == "VividEditLongVideo":
            shape = self._film_shape(shape)
        for taken in node.inputs:
            value = self._value(node_id, taken, shape, depth)
            if value is not None:
                inputs[taken.name] = value
        name = self._add(node_id, inputs)
        self._slots += [Slot(name, taken, shape) for taken in node.inputs if taken.name in inputs]
        for place, kind in enumerate(node.outputs):
            self._made.setdefault(kind, []).append([name, place])
        return name

    def _film_shape(self, shape: Shape) -> Shape:
        name = self._chance.choice(sorted(world.FILMS))
        return Shape(world.FILMS[name], world.SIZE[1], world.SIZE[0], shape.seed)

    def _value(self, node_id: str, taken: Taken, shape: Shape, depth: int) -> Any:
        if taken.is_widget:
            if taken.name == "dataset" and node_id == "VividTrainLora" and self._chance.random() < 0.8:
                return [self._node("VividSaveSample", shape, depth + 1), 0]
            return widgets.usual(node_id, taken, shape, self._chance)
        if taken.optional and self._chance.random() < self._left_out(node_id, taken):
            return None
        return self._socket(node_id, taken, shape, depth)

    def _left_out(self, node_id: str, taken: Taken) -> float:
        known = {"VividTrackMask": 0.8, "VividMaskHealth": 0.2, "VividEditLongVideo": 0.3}
        return known.get(node_id, 0.6) if taken.name == "mask" else 0.9 if taken.name == "depth" else 0.6

    def _socket(self, node_id: str, taken: Taken, shape: Shape, depth: int) -> Link | None:
        kind = taken.kind
        ours = self._made.get(kind, [])
        if ours and (kind in SHARED or (kind not in FROM_NODES and self._chance.random() < 0.6)):
            return ours[0] if kind in SHARED else self._chance.choice(ours)
        deep = depth >= DEEPEST - 1 and kind != "CONDITIONING"
        if kind not in FROM_NODES or (not deep and self._chance.random() < FROM_NODES[kind]):
            made = self._from_a_node(kind, shape, depth)
            if made is not None:
                return made
        outside = self._outside(f"{node_id}.{taken.name}", taken.name, kind, shape)
        return None if outside is None else self._give(outside)

    def _from_a_node(self, kind: str, shape: Shape, depth: int) -> Link | None:
        able = [name for name, node in sorted(self._known.items()) if kind in node.outputs]
        if depth >= DEEPEST:
            least = min((self._ends[name] for name in able), default=0)
            able = [name for name in able if self._ends[name] == least]
        if kind == "CONDITIONING":
            able = ["VividEncodePrompt"]
        if kind == "VIVID_KEYFRAMES" and self._chance.random() < 0.8:
            able = ["VividKeyframes"]  # nothing goes on from a board until somebody picks a try
        if not able:
            return None
        node_id = self._chance.choice(able)
        name = self._node(node_id, shape, depth + 1)
        return [name, self._chance.choice(self._known[node_id].places_of(kind))]

    def _outside(self, place: str, name: str, kind: str, shape: Shape) -> Make | None:
        single = shape.single() if name in SINGLE or place in SINGLE else shape
        if kind == "IMAGE":
            return functools.partial(clips.edited if name in ("edited", *SINGLE) else clips.frames, single)
        if kind == "MASK":
            return functools.partial(clips.mask, single)
        if kind == "VIDEO":
            fitting = [one for one in sorted(world.FILMS) if world.FILMS[one] == shape.count]
            return functools.partial(world.film, self._base, self._chance.choice(fitting or sorted(world.FILMS)))
        if kind == "CONDITIONING":
            return functools.partial(_strange_text, shape.seed)
        if kind == "BOUNDING_BOX":
            return functools.partial(dict, tuple(zip(("x", "y", "width", "height"), shape.box)))
        return functools.partial(world.native, kind) if kind in ("VAE", "MODEL") else None

    # ---------------------------------------------------------------------------------------------------- what is wrong

    def _spoil(self, slot: Slot) -> None:
        node, taken = self.graph.prompt[slot.node], slot.taken
        # Whatever is made now stands before the spoilt node, so it may use nothing that could come after it.
        self._made = {kind: self._made[kind] for kind in MODELS if kind in self._made}
        told, value = self._spoilt(slot)
        if not told:
            return
        by_link = taken.kind in ("INT", "FLOAT") or not taken.is_widget
        if isinstance(value, Made):
            node["inputs"][taken.name] = value.link
        else:
            make = value if callable(value) else functools.partial(copy.copy, value)
            node["inputs"][taken.name] = self._give(make) if by_link else value
        self.graph.wrong.append(f"{node['class_type']}.{taken.name}: {told}")

    def _spoilt(self, slot: Slot) -> tuple[str, Any]:
        """What was done, and the value, or the link where it is made."""
        taken, chance = slot.taken, self._chance
        if taken.is_widget:
            value = widgets.nasty(taken, chance)
            return repr(value)[:60], value
        place = self.graph.prompt[slot.node]["class_type"] + "." + taken.name
        if taken.kind in ("IMAGE", "MASK"):
            faults = clips.OF_IMAGES if taken.kind == "IMAGE" else clips.OF_MASKS
            if chance.random() < 0.15:
                return "of another clip", self._outside(place, taken.name, taken.kind, slot.shape.other(chance))
            name = chance.choice(sorted(faults))
            right = self._outside(place, taken.name, taken.kind, slot.shape)
            return name, lambda: faults[name](right())  # type: ignore[misc]
        if taken.kind == "VIDEO":
            name = chance.choice(("torn.mp4", "text.mp4", "empty.mp4", "missing.mp4"))
            return name, functools.partial(world.film, self._base, name)
        if taken.kind == "CONDITIONING":
            wrong = {"empty": [], "of another encoder": [[torch.zeros(1, 77, 768), {}]], "without a text": [[None, {}]]}
            wrong["not a number"] = [[torch.full((1, 16, 64), float("nan")), {}]]
            name = chance.choice(sorted(wrong))
            return name, wrong[name]
        if taken.kind == "BOUNDING_BOX":
            boxes = ([], {}, {"x": -5, "y": -5, "width": 0, "height": 3}, {"x": 1e9, "y": 0, "width": 5, "height": 5})
            return "a wrong box", chance.choice(boxes)
        return self._of_another_clip(taken, slot.shape.other(chance))

    def _of_another_clip(self, taken: Taken, shape: Shape) -> tuple[str, Any]:
        made = self._from_a_node(taken.kind, shape, DEEPEST) if taken.kind.startswith("VIVID") else None
        return ("", None) if made is None else ("another one", Made(made))

    # ------------------------------------------------------------------------------------------------------- the prompt

    def _add(self, class_type: str, inputs: dict[str, Any]) -> str:
        name = f"{len(self.graph.prompt) + 1}"
        self.graph.prompt[name] = {"class_type": class_type, "inputs": inputs}
        return name

    def _give(self, make: Make) -> Link:
        key = f"{self.graph.seed}-{len(self.graph.given)}"
        self.graph.given[key] = make
        return [self._add(GIVE, {"key": key}), 0]

    def _take_all(self) -> None:
        """Every link goes through a node that watches it, and every output of ours is taken."""
        for name, node in list(self.graph.prompt.items()):
            if node["class_type"] == GIVE:
                continue
            for taken, value in list(node["inputs"].items()):
                if isinstance(value, list):
                    passed = self._add(PASS, {"value": value, "place": f"{name}.{taken}"})
                    node["inputs"][taken] = [passed, 0]
            for place in range(len(self._known[node["class_type"]].outputs)):
                self._add(TAKE, {"value": [name, place], "key": f"{name}.{place}"})


def give(graph: Graph) -> None:
    """Lay what the graph is given from outside where it finds it."""
    Shelf.given.clear()
    Shelf.taken.clear()
    Shelf.given.update({key: make() for key, make in graph.given.items()})


def _strange_text(seed: int) -> list[Any]:
    return [[torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(seed)), {}]]


@functools.cache
def _depths(known: tuple[Node, ...]) -> dict[str, int]:
    """How many of our nodes stand before each at the least."""
    ends = {node.node_id: 0 for node in known}
    makers: dict[str, list[str]] = {}
    for node in known:
        for kind in set(node.outputs):
            makers.setdefault(kind, []).append(node.node_id)
    for _ in known:
        for node in known:
            wanted = [one.kind for one in node.inputs if not one.optional and one.kind.startswith("VIVID")]
            before = [min((ends[name] for name in makers.get(kind, ())), default=0) + 1 for kind in wanted]
            ends[node.node_id] = max(before, default=0)
    return ends
