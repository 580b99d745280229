"""LoRAs as ComfyUI's weight patches: merged or streamed with the weights, several at once, gone without trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import comfy.lora
import torch
from torch import Tensor

from ...vivid_core.models import wan_names
from ...vivid_core.models.lora_files import plain_key
from ...vivid_core.models.trained_parts import PROJECTION
from .host import INNER, ManagedModel

UPDATE = re.compile(r"[._](lora(_B|_up|\.up|_linear_layer\.up)\.weight|diff|diff_b)$")
WANS_OWN = re.compile(r"[._](self_attn|cross_attn|ffn[._][02])[._]")  # names that only Wan's own layout has
EXACT = (torch.float32, torch.float64)


def with_lora(
    model: ManagedModel, lora: Mapping[str, Tensor], strength: float = 1.0, name: str = "LoRA"
) -> ManagedModel:
    """A clone of `model` with a LoRA, as `read_lora` gives it; `model` itself stays as it is.

    Raises ValueError when nothing in it fits the model.
    """
    weights = model.module.state_dict()
    layers = [key.removesuffix(".weight") for key in weights if key.endswith(".weight")]
    tensors = {plain_key(key): tensor for key, tensor in lora.items()}
    named = wan_names.own_layer if any(WANS_OWN.search(key) for key in tensors) else str
    names = {form: f"{INNER}.{layer}.weight" for layer in layers for form in _forms(named(layer))}
    patches = comfy.lora.load_lora(tensors, names, log_missing=False)
    fitting = {key: patch for key, patch in patches.items() if _fits(patch, weights[key.removeprefix(f"{INNER}.")])}
    updates = sum(bool(UPDATE.search(key)) for key in tensors)
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


def with_projection(model: ManagedModel, projection: Mapping[str, Tensor]) -> ManagedModel:
    """A clone of a widened transformer whose patch projection is the trained one, whole, whatever a LoRA's strength;
    `model` itself, and who else uses its file, keep theirs."""
    patches = {f"{INNER}.{PROJECTION}.{name}": ("set", (tensor,)) for name, tensor in projection.items()}
    return model.with_patcher(lambda patcher: patcher.add_patches(patches, 1.0))


def _forms(name: str) -> tuple[str, ...]:
    """How a layer is called in LoRA files."""
    flat = name.replace(".", "_")
    return name, f"lora_unet_{flat}", f"lora_transformer_{flat}", f"lora_te_{flat}"


def _fits(patch: Any, weight: Tensor) -> bool:
    """Whether an update has the weight's shape; ComfyUI would only log that it hasn't, in the middle of a run."""
    if isinstance(patch, tuple):  # a whole difference
        return patch[1][0].shape == weight.shape
    if getattr(patch, "name", "") != "lora":
        return True
    up, down = patch.weights[0], patch.weights[1]
    return up.shape[0] == weight.shape[0] and down.flatten(1).shape[1] == weight.flatten(1).shape[1]
