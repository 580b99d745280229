"""Asking a Wan VACE transformer: its text, and the control that its side branch sees."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from .denoise import Predict
from .guidance import texts_for

CONTROL_CHANNELS = 96  # latents of what is kept and of what is replaced, 16 each, and 8x8 pixels of mask


def predictor(
    transformer: nn.Module,
    text_bld: Tensor,
    negative_bld: Tensor | None,
    control_bfchw: Tensor,
    strength: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Predict:
    """The `Predict` of a transformer (a WanVACETransformer3DModel, or the same under ComfyUI's memory).

    `text_bld` and `negative_bld` are embeddings [B, tokens, channels]; `control_bfchw` has the clip's latent size and
    96 channels; `strength` scales what the side branch adds. `dtype` is what the transformer computes in, by default
    its own.

    Raises ValueError when the transformer takes another number of control channels.
    """
    config: Any = transformer.config
    if config["vace_in_channels"] != control_bfchw.shape[2]:
        raise ValueError(
            f"This Wan VACE transformer takes {config['vace_in_channels']} channels of control, but gets "
            f"{control_bfchw.shape[2]}: choose Wan2.1-VACE 1.3B or 14B."
        )
    compute = dtype or next(transformer.parameters()).dtype
    control = rearrange(control_bfchw, "b f c h w -> b c f h w")
    ready: dict[tuple[bool, ...], tuple[Tensor, Tensor]] = {}  # text and control, brought to the device once

    def predict(latents: Tensor, timestep: Tensor, prompted: tuple[bool, ...]) -> Tensor:
        if prompted not in ready:
            text = texts_for(prompted, text_bld, negative_bld).to(latents.device, compute)
            ready[prompted] = text, control.to(latents.device, compute).repeat(len(prompted), 1, 1, 1, 1)
        text, seen = ready[prompted]
        said = transformer(
            hidden_states=rearrange(latents, "b f c h w -> b c f h w").to(compute),
            timestep=timestep,
            encoder_hidden_states=text,
            control_hidden_states=seen,
            control_hidden_states_scale=latents.new_full((len(config["vace_layers"]),), strength, dtype=compute),
            return_dict=False,
        )[0]
        return rearrange(said, "b c f h w -> b f c h w").float()

    return predict
