"""PyTorch's own files (.pt, .pth, .bin, .ckpt): only tensors are taken from them, and no code in them is ever run."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WRAPPERS = ("state_dict", "model")  # training scripts put the weights under one of these, beside their own state
TORCH_PROTOCOL = 2  # of PyTorch's own pickles; newer ones come from elsewhere
CODE = re.compile(r"GLOBAL|TorchScript")  # in PyTorch's messages: a name that would be called, a compiled program


def read_pickle(file: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, mapped from the file where its format allows that (all since PyTorch 1.6).

    Raises ValueError, in one sentence that names the file, when it is empty, cut off, holds code or holds no tensors.
    """
    if file.stat().st_size == 0:
        raise ValueError(f"{file.name} is empty (0 bytes): download it again.")
    content = _load(file)
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = content if isinstance(content, dict) else {}
    tensors = {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise ValueError(f"{file.name} holds no tensors under names: choose the file with the model's weights.")
    return tensors


def _load(file: Path) -> Any:
    with file.open("rb") as opened:
        protocol = opened.read(2)
    foreign = protocol[:1] == pickle.PROTO and protocol[1] > TORCH_PROTOCOL
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        if foreign or CODE.search(str(error)):
            raise ValueError(
                f"{file.name} holds more than tensors, code that would run while it is loaded, so it was not opened: "
                "use the .safetensors file of the same model."
            ) from error
        raise ValueError(
            f"{file.name} is cut off, or no PyTorch file: download it again, or use the .safetensors file of the same "
            "model."
        ) from error
