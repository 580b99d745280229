"""What training adds to a CogVideoX transformer, in one small file: a LoRA, and the widened patch projection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..whole_files import whole_file
from .files import open_weights, read_tensors
from .lora_files import DIFFUSERS_METADATA, plain_key
from .widening import WIDTHS, widen

FAMILY = "cogvideox"
METADATA = "vivid_trained_parts"
PROJECTION = "patch_embed.proj"
KINDS: dict[str, Any] = {"family": str, "channels": int, "rank": int, "alpha": (int, float), "mask_encoding": str}
PART = "transformer."  # how diffusers' pipelines call it, in LoRA files too
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class TrainedParts:
    """A LoRA and a patch projection, and what they were trained with.

    `lora` has peft's keys, `<layer>.lora_A.weight` [rank, in] and `<layer>.lora_B.weight` [out, rank], and may be
    empty; `projection` is the `weight`, and the `bias` if there is one, of patch_embed.proj. `channels` is its input
    width, `mask_encoding` one of `widening.WIDTHS`. A layer's update is alpha / rank * B @ A.
    """

    lora: Mapping[str, Tensor]
    projection: Mapping[str, Tensor]
    channels: int
    rank: int
    alpha: float
    mask_encoding: str = "resize"
    family: str = FAMILY

    @property
    def layers(self) -> list[str]:
        return sorted({key.removesuffix(DOWN).removesuffix(UP) for key in self.lora})

    def with_scales(self) -> dict[str, Tensor]:
        """The LoRA as `lora_files.read_lora` gives one: with each layer's alpha beside its matrices."""
        return {**self.lora, **{f"{layer}.alpha": torch.tensor(self.alpha) for layer in self.layers}}


def collect(transformer: nn.Module, alpha: float, mask_encoding: str = "resize") -> TrainedParts:
    """The trained parts of a widened transformer in which peft has put a LoRA (diffusers' `add_adapter`), on the CPU.

    Raises ValueError as `save` does.
    """
    named = {plain_key(name): tensor.detach().cpu() for name, tensor in transformer.named_parameters()}
    lora = {name: tensor for name, tensor in named.items() if name.endswith((DOWN, UP))}
    kept = {name: named[f"{PROJECTION}.{name}"] for name in ("weight", "bias") if f"{PROJECTION}.{name}" in named}
    rank = next((tensor.shape[0] for name, tensor in lora.items() if name.endswith(DOWN)), 0)
    config: Any = transformer.config
    parts = TrainedParts(lora, kept, config["in_channels"], rank, alpha, mask_encoding)
    _check_whole(parts, "The trained model")
    return parts


def save(parts: TrainedParts, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the parts as safetensors, of which `lora_files.read_lora` reads the LoRA with its scale; never half a file.

    Raises ValueError when they are not whole (a matrix is missing, shapes contradict each other, NaN), and when the
    file can't be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    _check_whole(parts, path.name)
    named = {**parts.lora, **{f"{PROJECTION}.{name}": tensor for name, tensor in parts.projection.items()}}
    tensors = {PART + name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in named.items()}
    about = {name: getattr(parts, name) for name in ("family", "channels", "rank", "alpha", "mask_encoding")}
    scale = {PART + "lora_alpha": parts.alpha, PART + "r": parts.rank}
    metadata = {"format": "pt", METADATA: json.dumps({"version": 1, **about}), DIFFUSERS_METADATA: json.dumps(scale)}
    with whole_file(path, SafetensorError) as unfinished:
        save_file(tensors, unfinished, metadata)


def load(path: str | Path) -> TrainedParts:
    """Read what `save` wrote.

    Raises ValueError, in one sentence with the file's name, as `open_weights` does, and when the file holds no trained
    parts or only some of them.
    """
    files = open_weights(path)
    name = files.path.name
    if METADATA not in files.metadata:
        raise ValueError(
            f"{name} holds no trained parts of a VIVID model (its metadata say nothing of them): choose a file that "
            "Train VIVID LoRA saved, or connect this one as a plain LoRA."
        )
    about = files.told(METADATA)
    tensors = {plain_key(key): tensor for key, tensor in read_tensors(files).items()}
    lora = {key: tensor for key, tensor in tensors.items() if key.endswith((DOWN, UP))}
    projection = {key.split(".")[-1]: tensor for key, tensor in tensors.items() if key.startswith(PROJECTION + ".")}
    settings: dict[str, Any] = {key: about.get(key) for key in KINDS}
    fitting = all(isinstance(settings[key], kind) for key, kind in KINDS.items())
    if not fitting or set(tensors) - set(lora) - {f"{PROJECTION}.{key}" for key in projection}:
        raise ValueError(f"{name} was written by another version of VIVID: update the pack, or train it again.")
    parts = TrainedParts(lora, projection, **settings)
    _check_whole(parts, name)
    return parts


def check_fit(parts: TrainedParts, transformer: nn.Module, what: str) -> None:
    """Raise ValueError, in one sentence, unless the parts belong to this transformer, widened or not yet.

    `what` names their file. Weights are not looked at, so the transformer may be on the meta device.
    """
    config: Any = getattr(transformer, "config", {})
    shapes = {name: tuple(tensor.shape) for name, tensor in transformer.named_parameters()}
    weight, before = shapes.get(f"{PROJECTION}.weight"), config.get("in_channels")
    if weight is None or not before:
        raise ValueError(f"{what} belongs to a CogVideoX transformer, but this is a {type(transformer).__name__}.")
    wanted = (weight[0], weight[1] // before * parts.channels, *weight[2:])
    own = tuple(parts.projection["weight"].shape)
    wrong = [] if own == wanted else [f"{PROJECTION} is {own} instead of {wanted}"]
    for layer in parts.layers:
        update = (parts.lora[layer + UP].shape[0], parts.lora[layer + DOWN].shape[1])
        if shapes.get(f"{layer}.weight") != update:
            wrong.append(f"{layer} is {update} instead of {shapes.get(f'{layer}.weight', 'not there')}")
    if wrong:
        raise ValueError(
            f"{what} was trained on another size of CogVideoX: {len(wrong)} of its {len(parts.layers) + 1} parts don't "
            f"fit this one (the first: {wrong[0]}); choose the base that it was trained on."
        )


def put_projection(parts: TrainedParts, transformer: nn.Module, what: str = "The file") -> None:
    """Widen a transformer, if it isn't yet, and give it the trained patch projection, in place.

    Its weights may still be on the meta device; the projection then is the only one that is there.

    Raises ValueError as `check_fit` does.
    """
    check_fit(parts, transformer, what)
    widen(transformer, parts.channels)
    layer: Any = transformer.get_submodule(PROJECTION)
    with torch.inference_mode(False):
        for name, tensor in parts.projection.items():
            old = getattr(layer, name)
            device = tensor.device if old.is_meta else old.device
            setattr(layer, name, nn.Parameter(tensor.to(device, old.dtype), requires_grad=old.requires_grad))


@torch.no_grad()
def merge_lora(parts: TrainedParts, transformer: nn.Module, strength: float = 1.0, what: str = "The file") -> None:
    """Add the LoRA's updates to a transformer's weights, in place: for scripts and tests, where nobody else holds it.

    Raises ValueError as `check_fit` does.
    """
    check_fit(parts, transformer, what)
    for layer in parts.layers:
        weight = transformer.get_parameter(f"{layer}.weight")
        up, down = (parts.lora[layer + end].to(weight.device, torch.float32) for end in (UP, DOWN))
        weight.add_((strength * parts.alpha / parts.rank * (up @ down)).to(weight.dtype))


def _check_whole(parts: TrainedParts, what: str) -> None:
    """Raise ValueError, in one sentence, when something is missing or is no number."""
    again = "train it again, or take the last good checkpoint"
    if "weight" not in parts.projection or parts.family != FAMILY or WIDTHS.get(parts.mask_encoding) != parts.channels:
        raise ValueError(
            f"{what} is no whole set of trained parts: {parts.channels} channels with the mask encoding "
            f"{parts.mask_encoding!r} for {parts.family}, projection {sorted(parts.projection)}; {again}."
        )
    for layer in parts.layers:
        up, down = parts.lora.get(layer + UP), parts.lora.get(layer + DOWN)
        if up is None or down is None or not up.shape[1] == down.shape[0] == parts.rank:
            raise ValueError(
                f"{what} is no whole set of trained parts: {layer} lacks a matrix of rank {parts.rank}; {again}."
            )
    for name, tensor in {**parts.lora, **parts.projection}.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{what} holds NaN (not a number) values in {name}; {again}.")
