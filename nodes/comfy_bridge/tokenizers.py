"""Where the tokenizer of a text encoder is: beside it, inside its file, or in ComfyUI."""

from __future__ import annotations

from pathlib import Path

import comfy.sd1_clip
import comfy.text_encoders.sd3_clip

from ...vivid_core.models.files import open_weights, read_tensors
from ...vivid_core.models.text_tokens import Tokenize, folder_tokenizer, of_pieces
from ...vivid_core.models.umt5_encoder import TOKENIZER

NAMES = ("tokenizer.json", "spiece.model", "vocab.json")
ZERO = 0  # what CLIP's texts are padded with for SD 2.x


def t5_tokenizer(encoder: Path) -> Tokenize:
    """The tokenizer beside a T5 encoder, or ComfyUI's, which is the same: there is only one for T5 v1.1.

    Raises ValueError when the one beside it can't be read.
    """
    return folder_tokenizer(_folder_beside(encoder) or comfys_t5())


def umt5_tokenizer(encoder: Path) -> Tokenize:
    """The tokenizer beside a UMT5 encoder or inside its file.

    Raises ValueError when there is none.
    """
    folder = _folder_beside(encoder)
    if folder is not None:
        return folder_tokenizer(folder)
    files = open_weights(encoder)
    if TOKENIZER not in files.tensors:
        raise ValueError(
            f"{encoder.name} comes without a tokenizer, neither inside it ({TOKENIZER}) nor in a folder tokenizer "
            "beside it: choose umt5_xxl_fp16.safetensors as ComfyUI repackaged it, or the whole diffusers folder."
        )
    return of_pieces(read_tensors(files)[TOKENIZER].numpy().tobytes())


def clip_tokenizer(encoder: Path, pads_with_zero: bool) -> Tokenize:
    """The tokenizer beside a CLIP text encoder, or ComfyUI's, which is the same: there is only one for CLIP. Only what
    is padded with differs: SD 1.x was trained with the token that ends a text, SD 2.x with zeros.

    Raises ValueError when the one beside it can't be read.
    """
    folder = _folder_beside(encoder)
    return (
        folder_tokenizer(comfys_clip(), ZERO if pads_with_zero else None)
        if folder is None
        else folder_tokenizer(folder)
    )


def comfys_clip() -> Path:
    """The folder of the CLIP tokenizer that ComfyUI ships."""
    return Path(comfy.sd1_clip.__file__).with_name("sd1_tokenizer")


def comfys_t5() -> Path:
    """The folder of the T5 tokenizer that ComfyUI ships."""
    return Path(comfy.text_encoders.sd3_clip.__file__).with_name("t5_tokenizer")


def _folder_beside(encoder: Path) -> Path | None:
    """For the folder text_encoder of a pipeline: its neighbour, or itself."""
    places = (encoder.parent / "tokenizer", encoder) if encoder.is_dir() else ()
    return next((place for place in places if any((place / name).is_file() for name in NAMES)), None)
