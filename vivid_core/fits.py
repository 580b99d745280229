"""What of the released models fits on a card: computed by the code of Estimate Cost, for the README's table.

    python -m vivid_core.fits

The modules are made from the released settings without weights. Nothing here was measured on a card.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .cost_report import Estimate, estimate, size
from .editors.adapters.choice import adapter_for
from .editors.contract import Place
from .editors.engine import Engine
from .editors.footprints import footprint
from .models.families import FAMILIES, empty

CARDS = (8, 12, 16, 24)  # what is printed on them, in units of 2^30 bytes
LEFT = 0.9  # of a card; the rest goes to the screen, to CUDA and to what is cut off at the ends of blocks
SHAPE = (9, 16)
WHOLE, STREAMED, NOT = "whole", "streamed", "no"
T5_XXL = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}

log = logging.getLogger("vivid")


@dataclass(frozen=True)
class Released:
    """A released model by its settings, in windows of `frames` (None: as long as it takes); `vocabulary` is that of
    its text encoder, the families of which are named `text` and `vae`."""

    label: str
    family: str
    config: Mapping[str, Any]
    vae: str
    text: str
    vocabulary: int
    frames: int | None = None


def cogvideox_fun_config(heads: int, layers: int, rotary: bool) -> dict[str, Any]:
    """The settings of a released CogVideoX-Fun transformer of the 1.0 family, with 33 channels in."""
    return {
        "num_attention_heads": heads,
        "attention_head_dim": 64,
        "num_layers": layers,
        "in_channels": 33,
        "out_channels": 16,
        "time_embed_dim": 512,
        "text_embed_dim": 4096,
        "max_text_seq_length": 226,
        "sample_width": 90,
        "sample_height": 60,
        "sample_frames": 49,
        "patch_size": 2,
        "patch_size_t": None,
        "use_rotary_positional_embeddings": rotary,
    }


def _vace(heads: int, wide: int, layers: int, every: int) -> dict[str, Any]:
    return {
        "patch_size": [1, 2, 2],
        "num_attention_heads": heads,
        "attention_head_dim": 128,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 4096,
        "freq_dim": 256,
        "ffn_dim": wide,
        "num_layers": layers,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "vace_layers": list(range(0, layers, every)),
        "vace_in_channels": 96,
    }


MODELS = (
    Released(
        "CogVideoX-Fun V1.1 2b InP",
        "cogvideox",
        cogvideox_fun_config(30, 30, False),
        "cogvideox_vae",
        "t5_encoder",
        32128,
    ),
    Released(
        "CogVideoX-Fun V1.1 5b InP",
        "cogvideox",
        cogvideox_fun_config(48, 42, True),
        "cogvideox_vae",
        "t5_encoder",
        32128,
    ),
    Released("Wan2.1-VACE 1.3B", "wan_vace", _vace(12, 8960, 30, 2), "wan_vae", "umt5", 256384),
    *(
        Released("Wan2.1-VACE 14B", "wan_vace", _vace(40, 13824, 40, 5), "wan_vae", "umt5", 256384, frames)
        for frames in (None, 33, 17)
    ),
)


@dataclass(frozen=True)
class _Unread:
    """A text encoder of which only the weights count."""

    module: nn.Module

    def encode(self, texts: Sequence[str], place: Place) -> Tensor:
        raise NotImplementedError("there are no weights")

    def unknown(self, text: str) -> list[str]:
        return []

    def excess(self, text: str) -> int:
        return 0


def estimated(model: Released, dtype: torch.dtype = torch.bfloat16) -> Estimate:
    """What Estimate Cost says of the longest window of this model at its own size, 16:9, with tiled_vae on.

    Raises ModuleNotFoundError without diffusers or transformers.
    """
    vae: Any = _module(model.vae, {}, dtype)
    vae.enable_tiling()
    text = _module(model.text, {**T5_XXL, "vocab_size": model.vocabulary}, dtype)
    transformer: Any = _module(model.family, model.config, dtype)
    adapter = adapter_for(model.family, transformer.config, what=model.label)
    room = footprint(model.family, transformer.config, vae, (dtype.itemsize, dtype.itemsize))
    engine = Engine(adapter, transformer, vae, _Unread(text), model.label, footprint=room)
    traits = adapter.traits
    return estimate(engine, (model.frames or traits.longest, *traits.size_for(*SHAPE)))


def verdict(found: Estimate, gigabytes: int) -> str:
    """WHOLE if each part fits at once, one part at a time; STREAMED if weights must come in pieces from main memory,
    with the share of the transformer that stays on the card; NOT if even what is computed does not fit."""
    usable = LEFT * gigabytes * 2**30
    if found.most_bytes <= usable:
        return WHOLE
    if max(found.room.values()) > usable:
        return NOT
    stays = (usable - found.room["transformer"]) / found.weights["transformer"]
    return f"{STREAMED} (text encoder)" if stays >= 1 else f"{STREAMED} ({stays:.0%} stays)"


def table() -> str:
    """All of MODELS on all of CARDS, as a table in Markdown."""
    titles = ["model", "window", "transformer, text encoder, VAE", "beside them", *(f"{card} GB" for card in CARDS)]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for model in MODELS:
        found = estimated(model)
        weights = ", ".join(size(found.weights[part]) for part in ("transformer", "text encoder", "VAE"))
        cells = [
            model.label,
            f"{found.frames} frames of {found.size[1]}x{found.size[0]}",
            weights,
            size(max(found.room.values())),
            *(verdict(found, card) for card in CARDS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _module(family: str, config: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    (found,) = (one for one in FAMILIES if one.name == family)
    return nn.Module.to(empty(found, config), dtype)  # diffusers warns of its own `to`, which does the same


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    log.info(table())
