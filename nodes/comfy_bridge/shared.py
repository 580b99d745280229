"""One shared instance of each model: loaders that ask for the same file in the same way get the same weights."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

from .host import ManagedModel


class Shelf:
    """Holds the root patchers of living models, weakly: node outputs hold clones, and a clone holds its root.

    So ComfyUI's node cache alone decides how long a model lives. Two patchers made apart from each other on one
    module would leak each other's LoRAs; clones of one root don't.
    """

    def __init__(self) -> None:
        self.builds = 0
        self._roots: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()  # a build may load parts of its own

    def get(self, key: Hashable, build: Callable[[], ManagedModel]) -> ManagedModel:
        """A clone of the model under `key`; `build` makes it if it isn't alive. One build at a time."""
        with self._lock:
            root = self._roots.get(key)
            if root is not None:
                return ManagedModel(root).clone()
            model = build()
            self._roots[key] = model.patcher
            self.builds += 1
            return model.clone()

    def live(self) -> int:
        """How many models are alive."""
        return len(self._roots)


SHELF = Shelf()


def file_identity(paths: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """What tells files apart, also after one was written over: real path, size and time of the last change."""
    identities = []
    for path in paths:
        status = os.stat(path)
        identities.append((os.path.realpath(path), status.st_size, status.st_mtime_ns))
    return tuple(identities)


def fingerprint_of(find: Callable[[], Iterable[Path]]) -> Any:
    """What a loading node's result depends on: the files that `find` names. Never the same twice where there are none,
    as then the node is to run and say what is missing."""
    try:
        return file_identity(find())
    except (ValueError, OSError):
        return float("nan")
