"""The embedded model: a small VIVID of the CogVideoX family with a small text encoder, in one file with the pack.

It knows the words of the procedural world and nothing else. It is there to show the whole loop where no other weights
are, and to test it; its classes are those of diffusers and transformers, so that everything else treats it like the
released models.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .family import Family, Tensors, from_diffusers, from_transformers
from .files import WeightFiles, open_weights, read_tensors
from .widening import WIDTHS

WEIGHTS = Path(__file__).with_name("embedded_vivid.safetensors")
METADATA = "vivid_embedded"
TEXT_TOKENS = 16  # more than the longest caption of the world has words
TEXT_WIDTH = 64
PAD, UNKNOWN = 0, 1
TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 3,
    "attention_head_dim": 64,
    "in_channels": WIDTHS["pool"],
    "out_channels": 16,
    "time_embed_dim": 128,
    "text_embed_dim": TEXT_WIDTH,
    "num_layers": 6,
    "sample_width": 12,
    "sample_height": 12,
    "sample_frames": 9,
    "patch_size": 2,
    "max_text_seq_length": TEXT_TOKENS,
    "use_rotary_positional_embeddings": True,
}
TEXT_ENCODER: dict[str, Any] = {
    "d_model": TEXT_WIDTH,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.0,
    "is_encoder_decoder": False,
    "use_cache": False,
}


class WordTokenizer:
    """Words to numbers: lower case, without punctuation; a word that is not known is one and the same number."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words, start=UNKNOWN + 1)}

    def __len__(self) -> int:
        return len(self.words) + UNKNOWN + 1

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """int64 [B, TEXT_TOKENS], padded with 0; what is longer is cut off."""
        numbers = torch.full((len(texts), TEXT_TOKENS), PAD)
        for row, text in enumerate(texts):
            found = [self._numbers.get(word, UNKNOWN) for word in self.split(text)][:TEXT_TOKENS]
            numbers[row, : len(found)] = torch.tensor(found, dtype=torch.int64)
        return numbers

    @staticmethod
    def split(text: str) -> list[str]:
        """The words of a text."""
        return re.findall(r"[a-z]+", text.lower())

    def unknown(self, text: str) -> list[str]:
        """The words of a text that the model has never seen."""
        return [word for word in self.split(text) if word not in self._numbers]


@dataclass(frozen=True)
class EmbeddedModel:
    """The parts that are trained together."""

    transformer: nn.Module
    text_encoder: nn.Module
    tokenizer: WordTokenizer

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, TEXT_TOKENS, TEXT_WIDTH]; as in CogVideoX, padding is not masked."""
        device = next(self.text_encoder.parameters()).device
        return self.text_encoder(self.tokenizer(texts).to(device)).last_hidden_state

    @property
    def parts(self) -> dict[str, nn.Module]:
        """By the names that their weights have in the file."""
        return {"transformer": self.transformer, "text_encoder": self.text_encoder}


def build(words: Sequence[str], seed: int) -> EmbeddedModel:
    """A new model with random weights from the seed, on the CPU in fp32; `words` are all that it will know.

    Raises ModuleNotFoundError without diffusers or transformers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _from_settings(words, TRANSFORMER, TEXT_ENCODER)


def save(model: EmbeddedModel, path: str | Path, notes: Mapping[str, Any]) -> None:
    """Write the model as fp16 safetensors, never half a file; `notes` (seed, steps, scores) go into its metadata."""
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {
        f"{part}.{name}": tensor.detach().to("cpu", torch.float16).contiguous()
        for part, module in model.parts.items()
        for name, tensor in _untied(module).items()
    }
    settings = {"words": model.tokenizer.words, "transformer": TRANSFORMER, "text_encoder": TEXT_ENCODER}
    unfinished = path.with_name(path.name + ".part")
    save_file(tensors, unfinished, {METADATA: json.dumps({**settings, "notes": dict(notes)})})
    os.replace(unfinished, path)


def load(path: str | Path) -> tuple[EmbeddedModel, dict[str, Any]]:
    """What `save` wrote: the model in fp32, not trainable, and its notes.

    Raises ValueError, in one sentence with the file's name, as `open_weights` does, and for a file of something else.
    """
    files = open_weights(path)
    about = settings_of(files)
    model = _from_settings(about["words"], about["transformer"], about["text_encoder"])
    tensors = read_tensors(files)
    for part, module in model.parts.items():
        prefix = f"{part}."
        own = {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}
        missing = set(_untied(module)) - set(own)
        if missing:
            raise ValueError(f"{files.path.name} lacks {len(missing)} tensors of its {part}: download it again.")
        module.load_state_dict(own, strict=False)
        module.eval().requires_grad_(False)
    return model, about["notes"]


def settings_of(files: WeightFiles, metadata: str = METADATA, kind: str = "model") -> dict[str, Any]:
    """What `save` wrote beside the weights of an embedded `kind`, as `metadata`: `words`, the settings of the parts,
    `notes`.

    Raises ValueError when the file holds something else.
    """
    if metadata not in files.metadata:
        raise ValueError(
            f"{files.path.name} is no embedded {kind} (its metadata say nothing of one): choose the pack's."
        )
    about = files.told(metadata)
    words, notes = about.get("words"), about.get("notes", {})
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or not isinstance(notes, dict):
        raise ValueError(f"{files.path.name} has damaged metadata (its words are no texts): get the pack again.")
    return about


def _from_settings(
    words: Sequence[str], transformer: Mapping[str, Any], text_encoder: Mapping[str, Any]
) -> EmbeddedModel:
    config = {"words": words, "transformer": transformer, "text_encoder": text_encoder}
    encoder = _text_encoder(config)  # first, as in every model that was begun: both draw from one seed
    return EmbeddedModel(_transformer(config), encoder, WordTokenizer(words))


def _untied(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and kept buffers, those that are used in two places once."""
    first: dict[int, str] = {}
    state = module.state_dict(keep_vars=True)
    for name, tensor in state.items():
        first.setdefault(id(tensor), name)
    return {name: tensor for name, tensor in state.items() if first[id(tensor)] == name}


def _detects(tensors: Tensors) -> bool:
    return all(name in tensors for name in ("transformer.patch_embed.proj.weight", "text_encoder.shared.weight"))


def _transformer(config: Mapping[str, Any]) -> nn.Module:
    return from_diffusers("CogVideoXTransformer3DModel", config["transformer"])


def _text_encoder(config: Mapping[str, Any]) -> nn.Module:
    vocabulary = len(WordTokenizer(config["words"]))
    return from_transformers("T5EncoderModel", "T5Config", {**config["text_encoder"], "vocab_size": vocabulary})


def _part(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """The tensors of one of the parts, by the names that they have in it."""

    def convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        prefix = f"{name}."
        return {key.removeprefix(prefix): tensor for key, tensor in state_dict.items() if key.startswith(prefix)}

    return convert


TRANSFORMER_FAMILY = Family(
    name="embedded",
    label="small embedded model",
    role="denoiser",
    get_it="get this pack again, of which it is a part",
    detects=_detects,
    config=settings_of,
    build=_transformer,
    convert=_part("transformer"),
)
# The same file's other part: not among the families by which files are told apart.
TEXT_FAMILY = replace(
    TRANSFORMER_FAMILY, role="text_encoder", build=_text_encoder, convert=_part("text_encoder"), name="embedded_text"
)
