"""Whether the memory of KIVE grows with the clip: 385 frames against 49, in windows chained from one keyframe."""

from __future__ import annotations

from typing import Any

from .timing import memory_growth

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
    what = (
        f"peak memory (GB) beyond input and output of Propagate Edit on {LONG} frames of 360x240 over {SHORT} (random "
        "weights, windows of 9, one keyframe); interval: smallest and largest run"
    )
    return memory_growth(
        "long_clip_memory", what, lambda frames: CODE.format(frames=frames), (LONG, SHORT), GOAL, 5 if full else 1, 1e9
    )
