"""Runs in processes of their own: one that hangs or dies costs itself alone, and is told as a fault of it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

WORKER = Path(__file__).resolve().parent / "worker.py"
AT_ONCE = 100  # runs of one process, so that none grows for ever
LIMIT = 60.0  # seconds for a run, which the process watches itself
START, SILENT = 900.0, 900.0  # seconds in which a process must have started, and say something from then on
MARK = "@"


def results(
    part: str, seeds: Sequence[Any], ends: float = float("inf"), limit: float = LIMIT
) -> Iterator[dict[str, Any]]:
    """A result of one part for each seed, as long as the time on the monotonic clock is before `ends`."""
    waiting = list(seeds)
    while waiting and time.monotonic() < ends:
        for line in _child(part, waiting[:AT_ONCE], limit):
            waiting.remove(line["seed"])
            yield line
            if time.monotonic() > ends:
                return


def _child(part: str, seeds: list[Any], limit: float) -> Iterator[dict[str, Any]]:
    """The results of one process, and what it died of, if it did."""
    command = [sys.executable, str(WORKER), part, "--limit", str(limit), "--seeds", *map(str, seeds)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    said: queue.Queue[str | None] = queue.Queue()
    errors: list[str] = []
    threads = [
        threading.Thread(target=_read, args=(process.stdout, said.put), daemon=True),
        threading.Thread(target=_read, args=(process.stderr, lambda line: errors.append(line or "")), daemon=True),
    ]
    for thread in threads:
        thread.start()
    left, patience = list(seeds), START
    try:
        while left:
            try:
                text = said.get(timeout=patience)
            except queue.Empty:
                yield _died(part, left[0], f"hangs: nothing was heard of it for {patience:g} s")
                return
            if text is None:
                end = "".join(errors)[-400:]
                yield _died(part, left[0], f"ended the process with {process.wait()}: {end}")
                return
            patience = SILENT
            if text.startswith(MARK):
                line = json.loads(text[len(MARK) :])
                left.remove(line["seed"])
                yield line
    finally:
        process.kill()
        process.wait()


def _died(part: str, seed: Any, fault: str) -> dict[str, Any]:
    return {"part": part, "seed": seed, "path": "", "wrong": [], "kind": "died", "said": "", "faults": [fault]}


def _read(stream: IO[str] | None, take: Any) -> None:
    for line in stream or ():
        take(line)
    take(None)
