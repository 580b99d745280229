"""The safetensors format: eight bytes of length, a JSON header, the tensors' bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
LENGTH_BYTES = 8
DTYPES = {
    name: getattr(torch, dtype)
    for name, dtype in {
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
        "F8_E8M0": "float8_e8m0fnu",
        "C64": "complex64",
        "I64": "int64",
        "I32": "int32",
        "I16": "int16",
        "I8": "int8",
        "U64": "uint64",
        "U32": "uint32",
        "U16": "uint16",
        "U8": "uint8",
        "BOOL": "bool",
    }.items()
    if hasattr(torch, dtype)
}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor that is not loaded: its dtype, shape and bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    nbytes: int


def read_header(file: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Tensors and metadata of a safetensors file, from its header alone.

    Raises ValueError, in one sentence that names the file, when it is empty, not safetensors, cut off or damaged.
    """
    size = file.stat().st_size
    if size == 0:
        raise ValueError(f"{file.name} is empty (0 bytes): download it again.")
    header, begin = _header(file, size)
    metadata = header.pop("__metadata__", None) or {}
    try:
        ends = [entry["data_offsets"][1] for entry in header.values()]
        tensors = {name: _info(file, name, entry) for name, entry in header.items()}
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{file.name} has a damaged header: download it again.") from error
    if not tensors:
        raise ValueError(f"{file.name} holds no tensors: choose the file with the weights.")
    expected = begin + max(ends)
    if size < expected:
        raise ValueError(
            f"{file.name} is cut off: its header says {expected} bytes, and the file has {size}; download it again."
        )
    if size > expected:
        raise ValueError(
            f"{file.name} is damaged: its header says {expected} bytes, and the file has {size}; download it again."
        )
    return tensors, metadata


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, mapped from it into memory.

    Raises ValueError when the file isn't whole (any more).
    """
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file.name} can't be read ({error}): download it again.") from error


def _header(file: Path, size: int) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    with file.open("rb") as opened:
        start = opened.read(LENGTH_BYTES + 1)
        length = int.from_bytes(start[:LENGTH_BYTES], "little")
        if start[LENGTH_BYTES:] != b"{" or length > LONGEST_HEADER:
            raise ValueError(f"{file.name} is no safetensors file{_guess(start)}: download the weights again.")
        begin = LENGTH_BYTES + length
        if begin > size:
            raise ValueError(
                f"{file.name} is cut off: its header alone ends at byte {begin}, and the file has {size} bytes; "
                "download it again."
            )
        opened.seek(LENGTH_BYTES)
        text = opened.read(length)
    try:
        header = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file.name} has a damaged header: download it again.") from error
    return header, begin


def _guess(start: bytes) -> str:
    """What a file is instead, where its first bytes tell."""
    if start.startswith(b"version "):
        return " but the pointer that Git LFS leaves when it has not fetched it"
    if start.lstrip().startswith(b"<"):
        return " but a web page, as a browser saves it when it may not download"
    if start.startswith((b"PK", b"\x80")):
        return " but a PyTorch pickle under a wrong name"
    return ""


def _info(file: Path, name: str, entry: Mapping[str, Any]) -> TensorInfo:
    if entry["dtype"] not in DTYPES:
        raise ValueError(
            f"{file.name}: {name} is stored as {entry['dtype']}, which this PyTorch doesn't know; choose a file in "
            "fp32, fp16, bf16 or fp8."
        )
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"{file.name} has a damaged header ({name} has {end - begin} bytes for a shape of {shape}): download it "
            "again."
        )
    return TensorInfo(dtype, shape, end - begin)
