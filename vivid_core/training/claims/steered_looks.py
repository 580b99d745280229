"""Which places attention tells apart, within frames and over time, and whether these are the ones that move (U5).

A map says for each place how far it is from the average place of its frame: in spatial attention by its query, in
attention over time by which frames it looks at. So both are made alike, and neither sign nor scale of features counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...diffusion.attention_processors import swapped
from ...diffusion.layer_table import Layer, LayerTable
from ...editors.attention_masks import LOOKS, looked_at
from ...editors.clip_windows import ClipAsk
from ...editors.inverted import InvertedClip

FINE = (0, 1)  # levels on which an object is more than a token or two
MOVES = 0.5  # pixels in one frame, from which on a token moves


@torch.no_grad()
def overlaps(asked: ClipAsk, clip: InvertedClip, flow_fhwc: Tensor) -> dict[str, float]:
    """How much of what attention tells apart moves: `spatial` and `temporal`, means over fine layers and times of the
    inversion, each as `overlap`; `chance` is what a map of nothing would get.

    Raises ValueError for a model without motion modules.
    """
    table = LayerTable.make(asked.backbone.unet)
    if not table.temporal:
        raise ValueError("Looks: this model has no attention over time; use one with motion modules.")
    moving_fhw = flow_fhwc.norm(dim=-1)
    layers = [one for one in (*table.spatial, *table.temporal) if one.level in FINE]
    found: dict[str, list[float]] = {"spatial": [], "temporal": [], "chance": []}
    with watched(asked.backbone.unet, layers) as maps:
        for k in looked_at(clip.steps, LOOKS):
            maps.clear()
            asked.ask(clip.inversion.latents[k], clip.inversion.times.timestep(k), (clip.text_bld,))
            for layer, map_fn in maps:
                size = layer.size(*clip.inversion.latents[0].shape[3:])
                map_fhw = rearrange(map_fn, "f (h w) -> f h w", h=size[0])
                share, chance = overlap(map_fhw[: len(moving_fhw)], moving_fhw)
                found[layer.kind].append(share)
                found["chance"].append(chance)
    return {kind: sum(values) / len(values) for kind, values in found.items()}


def overlap(map_fhw: Tensor, moving_fhw: Tensor) -> tuple[float, float]:
    """Of as many places as move, those where the map is highest: the share of them that move; and the share that move
    of all places. `moving_fhw` is the magnitude of the flow in pixels, of any size; a place has its mean."""
    moving = F.interpolate(moving_fhw[:, None], map_fhw.shape[1:], mode="area")[:, 0].flatten() > MOVES
    count = int(moving.sum())
    highest = map_fhw.flatten().topk(count).indices
    return float(moving[highest].double().mean()), count / len(moving)


def query_map(query_fnc: Tensor) -> Tensor:
    """How far each place's query is from the mean one of its frame: [F, N] of queries [F, N, C]."""
    return (query_fnc - query_fnc.mean(1, keepdim=True)).norm(dim=-1)


def attention_map(query_nhfc: Tensor, key_nhfc: Tensor, scale: float) -> Tensor:
    """How far each place's attention over frames is from the mean one of its frame, 0..1: [F, N] of queries and keys
    [N, heads, F, C]. It is the total variation, of attention averaged over the heads."""
    looks_nff = (query_nhfc @ key_nhfc.transpose(-1, -2) * scale).softmax(-1).mean(1)
    away = (looks_nff - looks_nff.mean(0, keepdim=True)).abs().sum(-1) / 2
    return away.T


@contextmanager
def watched(unet: nn.Module, layers: list[Layer]) -> Iterator[list[tuple[Layer, Tensor]]]:
    """In this block each call of these layers, for one clip, adds its map [F, N] to the list. What the U-Net computes
    stays the same to the bit; its processors are back whatever happens."""
    maps: list[tuple[Layer, Tensor]] = []
    with swapped(unet, {layer.name: _Watching(layer, maps) for layer in layers}):
        yield maps


class _Watching:
    """A processor that looks at what its layer's own one is given, and lets that one answer."""

    def __init__(self, layer: Layer, maps: list[tuple[Layer, Tensor]]) -> None:
        self._layer, self._maps = layer, maps
        self.own: Callable[..., Tensor] | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **named: Any) -> Tensor:
        assert self.own is not None
        query = attn.to_q(hidden_states).float()
        if self._layer.kind == "spatial":
            self._maps.append((self._layer, query_map(query).cpu()))
        else:
            key = attn.to_k(hidden_states).float()
            asked, keys = (rearrange(one, "n f (h c) -> n h f c", h=attn.heads) for one in (query, key))
            self._maps.append((self._layer, attention_map(asked, keys, attn.scale).cpu()))
        return self.own(attn, hidden_states, *args, **named)
