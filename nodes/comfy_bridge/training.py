"""Training inside ComfyUI: a copy of a model that may learn, gradients in the middle of its inference mode, folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
from torch import Tensor, nn

from ...vivid_core.models import cogvideox
from ...vivid_core.models.families import empty, fill
from .host import ManagedModel

LORAS = "vivid"  # the model folder that Load Edit Engine looks into
ENDING = ".safetensors"
LONGEST = 200  # bytes of a name; file systems take 255, and what is written there adds endings
DEEPEST = 1000  # characters of a folder in folders
SHOWN = 60  # characters of a wrong name that an error repeats


@contextmanager
def gradients() -> Iterator[None]:
    """ComfyUI runs its nodes without gradients. In this block there are some, where somebody asks for them.

    Everything that is loaded goes back to host memory first: training needs the room, and a LoRA that was merged into
    weights comes out of them. Afterwards the memory is given back.
    """
    comfy.model_management.unload_all_models()
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        comfy.model_management.soft_empty_cache()


def trainable_copy(model: ManagedModel) -> nn.Module:
    """A CogVideoX transformer with the weights of `model`, as diffusers made it, in host memory; no LoRA is in it.

    ComfyUI streams and patches the weights of the model itself, so it is never trained. The copy needs as much memory
    again as its weights. Call it inside `gradients`.
    """
    model.patcher.detach()  # whoever put a LoRA into the shared weights may be gone without taking it out
    config: Any = model.module.config
    copy = empty(cogvideox.FAMILY, dict(config))
    weights = {name: _own(tensor, model.compute_dtype) for name, tensor in model.module.state_dict().items()}
    fill(copy, weights, "The copy for training")
    return copy


def has_patches(model: ManagedModel) -> bool:
    """Whether a LoRA was put on the model."""
    return bool(model.patcher.patches)


def output_folder(name: str, what: str) -> Path:
    """The folder `name` in ComfyUI's output folder.

    Raises ValueError for a name that leads out of it or that no file system takes, or none at all.
    """
    for part in re.split(r"[/\\]", name):
        _check_writable(part, what)
    if len(name) > DEEPEST:
        raise ValueError(f"{what}: the folder {name[:SHOWN]!r}... is too deep; give {DEEPEST} characters at most.")
    root = Path(folder_paths.get_output_directory()).resolve()
    folder = (root / name.strip().replace("\0", "")).resolve()
    if not name.strip() or "\0" in name or folder == root or not folder.is_relative_to(root):
        raise ValueError(
            f"{what}: got the folder {name[:SHOWN]!r}; it must be a name of a folder inside ComfyUI's output folder."
        )
    return folder


def lora_file(name: str, what: str) -> Path:
    """Where a LoRA of this name is saved: in ComfyUI's models/vivid, or where the output is if that can't be written.

    Raises ValueError for a name that is none, or that no file system takes.
    """
    _check_writable(name, what)
    wrong = name in ("", ".", "..") or name.strip() != name or re.search(r'[<>:"/\\|?*\x00-\x1f]', name)
    if wrong or name.lower().endswith(ENDING):
        raise ValueError(f"{what}: got the name {name!r}; it must be a plain file name, without folders and ending.")
    for root in (folder_paths.get_folder_paths(LORAS)[0], folder_paths.get_output_directory()):
        try:
            os.makedirs(root, exist_ok=True)
        except OSError:
            continue
        if os.access(root, os.W_OK):
            break
    return Path(root) / f"{name}{ENDING}"


def _check_writable(name: str, what: str) -> None:
    """Raises ValueError for the name of a file or folder that is too long, or that is no text."""
    if len(name.encode(errors="replace")) > LONGEST:
        raise ValueError(f"{what}: the name {name[:SHOWN]!r}... is too long; give one of {LONGEST} bytes at most.")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise ValueError(f"{what}: the name {name[:SHOWN]!r} holds half a character; type it again.")


def where_to_choose(file: Path) -> str:
    """What to do with a LoRA that `lora_file` named, as the end of a sentence."""
    wanted = folder_paths.get_folder_paths(LORAS)[0]
    if file.parent == Path(wanted):
        return "choose it as the LoRA in Load Edit Engine."
    return f"{wanted} can't be written, so move it there, and choose it in Load Edit Engine."


def _own(tensor: Tensor, compute: torch.dtype) -> Tensor:
    """A copy in host memory, of fp8 in what it computes in: nothing learns in fp8."""
    narrow = tensor.is_floating_point() and tensor.dtype.itemsize < 2
    return tensor.detach().to("cpu", compute if narrow else tensor.dtype, copy=True)
