"""Tensors on their way between ComfyUI's graph and vivid_core."""

from __future__ import annotations

import comfy.model_management
import torch
from torch import Tensor


def to_core(tensor: Tensor) -> Tensor:
    """float32 in host memory, where vivid_core keeps clips; no copy where it is so already."""
    return tensor.to(device="cpu", dtype=torch.float32)


def to_graph(tensor: Tensor) -> Tensor:
    """Where ComfyUI wants tensors to lie between nodes."""
    return tensor.to(comfy.model_management.intermediate_device())
