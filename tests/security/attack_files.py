"""Files that somebody made to do harm, and the one sentence that each of them must end in."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

DEEP = 100_000  # brackets inside each other; Python follows some thousand
LONG = "9" * 5000  # digits; Python reads 4300


class Runs:
    """A pickle that makes the folder `trace` when it is loaded carelessly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def one_sentence(action: Callable[[], Any]) -> str:
    """What `action` refuses with: a ValueError of one sentence, and no other."""
    with pytest.raises(ValueError) as caught:
        action()
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 700, text
    return text


def weights() -> dict[str, torch.Tensor]:
    """A small state dict with the names of nothing that is known."""
    return {"first.weight": torch.arange(6.0).reshape(2, 3), "second.weight": torch.ones(4)}


def with_code(path: Path, zipped: bool = True) -> Path:
    """A checkpoint that runs code when it is loaded carelessly; `path`.trace is there afterwards."""
    content = {**weights(), "hook": Runs(trace_of(path))}
    if zipped:
        torch.save(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def plain_with_code(path: Path) -> Path:
    """The same as a bare pickle, as some of the oldest checkpoints are."""
    path.write_bytes(pickle.dumps({"hook": Runs(trace_of(path))}))
    return path


def trace_of(path: Path) -> Path:
    """What is there once the code in `path` ran."""
    return path.with_name(f"{path.name}.trace")


def repacked(path: Path, content: Mapping[str, Any], parts: Mapping[str, bytes] | None = None) -> Path:
    """A PyTorch file whose parts are packed, which PyTorch never does; `parts` are put in the place of its own."""
    torch.save(dict(content), path)
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    stem = next(iter(held)).split("/")[0]
    held.update({f"{stem}/{name}": data for name, data in (parts or {}).items()})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    return path


def zip_bomb(path: Path, megabytes: int = 64) -> Path:
    """A small file whose pickle unpacks to `megabytes`."""
    text = b"X" + struct.pack("<I", megabytes << 20) + b"a" * (megabytes << 20) + b"0"
    return repacked(path, weights(), {"data.pkl": b"\x80\x02" + text + b"}q\x00."})


def raw_safetensors(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file with this header, a JSON text or what makes one, and these bytes behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def with_metadata(path: Path, tensors: Mapping[str, torch.Tensor], **metadata: str) -> Path:
    """A safetensors file that is right, but for what its metadata say."""
    from safetensors.torch import save_file

    save_file(dict(tensors), path, metadata)
    return path


def anonymous_memory() -> int:
    """Bytes that this process has for itself."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024
