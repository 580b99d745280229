"""Finished windows, kept so that none has to be made twice: in memory, or in a folder that outlives a crash.

They are kept in 16 bits for each value, under a key that stands for everything they were made from.
"""

from __future__ import annotations

import logging
import os
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

LEVELS = 65535
MIDDLE = 32768  # values are kept as signed numbers, which every version of safetensors and torch can hold
NAME = re.compile(r"[0-9a-f]{64}\.safetensors(\.\d+\.part)?$")
TENSOR, CHECKSUM, UNFINISHED = "frames", "crc32", ".part"
ABANDONED = 3600.0  # seconds after which an unfinished file belongs to nobody

logger = logging.getLogger("vivid")


class WindowStore(Protocol):
    """Keeps the frames of finished windows; keys are the hex digits of a SHA-256."""

    def get(self, key: str) -> Tensor | None:
        """frames_fhwc as they were put, to the bit; None if there are none."""
        ...

    def put(self, key: str, frames_fhwc: Tensor) -> None:
        """Keep frames that `rounded` gave. Never fails: what can't be kept is made again."""
        ...


def rounded(frames_fhwc: Tensor) -> Tensor:
    """Frames in 0..1 in whole 65535ths, which is all that a store keeps."""
    return _unpacked(_packed(frames_fhwc))


class MemoryStore:
    """Windows in memory, at most `max_bytes`; those that were not asked for longest go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str) -> Tensor | None:
        """See `WindowStore`."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return _unpacked(self._kept[key])

    def put(self, key: str, frames_fhwc: Tensor) -> None:
        """See `WindowStore`."""
        self._kept[key] = _packed(frames_fhwc)
        self._kept.move_to_end(key)
        while sum(one.nbytes for one in self._kept.values()) > self._max_bytes:
            self._kept.popitem(last=False)


class FolderStore:
    """Windows as safetensors files in a folder, at most `max_bytes`; those that were not asked for longest go first.

    A file is there whole or not at all. Damaged ones are taken away. Other files in the folder are left alone.
    """

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = Path(folder), max_bytes

    def get(self, key: str) -> Tensor | None:
        """See `WindowStore`."""
        from safetensors import SafetensorError

        path = self._path(key)
        try:
            frames = _read(path)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, SafetensorError) as error:
            logger.warning("The kept window %s is damaged (%s) and is made again.", path.name, error)
            _remove(path)
            return None
        return frames

    def put(self, key: str, frames_fhwc: Tensor) -> None:
        """See `WindowStore`."""
        from safetensors.torch import save

        packed = _packed(frames_fhwc)
        data = save({TENSOR: packed}, {CHECKSUM: _checksum(packed)})
        if len(data) > self._max_bytes:
            return
        path = self._path(key)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(data)
            os.replace(unfinished, path)
        except OSError as error:
            logger.warning("A finished window could not be kept in %s: %s.", self._folder, error)
            _remove(unfinished)
        self._make_room()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"

    def _make_room(self) -> None:
        files = sorted(_files(self._folder), key=lambda file: file[1].st_mtime_ns, reverse=True)
        kept = 0
        for path, status in files:
            if path.suffix == UNFINISHED:
                if time.time() - status.st_mtime > ABANDONED:
                    _remove(path)
                continue
            kept += status.st_size
            if kept > self._max_bytes:
                _remove(path)


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Our files, finished or not; another process may take one away meanwhile."""
    for path in folder.glob("*"):
        if NAME.match(path.name):
            with suppress(FileNotFoundError):
                yield path, path.stat()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _read(path: Path) -> Tensor:
    from safetensors import safe_open

    if not path.exists():
        raise FileNotFoundError(path)
    with safe_open(path, "pt") as file:
        if TENSOR not in file.keys():  # noqa: SIM118  (it is no dictionary)
            raise ValueError("it holds something else")
        packed = file.get_tensor(TENSOR)
        if packed.dtype != torch.int16 or packed.ndim != 4 or packed.shape[-1] != 3:
            raise ValueError("it holds no frames")
        if (file.metadata() or {}).get(CHECKSUM) != _checksum(packed):
            raise ValueError("its checksum is another one")
    return _unpacked(packed)


def _checksum(packed: Tensor) -> str:
    return str(zlib.crc32(packed.numpy().data))


def _packed(frames_fhwc: Tensor) -> Tensor:
    # Always laid out alike, so that whatever is computed from kept frames gives the same bits.
    return (frames_fhwc.clamp(0, 1) * LEVELS).round_().sub_(MIDDLE).to(torch.int16).contiguous()


def _unpacked(packed: Tensor) -> Tensor:
    return packed.float().add_(MIDDLE).div_(LEVELS)
