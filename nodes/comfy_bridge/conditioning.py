"""ComfyUI's CONDITIONING and CLIP, as the engines' texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...vivid_core.editors.contract import Traits
from ...vivid_core.editors.texts import Ask, excess, t5_embeddings, umt5_embeddings
from ...vivid_core.models.text_tokens import folder_tokenizer, of_pieces
from .engine import ManagedEngine
from .tokenizers import comfys_t5

Conditioning = list[list[Any]]
INSIDE = {"t5_encoder": "t5xxl", "umt5": "umt5xxl"}  # what ComfyUI calls a family's encoder inside a CLIP
TO_LOAD = {"t5_encoder": "a t5xxl file", "umt5": 'a umt5_xxl file and the type "wan"'}


def as_conditioning(text_bld: Tensor) -> Conditioning:
    """An embedding as it travels in the graph."""
    return [[text_bld, {}]]


def text_of(conditioning: Conditioning, managed: ManagedEngine, what: str) -> Tensor:
    """The embedding in a conditioning, [1, tokens, channels] in float32 on the CPU.

    Raises ValueError when it is none, not of this engine's encoder, or holds NaN.
    """
    traits = managed.adapter.traits
    if len(conditioning) != 1 or not isinstance(conditioning[0][0], Tensor):
        raise ValueError(
            f"{what}: got {len(conditioning)} texts in one conditioning, but {traits.label} takes one; connect Encode "
            "Prompt directly."
        )
    text = conditioning[0][0]
    wanted = (1, traits.text_tokens, text_width(managed))
    if tuple(text.shape) != wanted:
        raise ValueError(
            f"{what}: got a text of shape {tuple(text.shape)}, but {traits.label} needs {wanted} (one text, tokens, "
            "channels); encode it with Encode Prompt and this engine."
        )
    text = text.to("cpu", torch.float32)
    if not bool(torch.isfinite(text).all()):
        raise ValueError(
            f"{what}: the text holds NaN (not a number) or infinite values; encode it again, in bf16 or fp32 if its "
            "encoder ran in fp16."
        )
    return text


def text_width(managed: ManagedEngine) -> int:
    """The channels of a text that the transformer takes."""
    config: Any = managed.transformer.module.config
    return int(config["text_embed_dim"] if "text_embed_dim" in config else config["text_dim"])


@torch.no_grad()
def encoded_by_clip(clip: Any, traits: Traits, texts: Sequence[str], notes: list[str]) -> Tensor:
    """Texts by the encoder inside a native CLIP, float32 [B, tokens, channels] on the CPU: the weights are asked as the
    family's own pipeline asks them, whatever the type that was chosen when the CLIP was loaded.

    What of a text is not read is said in `notes`.
    Raises ValueError when the family's encoder is not in it.
    """
    name = INSIDE.get(traits.text_encoder)
    if name is None:
        raise ValueError(
            f"Encode Prompt: {traits.label} understands only its own text encoder, so disconnect the CLIP."
        )
    encoder = getattr(clip.cond_stage_model, name, None)
    if encoder is None:
        raise ValueError(
            f"Encode Prompt: this CLIP holds no {name}, which {traits.label} was trained with; load "
            f"{TO_LOAD[traits.text_encoder]} with Load CLIP, or choose a text encoder in Load Edit Engine."
        )
    clip.load_model()
    ask = _asked(encoder.transformer, clip.patcher.load_device)
    if name == "t5xxl":
        embeddings, tokenize = t5_embeddings, folder_tokenizer(comfys_t5())
    else:
        pieces = getattr(clip.tokenizer, clip.tokenizer.clip).tokenizer.tokenizer
        embeddings, tokenize = umt5_embeddings, of_pieces(pieces.serialized_model_proto())
    for text in texts:
        notes += cut_short(excess(tokenize, text, traits.text_tokens), traits)
    return embeddings(ask, tokenize, texts, traits.text_tokens)


def cut_short(tokens: int, traits: Traits) -> list[str]:
    """A note for a text of which so many tokens are not read; none for 0."""
    if not tokens:
        return []
    return [
        f"The text is too long: its last {tokens} tokens are not read, for {traits.label} reads {traits.text_tokens}; "
        "shorten it, or put what matters first."
    ]


def _asked(transformer: Any, device: torch.device) -> Ask:
    """How ComfyUI's own T5 is asked: in fp32, which it computes in anyway."""

    def ask(numbers: Tensor, mask: Tensor | None) -> Tensor:
        mask = None if mask is None else mask.to(device)
        return transformer(numbers.to(device), mask, dtype=torch.float32)[0]

    return ask
