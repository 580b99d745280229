"""Imports the repository's own packages as a script would see them.

The repository root must never be on sys.path: its folder `nodes/` would hide ComfyUI's `nodes.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def import_from_root(name: str) -> None:
    """Import the root's package `name` without putting the root on sys.path."""
    if name in sys.modules:
        return
    folder = ROOT / name
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
