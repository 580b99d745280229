"""The families' text encoders as an engine asks them: texts in, embeddings of a fixed length out.

CogVideoX was trained with padding that takes part: nothing is masked, and what stands behind the text counts. Wan was
trained with the padding masked, and zeros behind the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..models.embedded import TEXT_TOKENS, WordTokenizer
from ..models.text_tokens import PAD, Tokenize, cleaned
from .contract import Place, Traits

# Numbers [B, tokens] and a mask of the same shape (1 = text), or None, to the last hidden states [B, tokens, channels].
Ask: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]

WAN_TOKENS = 512
TASKS = ("modify", "add", "remove")
REMOVE = TASKS[2]


def t5_embeddings(ask: Ask, tokenize: Tokenize, texts: Sequence[str], tokens: int) -> Tensor:
    """Float32 [B, tokens, channels] on the CPU, as CogVideoX's pipeline makes them."""
    return ask(tokenize(texts, tokens), None).float().cpu()


def umt5_embeddings(ask: Ask, tokenize: Tokenize, texts: Sequence[str], tokens: int = WAN_TOKENS) -> Tensor:
    """Float32 [B, tokens, channels] on the CPU, as Wan's pipeline makes them."""
    numbers = tokenize([cleaned(text) for text in texts], tokens)
    is_text = numbers != PAD
    return torch.where(is_text[..., None], ask(numbers, is_text.long()).float().cpu(), 0.0)


def asked(module: nn.Module, device: torch.device) -> Ask:
    """How a T5EncoderModel or UMT5EncoderModel is asked on a device; it must be held."""

    @torch.no_grad()
    def ask(numbers: Tensor, mask: Tensor | None) -> Tensor:
        named = {} if mask is None else {"attention_mask": mask.to(device)}
        return module(numbers.to(device), **named).last_hidden_state

    return ask


def excess(tokenize: Tokenize, text: str, tokens: int) -> int:
    """How many tokens of a text stand behind the last one that is read (at most 15 times as many as are read)."""
    return max(0, int((tokenize([text], 16 * tokens) != PAD).sum()) - tokens)


@dataclass(frozen=True)
class T5Text:
    """T5 as CogVideoX asks it; `tokens` is the transformer's max_text_seq_length. See `engine.TextEncoder`."""

    module: nn.Module
    tokenize: Tokenize
    tokens: int

    def encode(self, texts: Sequence[str], place: Place) -> Tensor:
        """Float32 [B, tokens, channels], on the CPU."""
        return t5_embeddings(asked(self.module, place.device), self.tokenize, texts, self.tokens)

    def unknown(self, text: str) -> list[str]:
        """None: it takes any word."""
        return []

    def excess(self, text: str) -> int:
        """How many tokens at its end are not read."""
        return excess(self.tokenize, text, self.tokens)


@dataclass(frozen=True)
class Umt5Text:
    """UMT5 as Wan asks it. See `engine.TextEncoder`."""

    module: nn.Module
    tokenize: Tokenize

    def encode(self, texts: Sequence[str], place: Place) -> Tensor:
        """Float32 [B, 512, channels], on the CPU."""
        return umt5_embeddings(asked(self.module, place.device), self.tokenize, texts)

    def unknown(self, text: str) -> list[str]:
        """None: it takes any word."""
        return []

    def excess(self, text: str) -> int:
        """How many tokens at its end are not read."""
        return excess(self.tokenize, cleaned(text), WAN_TOKENS)


@dataclass(frozen=True)
class EmbeddedText:
    """The embedded model's text encoder. See `engine.TextEncoder`."""

    module: nn.Module
    words: WordTokenizer

    def encode(self, texts: Sequence[str], place: Place) -> Tensor:
        """Float32 [B, tokens, channels], on the CPU."""
        return asked(self.module, place.device)(self.words(texts), None).float().cpu()

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not in the world."""
        return self.words.unknown(text)

    def excess(self, text: str) -> int:
        """How many words at its end are not read."""
        return max(0, len(self.words.split(text)) - TEXT_TOKENS)


def prompt_for(traits: Traits, task: str, text: str, notes: list[str] | None = None) -> str:
    """What a family must be told for a task: the text itself, or the sentence that it was trained to remove with.

    Raises ValueError when the text is needed and empty, or for a task that is none of `TASKS`.
    """
    if task not in TASKS:
        raise ValueError(f"Task: got {task!r}; choose one of {', '.join(TASKS)}.")
    text = text.strip()
    if task != REMOVE:
        if not text:
            raise ValueError(
                f"The text is empty: to {task} something, write what must be seen inside the mask, such as "
                '"a red ball", or choose the task remove.'
            )
        return text
    if traits.deletion is None:
        if not text:
            raise ValueError(
                f"The text is empty, and {traits.label} has no words of its own for removing: describe what is behind "
                'the object, such as "an empty road between fields".'
            )
        return text
    if text and text != traits.deletion and notes is not None:
        notes.append(f'The text is not used: {traits.label} removes things with the words "{traits.deletion}"')
    return traits.deletion
