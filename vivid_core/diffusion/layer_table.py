"""Which attention is layer 7: an explicit table of the self-attentions of SD 1.x and 2.x U-Nets, in the order of calls.

The order in which modules are registered is another one (the middle comes after all of the way up), and counting calls
breaks as soon as a frame is asked in parts. So layers are found by their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

Kind = Literal["spatial", "temporal"]

LEVELS = 4
WITH_ATTENTION_DOWN, WITH_ATTENTION_UP = (0, 1, 2), (1, 2, 3)
DOWN_LAYERS, UP_LAYERS = 2, 3  # how many layers a block has on the way down and on the way up
TEMPORAL_OF_ONE = ("attn1", "attn2")  # a motion module has two self-attentions over time
_BLOCK = "transformer_blocks.0"


@dataclass(frozen=True)
class Layer:
    """One self-attention: `index` counts its kind in the order of calls, `name` is the module's, `level` says how often
    the latents were halved there."""

    kind: Kind
    index: int
    name: str
    level: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Its rows and columns of tokens for latents of this size."""
        return -(-height // 2**self.level), -(-width // 2**self.level)


@dataclass(frozen=True)
class LayerTable:
    """All self-attentions of a U-Net: 16 spatial ones; 40 or 42 temporal ones with motion modules, else none."""

    spatial: tuple[Layer, ...]
    temporal: tuple[Layer, ...] = ()

    def of(self, kind: Kind) -> tuple[Layer, ...]:
        return self.spatial if kind == "spatial" else self.temporal

    @classmethod
    def make(cls, unet: nn.Module) -> LayerTable:
        """The table of a UNet2DConditionModel or UNetMotionModel with the topology of SD 1.x and 2.x, of any width.

        Raises ValueError for a U-Net of another topology.
        """
        there = {name for name, _ in unet.named_modules() if name.endswith((".attn1", ".attn2"))}
        spatial, motion = _spatial(), any(".motion_modules." in name for name in there)
        temporal = _temporal("mid_block.motion_modules.0." + _BLOCK + ".attn1" in there) if motion else []
        wanted = {name for name, _ in spatial} | {name.replace(".attn1", ".attn2") for name, _ in spatial}
        wanted |= {name for name, _ in temporal}
        if there != wanted or _levels(unet) != LEVELS:
            raise ValueError(
                f"The attention layers of this {type(unet).__name__} are not those of Stable Diffusion 1.x and 2.x "
                "(four levels, attention in three of them and in the middle), so their numbers would mean something "
                "else: use a model of that family."
            )
        return cls(_numbered("spatial", spatial), _numbered("temporal", temporal))


def _spatial() -> list[tuple[str, int]]:
    down = [(f"down_blocks.{block}.attentions.{layer}", block) for block, layer in _each("down")]
    up = [(f"up_blocks.{block}.attentions.{layer}", LEVELS - 1 - block) for block, layer in _each("up")]
    found = [*down, ("mid_block.attentions.0", LEVELS - 1), *up]
    return [(f"{name}.{_BLOCK}.attn1", level) for name, level in found]


def _each(way: Literal["down", "up"]) -> list[tuple[int, int]]:
    blocks, layers = (WITH_ATTENTION_DOWN, DOWN_LAYERS) if way == "down" else (WITH_ATTENTION_UP, UP_LAYERS)
    return [(block, layer) for block in blocks for layer in range(layers)]


def _temporal(in_the_middle: bool) -> list[tuple[str, int]]:
    """Motion modules stand behind every layer, on the lowest level, too, and in the middle only of some adapters."""
    down = [(f"down_blocks.{block}", layer, block) for block in range(LEVELS) for layer in range(DOWN_LAYERS)]
    middle = [("mid_block", 0, LEVELS - 1)] if in_the_middle else []
    up = [(f"up_blocks.{block}", layer, LEVELS - 1 - block) for block in range(LEVELS) for layer in range(UP_LAYERS)]
    return [
        (f"{block}.motion_modules.{layer}.{_BLOCK}.{attention}", level)
        for block, layer, level in [*down, *middle, *up]
        for attention in TEMPORAL_OF_ONE
    ]


def _numbered(kind: Kind, found: list[tuple[str, int]]) -> tuple[Layer, ...]:
    return tuple(Layer(kind, index, name, level) for index, (name, level) in enumerate(found))


def _levels(unet: nn.Module) -> int:
    blocks: Any = getattr(unet, "down_blocks", ())
    return len(blocks)
