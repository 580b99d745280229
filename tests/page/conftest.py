"""One server and one Chromium for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.clips import write_clip
from harness.page import open_page
from harness.server import Server
from PIL import Image
from playwright.sync_api import Page, Playwright, sync_playwright


@pytest.fixture(scope="session")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no COMFYUI_PATH: run these tests with make test")
    if not os.environ.get("VIVID_CHROMIUM"):
        pytest.skip("no Chromium: apt-get install chromium")
    base = tmp_path_factory.mktemp("page")
    with Server(base) as running:
        write_clip(base / "input" / "clip.mp4")
        Image.new("RGB", (96, 64), (40, 90, 200)).save(base / "input" / "edited_keyframe.png")
        yield running


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def page(page_server: Server, playwright: Playwright) -> Iterator[Page]:
    with open_page(page_server, playwright) as opened:
        yield opened


@pytest.fixture(scope="session")
def new_nodes_page(page_server: Server, playwright: Playwright) -> Iterator[Page]:
    """The same with the nodes drawn the new way."""
    with open_page(page_server, playwright, new_nodes=True) as opened:
        yield opened


@pytest.fixture(scope="session", params=["nodes 1.0", "nodes 2.0"])
def drawn_page(request: pytest.FixtureRequest, page_server: Server, playwright: Playwright) -> Iterator[Page]:
    """A page of its own with the nodes drawn the old way, and one with the new way."""
    with open_page(page_server, playwright, (1280, 720), new_nodes=request.param == "nodes 2.0") as opened:
        yield opened


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go; VIVID_SHOTS=folder keeps them."""
    kept = os.environ.get("VIVID_SHOTS")
    return Path(kept) if kept else tmp_path_factory.mktemp("shots")
