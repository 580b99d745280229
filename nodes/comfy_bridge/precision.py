"""In which dtype weights are kept and in which they compute: ComfyUI's own choice, or the user's where that works."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import comfy.model_management
import torch
from torch import Tensor, nn

from .castable import COMPUTED_IN
from .host import Role

CHOICES = {
    "auto": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}
FP8_ROLES = ("denoiser", "text_encoder", "controlnet")  # the others read a layer's dtype to convert what they are given
IN_A_BLOCK = re.compile(r"\.\d+\.")
DELICATE = re.compile(r"norm|embed|proj_out|relative_attention_bias|time_|scale_shift")


@dataclass(frozen=True)
class Precision:
    """`storage` and `compute` dtype, and what to tell the user if it is not what was asked for."""

    storage: torch.dtype
    compute: torch.dtype
    note: str = ""

    def stored(self, weights: Mapping[str, Tensor], in_fp32: Collection[str] = ()) -> dict[str, Tensor]:
        """The weights in the dtype they are kept in; those that have it already are the same tensors.

        In fp8 only matrices inside the repeated blocks are kept, never norms, embeddings and projections. What has one
        of `in_fp32` among the parts of its name is kept in fp32.
        """
        wide = frozenset(in_fp32)
        return {key: tensor.to(self._dtype_of(key, tensor, wide)) for key, tensor in weights.items()}

    def _dtype_of(self, key: str, tensor: Tensor, in_fp32: frozenset[str]) -> torch.dtype:
        if not tensor.is_floating_point():
            return tensor.dtype
        if in_fp32.intersection(key.split(".")):
            return torch.float32
        if self.storage in COMPUTED_IN:
            return self.storage
        small = tensor.dim() < 2 or DELICATE.search(key) or not IN_A_BLOCK.search(key)
        return self.compute if small else self.storage


def kept_in_fp32(module: nn.Module) -> tuple[str, ...]:
    """The parts of names whose weights a diffusers model wants in fp32, whatever the others are in: Wan's norms, times
    and modulation. Its own loader does the same; transformers' text encoders compute in fp32 as a whole."""
    is_diffusers = type(module).__module__.startswith("diffusers.")
    return tuple(getattr(module, "_keep_in_fp32_modules", None) or ()) if is_diffusers else ()


def choose_precision(choice: str, role: Role, in_file: torch.dtype, parameters: int, device: torch.device) -> Precision:
    """What `choice` means for a model of this role and size on this device; "auto" leaves all to ComfyUI.

    Raises ValueError when the choice is unknown.
    """
    if choice not in CHOICES:
        raise ValueError(f"Precision: got {choice!r}; use one of {', '.join(CHOICES)}.")
    asked = CHOICES[choice]
    if asked is None:
        storage = _core_storage(role, in_file, parameters, device)
        return Precision(storage, _compute_for(role, storage, device, parameters))
    return _as_asked(choice, asked, role, parameters, device)


def _as_asked(choice: str, asked: torch.dtype, role: Role, parameters: int, device: torch.device) -> Precision:
    compute = _compute_for(role, asked, device, parameters)
    named = str(compute).removeprefix("torch.")
    if asked in COMPUTED_IN:
        as_always = compute == asked or role == "text_encoder"
        note = "" if as_always else f"This device does not compute in {choice}: the weights compute in {named}."
        return Precision(asked, compute, note)
    if role not in FP8_ROLES:
        return Precision(compute, compute, f"A {role.replace('_', ' ')} can't be kept in {choice}: it is in {named}.")
    if not comfy.model_management.supports_cast(device, asked):
        return Precision(compute, compute, f"This device can't hold {choice}: the weights are kept in {named}.")
    return Precision(asked, compute)


def _core_storage(role: Role, in_file: torch.dtype, parameters: int, device: torch.device) -> torch.dtype:
    management = comfy.model_management
    if role in ("denoiser", "controlnet"):
        return management.unet_dtype(device, parameters, list(COMPUTED_IN[:3]), weight_dtype=in_file)
    if role == "vae":
        return management.vae_dtype(device, [torch.bfloat16, torch.float32])
    if role == "text_encoder":
        return in_file if in_file.itemsize <= 2 else management.text_encoder_dtype(device)
    return torch.float16 if management.should_use_fp16(device, prioritize_performance=False) else torch.float32


def _compute_for(role: Role, storage: torch.dtype, device: torch.device, parameters: int) -> torch.dtype:
    """`storage` itself where the device computes in it, else the best that it computes in. Text encoders compute in
    fp32, as ComfyUI's own do: T5 leaves the range of fp16, and a text is short."""
    if role == "text_encoder":
        return torch.float32
    management = comfy.model_management
    usable = []
    if management.should_use_bf16(device, parameters, manual_cast=True):
        usable.append(torch.bfloat16)
    if management.should_use_fp16(device, parameters, manual_cast=True):
        usable.append(torch.float16)
    if storage in usable or storage in (torch.float32, torch.float64):
        return storage
    return usable[0] if usable else torch.float32
