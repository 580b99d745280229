"""Weight files into models under ComfyUI's memory: checked by their headers, shared, never twice in host memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeAlias

import comfy.utils
import torch
from torch import Tensor, nn

from ...vivid_core.models.families import Family, empty, fill, open_family
from ...vivid_core.models.files import WeightFiles, read_tensors
from .host import ManagedModel
from .patcher import manage, run_device
from .precision import Precision, choose_precision, kept_in_fp32
from .shared import SHELF, file_identity

Change: TypeAlias = Callable[[nn.Module], object]


def load_model(
    path: str | Path,
    families: Collection[str],
    precision: str = "auto",
    dynamic: bool = True,
    change: Change | None = None,
) -> ManagedModel:
    """The model in a file or folder; the same one for everybody who asks for the same file in the same precision.

    Only headers are read before everything is checked. `families` are the names of those that will do; `precision`
    is one of `precision.CHOICES`. `dynamic=False` asks for ComfyUI's classic patcher. The weights stay mapped to
    their file where their dtype is kept. `change`, if given, changes the module once it has its weights; it must be
    hashable, since a changed model is another one than the unchanged one.

    Raises ValueError, in one sentence with the file's name, when it is missing, cut off, no weights file, of another
    family, or when its tensors don't fit.
    """
    return load_family(*open_family(path, families), precision, dynamic, change)


def load_family(
    files: WeightFiles, family: Family, precision: str = "auto", dynamic: bool = True, change: Change | None = None
) -> ManagedModel:
    """`load_model` for files that were opened, and whose family is known.

    Raises ValueError when the tensors don't fit.
    """
    chosen = choose_precision(precision, family.role, files.dtype, _parameters(files), run_device(family.role))
    key = (family.name, file_identity(files.parts), repr(files.config), chosen.storage, chosen.compute, dynamic, change)
    model = SHELF.get(key, lambda: _build(files, family, chosen, dynamic, change))
    if chosen.note:
        model.notes.append(chosen.note)
    return model


def _build(files: WeightFiles, family: Family, chosen: Precision, dynamic: bool, change: Change | None) -> ManagedModel:
    with torch.inference_mode(False), torch.no_grad():  # or the weights could never be trained, nor patched in place
        module = empty(family, family.config(files))
        weights = chosen.stored(family.convert(_read(files)), kept_in_fp32(module))
        fill(module, weights, files.path.name)
        if change is not None:
            change(module)
        return manage(
            module,
            role=family.role,
            compute_dtype=chosen.compute,
            # Past the shelf: a second GPU needs weights of its own, and a patcher of its own needs a module of its own.
            rebuild=lambda disable_dynamic: _build(files, family, chosen, dynamic and not disable_dynamic, change),
            dynamic=dynamic,
        )


def _read(files: WeightFiles) -> dict[str, Tensor]:
    """By ComfyUI's own reader where it can: its dynamic memory streams such weights straight from the disk."""
    if any(part.suffix != ".safetensors" for part in files.parts):
        return read_tensors(files)
    weights: dict[str, Tensor] = {}
    for part in files.parts:
        weights.update(comfy.utils.load_torch_file(str(part)))
    return weights


def _parameters(files: WeightFiles) -> int:
    return sum(math.prod(tensor.shape) for tensor in files.tensors.values())
