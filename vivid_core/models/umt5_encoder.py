"""UMT5 text encoders: transformers' files, and ComfyUI's umt5_xxl single files, which bring their tokenizer along."""

from __future__ import annotations

from functools import partial
from typing import Any

from .family import Family, Tensors, from_transformers, given_config
from .files import WeightFiles
from .t5_encoder import EMBEDDINGS, biased_in_each_layer, config_of_shapes, only_the_encoder

CLASS = "UMT5EncoderModel"
LABEL = "UMT5 text encoder"
TOKENIZER = "spiece_model"  # the bytes of a SentencePiece model, as one more tensor of a single file


def _detects(tensors: Tensors) -> bool:
    return biased_in_each_layer(tensors) and any(name in tensors for name in EMBEDDINGS)


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes, as for T5.

    Raises ValueError for scaled fp8 files, and when the shapes contradict each other.
    """
    given = given_config(files, LABEL, CLASS, "UMT5ForConditionalGeneration", "UMT5Model")
    return config_of_shapes(files, LABEL) if given is None else given


FAMILY = Family(
    name="umt5",
    label=LABEL,
    role="text_encoder",
    get_it="get the folder text_encoder of Wan-AI/Wan2.1-VACE-1.3B-diffusers with its tokenizer beside it, or "
    "umt5_xxl_fp16.safetensors of Comfy-Org/Wan_2.1_ComfyUI_repackaged, on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_transformers, CLASS, "UMT5Config"),
    convert=only_the_encoder,
)
