"""One run of a random graph, judged: how it ended, what it made, and what it left behind in memory and on the disk."""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from harness.engines import of_pack
from harness.inprocess import Executor, Result
from harness.probes import Shelf
from torch import Tensor

from . import files, world
from .graphs import Drawer, Graph, give
from .judge import judged
from .mixed import anonymous_mb
from .promises import broken
from .schemas import Node
from .watch import Passing, changed

TWICE_EVERY = 5  # of so many runs one is run again, and must give the same


class TookTooLongError(Exception):
    """A run that did not end in its time."""


@dataclass
class Run:
    """What is written down of a run."""

    seed: int
    path: str
    wrong: list[str]
    kind: str = ""
    said: str = ""
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory_mb: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {"part": "fuzz", **asdict(self)}


class Fuzzer:
    """Runs random graphs in the ComfyUI of this process."""

    def __init__(self, base: Path, known: dict[str, Node], limit: float) -> None:
        """`limit`: seconds after which a run hangs."""
        self._base, self._known, self._limit = base, known, limit

    def run(self, seed: int, target: str = "") -> Run:
        """The run of this seed, from a clean state."""
        graph = Drawer(seed, self._known, self._base).draw(target)
        told, began = Run(seed, graph.path, graph.wrong), time.monotonic()
        outcome = self._once(graph, told)
        if told.kind == "ok" and seed % TWICE_EVERY == 0:
            again = self._once(graph, Run(seed, "", []))
            told.faults += [f"{name} is another one in a second run" for name in _differences(outcome, again)]
        del outcome
        told.seconds, told.memory_mb = round(time.monotonic() - began, 2), anonymous_mb()
        return told

    def _once(self, graph: Graph, told: Run) -> dict[str, Tensor]:
        """Run it; what came out of it, by the keys of the takers. The verdict is written into `told`."""
        world.emptied(self._base)
        give(graph)
        Passing.seen.clear()
        modules = living_modules()
        executor = Executor()
        self.judge(executor, graph, told)
        taken = {key: value.clone() for key, value in Shelf.taken.items() if isinstance(value, Tensor)}
        del executor
        forget()
        told.faults += left_behind(modules)
        return taken

    def judge(self, executor: Executor, graph: Graph, told: Run) -> None:
        """Run it, and write the verdict on it and on what it left on the disk into `told`."""
        result = self._execute(executor, graph)
        verdict = judged(result, self._known, graph.prompt)
        told.kind, told.said = verdict.kind, verdict.said
        if result.ok and not any(key.startswith(f"{graph.target}.") for key in Shelf.taken):
            told.kind = "part"  # ComfyUI refused one of the branches, and ran the others
        told.faults += verdict.faults
        told.faults += [f"the value at {place} was changed" for place in changed()]
        told.faults += self._promises(graph) if result.ok else []
        told.faults += files.faults_of(self._base / "output")
        told.faults += files.faults_of(self._base / "temp")

    def _execute(self, executor: Executor, graph: Graph) -> Result:
        with in_time(self._limit):
            return executor.run(graph.prompt)

    def _promises(self, graph: Graph) -> Iterator[str]:
        given: dict[str, dict[str, Any]] = {}
        for one in Passing.seen:
            name, _, taken = one.place.partition(".")
            given.setdefault(name, {})[taken] = one.value
        for name, node in graph.prompt.items():
            node_id = node["class_type"]
            if node_id in self._known:
                places = range(len(self._known[node_id].outputs))
                made = {at: Shelf.taken[f"{name}.{at}"] for at in places if f"{name}.{at}" in Shelf.taken}
                inputs = {**node["inputs"], **given.get(name, {})}
                yield from (f"{node_id}: {fault}" for fault in broken(node_id, inputs, made))


def forget() -> None:
    """Let go of everything that the last run held."""
    Shelf.given.clear()
    Shelf.taken.clear()
    Passing.seen.clear()
    gc.collect()


def living_modules() -> set[int]:
    """The modules of torch that are alive; the test's own models among them."""
    return {id(one) for one in gc.get_objects() if isinstance(one, torch.nn.Module)}


def left_behind(before: set[int]) -> Iterator[str]:
    """What of a run is still in memory, after everything that held it has gone."""
    from comfy.model_management import current_loaded_models

    alive = of_pack("nodes.comfy_bridge.shared").SHELF.live()
    if alive:
        yield f"{alive} models outlived their graph"
    held = [one for one in current_loaded_models if one.model is not None and _is_ours(one.model)]
    if held:
        yield f"ComfyUI still lists {len(held)} of our models as loaded"
    found = [one for one in gc.get_objects() if isinstance(one, torch.nn.Module) and id(one) not in before]
    if found and not alive and any(_of_a_model(one) for one in found):
        yield f"{len(found)} modules outlived their graph, such as {type(found[0]).__name__}"


def _is_ours(patcher: Any) -> bool:
    return "comfy_bridge" in type(patcher).__module__


def _of_a_model(module: torch.nn.Module) -> bool:
    """Whether it has weights: functions of torch's own are modules too."""
    return any(True for _ in module.parameters())


def _differences(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    return [
        key
        for key, value in first.items()
        if key not in second or value.shape != second[key].shape or not torch.equal(value, second[key])
    ]


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Raises TookTooLongError in what runs here for longer."""

    def stop(*_: object) -> None:
        raise TookTooLongError(f"it did not end in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
