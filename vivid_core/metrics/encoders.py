"""Models that judge pictures, clips and texts, as the measures ask them: whoever has one brings it.

Nothing here belongs to one library. ComfyUI's CLIP nodes are put behind these in nodes/comfy_bridge, a CLIP of
`transformers` in transformers_clip.py; a script may bring any object of its own with the same methods. A model says
who it is by `identity`, which goes into every report: scores of two models can't be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class ImageEncoder(Protocol):
    """Pictures into one space, where near means alike: enough for TC and CLIPFrame."""

    @property
    def identity(self) -> str:
        """Which model with which weights, in one line, for reports."""

    def images(self, images_fhwc: Tensor) -> Tensor:
        """Embeddings [F, D] of pictures [F, H, W, 3] in 0..1, any size; they need not have length 1."""


@runtime_checkable
class ImageTextEncoder(ImageEncoder, Protocol):
    """Pictures and texts into one space, as CLIP does: what TA needs."""

    def texts(self, captions: Sequence[str]) -> Tensor:
        """Embeddings [N, D] of N captions; they need not have length 1.

        Raises ValueError on a caption that is too long for the model.
        """


@runtime_checkable
class PreferenceModel(Protocol):
    """A model that scores a picture for a caption as people would, such as PickScore."""

    @property
    def identity(self) -> str:
        """As `ImageEncoder` says."""

    def scores(self, images_fhwc: Tensor, caption: str) -> Tensor:
        """The scores [F] of pictures [F, H, W, 3] in 0..1 for one caption, on the model's own scale.

        Raises ValueError on a caption that is too long for the model.
        """


@runtime_checkable
class ClipEncoder(Protocol):
    """Whole clips and texts into one space, such as ViCLIP; which frames it looks at is its own affair."""

    @property
    def identity(self) -> str:
        """As `ImageEncoder` says."""

    def clip(self, frames_fhwc: Tensor) -> Tensor:
        """The embedding [D] of a clip [F, H, W, 3] in 0..1; it need not have length 1."""

    def texts(self, captions: Sequence[str]) -> Tensor:
        """As `ImageTextEncoder.texts`."""


def normalised(embeddings_fd: Tensor, rows: int, whose: str) -> Tensor:
    """`embeddings_fd` [rows, D] with length 1, float64 in host memory; `whose` is the model's identity.

    Raises ValueError on another shape, on NaN, and on an embedding of length 0.
    """
    if embeddings_fd.ndim != 2 or embeddings_fd.shape[0] != rows:
        raise ValueError(
            f"{whose}: got embeddings of shape {tuple(embeddings_fd.shape)} for {rows} inputs; the encoder must "
            "return one row for each."
        )
    vectors = embeddings_fd.detach().to("cpu", torch.float64)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    if not bool(torch.isfinite(lengths).all()) or float(lengths.min()) == 0:
        raise ValueError(
            f"{whose}: the embeddings hold NaN or have length 0, so nothing can be compared; run the model in fp32 or "
            "load its file again."
        )
    return vectors / lengths


def check_same_space(texts_nd: Tensor, images_fd: Tensor, whose: str) -> None:
    """Raise ValueError unless texts [N, D] and pictures [F, D] have the same width D."""
    if texts_nd.shape[1] != images_fd.shape[1]:
        raise ValueError(
            f"{whose}: the texts have {texts_nd.shape[1]} dimensions and the pictures {images_fd.shape[1]}, so they "
            "are not from one model; use the text and the vision half of the same CLIP."
        )
