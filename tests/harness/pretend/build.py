"""Compiles the pretend accelerator on first use and loads it into torch, once for each process.

What was compiled lies in the user's cache folder, one build for each combination of source, torch and Python. The
folders can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
SOURCE, HEADER = HERE / "device.cpp", HERE / "memory.h"
EXTENSION = "vivid_pretend_device"
NAME = "pretend"  # torch.device("pretend")
FLAGS = ["-O1", "-w"]
SECONDS = 20
READY = "ready"


class CannotBuild(Exception):
    """Something that a build needs is missing; the text says in one sentence what to install."""


@functools.cache
def load() -> types.ModuleType:
    """The compiled ledger of the device: allocated(), peak(), reset_peak(), set_capacity(bytes), traffic().

    From the first call on, torch knows the device. Raises CannotBuild.
    """
    folder = _folder()
    torch.utils.rename_privateuse1_backend(NAME)
    extension = _compiled(folder) if (folder / READY).exists() else _compile(folder)
    torch._register_device_module(NAME, _device_module())
    return extension


def _folder() -> Path:
    parts = (SOURCE.read_text(), HEADER.read_text(), torch.__version__, platform.python_version(), *FLAGS)
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "vivid-video-edit" / f"pretend-{key}"


def _compiled(folder: Path) -> types.ModuleType:
    specification = importlib.util.spec_from_file_location(EXTENSION, folder / f"{EXTENSION}.so")
    assert specification is not None and specification.loader is not None
    extension = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(extension)
    return extension


def _compile(folder: Path) -> types.ModuleType:
    compiler = _compiler()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "turn", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if (folder / READY).exists():
            return _compiled(folder)
        # torch's own lock file outlives a build that was killed, and would make this one wait for ever.
        (folder / "lock").unlink(missing_ok=True)
        print(f"Compiling the pretend accelerator in {folder}: once, about {SECONDS} seconds.", flush=True)
        with _environment(CXX=compiler):
            from torch.utils import cpp_extension

            extension = cpp_extension.load(EXTENSION, [str(SOURCE)], build_directory=str(folder), extra_cflags=FLAGS)
        (folder / READY).touch()
        return extension


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _compiler() -> str:
    compiler = next(filter(shutil.which, [os.environ.get("CXX", ""), "c++", "g++"]), None)
    missing = [] if compiler else ["a C++ compiler (g++)"]
    missing += [] if shutil.which("ninja") else ["ninja"]
    missing += [] if Path(sysconfig.get_path("include"), "Python.h").exists() else ["Python's headers (python3-dev)"]
    if missing or compiler is None:
        raise CannotBuild(
            f"The pretend accelerator needs {' and '.join(missing)}: install it with your system's tools."
        )
    return compiler


def _device_module() -> types.ModuleType:
    """What torch looks for under torch.<name of the device>."""
    module = types.ModuleType(f"torch.{NAME}")
    module.__dict__.update(
        is_available=lambda: True,
        is_initialized=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        synchronize=lambda device=None: None,
        manual_seed_all=lambda seed: None,  # its random numbers come from the CPU's generator
        get_rng_state=lambda device=None: torch.get_rng_state(),
        set_rng_state=lambda state, device=None: torch.set_rng_state(state),
        get_amp_supported_dtype=lambda: [torch.float16, torch.bfloat16],
        _is_in_bad_fork=lambda: False,
        _lazy_init=lambda: None,
    )
    return module
