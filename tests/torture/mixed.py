"""Many different prompts in one server: its own memory must not grow with them, and no model outlive its graph."""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.clips import BOX, HEIGHT, WIDTH, write_clip
from harness.prompts import Prompt, ids_of, marks_text, set_inputs, shipped
from harness.server import Server

from .jobs import EMBEDDED

WORKFLOWS = (
    "Edit an image (embedded model)",
    "Edit a keyframe and propagate it (embedded model)",
    "Edit a long clip (embedded model)",
    "Edit a long video file (embedded model)",
    "Modify an object (embedded model)",
    "Remove an object (embedded model)",
    "Add an object (embedded model)",
    "Try keyframes on a board (embedded model)",
    "Mark and track an object (no weights)",
    "Recolour an object (no weights)",
    "Remove an object (no weights)",
)
COUNTER = Path(__file__).resolve().parent / "counting_node"
COUNTS = (33, 41)  # frames: the workflows name the 33rd
MOST_MB = 0.1  # a prompt
CONFIDENT = 1.96  # standard errors


def prompts(count: int, seed: int) -> Iterator[tuple[str, Prompt]]:
    """So many prompts, drawn from shipped workflows with changed settings."""
    chance = random.Random(seed)
    for _ in range(count):
        name = chance.choice(WORKFLOWS)
        prompt = shipped(name)
        set_inputs(prompt, "LoadVideo", file="clip.mp4")
        set_inputs(prompt, "VividPromptEditor", marks=marks_text(WIDTH, HEIGHT, BOX))
        set_inputs(prompt, "VividTrackMask", box=BOX if not ids_of(prompt, "VividPromptEditor") else "", frame=0)
        set_inputs(prompt, "VividLoadEngine", **EMBEDDED)
        set_inputs(prompt, "VividDemoClip", clip=chance.randrange(1000), frame_count=chance.choice(COUNTS))
        set_inputs(prompt, "VividAugmentMask", amount=chance.randrange(30) / 100)
        for editor in ("VividEditKeyframe", "VividPropagate", "VividEditVideo", "VividEditLongVideo"):
            set_inputs(prompt, editor, steps=chance.choice((1, 2)), seed=chance.randrange(2**32))
        yield name, prompt


def mixed(base: Path, count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Run them in one server: a line for each with the memory after it, and a last one with the growth."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    (base / "custom_nodes" / "torture_count").symlink_to(COUNTER, target_is_directory=True)
    memory: list[float] = []
    with Server(base) as server:
        write_clip(base / "input" / "clip.mp4")
        for number, (name, prompt) in enumerate(prompts(count, seed)):
            began = time.monotonic()
            line = {"part": "mixed", "seed": number, "work": name, **_one(server, prompt, number)}
            memory.append(anonymous_mb(server.process_id()))
            yield {**line, "memory_mb": memory[-1], "seconds": round(time.monotonic() - began, 1)}
    yield {"part": "mixed", "seed": count, "work": "growth", **growth(memory)}


def _one(server: Server, prompt: Prompt, number: int) -> dict[str, Any]:
    try:
        run = server.run(prompt, timeout=300)
    except ValueError as refused:
        return {"faults": [f"refused: {refused}"[:300]], "models": 0}
    faults = [] if run.ending == "execution_success" else [f"{run.ending}: {run.error[:300]}"]
    counted = server.run({"counted": {"class_type": "TortureCount", "inputs": {"turn": number}}}, timeout=60)
    (alive,) = counted.outputs["counted"]["text"]
    faults += [f"{alive} models outlived their graph"] if alive != "0" else []
    return {"faults": faults, "models": int(alive)}


def growth(memory: Sequence[float]) -> dict[str, Any]:
    """By how many MB a prompt memory grew over the second half, with the interval that surely holds it."""
    half = list(memory[len(memory) // 2 :])
    if len(half) < 3:
        return {"faults": [f"only {len(memory)} prompts, too few to see a growth"]}
    slope, error = slope_of(half)
    low, high = slope - CONFIDENT * error, slope + CONFIDENT * error
    faults = [f"grows by {slope:.3f} MB a prompt ({low:.3f} to {high:.3f})"] if slope > MOST_MB else []
    return {"mb_a_prompt": round(slope, 4), "from": round(low, 4), "to": round(high, 4), "faults": faults}


def slope_of(values: Sequence[float]) -> tuple[float, float]:
    """The slope of a straight line through values at 0, 1, 2, ... by least squares, and its standard error."""
    at = range(len(values))
    slope, start = statistics.linear_regression(at, values)
    rest = sum((value - start - slope * x) ** 2 for x, value in zip(at, values))
    middle = statistics.fmean(at)
    return slope, (rest / (len(values) - 2) / sum((x - middle) ** 2 for x in at)) ** 0.5


def anonymous_mb(process: int | str = "self") -> float:
    """Anonymous memory of a process in MB: what it has for itself, without files that are mapped."""
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else 0.0
