"""Tiny editing models of the true architectures with random weights, and the pipelines of diffusers around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from harness import tiny
from torch import Tensor, nn

TEXT_TOKENS, TEXT_WIDTH = 10, 48
FAMILIES = ("1.0", "1.5", "2B")  # rotary with Conv2d patches, with Linear ones over two frames, tables of sines


@contextmanager
def one_thread() -> Iterator[None]:
    """Models this small take longer when threads share them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def text(seed: int, batch: int = 1) -> Tensor:
    return tiny.noise(batch, TEXT_TOKENS, TEXT_WIDTH, dtype=torch.float32, device=torch.device("cpu"), seed=seed)


def text_to_video(family: str = "1.0", seed: int = 0) -> Any:
    """A CogVideoX transformer with 16 input channels."""
    from diffusers import CogVideoXTransformer3DModel

    settings: dict[str, Any] = {
        "1.0": {"use_rotary_positional_embeddings": True},
        "1.5": {"use_rotary_positional_embeddings": True, "patch_size_t": 2},
        "2B": {},
    }[family]

    def build() -> nn.Module:
        return CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=32,
            time_embed_dim=32,
            text_embed_dim=TEXT_WIDTH,
            num_layers=2,
            sample_width=12,
            sample_height=8,
            sample_frames=9,
            max_text_seq_length=TEXT_TOKENS,
            **settings,
        )

    return tiny.TinyModel("editor", "denoiser", build, lambda *_: torch.empty(0)).make(seed=seed)


def vae(scaling_factor: float = 0.7, seed: int = 0) -> Any:
    """A CogVideoX VAE with 16 latent channels."""
    from diffusers import AutoencoderKLCogVideoX

    def build() -> nn.Module:
        return AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(8, 16, 16, 16),
            latent_channels=16,
            layers_per_block=1,
            norm_num_groups=2,
            temporal_compression_ratio=4,
            scaling_factor=scaling_factor,
        )

    return tiny.TinyModel("vae", "vae", build, lambda *_: torch.empty(0)).make(seed=seed)


def pipeline(transformer: nn.Module, scheduler: Any, scale: float = 0.7) -> Any:
    from diffusers import CogVideoXPipeline

    made = CogVideoXPipeline(
        tokenizer=None, text_encoder=None, vae=vae(scale), transformer=transformer, scheduler=scheduler
    )
    made.set_progress_bar_config(disable=True)
    return made


def with_random_new_columns(transformer: Any, before: int = 16, seed: int = 5) -> Any:
    """As if trained: what the new channels bring counts."""
    weight = transformer.patch_embed.proj.weight
    old = weight.shape[1] // transformer.config.in_channels * before
    drawn = torch.randn(weight[:, old:].shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        weight[:, old:] = drawn
    return transformer


class MeanCodec(nn.Module):
    """A codec whose latents are easy to tell: each is the mean colour of its pixels and frames, and of nothing else."""

    def __init__(self, stride: int = 8) -> None:
        super().__init__()
        self.stride = stride

    def encode(self, pixels: Tensor) -> SimpleNamespace:
        groups = [pixels[:, :, :1], *(pixels[:, :, start : start + 4] for start in range(1, pixels.shape[2], 4))]
        means = torch.cat([group.mean(2, keepdim=True) for group in groups], dim=2)
        colours = nn.functional.avg_pool3d(means, (1, self.stride, self.stride))
        rest = colours.new_zeros(len(pixels), 13, *colours.shape[2:])
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: torch.cat([colours, rest], dim=1)))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        frames = torch.cat([latents[:, :3, :1], latents[:, :3, 1:].repeat_interleave(4, dim=2)], dim=2)
        scale = (1, self.stride, self.stride)
        return SimpleNamespace(sample=nn.functional.interpolate(frames, scale_factor=scale, mode="nearest"))
