"""CLIP as Stable Diffusion asks it: 77 tokens, padding that takes part, the last hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..models.clip_text import TOKENS
from ..models.text_tokens import Tokenize
from .contract import Place
from .texts import asked

LONGEST = 16 * TOKENS  # tokens of a text that are counted


@dataclass(frozen=True)
class ClipText:
    """See `engine.TextEncoder`. `end` is the token that ends a text."""

    module: nn.Module
    tokenize: Tokenize
    end: int = 49407

    def encode(self, texts: Sequence[str], place: Place) -> Tensor:
        """Float32 [B, 77, channels], on the CPU, as diffusers' pipelines make them."""
        return asked(self.module, place.device)(self.tokenize(texts, TOKENS), None).float().cpu()

    def unknown(self, text: str) -> list[str]:
        """None: it takes any word."""
        return []

    def excess(self, text: str) -> int:
        """How many tokens at its end are not read."""
        numbers = self.tokenize([text], LONGEST)[0]
        ends = (numbers == self.end).nonzero()
        return max(0, (int(ends[0]) + 1 if len(ends) else LONGEST) - TOKENS)
