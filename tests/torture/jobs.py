"""What a killed server was doing: long work that keeps what is finished, and how one sees that it is not done again."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.prompts import Prompt
from harness.server import Run

EMBEDDED = {
    "model": "embedded (comes with the pack)", "vae": "with the model", "text_encoder": "with the model",
    "lora": "none", "lora_strength": 1.0, "precision": "auto", "tiled_vae": False,
}  # fmt: skip
SAMPLING = {"guidance": 0.0, "crop": "off", "feather": 2, "sampler": "auto"}
CLIP = {"window": 0, "overlap": 1, "colour_match": True, "resume": True}
BOARD = {"version": 1, "id": "00000000000000cc", "picks": {}, "pins": []}
COUNT, WINDOWS, TRAIN_STEPS = 33, 4, 80
Kept = dict[Path, int]


@dataclass(frozen=True)
class Job:
    """One kind of long work, and the node of its prompt that takes the time."""

    name: str
    worker: str

    def prompt(self, turn: int) -> Prompt:
        """The work of one turn, the same each time it is asked for; other turns are other work."""
        made = {"Edit Long Video": _long_video, "Train VIVID LoRA": _training, "Keyframe Board": _board}
        return made[self.name](turn)

    def kept(self, base: Path) -> Kept:
        """Finished work on the disk: each file with the number of its inode, which another writing would change."""
        patterns = {
            "Edit Long Video": "vivid_windows/*.safetensors",
            "Train VIVID LoRA": "vivid_training/*/checkpoint.pt",
            "Keyframe Board": "vivid_boards/*/*.png",
        }
        return {path: path.stat().st_ino for path in (base / "output").glob(patterns[self.name])}

    def faults(
        self, before: Kept, steps_before: int, base: Path, run: Run, earlier: Collection[Path] = ()
    ) -> Iterator[str]:
        """What is wrong after a run went on from `before`; `earlier` has the files of other turns."""
        if run.ending != "execution_success":
            yield f"the run after the kill ended with {run.ending or 'nothing'}: {run.error[:300]}"
            return
        if self.name == "Train VIVID LoRA":
            yield from _trained_again(steps_before, run)
            return
        after = self.kept(base)
        again = [path.name for path, inode in before.items() if after.get(path) != inode]
        if again:
            yield f"{len(again)} finished files were made again or lost, such as {again[0]}"
        if self.name == "Edit Long Video":
            made = len([path for path in after if path not in before and path not in earlier])
            if made > WINDOWS:
                yield f"{made} windows were made of {WINDOWS}"

    def steps_done(self, base: Path, turn: int) -> int:
        """Steps of a training whose result is on the disk."""
        import torch

        path = base / "output" / "vivid_training" / f"run_{turn}" / "checkpoint.pt"
        return int(torch.load(path, weights_only=True)["step"]) if path.exists() else 0


JOBS = (Job("Edit Long Video", "edit"), Job("Train VIVID LoRA", "train"), Job("Keyframe Board", "edit"))


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _start(turn: int, count: int) -> Prompt:
    return {
        "clip": _node("VividDemoClip", task="modify", clip=turn, frame_count=count, side=48, group="seen"),
        "engine": _node("VividLoadEngine", **EMBEDDED),
        "text": _node("VividEncodePrompt", engine=["engine", 0], text="a red ring", task="modify", negative=""),
    }


def _asked() -> dict[str, Any]:
    return {"engine": ["engine", 0], "mask": ["clip", 1], "positive": ["text", 0], "negative": ["text", 1], **SAMPLING}


def _long_video(turn: int) -> Prompt:
    video = _node("CreateVideo", images=["clip", 0], fps=8)
    edit = _node("VividEditLongVideo", video=["video", 0], seed=turn, steps=4, plan_only=False, **_asked(), **CLIP)
    save = _node("SaveVideo", video=["edit", 0], filename_prefix="video/vivid", format="auto", codec="auto")
    return {**_start(turn, COUNT), "video": video, "edit": edit, "save": save}


def _training(turn: int) -> Prompt:
    texts = {"caption_short": "a ring", "caption_medium": "", "caption_long": "", "task": "add or modify"}
    places = {"dataset": f"set_{turn}", "name": "one", "file_format": "exact"}
    sample = _node("VividSaveSample", frames=["clip", 0], mask=["clip", 1], **texts, **places)
    rates = {"steps": TRAIN_STEPS, "rank": 2, "learning_rate": 0.001, "batch": 1, "seed": 1, "frame_count": 5}
    given = {"engine": ["engine", 0], "dataset": ["sample", 0], "name": f"run_{turn}", "resume": True}
    train = _node("VividTrainLora", **given, **rates)
    told = _node("PreviewAny", source=["train", 2])
    start = {name: node for name, node in _start(turn, 5).items() if name != "text"}
    return {**start, "sample": sample, "train": train, "told": told}


def _board(turn: int) -> Prompt:
    edit = _node("VividEditKeyframe", frames=["clip", 0], frame=turn % 5, seed=turn, steps=6, **_asked())
    state = json.dumps(BOARD)
    given = {"board": state, "hold": False, "candidate_frame": 0, "note": ""}
    board = _node("VividKeyframeBoard", frames=["clip", 0], keyframe=["edit", 1], **given)
    return {**_start(turn, 5), "edit": edit, "board": board}


def _trained_again(steps_before: int, run: Run) -> Iterator[str]:
    counted = [data["max"] for data in run.of("progress") if data.get("node") == "train"]
    if counted and max(counted) > max(TRAIN_STEPS - steps_before, 1):
        yield f"{max(counted)} steps were made, though {steps_before} of {TRAIN_STEPS} were done"
    told = " ".join(str(value) for output in run.outputs.values() for value in output.values())
    if not re.search(rf"Trained {TRAIN_STEPS} steps", told + " ".join(run.texts)):
        yield "the report does not say that all steps were made"
