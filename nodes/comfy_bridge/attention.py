"""The attention backend that the user chose for ComfyUI, for models that call torch's own."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy.ldm.modules import attention
from torch import Tensor
from torch.overrides import TorchFunctionMode

LARGEST_HEAD = 128  # beyond it a backend that can't do it would log an error at every call before it falls back

WITH_SCORES = ("attention_basic", "attention_sub_quad", "attention_split")  # backends that hold rows of the scores


def is_fused() -> bool:
    """Whether the chosen backend never holds the matrix of scores; `vivid_core.models.activations` asks."""
    return getattr(attention.optimized_attention, "__name__", "") not in WITH_SCORES


class routed(TorchFunctionMode):
    """In this block `F.scaled_dot_product_attention` goes to ComfyUI's backend, in this thread only.

    What that can't do as asked (causal, dropout, another scale, grouped queries, gradients) goes to torch as before.
    Segmentation and depth models ask for `low_precision=False`: quantised attention moves their outlines.
    """

    def __init__(self, low_precision: bool = True) -> None:
        super().__init__()
        self.routed_calls = 0
        self._named: dict[str, Any] = {"skip_reshape": True, "skip_output_reshape": True}
        self._backend = attention.optimized_attention
        if not low_precision:
            self._named["low_precision_attention"] = False  # which older cores don't know
            if "sage" in getattr(self._backend, "__name__", ""):
                self._backend = attention.attention_pytorch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention and self._takes(*args, **kwargs):
            self.routed_calls += 1
            return self._attend(*args, **kwargs)
        return func(*args, **kwargs)

    def _takes(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> bool:
        tensors = (query, key, value)
        size = query.shape[-1]
        return not (
            query.dim() != 4
            or size > LARGEST_HEAD
            or dropout_p
            or is_causal
            or enable_gqa
            or key.shape[1] != query.shape[1]
            or (scale is not None and not math.isclose(scale, size**-0.5, rel_tol=1e-6))
            or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
        )

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        return self._backend(query, key, value, query.shape[1], mask=attn_mask, **self._named)
