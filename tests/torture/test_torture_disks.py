"""Folders that are full or can't be written: one helpful sentence or a note, nothing half-written, and all is well once
there is room again."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from harness import engines, probes
from harness.engines import of_pack, returned
from harness.inprocess import Executor

from torture import disks, schemas
from torture.clips import Shape
from torture.disks import WORKS, Disk, Works
from torture.filler import NAMES, Filler


@pytest.fixture
def disk(tmp_path: Path, comfy_base: Path) -> Iterator[Disk]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(disks.disk(tmp_path / "disk"))
        except OSError as refused:
            pytest.skip(f"no tmpfs can be mounted here: {refused}")
        yield made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engines.save_embedded(tmp_path_factory.mktemp("full") / "vivid.safetensors")


@pytest.fixture
def works(executor: Executor, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Works:
    monkeypatch.setattr(of_pack("vivid_core.models.embedded"), "WEIGHTS", weights)
    engine = engines.engine(functools.partial(probes.call, executor))
    return disks.works(executor, engine, tmp_path, Shape(5, 48, 48, 1))


def faults(name: str, result: Any, disk: Disk) -> list[str]:
    return list(disk.faults(name, result, schemas.our_nodes()))


@pytest.mark.parametrize("name", WORKS)
def test_on_a_full_disk_one_sentence_is_said_and_with_room_it_works(works: Works, disk: Disk, name: str) -> None:
    disk.fill()
    assert faults(name, works[name](), disk) == []
    disk.free()
    result = works[name]()
    assert result.ok, result.exception
    assert disk.damaged() == []


@pytest.mark.parametrize("name", WORKS)
def test_on_a_disk_that_fills_up_meanwhile_nothing_half_written_is_left(works: Works, disk: Disk, name: str) -> None:
    disk.resize(12 * 1024)
    result = works[name]()
    if not result.ok:
        assert faults(name, result, disk) == []
    assert disk.damaged() == []


@pytest.mark.parametrize("name", WORKS)
def test_on_a_disk_that_can_not_be_written_one_sentence_is_said(works: Works, disk: Disk, name: str) -> None:
    disk.lock()
    assert faults(name, works[name](), disk) == []
    disk.free()
    result = works[name]()
    assert result.ok, result.exception


def test_a_training_that_can_not_save_says_so_and_goes_on_when_there_is_room(works: Works, disk: Disk) -> None:
    disk.resize(2**20)
    assert works["sample, exact"]().ok
    disk.fill()
    assert faults("training", works["training"](), disk) == []
    disk.free()
    report = returned(works["training"]())[2]
    assert "Trained 2 steps" in report
    assert disk.damaged() == []


def test_the_long_form_finds_a_disk_that_nobody_noticed(
    weights: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk
) -> None:
    monkeypatch.setattr(of_pack("vivid_core.models.embedded"), "WEIGHTS", weights)
    full = Filler(schemas.our_nodes(), limit=120.0)
    told = full.run(0)
    assert (told["work"], told["kind"], told["faults"]) == (NAMES[0], "full", [])
    monkeypatch.setattr(disks, "SMALL", disks.AMPLE)
    monkeypatch.setattr(Disk, "fill", lambda self: None)
    assert any("ended with ok" in fault for fault in full.run(0)["faults"])
