"""LoRA files of peft, diffusers and kohya, in one form: two matrices for each layer, and their scale."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .files import open_weights, read_tensors

PREFIXES = ("base_model.model.", "diffusion_model.", "transformer.", "unet.", "text_encoder.", "model.")
ADAPTER_NAME = re.compile(r"\.(lora_[AB])\.[^.]+\.weight$")  # peft puts the adapter's name there
UP = re.compile(r"[._]lora(_B|_up|\.up|_linear_layer\.up)\.weight$")
PEFT_CONFIGURATION = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
DIFFUSERS_METADATA = "lora_adapter_metadata"


def read_lora(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a LoRA file, or of a peft adapter's folder, under `plain_key`s.

    Where the scale is told beside the tensors (peft's adapter_config.json, diffusers' metadata), it is put among them
    as `<layer>.alpha`, so that the update of a layer is always strength * alpha / rank * B @ A.

    Raises ValueError, in one sentence with the file's name, as `open_weights` does, and when it holds no LoRA.
    """
    path = Path(path)
    files = open_weights(path / PEFT_WEIGHTS if (path / PEFT_WEIGHTS).is_file() else path)
    tensors = {plain_key(key): tensor for key, tensor in read_tensors(files).items()}
    layers = {UP.sub("", key): tensor.shape[1] for key, tensor in tensors.items() if UP.search(key)}
    if not layers:
        raise ValueError(
            f"{path.name} holds no LoRA: none of its {len(tensors)} tensors is called lora_B, lora_up or lora.up; "
            "choose a LoRA file, or load this one where whole models are loaded."
        )
    settings = _settings(files.path, files.metadata)
    for layer, rank in layers.items():
        alpha = _alpha(settings, layer, rank)
        if alpha is not None:
            tensors.setdefault(f"{layer}.alpha", torch.tensor(alpha))
    return tensors


def plain_key(key: str) -> str:
    """A key without the names of the pipeline's part and of the adapter."""
    while (prefix := next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)) is not None:
        key = key.removeprefix(prefix)
    return ADAPTER_NAME.sub(r".\1.weight", key)


def _settings(file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    beside = file.parent / PEFT_CONFIGURATION
    if file.name == PEFT_WEIGHTS and beside.is_file():
        return json.loads(beside.read_text(encoding="utf-8"))
    told = json.loads(metadata.get(DIFFUSERS_METADATA, "{}"))
    return {plain_key(key): value for key, value in told.items()}


def _alpha(settings: Mapping[str, Any], layer: str, rank: int) -> float | None:
    """The scale of one layer's update, times its rank; None if the file doesn't say, which means 1."""
    alpha = settings.get("lora_alpha")
    for pattern, value in (settings.get("alpha_pattern") or {}).items():
        if re.search(rf"(^|\.){pattern}$", layer):
            alpha = value
    if alpha is None:
        return None
    return float(alpha) * (math.sqrt(rank) if settings.get("use_rslora") else 1.0)
