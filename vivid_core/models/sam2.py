"""SAM 2 in its original layout: known when seen, not built yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from .family import Family, Tensors
from .files import WeightFiles

LABEL = "SAM 2 model"


def _detects(tensors: Tensors) -> bool:
    return all(any(name.startswith(part) for name in tensors) for part in ("image_encoder.trunk.", "memory_attention."))


def config(files: WeightFiles) -> dict[str, Any]:
    """No settings: there is nothing to build from them yet."""
    return {}


def _build(config: Mapping[str, Any]) -> nn.Module:
    raise ValueError(
        f"A {LABEL} can't be loaded by this version of the pack: track with Track Mask, or connect the masks of "
        "another pack's SAM 2 nodes."
    )


FAMILY = Family(
    name="sam2",
    label=LABEL,
    role="segmenter",
    get_it="get sam2.1_hiera_large.pt of facebook/sam2.1-hiera-large on Hugging Face",
    detects=_detects,
    config=config,
    build=_build,
)
