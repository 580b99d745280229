"""From chosen files to an engine: which family they are, which VAE and text encoder go with it, what a LoRA changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ...vivid_core.checks import check_number
from ...vivid_core.editors.adapters.choice import adapter_for
from ...vivid_core.editors.adapters.cogvideox import vivid
from ...vivid_core.editors.engine import TextEncoder
from ...vivid_core.editors.footprints import footprint
from ...vivid_core.editors.texts import EmbeddedText, T5Text, Umt5Text
from ...vivid_core.models import cogvideox, embedded, embedded_codec, trained_parts
from ...vivid_core.models.families import FAMILIES, Family, open_family
from ...vivid_core.models.files import WeightFiles, open_weights
from ...vivid_core.models.lora_files import read_lora
from ...vivid_core.models.trained_parts import TrainedParts
from ...vivid_core.models.widening import TEXT_TO_VIDEO, WIDTHS, widen
from .attention import is_fused
from .engine import SEES_NO_MASK, ManagedEngine
from .engine_files import part_of
from .host import ManagedModel
from .loading import load_family, load_model
from .lora import with_lora, with_projection
from .shared import file_identity
from .tokenizers import t5_tokenizer, umt5_tokenizer

EMBEDDED = embedded.TRANSFORMER_FAMILY.name
TRANSFORMERS = ("cogvideox", "wan_vace", EMBEDDED)
VAES = {"cogvideox": "cogvideox_vae", "wan_vace": "wan_vae", EMBEDDED: "embedded_codec"}
TEXTS = {"cogvideox": "t5_encoder", "wan_vace": "umt5"}
UNTRAINED = WIDTHS["resize"]  # channels that a base gets for training
BY_NAME = {family.name: family for family in FAMILIES}


@dataclass(frozen=True)
class EngineFiles:
    """What the user chose. `model` None is the embedded model; `vae` and `text` None mean those beside the model, if
    there are any; `without_text` leaves the text encoder out."""

    model: Path | None = None
    vae: Path | None = None
    text: Path | None = None
    lora: Path | None = None
    strength: float = 1.0
    precision: str = "auto"
    tiled: bool = False
    without_text: bool = False

    def paths(self) -> list[Path]:
        """All that was named."""
        return [path for path in (self.model, self.vae, self.text, self.lora) if path is not None]


@dataclass(frozen=True)
class Widened:
    """A change of a transformer: it gets `channels` input channels, with nothing in the new columns."""

    channels: int

    def __call__(self, module: nn.Module) -> None:
        widen(module, self.channels)


@dataclass(frozen=True)
class Tiled:
    """A change of a VAE: it takes a frame in tiles."""

    def __call__(self, module: Any) -> None:
        module.enable_tiling()


def load_engine(chosen: EngineFiles) -> ManagedEngine:
    """The engine of these files, each part under ComfyUI's memory and shared with whoever uses the same file.

    Raises ValueError, in one sentence that names the file, when one is missing, damaged, or belongs to something else.
    """
    model = embedded.WEIGHTS if chosen.model is None else part_of(chosen.model, "transformer") or chosen.model
    files, family = open_family(model, TRANSFORMERS)
    parts, lora = _opened_lora(chosen.lora)
    notes: list[str] = []
    untrained = parts is None and _is_text_to_video(files, family)
    transformer = _transformer(files, family, chosen, parts.channels if parts else untrained and UNTRAINED, notes)
    config: Any = transformer.module.config
    adapter = vivid(config) if untrained else adapter_for(family.name, config, parts, files.path.name)
    if untrained:
        notes.append(f"{_name(chosen)} {SEES_NO_MASK}")
    if chosen.lora is not None:
        transformer = _with_lora(transformer, parts, lora, chosen)
    vae = _vae(family, chosen, notes)
    text = _text(files, family, chosen, adapter.traits.text_tokens)
    if text is None:
        notes.append(_without_text(family))
    models = [transformer, vae, *([text[0]] if text else [])]
    sizes = (transformer.compute_dtype.itemsize, vae.compute_dtype.itemsize)
    return ManagedEngine(
        adapter,
        transformer,
        vae,
        None if text is None else text[0],
        None if text is None else text[1],
        footprint(family.name, config, vae.module, sizes, is_fused()),
        _identity(chosen, files, transformer, vae),
        [*notes, *(note for one in models for note in one.notes)],
        untrained,
        _identity(replace(chosen, lora=None, strength=1.0), files, transformer, vae),
    )


def _transformer(
    files: WeightFiles, family: Family, chosen: EngineFiles, channels: int, notes: list[str]
) -> ManagedModel:
    """`channels` are those that it must have at least; 0 leaves it as it is."""
    if family.name == EMBEDDED:
        if chosen.precision not in ("auto", "fp32"):
            notes.append(f"The embedded model is small and always computes in fp32, not in {chosen.precision}.")
        return load_family(files, family, "fp32")
    widened = Widened(channels) if channels and family.name == cogvideox.FAMILY.name else None
    return load_family(files, family, chosen.precision, change=widened)


def _is_text_to_video(files: WeightFiles, family: Family) -> bool:
    """Whether it is a base for training, which knows of no mask yet."""
    return family.name == cogvideox.FAMILY.name and family.config(files).get("in_channels", 16) == TEXT_TO_VIDEO


def _opened_lora(path: Path | None) -> tuple[TrainedParts | None, dict[str, Any]]:
    """Trained parts of VIVID, or the tensors of a plain LoRA."""
    if path is None:
        return None, {}
    if trained_parts.METADATA in open_weights(path).metadata:
        parts = trained_parts.load(path)
        return parts, parts.with_scales()
    return None, read_lora(path)


def _with_lora(
    model: ManagedModel, parts: TrainedParts | None, lora: dict[str, Any], chosen: EngineFiles
) -> ManagedModel:
    assert chosen.lora is not None
    name = chosen.lora.name
    check_number(chosen.strength, -100, 100, "Load Edit Engine, lora_strength")
    if parts is not None:
        trained_parts.check_fit(parts, model.module, name)
        model = with_projection(model, parts.projection)
    return with_lora(model, lora, chosen.strength, name) if lora else model


def _vae(family: Family, chosen: EngineFiles, notes: list[str]) -> ManagedModel:
    wanted = BY_NAME[VAES[family.name]]
    if family.name == EMBEDDED:
        given = {"vae": chosen.vae, "text_encoder": chosen.text, "tiled_vae": chosen.tiled or None}
        unused = [name for name, value in given.items() if value is not None]
        if unused:
            notes.append(f"The embedded model has a codec and a text encoder of its own: {', '.join(unused)} not used.")
        return load_model(embedded_codec.WEIGHTS, {wanted.name}, "fp32")
    path = chosen.vae or _beside(chosen, "vae")
    if path is None:
        raise ValueError(
            f"{_name(chosen)} comes without a VAE: choose a {wanted.label} in the input vae, or {wanted.get_it}."
        )
    return load_model(path, {wanted.name}, change=Tiled() if chosen.tiled else None)


def _text(
    files: WeightFiles, family: Family, chosen: EngineFiles, tokens: int
) -> tuple[ManagedModel, TextEncoder] | None:
    """The text encoder under ComfyUI's memory and as an engine asks it; None where nothing was chosen and none is
    there."""
    if family.name == EMBEDDED:
        words = embedded.WordTokenizer(embedded.settings_of(files)["words"])
        model = load_family(files, embedded.TEXT_FAMILY, "fp32")
        return model, EmbeddedText(model.module, words)
    path = chosen.text or _beside(chosen, "text_encoder")
    if path is None or chosen.without_text:
        return None
    makers: dict[str, Callable[[ManagedModel], TextEncoder]] = {
        "cogvideox": lambda model: T5Text(model.module, t5_tokenizer(path), tokens),
        "wan_vace": lambda model: Umt5Text(model.module, umt5_tokenizer(path)),
    }
    model = load_model(path, {TEXTS[family.name]})
    return model, makers[family.name](model)


def _without_text(family: Family) -> str:
    label = BY_NAME[TEXTS.get(family.name, "t5_encoder")].label
    return f"No text encoder: connect a CLIP with a {label} to Encode Prompt, or choose one in text_encoder."


def _identity(chosen: EngineFiles, files: WeightFiles, *models: ManagedModel) -> str:
    """Everything that can change a result, as text; the text encoder can't, once a text is encoded."""
    kinds = [(str(one.host.get_dtype()), str(one.compute_dtype), one.device.type) for one in models]
    chosen_files = (chosen.vae or _beside(chosen, "vae") or embedded_codec.WEIGHTS, chosen.lora)
    paths = [path for part in chosen_files if part is not None for path in open_weights(part).parts]
    return json.dumps([file_identity([*files.parts, *paths]), kinds, chosen.strength, chosen.tiled])


def _beside(chosen: EngineFiles, part: str) -> Path | None:
    return None if chosen.model is None else part_of(chosen.model, part)


def _name(chosen: EngineFiles) -> str:
    return "The embedded model" if chosen.model is None else chosen.model.name
