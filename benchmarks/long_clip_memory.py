"""Whether the memory of KIVE grows with the clip: 385 frames against 49, in windows chained from one keyframe."""

from __future__ import annotations

import statistics
from typing import Any

from .timing import peak_extra_bytes

SHORT, LONG = 49, 385
GOAL = 1.1

CODE = """
from harness.packages import import_from_root
import_from_root("benchmarks")
from benchmarks._engines import random_engine, request
from vivid_core.editors.kive import EditOptions, propagate

engine = random_engine(96)
warm = request(engine, 17, 240, 360, keys=(0,), steps=1)
propagate(engine, warm, EditOptions(crop="fine"))  # imports and buffers of the libraries
asked = request(engine, {frames}, 240, 360, keys=(0,), steps=1)
baseline()
done_clip = propagate(engine, asked, EditOptions(crop="fine"))
done(done_clip.frames_fhwc, done_clip.blend_mask_fhw, done_clip.confidence_f)
"""


def run(full: bool) -> dict[str, Any]:
    pairs = [
        [peak_extra_bytes(CODE.format(frames=frames)) / 1e9 for frames in (LONG, SHORT)]
        for _ in range(5 if full else 1)
    ]
    ratios = [long / short for long, short in pairs]
    return {
        "name": "long_clip_memory",
        "ours": round(statistics.median(pair[0] for pair in pairs), 3),
        "peer": round(statistics.median(pair[1] for pair in pairs), 3),
        "ratio": round(statistics.median(ratios), 3),
        "interval": [round(min(ratios), 3), round(max(ratios), 3)],
        "goal": GOAL,
        "met": max(ratios) <= GOAL,
        "unit": "x",
        "what": f"peak memory (GB) beyond input and output of Propagate Edit on {LONG} frames of 360x240 over {SHORT} "
        "(random weights, windows of 9, one keyframe); interval: smallest and largest run",
    }
