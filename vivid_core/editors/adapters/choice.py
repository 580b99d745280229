"""Which adapter goes with a loaded transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...models.trained_parts import TrainedParts
from ...models.widening import WIDTHS
from ..contract import Adapter
from . import cogvideox, wan_vace

EMBEDDED = "embedded"  # in models.families


def adapter_for(family: str, config: Mapping[str, Any], parts: TrainedParts | None = None, what: str = "It") -> Adapter:
    """The adapter of a transformer, by the name of its family (`models.families`), its settings, and the trained parts
    that were put on it, if any. `what` names its file in messages.

    Raises ValueError, in one sentence, when it can't edit by a mask.
    """
    if family == wan_vace.FAMILY and parts is None:
        return wan_vace.wan_vace(config)
    if family == EMBEDDED:
        return cogvideox.embedded(config)
    if family == cogvideox.FAMILY and parts is not None:
        return cogvideox.vivid({**config, "in_channels": parts.channels}, parts.mask_encoding)
    if family == cogvideox.FAMILY and config["in_channels"] in WIDTHS.values():
        return cogvideox.fun(config)
    if family == cogvideox.FAMILY:
        raise ValueError(
            f"{what} is a CogVideoX transformer with {config['in_channels']} input channels, which sees no mask: load "
            "the trained parts of VIVID with it, or choose CogVideoX-Fun InP."
        )
    if parts is not None:
        raise ValueError(
            f"{what} is of the family {family}, but the trained parts belong to CogVideoX: leave them out."
        )
    raise ValueError(f"{what} is of the family {family}, which can't edit by a mask: choose CogVideoX or Wan VACE.")
