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
ABOUT = {
    "measures": "memory beyond input and output of Propagate Edit, 385 frames over 49",
    "peer": "the same on 49 frames",
    "instead": "context windows of ComfyUI's core, which hold the latents of the whole clip",
    "goal": "at most 1.1x",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    what = (
        f"peak memory (GB) beyond input and output of Propagate Edit on {LONG} frames of 360x240 over {SHORT} (random "
        "weights, windows of 9, one keyframe); interval: smallest and largest run"
    )
    return memory_growth(
        "long_clip_memory", what, lambda frames: CODE.format(frames=frames), (LONG, SHORT), GOAL, 5 if full else 1, 1e9
    )
