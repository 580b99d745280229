"""Whether the memory of tracking with SAM 2 grows with the clip: 1000 frames of 480p against 100."""

from __future__ import annotations

from typing import Any

from .timing import memory_growth

SHORT, LONG = 100, 1000
SIDE = 256
GOAL = 1.15

# The frames share one picture, so that a machine of any size can run this; what tracking takes is the same.
CODE = """
from harness.packages import import_from_root
import_from_root("benchmarks")
from benchmarks._segmenters import CLICK, narrow_model, panning_clip, tracker
from vivid_core.masks.prompts import Prompt

module, frames = narrow_model({side}), panning_clip({frames})
follow = tracker(module, frames)
baseline()
track = follow(Prompt(0, points=CLICK))
done(track.packed, track.scores)
"""
ABOUT = {
    "measures": "memory beyond input and masks of a first SAM 2 track through 1000 frames, over 100",
    "peer": "the same through 100 frames",
    "instead": "a SAM 2 node, which keeps features and memory of all frames",
    "goal": "at most 1.15x",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    what = (
        "peak memory (MB) beyond input and masks of a first run, and what is kept for corrections: a click followed "
        f"through {LONG} frames of 480p over {SHORT} (SAM 2.1 with few channels, random weights, {SIDE} px); interval: "
        "smallest and largest run"
    )
    return memory_growth(
        "track_memory",
        what,
        lambda frames: CODE.format(frames=frames, side=SIDE),
        (LONG, SHORT),
        GOAL,
        5 if full else 1,
        1e6,
    )
