"""LoRA files of peft, diffusers and kohya, in one form: two matrices for each layer, and their scale."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..json_text import parsed_object
from .files import WeightFiles, open_weights, read_tensors

PREFIXES = ("base_model.model.", "diffusion_model.", "transformer.", "unet.", "text_encoder.", "model.")
ADAPTER_NAME = re.compile(r"\.(lora_[AB])\.[^.]+\.weight$")  # peft puts the adapter's name there
UP = re.compile(r"[._]lora(_B|_up|\.up|_linear_layer\.up)\.weight$")
PEFT_CONFIGURATION = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
DIFFUSERS_METADATA = "lora_adapter_metadata"
PLAIN = r"(?:[\w^$]|\\?\.|\\d|\([\w.|]+\)|\[[\w-]+\])*"
# A layer's name with at most two places that may be anything: all that occurs, and nothing that searches for hours.
PATTERN = re.compile(rf"{PLAIN}(?:(?:\.|\\d)[*+]{PLAIN}){{0,2}}")


def read_lora(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a LoRA file, or of a peft adapter's folder, under `plain_key`s.

    Where the scale is told beside the tensors (peft's adapter_config.json, diffusers' metadata), it is put among them
    as `<layer>.alpha`, so that the update of a layer is always strength * alpha / rank * B @ A.

    Raises ValueError, in one sentence with the file's name, as `open_weights` does, and when it holds no LoRA.
    """
    path = Path(path)
    files = open_weights(path / PEFT_WEIGHTS if (path / PEFT_WEIGHTS).is_file() else path)
    tensors = {plain_key(key): tensor for key, tensor in read_tensors(files).items()}
    layers = {UP.sub("", key): tensor.shape[1] for key, tensor in tensors.items() if UP.search(key) and tensor.ndim > 1}
    if not layers:
        raise ValueError(
            f"{path.name} holds no LoRA: none of its {len(tensors)} matrices is called lora_B, lora_up or lora.up; "
            "choose a LoRA file, or load this one where whole models are loaded."
        )
    settings = _settings(files)
    for layer, rank in layers.items():
        try:
            alpha = _alpha(settings, layer, rank)
        except (ValueError, TypeError, AttributeError, re.error) as error:
            raise ValueError(
                f"{path.name} has settings that can't be read (the scale of {layer}: {error}); save the LoRA again."
            ) from error
        if alpha is not None:
            tensors.setdefault(f"{layer}.alpha", torch.tensor(alpha))
    return tensors


def plain_key(key: str) -> str:
    """A key without the names of the pipeline's part and of the adapter."""
    while (prefix := next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)) is not None:
        key = key.removeprefix(prefix)
    return ADAPTER_NAME.sub(r".\1.weight", key)


def _settings(files: WeightFiles) -> dict[str, Any]:
    beside = files.path.parent / PEFT_CONFIGURATION
    if files.path.name == PEFT_WEIGHTS and beside.is_file():
        try:
            return parsed_object(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            where = f"{beside.name} in {beside.parent.name}"
            raise ValueError(f"{where} is damaged ({error}): download it again.") from error
    return {plain_key(key): value for key, value in files.told(DIFFUSERS_METADATA).items()}


def _alpha(settings: Mapping[str, Any], layer: str, rank: int) -> float | None:
    """The scale of one layer's update, times its rank; None if the file doesn't say, which means 1.

    Raises ValueError for a scale that is no number, and for a pattern of layers that no LoRA needs.
    """
    alpha = settings.get("lora_alpha")
    for pattern, value in (settings.get("alpha_pattern") or {}).items():
        if not PATTERN.fullmatch(pattern):
            raise ValueError(f"{pattern[:60]!r} is no pattern of layer names")
        if re.search(rf"(^|\.){pattern}$", layer):
            alpha = value
    if alpha is None:
        return None
    scale = float(alpha)
    if not math.isfinite(scale):
        raise ValueError(f"{alpha} is no scale")
    return scale * (math.sqrt(rank) if settings.get("use_rslora") else 1.0)
