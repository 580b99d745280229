"""Train: the embedded model in full, a LoRA on a base (adapter mode), a tiny segmenter, or a tiny Stable Diffusion.

    python -m vivid_core.training FOLDER --hours 3
    python -m vivid_core.training adapter --data DATASET --out FOLDER --steps 1000
    python -m vivid_core.training segmenter FOLDER --hours 2
    python -m vivid_core.training judge-segmenter FILE
    python -m vivid_core.training sd FOLDER --hours 4
    python -m vivid_core.training judge-sd FILE --kind motion

Those that train go on from the checkpoint in their folder, as often as they are called; those that judge say how well a
model does in clips that it was never trained on. The embedded model and adapter mode are trained on all devices of a
machine when they are started with `accelerate launch -m vivid_core.training ...`, and by two processes of a CPU with
`torchrun --nproc-per-node 2 -m vivid_core.training ...`.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import torch

from ..models import embedded
from ..models.embedded import EmbeddedModel
from ..models.embedded_codec import load_codec
from ..models.widening import WIDTHS
from .adapter_training import RANK, adapter_trainer, save_trained, usual
from .bases import DeviceRuntime, load_base
from .dataset import open_dataset
from .sd_command import judge_sd, train_sd
from .segmenter_command import judge_segmenter, train_segmenter
from .settings import TrainSettings
from .tasks import Recipe
from .trainer import Trainer
from .workers import AcceleratedWorkers, Workers
from .world.samples import world_sample
from .world.words import vocabulary

ADAPTER, SEGMENTER, JUDGE, STABLE_DIFFUSION = "adapter", "segmenter", "judge-segmenter", "sd"
JUDGE_SD = "judge-sd"
MODEL, LORA = "embedded_vivid.safetensors", "vivid_lora.safetensors"
STEPS_AT_ONCE = 100
# A clip of the world costs little more than an image, so there are as many of both; the paper's 10 : 1 is for clips
# that cost eleven images.
FULL_RECIPE = Recipe(images_per_video=1, image_batch=64)

log = logging.getLogger("vivid")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    commands = {ADAPTER: _adapter, SEGMENTER: train_segmenter, JUDGE: judge_segmenter}
    commands |= {STABLE_DIFFUSION: train_sd, JUDGE_SD: judge_sd}
    chosen = commands.get(given[0]) if given else None
    try:
        return _full(given) if chosen is None else chosen(given[1:])
    except ValueError as error:
        log.error("%s", error)
        return 2


def _full(arguments: Sequence[str]) -> int:
    """Train the embedded model. The one to be used is FOLDER/embedded_vivid.safetensors, with seed and step in it."""
    parser = _full_parser()
    given = parser.parse_args(arguments)
    settings, recipe = _full_settings(given, parser.error)
    model, about = _begun(given.begin_with, given.seed)
    workers = _workers()
    for module in model.parts.values():
        module.to(workers.device).requires_grad_(True)
    codec = load_codec().to(workers.device)
    trainer = Trainer(model, codec, world_sample, given.folder, recipe, settings, workers=workers, about=about)
    end = time.monotonic() + 3600 * given.hours
    while trainer.step < settings.total_steps:
        _train_some(trainer)
        notes = {"seed": given.seed, "step": trainer.step, **about}
        if workers.is_first:
            embedded.save(trainer.averaged, given.folder / MODEL, notes)
        if _is_over(end, workers):
            break
    return 0


def _full_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training", description=_full.__doc__)
    parser.add_argument("folder", type=Path, help="where checkpoint, log and model are")
    parser.add_argument("--hours", type=float, default=1.0, help="how long this call may train")
    parser.add_argument("--steps", type=int, default=TrainSettings.total_steps, help="how long the whole run is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin-with", type=Path, help="a model's file to begin with instead of random weights")
    parser.add_argument("--rate-share", type=float, default=1.0, help="the learning rates, in parts of the usual ones")
    parser.add_argument(
        "--decay-from",
        type=float,
        default=TrainSettings.decay_from,
        help="when the rates begin to fall, in parts of the run",
    )
    parser.add_argument(
        "--last-time-share",
        type=float,
        default=TrainSettings.last_time_share,
        help="of the samples, those of pure noise",
    )
    parser.add_argument(
        "--images-per-video",
        type=float,
        default=FULL_RECIPE.images_per_video,
        help="batches of images for each batch of clips",
    )
    return parser


def _full_settings(given: argparse.Namespace, wrong: Callable[[str], NoReturn]) -> tuple[TrainSettings, Recipe]:
    share = given.rate_share
    if not 0 < share < math.inf:
        wrong(f"--rate-share: got {share:g}, but it must be a number above 0; 1 is usual, less is for a good model.")
    for option in ("decay_from", "last_time_share"):
        value = getattr(given, option)
        if not 0 <= value < 1:
            wrong(f"--{option.replace('_', '-')}: got {value:g}, but it must be at least 0 and below 1.")
    usual_rates = TrainSettings()
    settings = TrainSettings(
        seed=given.seed,
        total_steps=given.steps,
        learning_rate=share * usual_rates.learning_rate,
        matrix_rate=share * usual_rates.matrix_rate,
        decay_from=given.decay_from,
        last_time_share=given.last_time_share,
    )
    return settings, replace(FULL_RECIPE, images_per_video=given.images_per_video)


def _is_over(end: float, workers: Workers) -> bool:
    """Whether any process is past its time: they must all stop at the same step, or some wait for ever."""
    return bool(workers.mean(torch.tensor(float(time.monotonic() >= end), device=workers.device)) > 0)


def _begun(start: Path | None, seed: int) -> tuple[EmbeddedModel, dict[str, Any]]:
    """A new model, or the one in a file, with what is to be said of it: the notes of that file."""
    if start is None:
        return embedded.build(vocabulary(), seed), {}
    model, notes = embedded.load(start)
    return model, {"start": notes}


def _adapter(arguments: Sequence[str]) -> int:
    """Train a LoRA and the patch projection on a frozen base. The file to be used is OUT/vivid_lora.safetensors."""
    given = _adapter_parser().parse_args(arguments)
    workers = _workers(given.cpu)
    engine = load_base(given.model, workers.device, given.mask)
    data = open_dataset(given.data, engine.adapter.traits, given.frames)
    recipe, settings = usual(engine.adapter.traits)
    rate, steps = given.rate or settings.learning_rate, given.steps or settings.total_steps
    settings = replace(settings, seed=given.seed, total_steps=steps, learning_rate=rate)
    images, videos = recipe.image_batch * workers.count, recipe.video_batch * workers.count
    recipe = replace(recipe, image_batch=given.image_batch or images, video_batch=given.video_batch or videos)
    trainer = adapter_trainer(
        engine,
        engine.transformer,
        data,
        data.captions,
        given.out,
        data.recipe(recipe),
        settings,
        rank=given.rank,
        runtime=DeviceRuntime(workers.device),
        workers=workers,
    )
    while True:
        _train_some(trainer)
        save_trained(trainer, given.out / LORA)
        if trainer.step >= settings.total_steps:
            return 0


def _adapter_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training adapter", description=_adapter.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a dataset: index.jsonl, or VIVID-10M's folders")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoint, log and LoRA are")
    parser.add_argument("--model", type=Path, help="a diffusers folder of CogVideoX; without it the embedded model")
    parser.add_argument("--mask", choices=[one for one in WIDTHS if one != "pool"], default="resize")
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--steps", type=int, help="how long the whole run is; usually that of the family")
    parser.add_argument("--rate", type=float, help="the learning rate; usually that of the family")
    parser.add_argument("--image-batch", type=int, help="images of a step, of all processes; usually 4 for each")
    parser.add_argument("--video-batch", type=int, help="clips of a step, of all processes; usually 1 for each")
    parser.add_argument("--frames", type=int, default=0, help="of a clip; 0: as many as the model takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true", help="don't use a GPU")
    return parser


def _workers(on_the_cpu: bool = False) -> Workers:
    return AcceleratedWorkers(on_the_cpu) if find_spec("accelerate") else Workers(_device(on_the_cpu))


def _device(on_the_cpu: bool) -> str:
    return "cuda" if torch.cuda.is_available() and not on_the_cpu else "cpu"


def _train_some(trainer: Trainer) -> None:
    before, began = trainer.step, time.monotonic()
    loss = trainer.train(STEPS_AT_ONCE)
    each = (time.monotonic() - began) / max(1, trainer.step - before)
    if trainer.workers.is_first and trainer.step > before:
        log.info("step %d of %d, loss %.4f, %.2f s a step", trainer.step, trainer.settings.total_steps, loss, each)


if __name__ == "__main__":
    raise SystemExit(main())
