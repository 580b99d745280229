"""Small folders of clips in the three layouts, engines whose answer is known, and a run over them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vivid_core.evaluate.cases import Case, Cut, LoadedCase, read_cases
from vivid_core.evaluate.engine import Engine, Made
from vivid_core.evaluate.engines import engines_of
from vivid_core.evaluate.model_engines import Models
from vivid_core.evaluate.run import Comparison, Plan, compare
from vivid_core.evaluate.store import ResultStore
from vivid_core.runtime import Runtime
from vivid_core.training.sample_files import write_sample
from vivid_core.training.tasks import DELETION, ENTITY

COUNT, HEIGHT, WIDTH = 3, 32, 48
PLAIN = ("mean", "unchanged")


def clip(seed: int = 0) -> Tensor:
    """A soft texture of whole levels that moves to the right."""
    drawn = torch.rand(1, 3, HEIGHT // 8, WIDTH // 8 + 2, generator=torch.Generator().manual_seed(seed))
    wide = torch.nn.functional.interpolate(drawn, (HEIGHT, WIDTH + 16), mode="bicubic").clamp(0, 1)[0]
    frames = torch.stack([wide[:, :, index : index + WIDTH] for index in range(COUNT)])
    return (frames.permute(0, 2, 3, 1) * 255).round() / 255


def mask(left: int = 16) -> Tensor:
    """A square of half the height, which goes right by a pixel in each frame."""
    marked = torch.zeros(COUNT, HEIGHT, WIDTH)
    for index in range(COUNT):
        marked[index, 8:24, left + index : left + 16 + index] = 1
    return marked


def folder_of(folder: Path, clips: int = 3) -> Path:
    """An index with so many clips, the last one a deletion."""
    for number in range(clips):
        last = number == clips - 1
        captions = ("", "", "") if last else (f"a dot {number}", "", "")
        task = DELETION if last else ENTITY
        write_sample(folder, f"dot {number}", clip(number), mask(12 + 4 * number), captions, task, exact=True)
    return folder


def add_line(folder: Path, line: Any) -> None:
    """One more line of the index, as text or as JSON."""
    text = line if isinstance(line, str) else json.dumps(line)
    with (folder / "index.jsonl").open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def engine(label: str, make: Any, seeded: bool = False, **settings: Any) -> Engine:
    """An engine of a test: `make` has a case, a seed and a runtime."""
    return Engine(label, label, settings, make, seeded=seeded)


def grey(level: float = 0.5, label: str = "grey") -> Engine:
    """Everything in one grey, outside the mask too."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        return Made(torch.full_like(case.frames_fhwc, level))

    return engine(label, make, level=level)


def noisy() -> Engine:
    """Noise inside the mask, drawn from the seed."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        drawn = torch.rand(case.frames_fhwc.shape, generator=torch.Generator().manual_seed(seed))
        return Made(torch.where(case.edit_mask_fhw[..., None] > 0.5, drawn, case.frames_fhwc))

    return engine("noisy", make, seeded=True)


def failing_on(name: str, fault: Exception) -> Engine:
    """The clip as it is, but for one on which it fails."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        if case.case.name == name:
            raise fault
        return Made(case.frames_fhwc.clone())

    return engine("failing", make)


def run(folder: Path, out: Path, *engines: str | Mapping[str, Any] | Engine, **given: Any) -> Comparison:
    """Engines compared on all cases of a folder."""
    models = Models()
    made = [one if isinstance(one, Engine) else engines_of([one], models)[0] for one in engines]
    plan = Plan(read_cases(folder), made, given.pop("seeds", (0,)), Cut(**given.pop("cut", {})), **given)
    return compare(plan, ResultStore(out))


def row(found: Comparison, case: str, label: str, seed: int = 0) -> Any:
    """One outcome of a run."""
    return next(one for one in found.outcomes if (one.case, one.engine, one.seed) == (case, label, seed))


def write_images(folder: Path, frames: Tensor) -> None:
    """A clip or a mask as a folder of images."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, frame in enumerate(frames if frames.ndim == 4 else frames[..., None].expand(-1, -1, -1, 3)):
        Image.fromarray((frame.numpy() * 255).round().astype(np.uint8)).save(folder / f"{number:05}.png")


def named(cases: list[Case]) -> dict[str, Case]:
    """Cases by their names."""
    return {case.name: case for case in cases}
