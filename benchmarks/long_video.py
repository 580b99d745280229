"""Whether the memory of Edit Long Video grows with the video: 384 frames against 96, from file to file."""

from __future__ import annotations

from typing import Any

from .timing import memory_growth

SHORT, LONG = 96, 384
GOAL = 1.1

CODE = """
import tempfile
from pathlib import Path

import torch
from harness.clips import write_film
from harness.packages import import_from_root
import_from_root("benchmarks")
from benchmarks._engines import BOX, keyframe, random_engine, request
from vivid_core.clips import Computed
from vivid_core.editors.contract import EditRequest
from vivid_core.editors.footage import file_footage
from vivid_core.editors.kive import EditOptions, prepared
from vivid_core.editors.long_video import write_edited
from vivid_core.runtime import Runtime
from vivid_core.video.keyframes import Keyframe, Keyframes

WIDTH, HEIGHT = 480, 320
engine = random_engine(96)
texts = request(engine, 1, 16, 16)

def mask_of(at):
    mask_hw = torch.zeros(HEIGHT, WIDTH)
    top, left = HEIGHT // BOX + at % 4, WIDTH // BOX + at % 4
    mask_hw[top : top + HEIGHT // BOX, left : left + WIDTH // BOX] = 1
    return mask_hw

def edit(folder, frames):
    path = folder / f"{frames}.mp4"
    if not path.exists():
        write_film(path, frames, (WIDTH, HEIGHT), keys_every=48)
        return
    with file_footage(path, 9) as footage:
        clip = footage.frames_fhwc
        keys = Keyframes([Keyframe(0, keyframe(clip[0], mask_of(0), 0.5))])
        masks = Computed((frames, HEIGHT, WIDTH), mask_of)
        asked = EditRequest(clip, masks, texts.prompt_bld, texts.negative_bld, keys, steps=1)
        run = prepared(engine, asked, EditOptions(crop="fine", cuts=footage.cuts), [])
        write_edited(run, footage, folder / "out.mp4", Runtime(), [])

with tempfile.TemporaryDirectory() as folder:
    for frames in (17, 17, COUNT):  # imports and buffers of the libraries, and the file to be read
        edit(Path(folder), frames)
    baseline()
    edit(Path(folder), COUNT)
    done()
"""
ABOUT = {
    "measures": "memory of Edit Long Video, a file of 384 frames of 480x320 over one of 96",
    "peer": "the same on 96 frames",
    "instead": "Meta Batch Manager (VideoHelperSuite), whose batches know nothing of each other",
    "goal": "at most 1.1x",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    what = (
        f"peak memory (GB) of Edit Long Video on a file of {LONG} frames of 480x320 over one of {SHORT} (random "
        "weights, windows of 9, one keyframe); interval: smallest and largest run"
    )
    return memory_growth(
        "long_video",
        what,
        lambda frames: CODE.replace("COUNT", str(frames)),
        (LONG, SHORT),
        GOAL,
        5 if full else 1,
        1e9,
    )
