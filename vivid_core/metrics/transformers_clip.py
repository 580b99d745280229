"""A CLIP of `transformers` as the measures ask it, and PickScore, which is one: for scripts, without ComfyUI."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..json_text import parsed_object
from ..optional import require
from ..runtime import Runtime
from .encoders import check_same_space, normalised

PURPOSE = "A CLIP for scores"
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
NAMES = {  # layers, width and patch of the vision half
    (12, 768, 32): "ViT-B/32",
    (12, 768, 16): "ViT-B/16",
    (24, 1024, 14): "ViT-L/14",
    (32, 1280, 14): "ViT-H/14",
    (40, 1408, 14): "ViT-g/14",
    (48, 1664, 14): "ViT-bigG/14",
}


@dataclass(frozen=True)
class TransformersClip:
    """An `ImageTextEncoder` of a `CLIPModel`, on the device where it is; and a `PreferenceModel` as PickScore is one.

    `tokenize` gives the numbers of a caption, with those that begin and end it. Pictures are prepared as CLIP's own
    processor does: shorter side to the model's, middle square, `mean` and `deviation` of the channels.
    """

    model: Any
    tokenize: Callable[[str], list[int]]
    name: str
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION
    runtime: Runtime = field(default_factory=Runtime)

    @cached_property
    def identity(self) -> str:
        """Name, size of the model, and a fingerprint of its weights as they were when it was first asked for."""
        vision = self.model.config.vision_config
        size = vision.num_hidden_layers, vision.hidden_size, vision.patch_size
        return described(self.name, size, vision.image_size, self.model.visual_projection.weight)

    @torch.inference_mode()
    def images(self, images_fhwc: Tensor) -> Tensor:
        """As `ImageEncoder.images`."""
        projection = self.model.visual_projection.weight
        pixels = prepared(images_fhwc, self.model.config.vision_config.image_size, self.mean, self.deviation)
        with self.runtime.hold(self.model):
            seen = self.model.vision_model(pixel_values=pixels.to(projection.device, projection.dtype))
            embeddings: Tensor = self.model.visual_projection(seen.pooler_output)
        return embeddings

    @torch.inference_mode()
    def texts(self, captions: Sequence[str]) -> Tensor:
        """As `ImageTextEncoder.texts`."""
        longest = self.model.config.text_config.max_position_embeddings
        rows = []
        for caption in captions:
            numbers = self.tokenize(caption)
            check_length(len(numbers), longest, caption, self.name)
            with self.runtime.hold(self.model):
                there = torch.tensor([numbers], device=self.model.text_projection.weight.device)
                read = self.model.text_model(input_ids=there)
                rows.append(self.model.text_projection(read.pooler_output))
        return torch.cat(rows)

    def scores(self, images_fhwc: Tensor, caption: str) -> Tensor:
        """PickScore: the cosines of pictures [F, H, W, 3] and a caption, times the model's own scale: [F]."""
        seen = normalised(self.images(images_fhwc), len(images_fhwc), self.identity)
        said = normalised(self.texts([caption]), 1, self.identity)
        check_same_space(said, seen, self.identity)
        return (seen @ said[0]) * float(self.model.logit_scale.exp())


def load_clip(folder: str | Path) -> TransformersClip:
    """The CLIP in a folder as transformers saves it (config.json, model.safetensors, tokenizer), in main memory.

    Raises ValueError when there is none or it can't be read, ModuleNotFoundError without transformers.
    """
    folder = Path(folder)
    transformers = require("transformers", PURPOSE)
    kind = _json(folder / "config.json").get("model_type")
    if kind != "clip":
        found = "no model" if kind is None else f"a model of type {str(kind)[:40]}"
        raise ValueError(
            f"{folder.name}: got {found} there, but scores need a CLIP as transformers saves it (config.json with "
            "model_type clip); choose the folder that holds it."
        )
    try:
        model = transformers.CLIPModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{folder.name}: the CLIP there can't be read ({type(error).__name__}); it needs config.json, "
            "model.safetensors and the tokenizer's files, so download the folder again."
        ) from error
    said = _json(folder / "preprocessor_config.json")
    channels = (said.get("image_mean", MEAN), said.get("image_std", DEVIATION))
    mean, deviation = (tuple(float(value) for value in values) for values in channels)
    model = model.eval().requires_grad_(False)
    return TransformersClip(model, lambda text: tokenizer(text).input_ids, folder.name, mean, deviation)


def prepared(
    images_fhwc: Tensor, side: int, mean: Sequence[float] = MEAN, deviation: Sequence[float] = DEVIATION
) -> Tensor:
    """Pictures [F, H, W, 3] in 0..1 as CLIP wants them: [F, 3, side, side].

    The shorter side becomes `side` (bicubic, antialiased), the middle square is kept, values are rounded to 8 bit as
    CLIP's processor does by working on such, and the channels normalised.
    """
    images = images_fhwc.movedim(-1, 1)
    height, width = images.shape[2:]
    scale = side / min(height, width)
    size = (side, max(side, int(width * scale))) if height <= width else (max(side, int(height * scale)), side)
    if size != (height, width):
        images = torch.nn.functional.interpolate(images, size, mode="bicubic", antialias=True)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    images = (images[..., top : top + side, left : left + side] * 255).round().clamp(0, 255) / 255
    shape = (1, 3, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(deviation).view(shape)


def described(name: str, size: tuple[int, int, int], side: int, projection: Tensor) -> str:
    """A model's identity: its name, its size (layers, width, patch of the vision half), and a fingerprint of weights.

    The fingerprint is of `projection` in half precision, so that a file and its copy in fp16 are the same model.
    """
    layers, width, patch = size
    known = NAMES.get(size, f"CLIP of {layers} layers, width {width}, patch {patch}")
    half = projection.detach().to("cpu", torch.float16).contiguous()
    fingerprint = hashlib.sha256(half.numpy().tobytes()).hexdigest()[:12]
    return f"{name} ({known} at {side} pixels, weights {fingerprint})"


def check_length(tokens: int, longest: int, caption: str, name: str) -> None:
    """Raise ValueError when a caption has more tokens than a text model reads, its begin and end included."""
    if tokens > longest:
        raise ValueError(
            f"{name}: the caption has {tokens - 2} tokens, but the model reads at most {longest - 2}; shorten it "
            f"({caption[:40]!r}...)."
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        return parsed_object(path.read_bytes())
    except (OSError, ValueError):
        return {}
