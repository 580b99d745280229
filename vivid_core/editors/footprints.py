"""What one run of a window needs beside the weights, for each family: sizes in pixels to those of `activations`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..models import activations
from .contract import latent_frames
from .engine import Footprint

STRIDE = 8
CODEC_ELEMENTS = 9  # for each pixel, of one frame more than there are: what the embedded codec holds at its widest

Bytes = Callable[[int, int, int, int], int]


def footprint(
    family: str, config: Mapping[str, Any], vae: nn.Module, sizes: tuple[int, int], fused: bool = True
) -> Footprint:
    """The footprint of an engine: `family` and `config` are its transformer's, `sizes` the bytes of a number in the
    transformer and in the VAE, `fused` says whether attention never holds its scores.

    Raises ValueError for a family that no engine has.
    """
    makers = {"cogvideox": _cogvideox, "embedded": _embedded, "wan_vace": _wan}
    if family not in makers:
        raise ValueError(f"Footprint: got the family {family!r}; engines are of {', '.join(makers)}.")
    return makers[family](config, vae, sizes, fused)


def _cogvideox(config: Mapping[str, Any], vae: nn.Module, sizes: tuple[int, int], fused: bool) -> Footprint:
    tile = _tile(vae)

    def encode(batch: int, frames: int, height: int, width: int) -> int:
        return activations.cogvideox_vae_encode(batch, frames, height, width, element_bytes=sizes[1], tile=tile)

    def decode(batch: int, frames: int, height: int, width: int) -> int:
        latents = latent_frames(frames)
        latents += latents > 1 and latents % 2 == 0  # an odd number is decoded, see the adapter
        return activations.cogvideox_vae_decode(batch, latents, height, width, element_bytes=sizes[1], tile=tile)

    return Footprint(_cogvideox_transformer(config, STRIDE, sizes[0], fused), encode, decode)


def _embedded(config: Mapping[str, Any], vae: nn.Module, sizes: tuple[int, int], fused: bool) -> Footprint:
    def code(batch: int, frames: int, height: int, width: int) -> int:
        return round(activations.MARGIN * CODEC_ELEMENTS * batch * (frames + 1) * height * width) * sizes[1]

    return Footprint(_cogvideox_transformer(config, vae.config.temporal_compression_ratio, sizes[0], fused), code, code)


def _wan(config: Mapping[str, Any], vae: nn.Module, sizes: tuple[int, int], fused: bool) -> Footprint:
    tile = _tile(vae)

    def denoise(batch: int, frames: int, height: int, width: int) -> int:
        return activations.wan_vace_transformer(
            batch,
            latent_frames(frames),
            height // STRIDE,
            width // STRIDE,
            inner_width=config["num_attention_heads"] * config["attention_head_dim"],
            feed_forward_width=config["ffn_dim"],
            vace_blocks=len(config["vace_layers"]),
            element_bytes=sizes[0],
            patch=tuple(config["patch_size"]),
            text_width=config["text_dim"],
            attention_is_fused=fused,
        )

    def encode(batch: int, frames: int, height: int, width: int) -> int:
        return activations.wan_vae_encode(batch, frames, height, width, element_bytes=sizes[1], tile=tile)

    def decode(batch: int, frames: int, height: int, width: int) -> int:
        return activations.wan_vae_decode(batch, frames, height, width, element_bytes=sizes[1], tile=tile)

    return Footprint(denoise, encode, decode)


def _cogvideox_transformer(config: Mapping[str, Any], stride: int, element_bytes: int, fused: bool) -> Bytes:
    def denoise(batch: int, frames: int, height: int, width: int) -> int:
        return activations.cogvideox_transformer(
            batch,
            latent_frames(frames),
            height // stride,
            width // stride,
            inner_width=config["num_attention_heads"] * config["attention_head_dim"],
            element_bytes=element_bytes,
            patch=config["patch_size"],
            patch_frames=config["patch_size_t"],
            text_tokens=config["max_text_seq_length"],
            attention_is_fused=fused,
        )

    return denoise


def _tile(vae: Any) -> tuple[int, int] | None:
    """The pixels (height, width) that a VAE takes at once, None for all."""
    return (vae.tile_sample_min_height, vae.tile_sample_min_width) if vae.use_tiling else None
