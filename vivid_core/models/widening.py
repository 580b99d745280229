"""More input channels for a trained CogVideoX transformer, which at first says what it said before.

A model that edits gets, beside the noise, the mask and the clip with its hole. The columns for these begin at zero, so
that training starts from the text-to-video model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TEXT_TO_VIDEO = 16
WIDTHS = {
    "resize": 33,  # noise 16, mask 1, clip with hole 16
    "pool": 33,
    "vae": 48,  # noise 16, mask encoded like a clip 16, clip with hole 16
}


def widened_weight(weight: Tensor, before: int, channels: int) -> Tensor:
    """The weight of a patch embedding for `channels` input channels instead of `before`: the old columns, then zeros.

    `weight` is that of the 1.0 family, [out, before, patch, patch], or of 1.5, [out, before * frames * patch * patch]
    with the channel as the slowest part of its columns.
    """
    if weight.shape[1] % before:
        raise ValueError(f"A patch embedding of {weight.shape[1]} columns is none for {before} channels.")
    each = weight.shape[1] // before
    new = weight.new_zeros(weight.shape[0], each * (channels - before), *weight.shape[2:])
    return torch.cat([weight.detach(), new], dim=1)


def widen(transformer: nn.Module, channels: int) -> nn.Module:
    """Give a text-to-video transformer `channels` input channels (33 or 48), in place; returns it.

    Its outputs stay the same, whatever the new channels hold, until they are trained. One that has that many already
    is left alone. Works on the meta device too.

    Raises ValueError when it is no CogVideoX text-to-video transformer, or for another number of channels.
    """
    config: Any = getattr(transformer, "config", {})
    before = config.get("in_channels")
    if channels not in WIDTHS.values():
        raise ValueError(f"Got {channels} input channels to widen to; an editing model has 33 or 48.")
    if before == channels:
        return transformer
    embedding: Any = getattr(transformer, "patch_embed", None)
    if before != TEXT_TO_VIDEO or embedding is None:
        raise ValueError(
            f"This {type(transformer).__name__} has {before} input channels; only a CogVideoX text-to-video "
            f"transformer, which has 16, can be widened to {channels}, so choose one, such as CogVideoX-5b."
        )
    embedding.proj = _widened_layer(embedding.proj, before, channels)
    # Settings that nobody gave are listed, and a model made from these settings would take the class's default again.
    unset = [name for name in config.get("_use_default_values", ()) if name != "in_channels"]
    transformer.register_to_config(in_channels=channels, _use_default_values=unset)  # type: ignore[operator]
    return transformer


@torch.inference_mode(False)
def _widened_layer(layer: nn.Module, before: int, channels: int) -> nn.Module:
    weight: Any = layer.weight
    bias: Any = layer.bias
    settings = {"bias": bias is not None, "device": "meta", "dtype": weight.dtype}
    new: nn.Module
    if isinstance(layer, nn.Conv2d):
        new = nn.Conv2d(channels, layer.out_channels, layer.kernel_size, layer.stride, **settings)  # type: ignore[arg-type]
    else:
        new = nn.Linear(weight.shape[1] // before * channels, weight.shape[0], **settings)
    new.weight = nn.Parameter(widened_weight(weight, before, channels), requires_grad=weight.requires_grad)
    new.bias = bias
    return new.train(layer.training)
