"""A process of several that train one model, started by torchrun: python training_together.py FOLDER STEPS."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from test_trainer import SETTINGS, source, trainer

from vivid_core.training.tasks import Sample, SamplePlan
from vivid_core.training.workers import AcceleratedWorkers, Workers

# AdamW alone, in float32: there the order in which gradients are summed is lost in rounding.
PLAIN = replace(SETTINGS, matrix_rate=0.0)


def train(folder: Path, steps: int, workers: Workers) -> None:
    """Train, and leave a file that says which samples this process had."""
    seen: list[str] = []

    def told(plan: SamplePlan) -> Sample:
        seen.append(str(plan))
        return source(plan)

    trainer(folder, PLAIN, source=told, workers=workers).train(steps)
    (folder / f"{workers.rank} of {workers.count}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), AcceleratedWorkers())
