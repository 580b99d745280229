"""The safetensors format: eight bytes of length, a JSON header, the tensors' bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..json_text import parsed_object

LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
LENGTH_BYTES = 8
MOST_VALUES = 2**60  # of one tensor, sides of 0 counted as 1; more can't be counted in 64 bits
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
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{file.name} has a damaged header (its metadata are no texts): download it again.")
    tensors = {name: _info(file, name, entry) for name, entry in header.items()}
    if not tensors:
        raise ValueError(f"{file.name} holds no tensors: choose the file with the weights.")
    expected = begin + _end(file, header)
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
        header = parsed_object(text)
    except ValueError as error:
        raise ValueError(f"{file.name} has a damaged header ({error}): download it again.") from error
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


def _end(file: Path, header: Mapping[str, Any]) -> int:
    """Where the last tensor ends. Raises ValueError where one doesn't begin where the one before it ends."""
    end = 0
    for begin, stop, name in sorted((*entry["data_offsets"], name) for name, entry in header.items()):
        if begin != end:
            raise ValueError(
                f"{file.name} has a damaged header ({name} begins at byte {begin} of the tensors, where byte {end} was "
                "next): download it again."
            )
        end = stop
    return end


def _info(file: Path, name: str, entry: Any) -> TensorInfo:
    """One tensor. Raises ValueError when what the header says of it can't be."""
    told = entry if isinstance(entry, dict) else {}
    kind, sides, place = (told.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(kind, str) or not _sizes(sides) or not _sizes(place) or len(place) != 2:
        raise ValueError(f"{file.name} has a damaged header (what it says of {name} is no tensor): download it again.")
    if kind not in DTYPES:
        raise ValueError(
            f"{file.name}: {name} is stored as {kind}, which this PyTorch doesn't know; choose a file in "
            "fp32, fp16, bf16 or fp8."
        )
    dtype, shape, (begin, end) = DTYPES[kind], tuple(sides), place
    if math.prod(side or 1 for side in shape) > MOST_VALUES:
        raise ValueError(
            f"{file.name} has a damaged header ({name} has a shape of {shape}, which no tensor has): download it again."
        )
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"{file.name} has a damaged header ({name} has {end - begin} bytes for a shape of {shape}): download it "
            "again."
        )
    return TensorInfo(dtype, shape, end - begin)


def _sizes(values: Any) -> TypeGuard[list[int]]:
    """Whether these are whole numbers from 0 (True is none)."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
