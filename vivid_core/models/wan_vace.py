"""Wan VACE transformers in diffusers' layout, and in their own, which ComfyUI's single files have."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import Tensor

from .family import Family, Tensors, count, from_diffusers, given_config, odd_size, width
from .files import WeightFiles
from .wan_names import transformer_in_diffusers

CLASS = "WanVACETransformer3DModel"
LABEL = "Wan VACE transformer"
HEAD_DIM = 128
TEXT, TIME, IMAGE = (f"condition_embedder.{name}_embedder." for name in ("text", "time", "image"))


def _detects(tensors: Tensors) -> bool:
    named = transformer_in_diffusers(tensors)
    return all(name in named for name in ("vace_patch_embedding.weight", TEXT + "linear_1.weight"))


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Not in the shapes, so taken from the released models: heads of 128 channels; the VACE blocks act on evenly spaced
    layers from the first on (every second of 30 in 1.3B, every fifth of 40 in 14B); norms add 1e-6.

    Raises ValueError when the shapes contradict these.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    tensors = transformer_in_diffusers(files.tensors)
    inner, patch = width(tensors, "patch_embedding.weight"), tensors["patch_embedding.weight"].shape[2:]
    layers, vace_blocks = count(tensors, "blocks."), count(tensors, "vace_blocks.")
    if inner % HEAD_DIM:
        raise odd_size(files, LABEL, f"{inner} channels are no multiple of {HEAD_DIM}")
    if not vace_blocks or layers % vace_blocks:
        raise odd_size(files, LABEL, f"{vace_blocks} VACE blocks for {layers} layers")

    def optional_width(name: str, dimension: int) -> int | None:
        return width(tensors, name, dimension) if name in tensors else None

    return {
        "patch_size": list(patch),
        "num_attention_heads": inner // HEAD_DIM,
        "attention_head_dim": HEAD_DIM,
        "in_channels": width(tensors, "patch_embedding.weight", 1),
        "out_channels": width(tensors, "proj_out.weight") // math.prod(patch),
        "text_dim": width(tensors, TEXT + "linear_1.weight", 1),
        "freq_dim": width(tensors, TIME + "linear_1.weight", 1),
        "ffn_dim": width(tensors, "blocks.0.ffn.net.0.proj.weight"),
        "num_layers": layers,
        "cross_attn_norm": "blocks.0.norm2.weight" in tensors,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "image_dim": optional_width(IMAGE + "norm1.weight", 0),
        "added_kv_proj_dim": optional_width("blocks.0.attn2.add_k_proj.weight", 1),
        "pos_embed_seq_len": optional_width(IMAGE + "pos_embed", 1),
        "vace_layers": list(range(0, layers, layers // vace_blocks)),
        "vace_in_channels": width(tensors, "vace_patch_embedding.weight", 1),
    }


def _convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return transformer_in_diffusers(state_dict)


FAMILY = Family(
    name="wan_vace",
    label=LABEL,
    role="denoiser",
    get_it="get the folder transformer of Wan-AI/Wan2.1-VACE-1.3B-diffusers or Wan-AI/Wan2.1-VACE-14B-diffusers, or "
    "wan2.1_vace_1.3B_fp16.safetensors of Comfy-Org/Wan_2.1_ComfyUI_repackaged, on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
    convert=_convert,
)
