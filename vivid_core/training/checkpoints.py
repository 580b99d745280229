"""What a run leaves in its folder: a checkpoint to go on from, and a log of its losses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..models.pickles import load_plain
from ..whole_files import whole_file
from .settings import differences

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"


def write_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the checkpoint of `folder`; never half of one. Raises ValueError when there is no room for it."""
    with whole_file(folder / CHECKPOINT, RuntimeError) as unfinished:  # that is what torch says of a full disk
        torch.save(dict(state), unfinished)


def read_checkpoint(folder: Path, made_with: str) -> dict[str, Any] | None:
    """The state in the checkpoint of `folder`; None where there is none. `made_with` is what the run is made with now.

    Raises ValueError when the file is damaged, or was trained with another recipe or other settings.
    """
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = load_plain(file, "delete it to start the run again")
        other = differences(state["made_with"], made_with)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise ValueError(
            f"{file} is damaged or no checkpoint of this training; delete it to start the run again."
        ) from fault
    if other:
        raise ValueError(
            f"{file} was trained with another recipe or other settings ({', '.join(other)}); use those, or train "
            "into another folder."
        )
    return state


def log_line(folder: Path, step: int, loss: float, **more: float) -> None:
    """Append one line of JSON to the log of `folder`. Raises ValueError when it can't be written."""
    line = json.dumps({"step": step, "loss": round(loss, 5), **more})
    try:
        with open(folder / LOG, "a", encoding="utf-8") as log:
            log.write(line + "\n")
    except OSError as fault:
        raise ValueError(
            f"{folder / LOG} can't be written ({fault.strerror}); free some space, and train on from the checkpoint."
        ) from fault


def check_finite(step: int, loss: float, gradient: float, samples: str = "") -> None:
    """Raises ValueError, naming the step and its `samples`, when a loss or the size of its gradient is no number."""
    if math.isfinite(loss) and math.isfinite(gradient):
        return
    of = f" (samples {samples})" if samples else ""
    raise ValueError(
        f"Training: the {'gradient' if math.isfinite(loss) else 'loss'} of step {step} is no number{of}; the last "
        "checkpoint is kept, so lower the learning rate and train on from it."
    )
