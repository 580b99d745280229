"""ComfyUI's own CLIP models as the measures ask them: pictures by CLIP_VISION, texts by CLIP.

What both give is what transformers' CLIPModel gives, which tests hold them to. Two things must be right on the text's
side: the vector at the end of the text (pooled) must go through the text projection, which ComfyUI leaves out for
checkpoints of SD 1.x; and that projection must have been in the file, which it is not in those checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import comfy.clip_model
import comfy.sd1_clip
import torch
from torch import Tensor

from ...vivid_core.metrics.encoders import ImageEncoder
from ...vivid_core.metrics.transformers_clip import described

GET_TEXT = "load clip_l.safetensors (for ViT-L) with Load CLIP, or use the CLIP of an SDXL checkpoint (for ViT-bigG)"
PLAUSIBLE = 0.1, 10.0  # times 1 / sqrt(width), where training begins: the deviation of a projection's weights


@dataclass(frozen=True)
class NativeVision:
    """An `ImageEncoder` of a CLIP_VISION."""

    vision: Any

    @cached_property
    def identity(self) -> str:
        """Size of the model and a fingerprint of its weights: ComfyUI does not keep the file's name."""
        tower = self.vision.model.vision_model
        kernel = tower.embeddings.patch_embedding
        size = len(tower.encoder.layers), kernel.out_channels, kernel.kernel_size[0]
        return described("CLIP vision", size, self.vision.image_size, self.vision.model.visual_projection.weight)

    def images(self, images_fhwc: Tensor) -> Tensor:
        """As `ImageEncoder.images`."""
        embeddings: Tensor = self.vision.encode_image(images_fhwc)["image_embeds"]
        return embeddings


@dataclass(frozen=True)
class NativeClip(NativeVision):
    """An `ImageTextEncoder` of a CLIP_VISION and the text model `part` that belongs to it, within a CLIP."""

    clip: Any
    part: str

    def texts(self, captions: Sequence[str]) -> Tensor:
        """As `ImageTextEncoder.texts`."""
        return torch.cat([self._text(caption) for caption in captions])

    def _text(self, caption: str) -> Tensor:
        whole = self.clip.cond_stage_model
        # Brackets are words here, not weights.
        plain = caption.replace("(", "\\(").replace(")", "\\)")
        chunks = self.clip.tokenize(plain)[self.part.removeprefix("clip_")]
        if len(chunks) > 1:
            raise ValueError(
                f"Measure Edit: the caption is too long, CLIP reads at most {len(chunks[0]) - 2} tokens; shorten it "
                f"({caption[:40]!r}...)."
            )
        self.clip.load_model()
        whole.reset_clip_options()
        part = getattr(whole, self.part)
        part.set_clip_options({"projected_pooled": True})
        try:
            pooled: Tensor = part.encode_token_weights(chunks)[1]
        finally:
            whole.reset_clip_options()
        return pooled


def native_encoder(vision: Any, clip: Any) -> ImageEncoder | None:
    """The models on the wires of Measure Edit as one encoder: None without both, no texts without `clip`.

    Raises ValueError when there is only `clip`, when `vision` is no CLIP (SigLIP and DINO have no texts of this
    kind), and when `clip` holds no text model of the same width, or one without its projection.
    """
    if vision is None:
        if clip is None:
            return None
        raise ValueError(
            "Measure Edit: got clip without clip_vision, but TA compares a text with pictures; connect the vision half "
            "of the same CLIP too, from Load CLIP Vision."
        )
    projection = getattr(getattr(vision, "model", None), "visual_projection", None)
    if not isinstance(getattr(projection, "weight", None), Tensor):
        raise ValueError(
            f"Measure Edit: got a vision model without a projection ({type(vision).__name__}), but scores need a CLIP; "
            "load one such as clip_vision_h or CLIP ViT-L with Load CLIP Vision."
        )
    if clip is None:
        return NativeVision(vision)
    width = projection.weight.shape[0]
    parts = _text_models(clip)
    fitting = [name for name, model in parts.items() if model.text_projection.weight.shape[0] == width]
    if not fitting:
        there = ", ".join(str(model.text_projection.weight.shape[0]) for model in parts.values())
        raise ValueError(
            f"Measure Edit: the vision model has {width} dimensions and clip has {there or 'no CLIP text model'}, so "
            f"they are not one CLIP; {GET_TEXT}."
        )
    _check_projection(parts[fitting[0]].text_projection.weight)
    return NativeClip(vision, clip, fitting[0])


def _text_models(clip: Any) -> dict[str, Any]:
    """The CLIP text models within a CLIP, by the name of their part."""
    return {
        name: part.transformer
        for name, part in clip.cond_stage_model.named_children()
        if isinstance(part, comfy.sd1_clip.SDClipModel) and isinstance(part.transformer, comfy.clip_model.CLIPTextModel)
    }


def _check_projection(weight: Tensor) -> None:
    """Memory that was never written, or the identity, is no trained projection."""
    values = weight.detach().to("cpu", torch.float32)
    width = values.shape[0]
    deviation = float(values.std()) * math.sqrt(width)
    trained = PLAUSIBLE[0] < deviation < PLAUSIBLE[1] and not torch.equal(values, torch.eye(width))
    if not trained:  # so for NaN too
        raise ValueError(
            "Measure Edit: the text model in clip came without its text projection, as checkpoints of SD 1.x do; "
            f"{GET_TEXT}."
        )
