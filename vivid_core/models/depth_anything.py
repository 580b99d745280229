"""Depth Anything (1 and 2) in transformers' layout."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from ..optional import require
from .family import Family, Tensors, config_beside, from_transformers
from .files import WeightFiles

CLASS = "DepthAnythingForDepthEstimation"
LABEL = "Depth Anything model"
NEEDED = (
    "backbone.embeddings.patch_embeddings.projection.weight",
    "neck.reassemble_stage.layers.0.projection.weight",
    "head.conv3.weight",
)
# The backbone's attention in files, and in the modules of transformers 5, which still saves the names of before.
RENAMED = {
    ".attention.attention.query.": ".attention.q_proj.",
    ".attention.attention.key.": ".attention.k_proj.",
    ".attention.attention.value.": ".attention.v_proj.",
    ".attention.output.dense.": ".attention.o_proj.",
}


def _detects(tensors: Tensors) -> bool:
    return all(name in tensors for name in NEEDED)


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json: the backbone's heads and the layers that are read are not in the shapes.

    Raises ValueError where config.json is missing or of another class.
    """
    return config_beside(files, LABEL, CLASS)


def _convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that the modules of the installed transformers have."""
    dinov2 = require("transformers.models.dinov2.modeling_dinov2", f"Loading a {CLASS}")
    attention = dinov2.Dinov2Attention(dinov2.Dinov2Config(hidden_size=2, num_attention_heads=1))
    renamed = RENAMED if hasattr(attention, "q_proj") else {}

    def name_of(name: str) -> str:
        for old, new in renamed.items():
            name = name.replace(old, new)
        return name

    return {name_of(name): tensor for name, tensor in state_dict.items()}


FAMILY = Family(
    name="depth_anything",
    label=LABEL,
    role="depth",
    get_it="get all files of depth-anything/Depth-Anything-V2-Small-hf on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_transformers, CLASS, "DepthAnythingConfig"),
    convert=_convert,
)
