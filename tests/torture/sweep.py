"""Every number of every node at the edges of its range and far beyond, with all else right.

Random graphs seldom get as far as an editor behind three other nodes; here each node runs well first, and is then given
one value after another over a link, as another pack's node may give it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

from harness.inprocess import Executor
from harness.server import ROOT

from . import world
from .fuzz import Fuzzer, Run, forget, left_behind, living_modules
from .graphs import give
from .mixed import anonymous_mb
from .plain import PlainDrawer
from .schemas import Taken
from .watch import Passing
from .widgets import NASTY_FLOATS, NASTY_WHOLES

SCHEMA = ROOT / "tests" / "golden" / "schema.json"
NUMBERS = ("INT", "FLOAT")
# Inputs whose largest value is allowed, and takes minutes:
LONG = ("steps", "VividTrainLora.batch", "VividTrainLora.frame_count")
LENIENT = ("VividEstimateDepth.side", "megapixels")  # and of these the next one outside takes as long
RIGHT = "right"


def inputs() -> list[str]:
    """All numbers of all nodes as `node.input`, read from the schema that saved workflows rely on."""
    told = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return [f"{name}.{one[0]}" for name in sorted(told) for one in told[name]["inputs"] if one[1] in NUMBERS]


def edges(node_id: str, taken: Taken) -> list[float]:
    """The ends of the range where they take no minutes, those next to them outside, and what no widget lets in."""
    names = {taken.name, f"{node_id}.{taken.name}"}
    ends = [(end, by) for end, by in zip((taken.least, taken.most), (-1, 1)) if end is not None]
    inside = [end for end, by in ends if by < 0 or not names & {*LONG, *LENIENT}]
    next_ = [end + by * (1 if taken.kind == "INT" else 0.5) for end, by in ends if by < 0 or not names & {*LENIENT}]
    return [*inside, *next_, *(NASTY_WHOLES if taken.kind == "INT" else NASTY_FLOATS)]


class Sweeper(Fuzzer):
    """Runs one node with all values of one of its numbers, in the ComfyUI of this process."""

    def swept(self, place: str) -> dict[str, Any]:
        """How the node of `node.input` takes the values of that input, one result for all."""
        node_id, _, name = place.partition(".")
        began, told = time.monotonic(), dict[str, Run]()
        taken = next(one for one in self._known[node_id].inputs if one.name == name)
        world.emptied(self._base)
        Passing.seen.clear()
        give(PlainDrawer(self._known, self._base, node_id).drawn())  # models of the test's own are made once
        modules, executor = living_modules(), Executor()
        for turn, value in enumerate([None, *edges(node_id, taken)], start=1):
            graph = PlainDrawer(self._known, self._base, node_id, turn).drawn(name if turn > 1 else "", value)
            give(graph)
            run = told.setdefault(RIGHT if turn == 1 else repr(value), Run(turn, graph.path, []))
            self.judge(executor, graph, run)
            if turn == 1 and run.kind != "ok":
                run.faults.append(f"nothing is wrong, and yet: {run.kind} {run.said}")
        del executor, graph
        forget()
        faults = [f"{value}: {fault} ({run.said[:200]})" for value, run in told.items() for fault in run.faults]
        return {
            "part": "sweep", "seed": place, "kind": "swept", "ends": dict(Counter(run.kind for run in told.values())),
            "said": {value: run.said for value, run in told.items() if run.said},
            "faults": [*faults, *left_behind(modules)],
            "seconds": round(time.monotonic() - began, 1), "memory_mb": anonymous_mb(),
        }  # fmt: skip
