"""T5 v1.1 text encoders: transformers' files, and ComfyUI's t5xxl single files, which have the same keys."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from .family import Family, Tensors, count, from_transformers, given_config, odd_size, width
from .files import WeightFiles

CLASS = "T5EncoderModel"
LABEL = "T5 text encoder"
ATTENTION = "encoder.block.0.layer.0.SelfAttention."
FEED_FORWARD = "encoder.block.0.layer.1.DenseReluDense."
EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")  # one and the same table; files hold one or both
BIAS = "relative_attention_bias.weight"


def biased_in_each_layer(tensors: Tensors) -> bool:
    """Whether every layer has a table of distances of its own: that is UMT5. T5 has one for all, in the first."""
    return "encoder.block.1.layer.0.SelfAttention." + BIAS in tensors


def _detects(tensors: Tensors) -> bool:
    own = all(ATTENTION + name in tensors for name in ("q.weight", BIAS))
    return own and not biased_in_each_layer(tensors) and any(name in tensors for name in EMBEDDINGS)


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Raises ValueError for scaled fp8 files, and when the shapes contradict each other.
    """
    given = given_config(files, LABEL, CLASS, "T5ForConditionalGeneration", "T5Model", "T5WithLMHeadModel")
    return config_of_shapes(files, LABEL) if given is None else given


def config_of_shapes(files: WeightFiles, label: str) -> dict[str, Any]:
    """The settings of a T5 or UMT5 encoder as far as its shapes tell them.

    Not in the shapes, so taken from the released models: distances count up to 128, norms add 1e-6.

    Raises ValueError when the shapes contradict each other.
    """
    tensors = files.tensors
    buckets, heads = width(tensors, ATTENTION + BIAS), width(tensors, ATTENTION + BIAS, 1)
    inner = width(tensors, ATTENTION + "q.weight")
    if inner % heads:
        raise odd_size(files, label, f"{inner} channels for {heads} heads")
    gated = FEED_FORWARD + "wi_0.weight" in tensors
    table = next(name for name in EMBEDDINGS if name in tensors)
    return {
        "vocab_size": width(tensors, table),
        "d_model": width(tensors, table, 1),
        "d_kv": inner // heads,
        "d_ff": width(tensors, FEED_FORWARD + "wo.weight", 1),
        "num_layers": count(tensors, "encoder.block."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
    }


def only_the_encoder(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the decoder, which whole T5 files hold too, and without a tokenizer among the weights."""
    return {name: tensor for name, tensor in state_dict.items() if name.startswith(("encoder.", "shared."))}


FAMILY = Family(
    name="t5_encoder",
    label=LABEL,
    role="text_encoder",
    get_it="get t5xxl_fp16.safetensors of comfyanonymous/flux_text_encoders, or the folder text_encoder of "
    "zai-org/CogVideoX-5b, on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_transformers, CLASS, "T5Config"),
    convert=only_the_encoder,
)
