"""The long form of the cancelled runs: every engine on drawn clips, cancelled at each moment in turn.

A run that is cancelled must end as such, and leave neither a model nor half a file; the next run in the same ComfyUI
must give what one gave before.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.inprocess import Executor

from . import files, world
from .cancel_works import DECODING, NAMES, Extent, work
from .cancels import Work, differ, was_interrupted
from .fuzz import forget, in_time, left_behind, living_modules
from .mixed import anonymous_mb

MOMENTS = ("first", "middle", "last", "decoding", "any")


class Canceller:
    """Cancels one run for each seed, in the ComfyUI of this process."""

    def __init__(self, base: Path, limit: float) -> None:
        """`limit`: seconds after which everything about one cancel hangs."""
        self._base, self._limit = base, limit

    def run(self, seed: int) -> dict[str, Any]:
        """The result of this seed. The seeds go through the engines in turn, and of each through the moments."""
        name, chance = NAMES[seed % len(NAMES)], random.Random(seed)
        able = [one for one in MOMENTS if one != "decoding" or name in DECODING]
        moment = able[seed // len(NAMES) % len(able)]
        world.emptied(self._base)
        began, modules = time.monotonic(), living_modules()
        try:
            with tempfile.TemporaryDirectory() as folder, in_time(self._limit):
                faults = list(self._faults(name, moment, Path(folder), chance))
        except Exception as fault:  # noqa: BLE001  (whatever it is, it is told as a fault of this run)
            faults = [f"{type(fault).__name__}: {fault}"[:400]]
        forget()
        faults += [*files.faults_of(self._base / "output"), *left_behind(modules)]
        told = {"part": "cancels", "seed": seed, "work": name, "kind": moment, "faults": faults}
        return {**told, "seconds": round(time.monotonic() - began, 1), "memory_mb": anonymous_mb()}

    def _faults(self, name: str, moment: str, folder: Path, chance: random.Random) -> Iterator[str]:
        executor = Executor()
        one = work(executor, name, folder, Extent.drawn(chance))
        whole = one.whole(executor)
        if moment == "decoding":
            result, calls = one.cancelled_in_decoding(executor)
            if not calls:
                yield "nothing was decoded"
        else:
            result = one.cancelled_at(executor, _step(one, moment, chance))
        if not was_interrupted(result):
            yield f"it did not end as cancelled: {result.exception}"
        yield from files.faults_of(self._base / "temp")
        yield from differ(one.whole(executor), whole)


def _step(one: Work, moment: str, chance: random.Random) -> int:
    steps = one.moments()
    known = {"first": steps[0], "middle": steps[len(steps) // 2], "last": steps[-1]}
    return known.get(moment, chance.randint(1, max(1, one.steps[-1] - 1)))
