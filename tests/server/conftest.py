"""One real ComfyUI server for all tests of this folder, with a small real clip in its input folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.clips import write_clip
from harness.server import Server
from PIL import Image

NATIVES = Path(__file__).resolve().parent.parent / "harness" / "native_nodes"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no COMFYUI_PATH: run these tests with make test")
    base = tmp_path_factory.mktemp("server")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "harness_natives").symlink_to(NATIVES, target_is_directory=True)
    with Server(base) as running:
        write_clip(base / "input" / "clip.mp4")
        Image.new("RGB", (96, 64), (40, 90, 200)).save(base / "input" / "edited_keyframe.png")
        yield running
