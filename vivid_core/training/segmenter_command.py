"""The commands that train a tiny segmenter, and that say what one holds."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .segmenter import SETTINGS, SegmenterTraining, lesson_at
from .segmenter_trials import GOAL, load_segmenter, scores

STEPS_AT_ONCE = 25

log = logging.getLogger("vivid")


def _parser(name: str, command: Callable[[Sequence[str]], int]) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m vivid_core.training {name}", description=command.__doc__)


def train_segmenter(arguments: Sequence[str]) -> int:
    """Train a tiny SAM 2. The one to be used is FOLDER/embedded_sam2.safetensors, with seed and step in it."""
    parser = _parser("segmenter", train_segmenter)
    parser.add_argument("folder", type=Path, help="where checkpoint, log and model are")
    parser.add_argument("--hours", type=float, default=2.0, help="how long this call may train")
    parser.add_argument("--steps", type=int, default=SETTINGS.total_steps, help="how long the whole run is")
    parser.add_argument("--seed", type=int, default=SETTINGS.seed)
    given = parser.parse_args(arguments)
    training = SegmenterTraining(given.folder, replace(SETTINGS, seed=given.seed, total_steps=given.steps))
    end = time.monotonic() + 3600 * given.hours
    while training.step < given.steps and time.monotonic() < end:
        before, began, frames = training.step, time.monotonic(), lesson_at(training.step).frames
        loss = training.train(STEPS_AT_ONCE)
        each = (time.monotonic() - began) / (training.step - before)
        log.info("step %d of %d (%d frames), loss %.4f, %.2f s a step", training.step, given.steps, frames, loss, each)
    training.save()
    return 0


def judge_segmenter(arguments: Sequence[str]) -> int:
    """Follow objects from one click through held-out clips: a line of JSON for the segmenter, one for optical flow.

    The exit status is 1 when the segmenter's mean IoU stays below the goal.
    """
    parser = _parser("judge-segmenter", judge_segmenter)
    parser.add_argument("file", type=Path, help="a SAM 2 of any size")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--side", type=int, default=128, help="pixels of the clips")
    given = parser.parse_args(arguments)
    found = scores(load_segmenter(given.file), given.clips, given.frames, given.side)
    for one in found:
        log.info("%s", json.dumps({**one.line(), "goal": GOAL, "met": one.mean_iou >= GOAL}))
    return 0 if found[0].mean_iou >= GOAL else 1
