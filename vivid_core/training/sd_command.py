"""The commands that train the embedded Stable Diffusion, and that say what it holds."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ..editors.embedded_backbone import Kind, embedded_backbone
from .claims.sheets import write_sheets
from .sd_lessons import STAGES
from .sd_training import SDTraining, settings_for
from .sd_trials import again, from_noise, in_motion
from .sd_world.scene import HELD_OUT_CLIPS

STEPS_AT_ONCE = 20

log = logging.getLogger("vivid")


def train_sd(arguments: Sequence[str]) -> int:
    """Train the embedded Stable Diffusion: images, then motion, depth, ControlNet. Each stage that is done leaves
    FOLDER/STAGE/embedded_sd.safetensors, with all that was trained up to it."""
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training sd", description=train_sd.__doc__)
    parser.add_argument("folder", type=Path, help="where the stages' folders are")
    parser.add_argument("--hours", type=float, default=1.0, help="how long this call may train")
    parser.add_argument("--stage", choices=STAGES, help="train this one alone; usually all, one after the other")
    parser.add_argument("--steps", type=int, help="how long the whole stage is; only with --stage")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.steps is not None and given.stage is None:
        parser.error("--steps is of one stage: name it with --stage")
    end = time.monotonic() + 3600 * given.hours
    for stage in (given.stage,) if given.stage else STAGES:
        training = SDTraining(given.folder, stage, settings_for(stage, given.seed, given.steps))
        _train_until(training, end)
        if time.monotonic() >= end:
            break
    return 0


def _train_until(training: SDTraining, end: float) -> None:
    """Train a stage to its end, or until the time is over."""
    total = training.settings.total_steps
    while training.step < total and time.monotonic() < end:
        before, began = training.step, time.monotonic()
        loss = training.train(STEPS_AT_ONCE)
        each = (time.monotonic() - began) / (training.step - before)
        log.info("%s: step %d of %d, loss %.4f, %.2f s a step", training.stage, training.step, total, loss, each)
        if training.step == total or time.monotonic() >= end:
            training.save()


def judge_sd(arguments: Sequence[str]) -> int:
    """Say what an embedded Stable Diffusion holds: a line of JSON for each kind of trial, and sheets to look at."""
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training judge-sd", description=judge_sd.__doc__)
    parser.add_argument("file", type=Path, help="a file of the command sd")
    parser.add_argument("--kind", choices=get_args(Kind), default="image")
    parser.add_argument("--trials", type=int, default=HELD_OUT_CLIPS)
    parser.add_argument("--sheets", type=Path, help="where pictures of the trials go")
    given = parser.parse_args(arguments)
    backbone = embedded_backbone(given.kind, given.file)
    if given.kind == "motion":
        told = [in_motion(backbone, given.trials)]
        with backbone.still() as still:
            told.append(from_noise(still, given.trials))
    else:
        told = [from_noise(backbone, given.trials), *(again(backbone, given.trials, new) for new in (False, True))]
    for score, rows in told:
        log.info("%s", json.dumps({"kind": given.kind, **score.line()}))
        if given.sheets:
            write_sheets(rows, given.sheets, f"{given.kind}_{score.what.replace(' ', '_')}")
    return 0
