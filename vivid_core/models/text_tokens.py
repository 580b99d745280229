"""Texts to the numbers that T5 and UMT5 were trained on, padded to a fixed length."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..optional import require

PAD, END = 0, 1  # in every T5 and UMT5

# Texts and a length to int64 numbers [B, length], padded (with `PAD` for T5); each text ends with the token that ends a
# text (`END` for T5), a long one is cut.
Tokenize: TypeAlias = Callable[[Sequence[str], int], Tensor]


def folder_tokenizer(folder: str | Path, pad: int | None = None) -> Tokenize:
    """The tokenizer in a folder of transformers: tokenizer.json, spiece.model or vocab.json, and its settings. `pad` is
    the number to pad with, None for the folder's own.

    Raises ValueError when the folder holds none, ModuleNotFoundError without transformers.
    """
    transformers = require("transformers", "Reading a text")
    try:  # said in full, since otherwise a folder with code of its own has the user asked on the console
        made = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{Path(folder).name} holds no tokenizer that can be read ({type(error).__name__}): download the folder "
            "tokenizer of the same model again."
        ) from error
    if pad is not None:
        made.pad_token = made.convert_ids_to_tokens(pad)
    return of_transformers(made)


def of_transformers(tokenizer: Any) -> Tokenize:
    """A tokenizer object of transformers, asked as diffusers' pipelines ask it."""

    def tokenize(texts: Sequence[str], length: int) -> Tensor:
        settings = {"padding": "max_length", "max_length": length, "truncation": True, "add_special_tokens": True}
        return tokenizer(list(texts), return_tensors="pt", **settings).input_ids

    return tokenize


def of_pieces(model: bytes) -> Tokenize:
    """The tokenizer of a SentencePiece model, as ComfyUI's single files carry it.

    Raises ValueError when the bytes are none, ModuleNotFoundError without sentencepiece.
    """
    sentencepiece = require("sentencepiece", "Reading a text")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"The file's tokenizer (spiece_model, {len(model)} bytes) is damaged: download the file again."
        ) from error

    def tokenize(texts: Sequence[str], length: int) -> Tensor:
        numbers = torch.full((len(texts), length), PAD)
        for row, text in enumerate(texts):
            found = [*processor.encode(text)[: length - 1], END]
            numbers[row, : len(found)] = torch.tensor(found)
        return numbers

    return tokenize


def cleaned(text: str) -> str:
    """A text as Wan's pipeline cleans it: entities unescaped, blanks joined; broken Unicode mended, where ftfy is."""
    if find_spec("ftfy") is not None:
        text = require("ftfy", "Mending a text").fix_text(text)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(text)).strip()).strip()
