"""Packages that the pack can live without: imported where they are used, with the install command if missing."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

PIP_NAMES = {"cv2": "opencv-python-headless"}


def require(module: str, purpose: str) -> ModuleType:
    """Import `module`, or say in one sentence what needs it and which command installs it.

    Raises ModuleNotFoundError when the package is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != module.split(".")[0]:
            raise
        package = PIP_NAMES.get(module, module)
        raise ModuleNotFoundError(
            f"{purpose} needs the package {package}, which is not installed: run "
            f'"{sys.executable}" -m pip install {package} and restart ComfyUI.',
            name=missing.name,
        ) from missing


def opencv(purpose: str) -> ModuleType:
    """OpenCV (`cv2`), for the `purpose` named in the message if it is missing."""
    return require("cv2", purpose)
