"""Other people's Pythons: a ComfyUI that lacks what the pack uses, one with older packages, and the registry's tool.

Each is built once and kept beside the development environment. What ComfyUI asks for is taken from the Python that
runs this, by hard links. The others are layers over it: what pip installs in a layer hides what lies below, and pip
leaves that as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .environment import HERE, READY, cache_folder, digest, only_builder

sys.path[:] = [place for place in sys.path if place != str(HERE)]  # its tokenizers.py is not the package of that name

ROOT = Path(__file__).resolve().parents[2]
COMFY_CLI = "comfy-cli==1.23.0"
BELOW = "below.pth"
OLDER = ("transformers==4.51.3", "huggingface-hub==0.34.4", "tokenizers<0.22")
OF_OTHERS = ("diffusers==0.33.1", "opencv-python==4.11.0.86")
UNASKED = "requests"  # ComfyUI 0.3.75 imports it without asking for it; transformers 4 used to bring it along
UNREACHABLE = "http://127.0.0.1:9"  # the discard port, where nobody answers


@dataclass(frozen=True)
class Installed:
    """A virtual environment of its own."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def site(self) -> Path:
        (found,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        return found

    def pip(self, *arguments: str) -> str:
        """What pip says. Raises RuntimeError with the end of it when it fails."""
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pip {' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    @property
    def places(self) -> list[Path]:
        """Where its packages are: in itself, then in what lies below."""
        return [self.site, *map(Path, (self.site / BELOW).read_text().split())]

    def versions(self) -> dict[str, str]:
        """All that is installed, by its normal name."""
        found: dict[str, str] = {}
        for package in distributions(path=[str(place) for place in self.places]):
            found.setdefault(canonicalize_name(package.metadata["Name"]), package.version)
        return found

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a line of Python in it."""
        return subprocess.run([str(self.python), "-P", "-c", code], capture_output=True, text=True)


def kept(name: str, parts: Sequence[str], build: Callable[[Installed], None]) -> Installed:
    """The environment of this name and these parts, built if it is not there."""
    folder = cache_folder() / f"install-{name}-{digest(*parts, sys.version.split()[0])}"
    if not (folder / READY).exists():
        with only_builder(folder):
            if not (folder / READY).exists():
                shutil.rmtree(folder, ignore_errors=True)
                build(Installed(folder))
                (folder / READY).touch()
    return Installed(folder)


def new_environment(made: Installed, *below: Path) -> None:
    """An empty environment, or a layer over what these folders hold."""
    made.folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made.folder / "venv")], check=True)
    (made.site / BELOW).write_text("".join(f"{place}\n" for place in below))


def closure(requirements: Iterable[str]) -> list[Distribution]:
    """What is installed here of these requirements and of all that they need."""
    here = default_environment()
    waiting = [Requirement(line) for line in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    found: dict[str, Distribution] = {}
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for line in found[name].requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({**here, "extra": e}) for e in extras or {""}):
                waiting.append(needed)
    return list(found.values())


def link(packages: Iterable[Distribution], site: Path) -> None:
    """Hard-link the files of these packages into `site`; scripts, which name their Python, are left out."""
    for package in packages:
        for file in package.files or []:
            source = Path(str(package.locate_file(file)))
            if ".." in file.parts or not source.is_file():
                continue
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(str(source), str(target))


def link_or_copy(source: str, target: str) -> str:
    """A hard link, or a copy where the two are on different disks."""
    try:
        os.link(source, target)
    except FileExistsError:
        pass  # two packages that share a file
    except OSError:
        shutil.copyfile(source, target)
    return target


def lines_of(requirements: Path) -> list[str]:
    """The requirements in a file as Manager reads it: line by line, what follows # left out."""
    stripped = (line.split("#")[0].strip() for line in requirements.read_text().splitlines())
    return [line for line in stripped if line]


def comfyui_requirements() -> list[str]:
    return [*lines_of(Path(os.environ["COMFYUI_PATH"]) / "requirements.txt"), UNASKED]


def _parts(*more: str) -> list[str]:
    packages = sorted(f"{one.metadata['Name']}=={one.version}" for one in closure(comfyui_requirements()))
    return [Path(__file__).read_text(), *packages, *more]


def bare() -> Installed:
    """What a ComfyUI has that was just installed, and nothing else."""

    def build(made: Installed) -> None:
        new_environment(made)
        link(closure([*comfyui_requirements(), "pip"]), made.site)

    return kept("bare", _parts(), build)


def older() -> Installed:
    """A ComfyUI of a year ago whose packages were never updated."""
    return with_installed(bare(), OLDER)


def with_installed(before: Installed, arguments: Sequence[str]) -> Installed:
    """An environment in which `pip install` was run with these arguments."""

    def build(made: Installed) -> None:
        new_environment(made, *before.places)
        made.pip("install", *arguments)

    return kept("layer", [before.folder.name, *arguments], build)


def registry_tool() -> Installed:
    """comfy-cli, by which packs are published."""

    def build(made: Installed) -> None:
        new_environment(made)
        link(closure(["pip"]), made.site)
        made.pip("install", COMFY_CLI)

    return kept("registry", [COMFY_CLI], build)


def registry(*arguments: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run `comfy node ...` in a folder, without a network and without a user's settings."""
    tool = registry_tool()
    alone = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), UNREACHABLE)
    environment = {**os.environ, **alone, "HOME": str(home), "DO_NOT_TRACK": "1", "COLUMNS": "200"}
    environment.pop("PYTHONSAFEPATH", None)
    command = [str(tool.python), "-m", "comfy_cli", "--skip-prompt", "--no-enable-telemetry", "node", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def checkout(target: Path) -> Path | None:
    """A git checkout of all that would be committed now; None where this is no checkout."""
    command = ["git", "ls-files", "-co", "-z", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return None
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    for arguments in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *arguments], cwd=target, check=True)
    return target
