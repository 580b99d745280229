"""PyTorch's own files (.pt, .pth, .bin, .ckpt): only tensors are taken from them, and no code in them is ever run."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WRAPPERS = ("state_dict", "model")  # training scripts put the weights under one of these, beside their own state
TORCH_PROTOCOL = 2  # of PyTorch's own pickles; newer ones come from elsewhere
CODE = re.compile(r"GLOBAL|TorchScript")  # in PyTorch's messages: a name that would be called, a compiled program
MOST_REPEATED = 2**32  # bytes of one tensor that repeats its values, as a scale for all channels may
PROGRAM = "constants.pkl"  # the part by which PyTorch itself knows a compiled program
# What reading a file that was changed by hand, or by accident, ends in.
DAMAGED = (
    *(pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError),
    *(ArithmeticError, AssertionError, MemoryError, struct.error, zipfile.BadZipFile),
)


def read_pickle(file: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, mapped from the file where its format allows that (all since PyTorch 1.6).

    Raises ValueError, in one sentence that names the file, when it is empty, cut off, holds code or holds no tensors.
    """
    if file.stat().st_size == 0:
        raise ValueError(f"{file.name} is empty (0 bytes): download it again.")
    content = load_plain(file, "use the .safetensors file of the same model")
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = content if isinstance(content, dict) else {}
    tensors = {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise ValueError(f"{file.name} holds no tensors under names: choose the file with the model's weights.")
    for name, tensor in tensors.items():
        _check_plain(file, name, tensor)
    return tensors


def load_plain(file: Path, instead: str) -> Any:
    """What is in a PyTorch file that holds nothing but tensors, numbers, texts and lists of them.

    Raises ValueError, in one sentence that names the file, when it holds code or says that it unpacks to more than its
    own size, where `instead` says what to do; and when it is cut off or something else.
    """
    with file.open("rb") as opened:
        protocol = opened.read(2)
    foreign = protocol[:1] == pickle.PROTO and protocol[1:] > bytes([TORCH_PROTOCOL])
    try:
        zipped = zipfile.is_zipfile(file)
        declared, program = _declared(file) if zipped else (0, False)
        if declared <= file.stat().st_size and not program:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
        error: BaseException | None = None
    except DAMAGED as fault:
        declared, program, error = 0, foreign or bool(CODE.search(str(fault))), fault
    if program:
        raise ValueError(
            f"{file.name} holds more than tensors, code that would run while it is loaded, so it was not opened: "
            f"{instead}."
        ) from error
    if declared:
        raise ValueError(
            f"{file.name} has {file.stat().st_size} bytes and says that it unpacks to {declared}, though PyTorch never "
            f"packs its files, so it was not opened: {instead}."
        )
    raise ValueError(f"{file.name} is cut off, or no PyTorch file: download it again, or {instead}.") from error


def _declared(file: Path) -> tuple[int, bool]:
    """How many bytes the parts of a zip file say they have, and whether one of them is a compiled program."""
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
    return sum(part.file_size for part in parts), any(part.filename.endswith(PROGRAM) for part in parts)


def check_values(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a few bytes of the file stand for more of the same value than any model has."""
    for name, tensor in tensors.items():
        if tensor.nbytes > max(MOST_REPEATED, tensor.untyped_storage().nbytes()):
            raise _not_there(file, name, "the file repeats a few of them")


def _check_plain(file: Path, name: str, tensor: Tensor) -> None:
    plain = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized
    if not plain or tensor.device.type != "cpu":
        raise _not_there(file, name, "it is sparse, quantised, nested, or without values")


def _not_there(file: Path, name: str, why: str) -> ValueError:
    return ValueError(
        f"{file.name}: the values of {name} are not all in the file ({why}); use the .safetensors file of the same "
        "model."
    )
