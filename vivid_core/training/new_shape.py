"""Teaching the embedded model a shape that it has never seen: `python -m vivid_core.training.new_shape FOLDER`.

The samples go through the very code of Save Training Sample, so that this shows what a user's own clips can do. Two
lines of JSON say how well the shape is drawn on held-out clips, before and after.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ..editors.engine import Engine, embedded_engine
from ..runtime import Runtime
from .adapter_training import EMBEDDED_RECIPE, EMBEDDED_SETTINGS, adapter_trainer, save_trained
from .claims.edits import DIRECT, Editor, mean_of
from .dataset import open_dataset
from .draws import Draws
from .measures import Score
from .sample_files import write_sample
from .world.render import FRAMES, SIDE, render
from .world.scene import Scene, draw_scene
from .world.trials import Trial
from .world.words import CAPTION_LENGTHS, COLOURS, NEW_SHAPES

SHAPE = NEW_SHAPES[0]
SAMPLES = 50
DATA, LORA = "data", f"{SHAPE}.safetensors"

log = logging.getLogger("vivid")


def write_new_shape(folder: str | Path, count: int = SAMPLES, side: int = SIDE) -> Path:
    """Save `count` clips with one object of the new shape each, as a dataset; returns its index."""
    index = Path(folder)
    for number in range(count):
        target = new_shape_trial("add", number).target
        clip = render(target, side)
        captions = [target.entities[0].caption(length) for length in CAPTION_LENGTHS]
        index = write_sample(
            folder, f"{SHAPE} {number:03}", clip.frames_fhwc, clip.touched_fhw(0), captions, exact=True
        )
    return index


def new_shape_trial(task: str, number: int, frames: int = FRAMES) -> Trial:
    """A clip to learn the new shape from: its target shows what `write_new_shape` saves under this number.

    Raises ValueError unless `task` is modify or add.
    """
    if task not in ("modify", "add"):
        raise ValueError(f'New shape: got the task "{task}"; choose modify or add.')
    scene, colour = _scene("learn", number)
    target = scene.with_changed(0, SHAPE, colour)
    return Trial(task, "unseen", number, frames, scene if task == "modify" else target.without(0), target, 0)


def new_shape_trials(count: int = 16) -> list[Trial]:
    """Held-out clips in which the object is to become one of the new shape."""
    trials = []
    for number in range(count):
        scene, colour = _scene("judge", number)
        trials.append(Trial("modify", "unseen", number, FRAMES, scene, scene.with_changed(0, SHAPE, colour), 0))
    return trials


def judge_new_shape(engine: Engine, count: int = 16, seed: int = 0, steps: int | None = None) -> dict[str, Score]:
    """How well an engine draws the new shape, and beside it the codec's limit and the trivial answers."""
    attempts = list(Editor(engine, seed, steps).attempts(new_shape_trials(count), DIRECT))
    names = attempts[0].references if attempts else {}
    return {"model": mean_of(attempts), **{name: mean_of(attempts, name) for name in names}}


def teach_new_shape(
    engine: Engine, folder: str | Path, steps: int | None = None, samples: int = SAMPLES, runtime: Runtime | None = None
) -> Engine:
    """The engine, taught the new shape by adapter mode; dataset, checkpoint and LoRA are in `folder`.

    A call that was interrupted is gone on with. The engine that was given stays as it is.
    """
    folder = Path(folder)
    write_new_shape(folder / DATA, samples)
    data = open_dataset(folder / DATA, engine.adapter.traits)
    settings = replace(EMBEDDED_SETTINGS, total_steps=steps or EMBEDDED_SETTINGS.total_steps)
    learner = copy.deepcopy(engine.transformer)
    recipe = data.recipe(EMBEDDED_RECIPE)
    trainer = adapter_trainer(engine, learner, data, data.captions, folder, recipe, settings, runtime=runtime)
    trainer.train(settings.total_steps, runtime)
    save_trained(trainer, folder / LORA)
    return replace(engine, transformer=trainer.averaged.transformer, identity=f"{engine.identity}+{SHAPE}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vivid_core.training.new_shape", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="where dataset, checkpoint and LoRA are")
    parser.add_argument("--model", type=Path, help="an embedded model; by default the pack's")
    parser.add_argument("--steps", type=int, default=EMBEDDED_SETTINGS.total_steps)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--trials", type=int, default=16, help="held-out clips")
    parser.add_argument("--edit-steps", type=int, help="of each edit; by default the model's own")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    engine = embedded_engine(given.model)
    _tell("before", judge_new_shape(engine, given.trials, steps=given.edit_steps))
    began = time.monotonic()
    taught = teach_new_shape(engine, given.folder, given.steps, given.samples)
    log.info("Taught in %.0f s.", time.monotonic() - began)
    _tell("after", judge_new_shape(taught, given.trials, steps=given.edit_steps))
    return 0


def _tell(when: str, scores: Mapping[str, Score]) -> None:
    rounded = {name: {key: round(value, 3) for key, value in asdict(one).items()} for name, one in scores.items()}
    sys.stdout.write(json.dumps({"shape": SHAPE, "when": when, **rounded}) + "\n")
    sys.stdout.flush()


def _scene(purpose: str, number: int) -> tuple[Scene, str]:
    """A backdrop with a single object, and the colour that the new one is to have."""
    draws = Draws(f"new shape/{purpose}", number)
    scene = draw_scene(draws)
    entity = scene.entities[0]
    return Scene(scene.backdrop, (entity,)), draws.one_of([one for one in COLOURS if one != entity.colour])


if __name__ == "__main__":
    raise SystemExit(main())
