"""RAFT (Teed and Deng 2020), optical flow: torchvision's own large and small model, from the files it publishes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..optional import require
from .activations import MARGIN
from .family import Family, Tensors, given_config, width
from .files import WeightFiles

LABEL = "RAFT flow model"
CLASS = "RAFT"
NEEDED = (
    "feature_encoder.convnormrelu.0.weight",
    "context_encoder.convnormrelu.0.weight",
    "update_block.flow_head.conv2.weight",
)
FEATURES = "feature_encoder.conv.weight"
SIZES = {256: "large", 128: "small"}  # by the width of their features
STRIDE = 8  # pixels; flow is searched at an eighth of the size
LEAST_SIDE = 128  # pixels; the coarsest correlation must still have two places to a side

# Elements for each pixel of a picture, and for each pair of places: in the encoders, when correlations are looked up,
# and when they are computed.
PEAKS = {
    "large": ((172.0, 0.0), (57.0, 1.33), (14.0, 2.0)),
    "small": ((80.0, 0.0), (57.0, 1.33), (10.0, 2.0)),
}


def _detects(tensors: Tensors) -> bool:
    return all(name in tensors for name in NEEDED)


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from the shapes: `size` is "large" or "small".

    Raises ValueError for any other size, which torchvision has no function for.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None and "size" in given:
        return given
    channels = width(files.tensors, FEATURES)
    if channels not in SIZES:
        raise ValueError(
            f"{files.path.name} is a {LABEL} of a size that is not known ({channels} features): choose torchvision's "
            "raft_large or raft_small."
        )
    return {"size": SIZES[channels]}


def build(config: Mapping[str, Any]) -> nn.Module:
    """torchvision's RAFT with random weights; nothing is downloaded.

    Raises ModuleNotFoundError without torchvision.
    """
    known = require("torchvision", f"A {LABEL}").models.optical_flow
    makers = {"large": known.raft_large, "small": known.raft_small}
    module: nn.Module = makers[config["size"]](weights=None)
    return module


def size_of(module: nn.Module) -> str:
    """ "large" or "small"."""
    return SIZES[module.get_parameter(FEATURES).shape[0]]


def activation_bytes(size: str, pictures: int, height: int, width: int, element_bytes: int = 4) -> int:
    """Bytes for a forward from (pictures, 3, height, width) to as many, in the size in which they reach the model.

    Measured: whichever is most of `PEAKS`. Every place is compared with every other, so the side counts to the power
    of four: four times 480 pixels need 60 times the memory.
    """
    pixels = height * width
    pairs = (pixels // STRIDE**2) ** 2
    elements = max(each * pixels + pair * pairs for each, pair in PEAKS[size])
    return math.ceil(MARGIN * pictures * elements * element_bytes)


FAMILY = Family(
    name="raft",
    label=LABEL,
    role="flow",
    get_it="get raft_large_C_T_SKHT_V2-ff5fadd5.pth from https://download.pytorch.org/models",
    detects=_detects,
    config=config,
    build=build,
)
"""The large model in its default weights; the small one's file is raft_small_C_T_V2-01064c6d.pth."""
