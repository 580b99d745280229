"""Adapter mode, the paper's form: a LoRA and the patch projection learn, on a base that stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..editors.adapters.cogvideox import CogVideoXAdapter
from ..editors.contract import Traits
from ..editors.engine import Engine, TextEncoder
from ..models.trained_parts import FAMILY, PROJECTION, TrainedParts, collect, save
from ..models.widening import WIDTHS, widen
from ..optional import require
from ..runtime import Runtime
from .latent_cache import LatentCache
from .settings import TrainSettings
from .tasks import Recipe
from .trainer import Source, Trainer
from .workers import Workers

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
RANK = 32
LATENTS = "latents"  # the cache's folder, in the run's
# The paper gives none of these; they are what published CogVideoX LoRAs were trained with.
SETTINGS = TrainSettings(
    total_steps=1000, learning_rate=1e-4, matrix_rate=0.0, ema=0.99, save_every=100, checkpointing=True, at_once=1
)
RECIPE = Recipe(image_batch=4, video_batch=1)
# The small model learns at higher rates than a large one, and a clip costs it little more than an image.
EMBEDDED_SETTINGS = TrainSettings(
    total_steps=300, learning_rate=2e-3, matrix_rate=0.0, warmup=20, decay_from=0.5, ema=0.99, save_every=50
)
EMBEDDED_RECIPE = Recipe(images_per_video=1, image_batch=16, video_batch=16)


class TextTable:
    """The embeddings of all captions of a run, made once: the text encoder need not stay in memory."""

    def __init__(self, embeddings: Mapping[str, Tensor]) -> None:
        self._embeddings = dict(embeddings)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[B, tokens, channels]. Raises ValueError for a text that was not among the captions."""
        missing = [text for text in texts if text not in self._embeddings]
        if missing:
            raise ValueError(
                f"Training: the caption {missing[0]!r} was not encoded before; the dataset changed while it was "
                "trained on, so start the run again."
            )
        return torch.stack([self._embeddings[text] for text in texts]).float()

    def __deepcopy__(self, memo: dict[int, Any]) -> TextTable:
        return self  # the mean of the weights has the same texts


@dataclass(frozen=True)
class AdaptedModel:
    """A transformer with a LoRA in it, as `trainer.Learner`; only the LoRA and the patch projection want gradients."""

    transformer: nn.Module
    texts: TextTable
    alpha: float
    mask_encoding: str

    @property
    def parts(self) -> dict[str, nn.Module]:
        """By the names in checkpoints."""
        return {"transformer": self.transformer}

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, tokens, channels]."""
        return self.texts(texts)

    def trained_parts(self) -> TrainedParts:
        """What `models.trained_parts.save` writes."""
        return collect(self.transformer, self.alpha, self.mask_encoding)


def adapted(transformer: nn.Module, rank: int, alpha: float, mask_encoding: str, seed: int = 0) -> nn.Module:
    """Put a new LoRA into a transformer and widen it if need be, in place; returns it. At first it says what it said.

    The base may be in half precision; what learns is fp32. Raises ValueError when it is no CogVideoX transformer, or
    for a rank below 1.
    """
    peft = require("peft", "Training a LoRA")
    if rank < 1:
        raise ValueError(f"Training: got a rank of {rank} for the LoRA; it must be at least 1, and 32 is usual.")
    if getattr(transformer, "patch_embed", None) is None or not hasattr(transformer, "add_adapter"):
        raise ValueError(
            f"Training: got a {type(transformer).__name__}, but VIVID's LoRA belongs to a CogVideoX transformer; load "
            "an engine of this family (the embedded model, CogVideoX or CogVideoX-Fun)."
        )
    widen(transformer, WIDTHS[mask_encoding])
    transformer.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer.add_adapter(peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(TARGETS)))
    for name, parameter in transformer.named_parameters():
        learns = "lora_" in name or name.startswith(PROJECTION + ".")
        parameter.requires_grad_(learns)
        if learns:
            parameter.data = parameter.data.float()
    return transformer


def encoded_captions(engine: Engine, captions: Iterable[str], runtime: Runtime) -> TextTable:
    """All captions of a dataset, and the empty one that guidance needs, in the precision that they were encoded in.

    Raises ValueError when the engine came without a text encoder.
    """
    text, place = _text_of(engine), engine.text_place
    with runtime.hold(text.module), torch.no_grad():
        return TextTable({one: text.encode([one], place)[0].to(place.dtype) for one in sorted({*captions, ""})})


def check_trainable(engine: Engine) -> CogVideoXAdapter:
    """The engine's adapter. Raises ValueError, in one sentence, unless it is one of VIVID's family, with its text."""
    adapter = engine.adapter
    if not isinstance(adapter, CogVideoXAdapter):
        raise ValueError(
            f"Train VIVID LoRA: got the engine {adapter.traits.label}, but training is for the CogVideoX family; load "
            "the embedded model, CogVideoX or CogVideoX-Fun."
        )
    _text_of(engine)
    return adapter


def _text_of(engine: Engine) -> TextEncoder:
    if engine.text is None:
        raise ValueError(
            f"Train VIVID LoRA: the engine {engine.adapter.traits.label} was loaded without a text encoder, which "
            "reads the captions; choose one in Load Edit Engine."
        )
    return engine.text


def usual(traits: Traits) -> tuple[Recipe, TrainSettings]:
    """What a family is trained with by default."""
    return (EMBEDDED_RECIPE, EMBEDDED_SETTINGS) if traits.name == "embedded" else (RECIPE, SETTINGS)


def adapter_trainer(
    engine: Engine,
    transformer: nn.Module,
    source: Source,
    captions: Iterable[str],
    folder: str | Path,
    recipe: Recipe = RECIPE,
    settings: TrainSettings = SETTINGS,
    *,
    rank: int = RANK,
    runtime: Runtime | None = None,
    workers: Workers | None = None,
) -> Trainer[AdaptedModel]:
    """The trainer in adapter mode; it goes on from the checkpoint in `folder` if there is one.

    `engine` gives texts and latents, `transformer` (a copy of its own that may be changed, or its own where nobody else
    holds it) learns on the device of `workers`. Raises ValueError as `check_trainable`, `adapted` and `Trainer` do.
    """
    runtime, workers = runtime or Runtime(), workers or Workers(engine.place.device)
    adapter = check_trainable(engine)
    table = encoded_captions(engine, captions, runtime)
    alpha = float(rank)
    adapted(transformer, rank, alpha, adapter.mask_encoding, settings.seed).to(workers.device)
    adapter = replace(adapter, config=transformer.config)
    held: Callable[[int, int, int, int], AbstractContextManager[None]] = lambda *size: runtime.hold(  # noqa: E731
        engine.vae, activations=engine.footprint.encode(*size)
    )
    cache = LatentCache(
        adapter,
        engine.vae,
        engine.vae_place,
        f"{engine.identity}/vae",
        Path(folder) / LATENTS,
        hold=held,
        processes=workers.count,
    )
    model = AdaptedModel(transformer, table, alpha, adapter.mask_encoding)
    about = {"base": engine.identity, "rank": rank, "family": FAMILY}
    return Trainer(
        model, engine.vae, source, folder, recipe, settings, adapter=adapter, encode=cache, workers=workers, about=about
    )


def save_trained(trainer: Trainer[AdaptedModel], path: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write what was learned (the mean of the weights) as one file for Load Edit Engine; never half of one."""
    if trainer.workers.is_first:
        save(trainer.averaged.trained_parts(), path, dtype)
    trainer.workers.wait()
