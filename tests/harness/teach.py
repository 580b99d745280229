"""`make teach`: the embedded model learns a shape it has never seen, through Train VIVID LoRA in a real ComfyUI.

Prints JSON lines: how well held-out clips show the shape before and after, judged in the pack's own code with the file
that the node saved, and how long the node took.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.packages import import_from_root
from harness.prompts import Prompt, ids_of, set_inputs, shipped
from harness.server import ROOT, Server

OUTPUT = ROOT / "output" / "teach"
WORKFLOW, DATASET, SHAPE = "Train a LoRA (embedded model)", "vivid_dataset", "heart"


def training_prompt(steps: int) -> Prompt:
    """Of the shipped template its model and its training; the samples are written beforehand."""
    prompt = shipped(WORKFLOW)
    kept = {one for kind in ("VividLoadEngine", "VividTrainLora") for one in ids_of(prompt, kind)}
    prompt = {number: node for number, node in prompt.items() if number in kept}
    set_inputs(prompt, "VividTrainLora", dataset=DATASET, name=SHAPE, steps=steps)
    number = ids_of(prompt, "VividTrainLora")[0]
    prompt["curve"] = {"class_type": "PreviewImage", "inputs": {"images": [number, 1]}}
    return prompt


def taught(base: Path, steps: int, samples: int) -> tuple[Path, float]:
    """The file that the node saved, and the seconds that it took."""
    from vivid_core.training.new_shape import write_new_shape

    write_new_shape(base / "output" / DATASET, samples)
    with Server(base) as server:
        began = time.monotonic()
        run = server.run(training_prompt(steps))
        seconds = time.monotonic() - began
    if run.ending != "execution_success":
        raise SystemExit(f"The training ended with {run.ending}: {run.error}")
    return next((base / "models").rglob("*.safetensors")), seconds


def tell(when: str, trials: int, file: Path | None = None, **more: int) -> None:
    """How well the embedded model, with what is in `file`, draws the new shape."""
    from vivid_core.editors.engine import embedded_engine
    from vivid_core.models.trained_parts import load, merge_lora, put_projection
    from vivid_core.training.new_shape import judge_new_shape

    engine = embedded_engine()
    if file is not None:
        parts = load(file)
        put_projection(parts, engine.transformer, file.name)
        merge_lora(parts, engine.transformer, what=file.name)
    scores = {
        name: {key: round(value, 3) for key, value in asdict(one).items()}
        for name, one in judge_new_shape(engine, trials).items()
    }
    print(json.dumps({"shape": SHAPE, "when": when, **more, **scores}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make teach")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--trials", type=int, default=16, help="held-out clips")
    given = parser.parse_args()
    import_from_root("vivid_core")
    tell("before", given.trials)
    with tempfile.TemporaryDirectory() as folder:
        file, seconds = taught(Path(folder), given.steps, given.samples)
        tell("after", given.trials, file, steps=given.steps, seconds=round(seconds))
        OUTPUT.mkdir(parents=True, exist_ok=True)
        print(f"Saved {shutil.copy(file, OUTPUT)}")


if __name__ == "__main__":
    main()
