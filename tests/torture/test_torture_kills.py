"""The short form of the killed servers, and what finds out that something was lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.server import Run

from torture import files
from torture.jobs import JOBS, WINDOWS
from torture.kills import kills
from torture.mixed import MOST_MB, growth
from torture.record import Record

SEEDS = (3, 22, 5)  # one of each kind of work; the training is killed late, so that a checkpoint is there


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no COMFYUI_PATH: run these tests with make test")
    lines = list(kills(tmp_path, SEEDS))
    assert {line["work"] for line in lines} == {job.name for job in JOBS}
    assert all(line["steps"] > 0 for line in lines if line["work"] == "Train VIVID LoRA")
    assert [(line["seed"], line["faults"]) for line in lines if line["faults"]] == []


def test_work_that_is_done_again_is_found_out(tmp_path: Path) -> None:
    job, window = JOBS[0], tmp_path / "output" / "vivid_windows" / "one.safetensors"
    window.parent.mkdir(parents=True)
    window.write_bytes(b"made")
    kept = job.kept(tmp_path)
    run = Run("one", [("execution_success", {})])
    assert list(job.faults(kept, 0, tmp_path, run)) == []
    (window.parent / "other").write_bytes(b"made again")
    (window.parent / "other").replace(window)
    assert "made again" in next(job.faults(kept, 0, tmp_path, run))
    assert "ended with" in next(job.faults(kept, 0, tmp_path, Run("one")))


def test_only_the_windows_of_its_own_turn_count(tmp_path: Path) -> None:
    job, folder = JOBS[0], tmp_path / "output" / "vivid_windows"
    folder.mkdir(parents=True)
    for number in range(WINDOWS):
        (folder / f"earlier {number}.safetensors").write_bytes(b"made")
    earlier, run = job.kept(tmp_path), Run("one", [("execution_success", {})])
    for number in range(WINDOWS):
        (folder / f"{number}.safetensors").write_bytes(b"made")
    assert list(job.faults({}, 0, tmp_path, run, earlier)) == []
    (folder / "one more.safetensors").write_bytes(b"made")
    assert f"{WINDOWS + 1} windows were made" in next(job.faults({}, 0, tmp_path, run, earlier))


def test_a_training_that_begins_anew_is_found_out(tmp_path: Path) -> None:
    counted = ("progress", {"node": "train", "value": 1, "max": 80})
    run = Run("one", [counted, ("execution_success", {})], texts=["Trained 80 steps on 1 samples."])
    assert list(JOBS[1].faults({}, 0, tmp_path, run)) == []
    assert "50 of 80" in next(JOBS[1].faults({}, 50, tmp_path, run))


@pytest.mark.parametrize("name", ["half.safetensors", "half.png", "half.mp4", "half.pt", "half.json", "half.jsonl"])
def test_half_a_file_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'{"half')
    assert name in next(files.faults_of(tmp_path))


def test_unfinished_files_count(tmp_path: Path) -> None:
    (tmp_path / "one.part").touch()
    assert list(files.faults_of(tmp_path)) and list(files.faults_of(tmp_path, unfinished=1)) == []


def test_growing_memory_is_found_and_steady_memory_is_not() -> None:
    noise = [0.4, -0.3, 0.1, -0.5, 0.3] * 20
    steady = growth([700 + one for one in noise])
    growing = growth([700 + 2 * MOST_MB * index + one for index, one in enumerate(noise)])
    assert steady["faults"] == [] and growing["faults"]
    assert growing["from"] < 2 * MOST_MB < growing["to"]


def test_what_was_run_before_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "fuzz.jsonl"
    first = Record(path)
    first.add({"seed": 3, "faults": [], "kind": "ok"})
    first.add({"seed": 4, "faults": ["hangs"], "kind": "died"})
    with open(path, "a") as file:
        file.write('{"seed": 5, "fau')  # a crash
    again = Record(path)
    assert [again.has(seed) for seed in (3, 4, 5)] == [True, True, False]
    assert again.wrong == 1 and "4: ['hangs']" in again.summary()
    assert not Record(path, again=True).has(3)
