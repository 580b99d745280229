"""Teach the engine something new: save samples of it, then train a LoRA."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..vivid_core.checks import check_number
from ..vivid_core.metrics.curve import loss_curve
from ..vivid_core.training.adapter_training import (
    AdaptedModel,
    adapter_trainer,
    check_trainable,
    save_trained,
    usual,
)
from ..vivid_core.training.checkpoints import CHECKPOINT
from ..vivid_core.training.dataset import Dataset, open_dataset
from ..vivid_core.training.sample_files import INDEX, free_name, index_lines, write_sample
from ..vivid_core.training.tasks import DELETION, ENTITY
from ..vivid_core.training.trainer import Trainer
from ..vivid_core.training.workers import Workers
from . import sockets
from .comfy_bridge.engine import ManagedEngine
from .comfy_bridge.memory import explained_out_of_memory
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core, to_graph
from .comfy_bridge.training import gradients, has_patches, lora_file, output_folder, trainable_copy, where_to_choose
from .schema import expert, node_schema

DATASET, RUNS = "vivid_dataset", "vivid_training"
TASKS = {"add or modify": ENTITY, "delete": DELETION}
VIDEO, EXACT = "video", "exact"
RECENT = 20  # steps whose mean loss is told
RANGES: dict[str, dict[str, Any]] = {
    "steps": {"min": 1, "max": 1000000},
    "rank": {"min": 1, "max": 512},
    "learning_rate": {"min": 0.0, "max": 1.0},
    "batch": {"min": 0, "max": 256},
    "seed": {"min": 0, "max": 0x7FFFFFFF},
    "frame_count": {"min": 0, "max": 1024},
}


class SaveSample(io.ComfyNode):
    """One clip with its mask and captions, added to a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividSaveSample",
            display_name="Save Training Sample",
            search_aliases=["dataset", "training data", "save clip", "caption", "lora dataset"],
            description="Adds a clip, its mask and up to three captions to a dataset for Train VIVID LoRA. Samples for "
            "deletion are made from the same clips by themselves.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip as it should come out; a single image works too."),
                io.Mask.Input("mask", tooltip="What the captions name, on every frame."),
                io.String.Input("caption_short", default="", tooltip="A few words, such as: a red fox."),
                io.String.Input("caption_medium", default="", tooltip="With its looks; empty takes the short caption."),
                io.String.Input(
                    "caption_long",
                    default="",
                    multiline=True,
                    tooltip="With what it does; empty takes the medium caption.",
                ),
                io.String.Input(
                    "dataset", default="vivid_dataset", tooltip="The dataset's folder, inside ComfyUI's output folder."
                ),
                io.String.Input(
                    "name", default="", tooltip="The sample's name; one of the same name is replaced. Empty: a number."
                ),
                io.Combo.Input(
                    "task",
                    options=list(TASKS),
                    default="add or modify",
                    tooltip="delete: the mask lies on plain background, and no caption is needed.",
                    **expert(),
                ),
                io.Combo.Input(
                    "file_format",
                    options=[VIDEO, EXACT],
                    default="video",
                    tooltip="video: small files that any player shows, nearly as the clip was. exact: every pixel as "
                    "it is, in large files.",
                    **expert(),
                ),
            ],
            outputs=[
                io.String.Output("dataset_folder", display_name="dataset", tooltip="For Train VIVID LoRA."),
                io.String.Output("report", display_name="report"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        frames: Tensor,
        mask: Tensor,
        caption_short: str,
        caption_medium: str,
        caption_long: str,
        dataset: str,
        name: str,
        task: str,
        file_format: str,
    ) -> io.NodeOutput:
        notes: list[str] = []
        if task not in TASKS:
            raise ValueError(f"Save Training Sample, task: got {task!r}; choose one of {', '.join(TASKS)}.")
        folder = output_folder(dataset, "Save Training Sample")
        name = name.strip() or free_name(folder)
        captions = (caption_short, caption_medium, caption_long)
        write_sample(folder, name, to_core(frames), to_core(mask), captions, TASKS[task], file_format == EXACT, notes)
        count = len(index_lines(folder))
        notes.append(f"{name}: saved to {folder}, which has {count} sample{'s' * (count != 1)} now.")
        say(notes)
        return io.NodeOutput(dataset, "\n".join(notes))


class TrainLora(io.ComfyNode):
    """A LoRA and the patch projection, trained on the engine's model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividTrainLora",
            display_name="Train VIVID LoRA",
            search_aliases=["fine-tune", "finetune", "teach", "lora training", "train video model"],
            description="Trains a LoRA and the patch projection on a dataset, by VIVID's recipe. The engine's model "
            "stays as it is; the LoRA is chosen in Load Edit Engine afterwards. A run that was stopped goes on.",
            inputs=[
                sockets.Engine.Input("engine", tooltip="The embedded model, or one of the CogVideoX family."),
                io.String.Input(
                    "dataset", default="vivid_dataset", tooltip="The dataset's folder, inside ComfyUI's output folder."
                ),
                io.String.Input("name", default="my_lora", tooltip="The LoRA's file name, in models/vivid."),
                io.Int.Input(
                    "steps",
                    default=300,
                    **RANGES["steps"],
                    tooltip="How long the whole run is, resumed ones included. More learn more and take longer.",
                ),
                io.Int.Input(
                    "rank",
                    default=32,
                    **RANGES["rank"],
                    tooltip="The LoRA's rank. 32 suits one subject or style; more can learn more, in a larger file "
                    "and with more memory.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.0,
                    **RANGES["learning_rate"],
                    step=0.00001,
                    tooltip="0 takes the usual one: 0.0001, and 0.002 for the embedded model. More learns faster, and "
                    "forgets more.",
                ),
                io.Int.Input(
                    "batch",
                    default=0,
                    **RANGES["batch"],
                    tooltip="Samples of a step; 0 takes the usual: 1 clip or 4 images, 16 for the embedded model. "
                    "More learn more steadily, with more memory.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    **RANGES["seed"],
                    control_after_generate=False,
                    tooltip="Draws the samples, the noise and the LoRA's start.",
                ),
                io.Boolean.Input(
                    "resume", default=True, tooltip="Go on from the last checkpoint of this name. Off starts anew."
                ),
                io.Int.Input(
                    "frame_count",
                    default=0,
                    **RANGES["frame_count"],
                    tooltip="Frames of a training clip; 0 takes as many as the model and the clips have. Fewer need "
                    "less memory and teach less of motion.",
                    **expert(),
                ),
            ],
            outputs=[
                io.String.Output("lora_name", display_name="lora", tooltip="The file's name in models/vivid."),
                io.Image.Output("loss_curve", display_name="loss_curve"),
                io.String.Output("report", display_name="report"),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, dataset: str | None, **named: Any) -> Any:
        if dataset is None:
            return None  # from another node, which has not run yet: what it gives decides
        try:
            return (output_folder(dataset, "") / INDEX).stat().st_mtime_ns
        except (ValueError, OSError):
            return None  # a published data set has no index; execute says what is missing

    @classmethod
    def execute(
        cls,
        engine: ManagedEngine,
        dataset: str,
        name: str,
        steps: int,
        rank: int,
        learning_rate: float,
        batch: int,
        seed: int,
        resume: bool,
        frame_count: int,
    ) -> io.NodeOutput:
        rates = {"learning_rate": learning_rate, "batch": batch, "seed": seed, "frame_count": frame_count}
        _check_numbers(steps=steps, rank=rank, **rates)
        file, folder = lora_file(name, "Train VIVID LoRA"), output_folder(f"{RUNS}/{name}", "Train VIVID LoRA")
        traits = check_trainable(engine.engine()).traits
        data = open_dataset(output_folder(dataset, "Train VIVID LoRA"), traits, frame_count)
        goes_on = resume and (folder / CHECKPOINT).exists()
        if file.exists() and not goes_on:
            raise ValueError(
                f"Train VIVID LoRA: {file.name} is there already, and this run would begin anew and replace it; choose "
                "another name, or turn on resume and keep its checkpoint to go on with it."
            )
        if not resume:
            (folder / CHECKPOINT).unlink(missing_ok=True)
        recipe, settings = usual(traits)
        settings = replace(
            settings, seed=seed, total_steps=steps, learning_rate=learning_rate or settings.learning_rate
        )
        recipe = replace(recipe, image_batch=batch or recipe.image_batch, video_batch=batch or recipe.video_batch)
        with gradients(), explained_out_of_memory("batch, frame_count or rank"):
            runtime = engine.runtime()
            trainer = adapter_trainer(
                replace(engine.engine(), identity=engine.base_identity),  # its LoRA takes no part
                trainable_copy(engine.transformer),
                data,
                data.captions,
                folder,
                data.recipe(recipe),
                settings,
                rank=rank,
                runtime=runtime,
                workers=Workers(engine.transformer.device),
            )
            trainer.train(steps, runtime)
            save_trained(trainer, file)
        notes = _notes(engine, data, trainer, file)
        curve = loss_curve(trainer.losses, f"{name}: loss")[None]
        say(notes)
        return io.NodeOutput(file.name, to_graph(curve), "\n".join(notes), ui=ui.PreviewImage(curve, cls=cls))


def _check_numbers(**numbers: float) -> None:
    """What a link brings, for it does not keep to the ranges of the widgets."""
    for name, value in numbers.items():
        check_number(value, *RANGES[name].values(), f"Train VIVID LoRA, {name}")


def _notes(engine: ManagedEngine, data: Dataset, trainer: Trainer[AdaptedModel], file: Path) -> list[str]:
    recent = trainer.losses[-RECENT:]
    mean = sum(recent) / len(recent) if recent else math.nan
    notes = [
        f"Trained {trainer.step} steps on {len(data.entries)} samples of {data.frames} frames at {data.width}x"
        f"{data.height}; loss {mean:.4f} (mean of the last {len(recent)} steps).",
        f"Saved {file} ({os.path.getsize(file) / 1e6:.1f} MB); {where_to_choose(file)}",
    ]
    if has_patches(engine.transformer):
        notes.append("The engine's own LoRA took no part: a new one is always trained on the model without any.")
    strange = engine.text_encoder.unknown(" ".join(sorted(data.captions))) if engine.text_encoder else []
    if strange:
        notes.append(f"The model can't read these words of the captions: {', '.join(dict.fromkeys(strange))}.")
    return notes
