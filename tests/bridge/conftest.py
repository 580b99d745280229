"""The bridge of the loaded pack, and a device to try it on: a CUDA GPU, or the pretend accelerator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from harness import inprocess
from harness.pretend.accelerator import Accelerator, PretendAccelerator, find_accelerator
from harness.pretend.build import CannotBuild, load
from harness.pretend.takeover import gpu_of_comfyui


class Bridge:
    """`bridge.memory` is the pack's nodes/comfy_bridge/memory.py as ComfyUI loaded it, and so on."""

    def __getattr__(self, name: str) -> ModuleType:
        return inprocess.bridge(name)


def pytest_collection_finish(session: pytest.Session) -> None:
    """torch counts its devices when it first computes a gradient, in whichever test that is: be there before."""
    wanted = any({"accelerator", "pretend"} & set(getattr(item, "fixturenames", ())) for item in session.items)
    if wanted and not torch.cuda.is_available():
        with contextlib.suppress(CannotBuild):
            load()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from more, and lose much where other programs keep the cores busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bridge(comfy_base: Path, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    """With a limit for resident layers that is small enough for tiny models to be streamed at all."""
    bridge = Bridge()
    monkeypatch.setattr(bridge.patcher, "RESIDENT_BYTES", 1024)
    return bridge


@pytest.fixture
def accelerator(comfy_base: Path) -> Iterator[Accelerator]:
    """ComfyUI's GPU for one test."""
    try:
        found = find_accelerator()
    except CannotBuild as missing:
        pytest.skip(str(missing))
    with gpu_of_comfyui(found):
        yield found


@pytest.fixture
def pretend() -> Iterator[PretendAccelerator]:
    """The pretend accelerator for one test, unknown to ComfyUI."""
    if torch.cuda.is_available():
        pytest.skip("a CUDA GPU is here, and torch pins memory for one kind of device only")
    try:
        device = PretendAccelerator(load())
    except CannotBuild as missing:
        pytest.skip(str(missing))
    yield device
    device.set_capacity(0)
