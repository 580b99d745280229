"""What the pack adds to ComfyUI's start: the seconds that ComfyUI itself reports, in real server starts."""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

GOAL_SECONDS = 1.0
ABOUT = {
    "measures": "what importing the pack adds to ComfyUI's start",
    "peer": "the whole start to the first answer",
    "instead": "a pack that imports diffusers and OpenCV when it is loaded",
    "goal": "at most 1 s",
    "not_on_cuda": "this work is done on the CPU on every machine",
}


def one_start() -> tuple[float, float]:
    """(seconds the pack took to import, seconds from the command to the first answer)."""
    from harness.server import PACK, Server

    with tempfile.TemporaryDirectory() as base:
        start = time.perf_counter()
        with Server(Path(base)) as server:
            answered = time.perf_counter() - start
            found = re.search(rf"([\d.]+) seconds.*: .*{PACK}", server.log.read_text())
    if found is None:
        raise RuntimeError("ComfyUI's log does not say how long the pack took to import.")
    return float(found.group(1)), answered


def run(full: bool) -> dict[str, Any]:
    starts = [one_start() for _ in range(7 if full else 3)]
    ours = statistics.median(pack for pack, _ in starts)
    peer = statistics.median(whole for _, whole in starts)
    return {
        "name": "start_up",
        "ours": ours,
        "peer": round(peer, 2),
        "ratio": round(ours / peer, 4),
        "interval": [min(pack for pack, _ in starts), max(pack for pack, _ in starts)],
        "goal": GOAL_SECONDS,
        "met": max(pack for pack, _ in starts) <= GOAL_SECONDS,
        "unit": "s",
        "what": "seconds that importing the pack adds to ComfyUI's start; peer: the whole start to the first answer; "
        "interval: smallest and largest",
    }
