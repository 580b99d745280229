"""Makes `vivid_core` importable on its own, as a script would see it, and boots one ComfyUI for all who ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import inprocess, probes
from harness.packages import import_from_root

import_from_root("vivid_core")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: runs on a CUDA GPU where there is one, else on the pretend accelerator")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in a browser come last: it leaves an event loop behind, in which ComfyUI's executor can't start its own."""
    items.sort(key=lambda item: "page" in item.path.parent.parts)


@pytest.fixture(scope="session")
def comfy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base folder of the ComfyUI in this process, with the pack loaded. It can be booted only once."""
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
