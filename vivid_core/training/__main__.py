"""Train the embedded model: `python -m vivid_core.training FOLDER --hours 3`, as often as it takes.

Each call goes on from the checkpoint in FOLDER and ends when its time is up or all steps are done. The model to be
used is FOLDER/embedded_vivid.safetensors, with seed and step in its metadata.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ..models import embedded
from ..models.embedded_codec import load_codec
from .trainer import Trainer, TrainSettings
from .world.samples import world_sample
from .world.words import vocabulary

MODEL = "embedded_vivid.safetensors"
STEPS_AT_ONCE = 100

log = logging.getLogger("vivid")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where checkpoint, log and model are")
    parser.add_argument("--hours", type=float, default=1.0, help="how long this call may train")
    parser.add_argument("--steps", type=int, default=TrainSettings.total_steps, help="how long the whole run is")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = TrainSettings(seed=given.seed, total_steps=given.steps)
    model = embedded.build(vocabulary(), given.seed)
    trainer = Trainer(model, load_codec(), world_sample, given.folder, settings=settings)
    end = time.monotonic() + 3600 * given.hours
    while trainer.step < settings.total_steps:
        before, began = trainer.step, time.monotonic()
        loss = trainer.train(STEPS_AT_ONCE)
        each = (time.monotonic() - began) / (trainer.step - before)
        log.info("step %d of %d, loss %.4f, %.2f s a step", trainer.step, settings.total_steps, loss, each)
        embedded.save(trainer.averaged, given.folder / MODEL, {"seed": given.seed, "step": trainer.step})
        if time.monotonic() >= end:
            break
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
