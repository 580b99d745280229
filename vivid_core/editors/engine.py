"""An engine: the modules that edit by a mask, their adapter, and what one run of a window needs of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from .contract import Adapter, Place

if TYPE_CHECKING:
    from ..runtime import Runtime


class TextEncoder(Protocol):
    """Texts to what a family's transformer was trained with."""

    @property
    def module(self) -> nn.Module:
        """What must be held while it encodes."""
        ...

    def encode(self, texts: Sequence[str], place: Place) -> Tensor:
        """Float32 embeddings [B, tokens, channels], on the CPU."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The words of a text that it can't know; empty where it takes any."""
        ...

    def excess(self, text: str) -> int:
        """How many tokens at the end of a text it does not read."""
        ...


@dataclass(frozen=True)
class Footprint:
    """Bytes that each part needs beside its weights, of (batch, frames, height, width) in pixels of the window."""

    denoise: Callable[[int, int, int, int], int] = lambda batch, frames, height, width: 0
    encode: Callable[[int, int, int, int], int] = lambda batch, frames, height, width: 0
    decode: Callable[[int, int, int, int], int] = lambda batch, frames, height, width: 0


@dataclass(frozen=True)
class Engine:
    """A model that edits by a mask, whose modules a `Runtime` holds.

    `place` is where and in what the transformer computes, `vae_place` the same of the VAE. `text` is None where the
    engine came without a text encoder. `identity` tells two engines apart that would give other results: files,
    precision, LoRAs with their strengths.
    """

    adapter: Adapter
    transformer: nn.Module
    vae: nn.Module
    text: TextEncoder | None
    identity: str
    place: Place = field(default_factory=Place)
    vae_place: Place = field(default_factory=Place)
    text_place: Place = field(default_factory=Place)
    footprint: Footprint = field(default_factory=Footprint)

    def encoded(self, text: str, runtime: Runtime) -> Tensor:
        """One text as [1, tokens, channels].

        Raises ValueError when the engine came without a text encoder.
        """
        if self.text is None:
            raise ValueError(
                f"{self.adapter.traits.label}: this engine was loaded without a text encoder; choose one in Load Edit "
                "Engine, or connect a CLIP to Encode Prompt."
            )
        with runtime.hold(self.text.module), torch.no_grad():
            return self.text.encode([text], self.text_place)


def embedded_engine(path: str | Path | None = None) -> Engine:
    """The embedded model that comes with the pack, or the one in `path`, as an engine on the CPU in fp32.

    Raises ValueError as `models.embedded.load` does.
    """
    from ..models import embedded
    from ..models.embedded_codec import load_codec
    from .adapters.cogvideox import embedded as adapter
    from .texts import EmbeddedText

    path = Path(embedded.WEIGHTS if path is None else path)
    model, _ = embedded.load(path)
    config: Any = model.transformer.config
    identity = f"embedded/{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return Engine(
        adapter(config), model.transformer, load_codec(), EmbeddedText(model.text_encoder, model.tokenizer), identity
    )
