"""LoRAs as ComfyUI's weight patches: merged or streamed with the weights, several at once, gone without trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.lora
import torch
from torch import Tensor

from ...vivid_core.models.lora_files import UP, plain_key
from .host import INNER, ManagedModel

EXACT = (torch.float32, torch.float64)


def with_lora(
    model: ManagedModel, lora: Mapping[str, Tensor], strength: float = 1.0, name: str = "LoRA"
) -> ManagedModel:
    """A clone of `model` with a LoRA, as `read_lora` gives it; `model` itself stays as it is.

    Raises ValueError when nothing in it fits the model.
    """
    weights = {key: one for key, one in model.module.state_dict().items() if key.endswith(".weight")}
    tensors = {plain_key(key): tensor for key, tensor in lora.items()}
    updates = sum(bool(UP.search(key)) for key in tensors)
    names = {form: f"{INNER}.{key}" for key in weights for form in _forms(key.removesuffix(".weight"))}
    patches = comfy.lora.load_lora(tensors, names, log_missing=False)
    fitting = {key: patch for key, patch in patches.items() if _fits(patch, weights[key.removeprefix(f"{INNER}.")])}
    if not fitting:
        raise ValueError(
            f"{name}: 0 of its {updates} updates fit this {model.role.replace('_', ' ')}; it was made for another "
            "model, so load one that belongs to this one."
        )
    notes = [f"{name}: {len(fitting)} of {updates} updates in use at strength {strength:g}."]
    if model.host.get_dtype() not in EXACT:
        notes.append(
            f"{name}: the weights are kept in {str(model.host.get_dtype()).removeprefix('torch.')}, and ComfyUI rounds "
            "when it merges a LoRA into them, so the result can differ slightly with the memory that is free."
        )
    return model.with_patcher(lambda patcher: patcher.add_patches(fitting, strength), *notes)


def _forms(name: str) -> tuple[str, ...]:
    """How a layer is called in LoRA files."""
    flat = name.replace(".", "_")
    return name, f"lora_unet_{flat}", f"lora_transformer_{flat}", f"lora_te_{flat}"


def _fits(patch: Any, weight: Tensor) -> bool:
    """Whether an update has the weight's shape; ComfyUI would only log that it hasn't, in the middle of a run."""
    if getattr(patch, "name", "") != "lora":
        return True
    up, down = patch.weights[0], patch.weights[1]
    return up.shape[0] == weight.shape[0] and down.flatten(1).shape[1] == weight.flatten(1).shape[1]
