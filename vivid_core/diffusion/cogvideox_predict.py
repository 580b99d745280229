"""Asking a CogVideoX transformer: its positions, its text, the condition beside the noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .denoise import Predict
from .guidance import texts_for

LATENT_CHANNELS = 16
OFS = 2.0  # what the 1.5 models with this input were trained with


def padding(latent_frames: int, config: Mapping[str, Any]) -> int:
    """How many latent frames a transformer of these settings needs in front: 1.5 takes them by twos."""
    return -latent_frames % (config["patch_size_t"] or 1)


def padded(latents_bfchw: Tensor, config: Mapping[str, Any]) -> Tensor:
    """The latents with their first frame repeated in front as often as `padding` says."""
    count = padding(latents_bfchw.shape[1], config)
    return torch.cat([latents_bfchw[:, :1].expand(-1, count, -1, -1, -1), latents_bfchw], dim=1)


def trimmed(latents_bfchw: Tensor, latent_frames: int) -> Tensor:
    """The last `latent_frames` frames: without what `padded` put in front."""
    return latents_bfchw[:, latents_bfchw.shape[1] - latent_frames :]


def rotary_positions(
    config: Mapping[str, Any], latent_frames: int, height: int, width: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor] | None:
    """The rotary tables (cosines, sines), each float32 [tokens, head channels], for latents of this size, as
    diffusers' pipelines make them; None for 2B, which adds a table of sines by itself."""
    from diffusers.models.embeddings import get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    if not config["use_rotary_positional_embeddings"]:
        return None
    patch, patch_t = config["patch_size"], config["patch_size_t"]
    grid = (height // patch, width // patch)
    trained = (config["sample_height"] // patch, config["sample_width"] // patch)
    common = {"embed_dim": config["attention_head_dim"], "grid_size": grid, "device": torch.device(device)}
    if patch_t is None:
        region = get_resize_crop_region_for_grid(grid, trained[1], trained[0])
        return get_3d_rotary_pos_embed(crops_coords=region, temporal_size=latent_frames, **common)
    # 1.5 counts positions from the corner; a table of the trained size is cut, so a larger clip needs a larger one.
    largest = (max(trained[0], grid[0]), max(trained[1], grid[1]))
    frames = -(-latent_frames // patch_t)
    return get_3d_rotary_pos_embed(
        crops_coords=None, temporal_size=frames, grid_type="slice", max_size=largest, **common
    )


def predictor(
    transformer: nn.Module,
    text_bld: Tensor,
    negative_bld: Tensor | None = None,
    condition_bfchw: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Predict:
    """The `Predict` of a transformer (a CogVideoXTransformer3DModel, or the same under ComfyUI's memory).

    `text_bld` and `negative_bld` are embeddings [B, tokens, channels]; `condition_bfchw` stands behind the noise in
    the channels, and has as many latent frames (`padded`). `dtype` is what the transformer computes in, by default
    its own.

    Raises ValueError when the transformer takes another number of channels than noise and condition have.
    """
    config: Mapping[str, Any] = transformer.config  # type: ignore[assignment]
    given = LATENT_CHANNELS + (0 if condition_bfchw is None else condition_bfchw.shape[2])
    if config["in_channels"] != given:
        raise ValueError(
            f"This CogVideoX transformer takes {config['in_channels']} channels, but gets {given} of noise and "
            "condition: choose weights that were trained for this, or load the trained parts that belong to it."
        )
    compute = dtype or next(transformer.parameters()).dtype
    tables: dict[tuple[int, ...], tuple[Tensor, Tensor] | None] = {}
    ready: dict[tuple[bool, ...], tuple[Tensor, Tensor | None]] = {}  # text and condition, brought to the device once

    def predict(latents: Tensor, timestep: Tensor, prompted: tuple[bool, ...]) -> Tensor:
        device, (_, frames, _, height, width) = latents.device, latents.shape
        if prompted not in ready:
            condition = None
            if condition_bfchw is not None:
                condition = condition_bfchw.to(device, compute).repeat(len(prompted), 1, 1, 1, 1)
            ready[prompted] = texts_for(prompted, text_bld, negative_bld).to(device, compute), condition
        text, condition = ready[prompted]
        asked = latents.to(compute)
        if condition is not None:
            asked = torch.cat([asked, condition], dim=2)
        size = (frames, height, width)
        if size not in tables:
            tables[size] = rotary_positions(config, *size, device=device)
        extra = {"ofs": latents.new_full((1,), OFS)} if config.get("ofs_embed_dim") else {}
        return transformer(
            hidden_states=asked,
            encoder_hidden_states=text,
            timestep=timestep,
            image_rotary_emb=tables[size],
            return_dict=False,
            **extra,
        )[0].float()

    return predict
