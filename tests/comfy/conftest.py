"""One ComfyUI in this process for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import inprocess, probes


@pytest.fixture(scope="session")
def comfy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base folder of a booted ComfyUI."""
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no COMFYUI_PATH: run these tests with make test")
    base = tmp_path_factory.mktemp("comfyui")
    inprocess.boot(base)
    inprocess.load_pack(base)
    probes.install()
    return base


@pytest.fixture
def executor(comfy_base: Path) -> Iterator[inprocess.Executor]:
    yield inprocess.Executor()


@pytest.fixture
def call(executor: inprocess.Executor) -> Callable[..., inprocess.Result]:
    """`call("VividAugmentMask", mask=..., mode="hull")`: one node through the real executor."""

    def run(node_id: str, **inputs: Any) -> inprocess.Result:
        return probes.call(executor, node_id, **inputs)

    return run
