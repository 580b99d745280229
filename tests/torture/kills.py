"""A server that is killed at a random moment, started again, and must go on where it was.

After each kill the same work is given to a new server: it must end well, and make nothing again that was finished.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.server import Run, Server

from . import files
from .jobs import JOBS, Job, Kept

RUN_LIMIT = 600.0  # seconds
UNFINISHED_FOR_EACH_KILL = 2  # files that a kill may leave until they count as abandoned
EARLIER = 0.1  # a share of the moments is before anything was done


def kills(base: Path, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Kill a server for each seed, and tell how it went on. Work and moment follow from the seed."""
    waiting: tuple[int, Job, Kept, int, Kept] | None = None
    for number, seed in enumerate([*seeds, None]):
        with Server(base) as server:
            if waiting is not None:
                yield _gone_on(server, *waiting, kills=number)
            if seed is None:
                return
            job = JOBS[seed % len(JOBS)]
            moment = random.Random(seed).random()
            before = job.kept(base)
            _killed(server, job, seed, moment)
        new = {path: inode for path, inode in job.kept(base).items() if path not in before}
        waiting = (seed, job, new, job.steps_done(base, seed), before)


def _killed(server: Server, job: Job, seed: int, moment: float) -> None:
    """Start the work, and kill the server when about this share of it is done; it may also end before."""
    kill = threading.Timer(random.Random(seed + 1).random() * 0.3, server.kill)
    started = threading.Event()

    def watch(name: str, data: dict[str, Any]) -> None:
        its_turn = data.get("node") == job.worker
        done = data["value"] / max(data["max"], 1) if name == "progress" else 0.0
        if its_turn and name in ("executing", "progress") and done >= moment - EARLIER and not started.is_set():
            started.set()
            kill.start()

    _followed(server, lambda: server.run(job.prompt(seed), watch, RUN_LIMIT))
    server.kill()
    kill.cancel()


def _followed(server: Server, run: Callable[[], Run]) -> Run | None:
    """A run whose server may go away meanwhile, which is no fault."""
    try:
        return run()
    except Exception:  # what a client of a killed server gets depends on the moment
        time.sleep(1)  # a process closes its sockets a moment before it is gone
        if server.is_running():
            raise
    return None


def _gone_on(server: Server, seed: int, job: Job, kept: Kept, steps: int, earlier: Kept, kills: int) -> dict[str, Any]:
    began = time.monotonic()
    run = server.run(job.prompt(seed), None, RUN_LIMIT)
    faults = [*job.faults(kept, steps, server.base, run, earlier)]
    faults += files.faults_of(server.base / "output", unfinished=kills * UNFINISHED_FOR_EACH_KILL)
    faults += files.faults_of(server.base / "models")
    left = list((server.base / "temp").rglob("*.part"))
    faults += [f"{len(left)} unfinished files in temp"] if left else []
    told = {"part": "kills", "seed": seed, "work": job.name, "kept": len(kept), "steps": steps, "faults": faults}
    return {**told, "seconds": round(time.monotonic() - began, 1)}
