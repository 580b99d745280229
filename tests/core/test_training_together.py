"""Several processes train what one alone trains: real ones, that torchrun starts and that share their gradients."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_together

from vivid_core.training.__main__ import _is_over
from vivid_core.training.checkpoints import CHECKPOINT
from vivid_core.training.workers import Workers

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3


def started(*arguments: str | Path) -> str:
    """What two processes of torchrun say."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    places = os.pathsep.join([str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    done = subprocess.run(map(str, command), env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def samples(folder: Path, name: str) -> list[str]:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def test_two_processes_train_what_one_alone_trains_each_on_half_of_the_samples(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    training_together.train(one, STEPS, Workers())
    started(training_together.__file__, two, STEPS)
    first, second, whole = samples(two, "0 of 2"), samples(two, "1 of 2"), samples(one, "0 of 1")
    assert whole[::2] == first and whole[1::2] == second
    alone, together = (torch.load(folder / CHECKPOINT, weights_only=True) for folder in (one, two))
    assert together["losses"].tolist() == pytest.approx(alone["losses"].tolist(), rel=1e-5)
    for part, weights in alone["model"].items():
        for name, weight in weights.items():
            torch.testing.assert_close(together["model"][part][name], weight, rtol=0, atol=2e-4, msg=name)


def test_the_command_is_one_run_in_two_processes(tmp_path: Path) -> None:
    said = started("-m", "vivid_core.training", tmp_path, "--steps", "1")
    assert said.count("step 1 of 1") == 1


class OneOfTwo(Workers):
    """A process that still has time, beside one that has none left."""

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        return (value + 1) / 2


def test_all_processes_stop_when_one_is_out_of_time() -> None:
    assert _is_over(math.inf, OneOfTwo())
    assert not _is_over(math.inf, Workers())
    assert _is_over(-math.inf, Workers())
