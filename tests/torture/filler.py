"""The long form of the disks: everything that writes files, on disks that are full, fill up or are locked.

No room must be said in one sentence, with nothing half-written left; with room again the same work must succeed.
"""

from __future__ import annotations

import functools
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import engines, probes
from harness.inprocess import Executor

from . import disks
from .clips import Shape
from .disks import TRAINING, WORKS, Disk
from .fuzz import forget, in_time, left_behind, living_modules
from .mixed import anonymous_mb
from .schemas import Node

HOW = ("full", "fills up", "read-only")
LEAST, MOST = 4 * 1024, 2**20  # bytes of a disk that fills up
NAMES = (*WORKS, TRAINING)


class Filler:
    """Lets one work find no room for each seed, in the ComfyUI of this process."""

    def __init__(self, known: dict[str, Node], limit: float) -> None:
        """`limit`: seconds after which everything about one disk hangs."""
        self._known, self._limit = known, limit

    def run(self, seed: int) -> dict[str, Any]:
        """The result of this seed. The seeds go through the works in turn, and of each through what is wrong."""
        name, how = NAMES[seed % len(NAMES)], HOW[seed // len(NAMES) % len(HOW)]
        began, modules = time.monotonic(), living_modules()
        faults, told = list[str](), {"part": "disks", "seed": seed, "work": name, "kind": how}
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            try:
                made = stack.enter_context(disks.disk(Path(folder) / "disk"))
            except OSError as refused:
                return {**told, "kind": f"skipped: no tmpfs can be mounted here, {refused}", "faults": []}
            try:
                with in_time(self._limit):
                    faults += self._faults(name, how, made, Path(folder), random.Random(seed))
            except Exception as fault:  # noqa: BLE001  (whatever it is, it is told as a fault of this run)
                faults.append(f"{type(fault).__name__}: {fault}"[:400])
            forget()
        faults += left_behind(modules)
        return {**told, "faults": faults, "seconds": round(time.monotonic() - began, 1), "memory_mb": anonymous_mb()}

    def _faults(self, name: str, how: str, disk: Disk, folder: Path, chance: random.Random) -> Iterator[str]:
        executor = Executor()
        engine = engines.engine(functools.partial(probes.call, executor))
        shape = Shape(chance.choice((5, 9)), chance.choice((48, 64)), chance.choice((48, 64)), chance.randrange(1000))
        works = disks.works(executor, engine, folder, shape)
        if name == TRAINING:
            disk.resize(disks.AMPLE)
            if not works["sample, exact"]().ok:
                yield "the sample to train on could not be saved"
        _tighten(disk, how, chance)
        result = works[name]()
        yield from disk.faults(name, result, self._known) if how != "fills up" or not result.ok else disk.damaged()
        disk.free()
        again = works[name]()
        if not again.ok:
            yield f"with room again: {again.exception}"
        yield from disk.damaged()


def _tighten(disk: Disk, how: str, chance: random.Random) -> None:
    if how == "read-only":
        disk.lock()
    elif how == "full":
        disk.fill()
    else:
        disk.resize(disk.used() + chance.randrange(LEAST, MOST) // 1024 * 1024)
