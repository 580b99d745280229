"""Packages that the pack can live without: imported where they are used, with the install command if missing.

Installing the pack installs none of them. Managers install requirements one line at a time, and pip then looks at
nothing but that line: a newer diffusers brings a huggingface-hub that the installed transformers refuses, and with it
ComfyUI; a newer OpenCV moves numpy; and a second OpenCV overwrites the files of the first. In one command that names
what must stay first, pip keeps that and chooses versions of the rest that fit.
"""

from __future__ import annotations

import importlib
import logging
import sys
from importlib.util import find_spec
from types import ModuleType

PIP_NAMES = {"cv2": "opencv-python-headless", "diffusers": '"diffusers>=0.35"'}
WANTED = ("diffusers", "peft", "cv2")  # what the whole pack uses beyond ComfyUI; SAM 2 has its own way
KEPT = ("numpy", "transformers")

log = logging.getLogger("vivid")


def require(module: str, purpose: str) -> ModuleType:
    """Import `module`, or say in one sentence what needs it and which command installs it.

    Raises ModuleNotFoundError when the package is missing.
    """
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != package:
            raise
        shown = PIP_NAMES.get(package, package).strip('"').split(">")[0]
        raise ModuleNotFoundError(
            f"{purpose} needs the package {shown}, which is not installed: run {install_command(module)} and restart "
            "ComfyUI.",
            name=package,
        ) from missing


def install_command(module: str) -> str:
    """The command that installs or updates the package of `module`, and what else of WANTED is missing: once is enough.

    An installed numpy and transformers stay as they are.
    """
    package = module.split(".")[0]
    kept = [name for name in KEPT if name != package and _installed(name)]
    missing = [name for name in WANTED if name != package and not _installed(name)]
    names = [PIP_NAMES.get(name, name) for name in (*kept, package, *missing)]
    return f'"{sys.executable}" -m pip install {" ".join(names)}'


def opencv(purpose: str) -> ModuleType:
    """OpenCV (`cv2`), for the `purpose` named in the message if it is missing."""
    return require("cv2", purpose)


def tell_what_is_missing() -> None:
    """One line in the log while the pack loads, if anything of WANTED is not installed."""
    missing = [name for name in WANTED if not _installed(name)]
    if missing:
        log.info(
            "VIVID: %s not installed. The nodes that need it say so; for all of it at once run %s and restart ComfyUI.",
            ", ".join(missing),
            install_command(missing[0]),
        )


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # another pack put a module of its own there, without saying where it comes from
        return True
