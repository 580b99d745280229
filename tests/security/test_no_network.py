"""The pack calls nobody: not when it is imported, not when it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.executable)
NETWORK = {"urllib", "http", "requests", "httpx", "aiohttp", "socket", "ftplib", "smtplib", "xmlrpc", "websockets"}

# Every module of vivid_core, imported while nothing may be called; then a small edit with what it computes.
IMPORTS = """
import importlib, pkgutil, sys
calls = []
def heard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        calls.append((event, str(arguments)))
sys.addaudithook(heard)
sys.path.insert(0, sys.argv[1])
import vivid_core
names = [one.name for one in pkgutil.walk_packages(vivid_core.__path__, "vivid_core.") if "__main__" not in one.name]
for name in names:
    importlib.import_module(name)
import torch
from vivid_core.masks.augment import augment_mask
from vivid_core.models import embedded
from vivid_core.video.composite import composite
frames, mask = torch.rand(3, 32, 32, 3), torch.zeros(3, 32, 32)
mask[:, 8:24, 8:24] = 1
composite(frames, 1 - frames, mask)
augment_mask(mask, "hull")
model, notes = embedded.load(embedded.WEIGHTS)
print(len(names), calls)
"""

# ComfyUI with the pack, the recolouring workflow without weights and one with the embedded model, in a network that
# has nothing but this machine.
DEMO = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from harness.clips import write_clip
from harness.prompts import ids_of, set_inputs, shipped
from harness.server import Server
base = Path(sys.argv[2])
with Server(base) as server:
    write_clip(base / "input" / "clip.mp4")
    told = server.get("/object_info")
    print("nodes", sum(name.startswith("Vivid") for name in told))
    plain = shipped("Recolour an object (no weights)")
    set_inputs(plain, "LoadVideo", file="clip.mp4")
    set_inputs(plain, "VividTrackMask", box="40, 30, 60, 50", frame=0, points="")
    set_inputs(plain, "ImageFromBatch", batch_index=0)
    set_inputs(plain, "VividKeyframes", at_frames="0")
    for prompt in (plain, shipped("Edit an image (embedded model)")):
        run = server.run(prompt)
        print("ended", run.ending, run.error)
"""
LOOPBACK_ONLY = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
CALL_OUT = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"  # an address of no one


def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "0", **more}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """What puts a command into a network without a route; skipped, with the reason, where the system forbids it."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("this system has no unshare or no ip, so a network of its own can't be made")
    tried = run(*LOOPBACK_ONLY, "true")
    if tried.returncode:
        pytest.skip(f"this system makes no network of its own: {tried.stderr.strip()}")
    return LOOPBACK_ONLY


def test_importing_everything_and_a_small_edit_call_nobody() -> None:
    done = run(str(PYTHON), "-c", IMPORTS, str(ROOT))
    assert done.returncode == 0, done.stderr[-2000:]
    count, calls = re.fullmatch(r"(\d+) (.*)", done.stdout.strip().splitlines()[-1]).groups()  # type: ignore[union-attr]
    assert int(count) > 150 and calls == "[]"


def test_the_network_of_its_own_reaches_nobody(alone: list[str]) -> None:
    done = run(*alone, str(PYTHON), "-c", CALL_OUT)
    assert done.returncode and "Network is unreachable" in done.stderr


def test_comfyui_with_the_pack_edits_without_a_network(alone: list[str], tmp_path: Path) -> None:
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("no COMFYUI_PATH: run these tests with make test")
    done = run(*alone, str(PYTHON), "-c", DEMO, str(ROOT / "tests"), str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(re.findall(r"nodes (\d+)", done.stdout)[0]) > 20
    assert re.findall(r"ended (.*)", done.stdout) == ["execution_success "] * 2
    log = (tmp_path / "server.log").read_text(errors="replace")
    assert not [line for line in log.splitlines() if "vivid" in line.lower() and "unreachable" in line.lower()]


def test_no_module_of_the_pack_imports_what_calls_others() -> None:
    """aiohttp is what ComfyUI's own server gives routes with."""
    found = []
    for path in [*(ROOT / "vivid_core").rglob("*.py"), *(ROOT / "nodes").rglob("*.py"), ROOT / "__init__.py"]:
        for line in re.findall(r"^\s*(?:import|from)\s+(\w+)", path.read_text(), flags=re.MULTILINE):
            if line in NETWORK and not (line == "aiohttp" and path.name == "board_routes.py"):
                found.append(f"{path.name}: {line}")
    assert found == []


def test_installing_the_pack_installs_nothing() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line.strip() and not line.startswith("#")] == []
    assert "dependencies" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
