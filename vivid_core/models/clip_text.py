"""CLIP text encoders as Stable Diffusion uses them: transformers' layout, a checkpoint's, or OpenCLIP's (SD 2.x).

SD 1.x reads the last hidden states; SD 2.x reads those before the last layer, through the final norm. The folders of
SD 2.x leave that layer out, and so does what is made of OpenCLIP's weights here: all end in `last_hidden_state`.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from torch import Tensor

from ..optional import require
from .family import Family, Tensors, count, from_transformers, given_config, odd_size, width
from .files import TensorInfo, WeightFiles
from .sd_names import renamed, without_prefix

CLASS = "CLIPTextModel"
LABEL = "CLIP text encoder"
TOKENS = 77
PREFIX = "cond_stage_model."  # of text encoders in checkpoints
IN_CHECKPOINT, OPEN_IN_CHECKPOINT = PREFIX + "transformer.", PREFIX + "model."
OPEN_FIRST = "transformer.resblocks.0.attn.in_proj_weight"
FIRST = "encoder.layers.0.self_attn.q_proj.weight"
TABLE = "embeddings.token_embedding.weight"
HEAD = 64  # channels
VIT_L, VIT_H = 768, 1024  # widths of SD 1.x and SD 2.x
READ_OF_VIT_H = 23  # layers; some files leave out the last one, which is not read
OPEN_NAMES = {
    "token_embedding.weight": TABLE,
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
OPEN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def _detects(tensors: Tensors) -> bool:
    if any(prefix + OPEN_FIRST in tensors for prefix in ("", OPEN_IN_CHECKPOINT)):
        return True
    prefixes = ("", "text_model.", IN_CHECKPOINT, IN_CHECKPOINT + "text_model.")
    return any(prefix + FIRST in tensors and prefix + TABLE in tensors for prefix in prefixes)


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Not in the shapes, so taken from the released models: heads of 64 channels, and the activation, which is the quick
    one in SD 1.x's encoder and the exact one in OpenCLIP's.

    Raises ValueError where config.json is of another class, and for other widths in transformers' layout.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    tensors = _plain(files.tensors)
    inner = width(tensors, TABLE, 1)
    is_open = _is_open(files.tensors)
    alone = not any(name.startswith(PREFIX) for name in files.tensors)
    if inner % HEAD or (alone and not is_open and inner not in (VIT_L, VIT_H)):
        raise odd_size(files, LABEL, f"{inner} channels")
    return {
        "vocab_size": width(tensors, TABLE),
        "hidden_size": inner,
        "intermediate_size": width(tensors, "encoder.layers.0.mlp.fc1.weight"),
        "num_hidden_layers": count(tensors, "encoder.layers."),
        "num_attention_heads": inner // HEAD,
        "max_position_embeddings": width(tensors, "embeddings.position_embedding.weight"),
        "hidden_act": "gelu" if is_open or inner == VIT_H else "quick_gelu",
        "projection_dim": inner,
    }


def pads_with_zero(config: Any) -> bool:
    """Whether texts are padded with the token 0, as for SD 2.x, and not with the one that ends a text."""
    return bool(config.hidden_act == "gelu")


def _is_open(tensors: Any) -> bool:
    return any(prefix + OPEN_FIRST in tensors for prefix in ("", OPEN_IN_CHECKPOINT))


def _plain(tensors: Any) -> dict[str, Any]:
    """The encoder's tensors, or what is known of them, under transformers' names without text_model before them."""
    if _is_open(tensors):
        return _of_open(without_prefix(tensors, OPEN_IN_CHECKPOINT))
    own = renamed(without_prefix(tensors, IN_CHECKPOINT), lambda name: name.removeprefix("text_model."))
    return {
        name: one
        for name, one in own.items()
        if name.startswith(("embeddings.", "encoder.", "final_")) and not name.endswith("position_ids")
    }


def _of_open(tensors: dict[str, Any]) -> dict[str, Any]:
    layers = count(tensors, "transformer.resblocks.")
    if not (layers == READ_OF_VIT_H and tensors["token_embedding.weight"].shape[1] == VIT_H):
        layers -= 1
    found = {new: tensors[old] for old, new in OPEN_NAMES.items() if old in tensors}
    for name, one in tensors.items():
        parts = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)", name)
        if parts is None or int(parts[1]) >= layers:
            continue
        layer = f"encoder.layers.{parts[1]}."
        if parts[2] == "attn.in_proj":
            found |= {f"{layer}self_attn.{kind}_proj.{parts[3]}": third for kind, third in zip("qkv", _thirds(one))}
        else:
            found[f"{layer}{OPEN_LAYER.get(parts[2], parts[2])}.{parts[3]}"] = one
    return found


def _thirds(stacked: Any) -> tuple[Any, ...]:
    """Query, key and value out of their common matrix, or what is known of each."""
    if isinstance(stacked, Tensor):
        return stacked.chunk(3)
    third = TensorInfo(stacked.dtype, (stacked.shape[0] // 3, *stacked.shape[1:]), stacked.nbytes // 3)
    return third, third, third


def _convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that the module of the installed transformers has: up to 4 they begin with text_model."""
    transformers = require("transformers", f"Loading a {CLASS}")
    sizes = {"vocab_size": 3, "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1}
    tiny = transformers.CLIPTextConfig(**sizes, num_attention_heads=1, bos_token_id=1, eos_token_id=2)
    before = "text_model." if hasattr(transformers.CLIPTextModel(tiny), "text_model") else ""
    return {before + name: tensor for name, tensor in _plain(state_dict).items()}


FAMILY = Family(
    name="clip_text",
    label=LABEL,
    role="text_encoder",
    get_it="get the folder text_encoder of the same Stable Diffusion model in diffusers' layout",
    detects=_detects,
    config=config,
    build=partial(from_transformers, CLASS, "CLIPTextConfig"),
    convert=_convert,
)
