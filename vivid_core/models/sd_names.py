"""The names of Stable Diffusion's weights in its original layout, and what diffusers and transformers call them.

The original layout numbers blocks in the order of their calls; diffusers sorts them by level and kind. Both hold the
same tensors, but for three things: the VAE's attention has convolutions of one pixel where diffusers has linear layers,
OpenCLIP keeps query, key and value in one matrix, and motion modules keep a table of positions for each attention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value")
Rule = tuple[str, Callable[[re.Match[str]], str]]

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
CONTROL_PREFIX = "control_model."
FIRST_BLOCK = "input_blocks.0.0.weight"  # in every U-Net and ControlNet of the original layout
FIRST_VAE_BLOCK = "encoder.down.0.block.0.norm1.weight"

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
WHOLE_UNET = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block_out.0": "controlnet_mid_block",
}
VAE_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
    # what diffusers itself called them in the folders of 2022
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}


def without_prefix(tensors: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The tensors under `prefix`, without it; all, as they are, where none is under it."""
    held = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    return held or dict(tensors)


def renamed(tensors: Mapping[str, Value], rename: Callable[[str], str]) -> dict[str, Value]:
    """The same values under other names."""
    return {rename(name): value for name, value in tensors.items()}


def in_diffusers_names(tensors: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Those of a U-Net or ControlNet, found under `prefix` or alone, under diffusers' names.

    Raises ValueError when names of the original layout can't be told apart.
    """
    own = without_prefix(tensors, prefix)
    return renamed(own, unet_namer(own)) if FIRST_BLOCK in own else own


def layers_per_block(names: Collection[str]) -> int:
    """How many layers each level of a U-Net in its original layout has: up to the first that makes it smaller.

    Raises ValueError when there is none.
    """
    numbers = [int(found[1]) for name in names if (found := re.match(r"input_blocks\.(\d+)\.0\.op\.", name))]
    if not numbers:
        raise ValueError(
            "the weights lack input_blocks.3.0.op.weight, so they can't be told apart: download them again."
        )
    return min(numbers) - 1


def unet_namer(names: Collection[str]) -> Callable[[str], str]:
    """How the tensors of a U-Net or ControlNet in its original layout are called in diffusers.

    Raises ValueError as `layers_per_block` does.
    """
    layers = layers_per_block(names)
    hints = [int(found[1]) for name in names if (found := re.match(r"input_hint_block\.(\d+)\.", name))]

    def down(found: re.Match[str]) -> str:
        level, layer = divmod(int(found[1]) - 1, layers + 1)
        if layer == layers:
            return f"down_blocks.{level}.downsamplers.0.conv.{found[3].removeprefix('op.')}"
        return f"down_blocks.{level}.{_layer(found[2], layer, found[3])}"

    def up(found: re.Match[str]) -> str:
        level, layer = divmod(int(found[1]), layers + 1)
        if found[3].startswith("conv."):
            return f"up_blocks.{level}.upsamplers.0.{found[3]}"
        return f"up_blocks.{level}.{_layer(found[2], layer, found[3])}"

    def middle(found: re.Match[str]) -> str:
        number = int(found[1])
        return f"mid_block.{_layer(str(number % 2), number // 2, found[2])}"

    def hint(found: re.Match[str]) -> str:
        number = int(found[1])
        inner = "conv_in" if number == 0 else "conv_out" if number == max(hints) else f"blocks.{number // 2 - 1}"
        return f"controlnet_cond_embedding.{inner}.{found[2]}"

    return _namer(
        [
            *((f"{re.escape(old)}[.](.+)", _in(new)) for old, new in WHOLE_UNET.items()),
            (r"input_blocks\.(\d+)\.(\d+)\.(.+)", down),
            (r"output_blocks\.(\d+)\.(\d+)\.(.+)", up),
            (r"middle_block\.(\d+)\.(.+)", middle),
            (r"zero_convs\.(\d+)\.0\.(.+)", lambda found: f"controlnet_down_blocks.{found[1]}.{found[2]}"),
            (r"input_hint_block\.(\d+)\.(.+)", hint),
        ]
    )


def vae_namer(names: Collection[str]) -> Callable[[str], str]:
    """How the tensors of an AutoencoderKL in its original layout, or in diffusers' first, are called in diffusers."""
    levels = [int(found[1]) for name in names if (found := re.match(r"decoder\.up\.(\d+)\.", name))]
    last = max(levels, default=0)

    def level(side: str, number: int) -> str:
        return f"{side}.down_blocks.{number}" if side == "encoder" else f"{side}.up_blocks.{last - number}"

    def resnet(found: re.Match[str]) -> str:
        inner = found[4].replace("nin_shortcut", "conv_shortcut")
        return f"{level(found[1], int(found[2]))}.resnets.{found[3]}.{inner}"

    def sampler(found: re.Match[str]) -> str:
        return f"{level(found[1], int(found[2]))}.{found[3]}samplers.0.{found[4]}"

    def attention(found: re.Match[str]) -> str:
        return f"{found[1]}.mid_block.attentions.0.{VAE_ATTENTION.get(found[2], found[2])}.{found[3]}"

    def middle(found: re.Match[str]) -> str:
        return f"{found[1]}.mid_block.resnets.{int(found[2]) - 1}.{found[3]}"

    side, inner = "(encoder|decoder)", "(norm|q|k|v|proj_out|query|key|value|proj_attn)"
    return _namer(
        [
            (rf"{side}\.(?:down|up)\.(\d+)\.block\.(\d+)\.(.+)", resnet),
            (rf"{side}\.(?:down|up)\.(\d+)\.(down|up)sample\.(.+)", sampler),
            (rf"{side}\.mid\.block_(\d)\.(.+)", middle),
            (rf"{side}\.(?:mid\.attn_1|mid_block\.attentions\.0)\.{inner}\.(.+)", attention),
            (rf"{side}\.norm_out\.(.+)", lambda found: f"{found[1]}.conv_norm_out.{found[2]}"),
        ]
    )


def motion_name(name: str) -> str:
    """What diffusers calls a tensor of AnimateDiff's motion modules; "" for one that it doesn't have."""
    found = re.fullmatch(r"(?:module\.)?((?:down_blocks|up_blocks|mid_block)\..*motion_modules\..+)", name)
    if found is None or ".attention_blocks.1.pos_encoder." in name:
        return ""  # each attention has the same table of positions
    name = found[1].replace(".temporal_transformer.", ".").replace(".attention_blocks.0.pos_encoder.", ".pos_embed.")
    for old, new in {
        ".attention_blocks.0.": ".attn1.",
        ".attention_blocks.1.": ".attn2.",
        ".ff_norm.": ".norm3.",
    }.items():
        name = name.replace(old, new)
    return re.sub(r"\.norms\.(\d)\.", lambda number: f".norm{int(number[1]) + 1}.", name)


def as_linear(tensor: Tensor) -> Tensor:
    """The weight of a convolution of one pixel as that of a linear layer."""
    return tensor.flatten(1) if tensor.dim() == 4 else tensor


def _layer(kind: str, number: int, inner: str) -> str:
    """A resnet (0) or an attention (1) of a level, and what is in it."""
    if kind != "0":
        return f"attentions.{number}.{inner}"
    outer = next((old for old in RESNET if inner.startswith(old + ".")), None)
    return f"resnets.{number}.{inner if outer is None else RESNET[outer] + inner[len(outer) :]}"


def _in(new: str) -> Callable[[re.Match[str]], str]:
    return lambda found: f"{new}.{found[1]}"


def _namer(rules: Iterable[Rule]) -> Callable[[str], str]:
    """The name by the first rule that fits a whole name; a name that none fits stays."""
    compiled = [(re.compile(pattern), make) for pattern, make in rules]

    def rename(name: str) -> str:
        for pattern, make in compiled:
            found = pattern.fullmatch(name)
            if found is not None:
                return make(found)
        return name

    return rename
