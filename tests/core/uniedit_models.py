"""Tiny U-Nets of the true topology with random weights, and how they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vivid_core.diffusion.ddim import WHOLE, Ask, Inversion, NoiseSchedule, Times
from vivid_core.editors.backbone import Backbone
from vivid_core.editors.texts import EmbeddedText
from vivid_core.models.embedded import WordTokenizer

FRAMES, CHANNELS, SIDE = 3, 4, 16
TEXT_TOKENS, TEXT_WIDTH = 5, 12
COMMON: dict[str, Any] = {
    "sample_size": SIDE,
    "block_out_channels": (8, 16, 16, 16),
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "cross_attention_dim": TEXT_WIDTH,
}


def motion_unet(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    from diffusers import UNetMotionModel

    return _random(
        lambda: UNetMotionModel(
            **COMMON,
            down_block_types=("CrossAttnDownBlockMotion",) * 3 + ("DownBlockMotion",),
            up_block_types=("UpBlockMotion",) + ("CrossAttnUpBlockMotion",) * 3,
            num_attention_heads=2,
            motion_num_attention_heads=2,
            motion_max_seq_length=16,
            use_motion_mid_block=False,
        ),
        seed,
        dtype,
    )


def image_unet(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    from diffusers import UNet2DConditionModel

    return _random(lambda: UNet2DConditionModel(**COMMON, attention_head_dim=2), seed, dtype)


def _random(build: Any, seed: int, dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = build()
        with torch.no_grad():
            for parameter in unet.parameters():  # so that layers which begin at zero have an effect
                parameter.add_(0.1 * torch.randn_like(parameter))
    return unet.to(dtype).eval().requires_grad_(False)


def ask_of(unet: nn.Module) -> Ask:
    """The U-Net for clips, text for each frame, no depth."""
    moving = any("motion_modules" in name for name, _ in unet.named_modules())

    def ask(latents: Tensor, timestep: float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        rows, _, count = latents.shape[:3]
        each = [text[frames] if len(text) > 1 else text.expand(count, -1, -1) for text in texts]
        text = torch.cat(each).to(latents)
        assert len(texts) == rows and len(text) == rows * count
        if moving:
            return unet(latents, timestep, text, return_dict=False)[0]
        folded = rearrange(latents, "b c f h w -> (b f) c h w")
        return rearrange(unet(folded, timestep, text, return_dict=False)[0], "(b f) c h w -> b c f h w", b=rows)

    return ask


def text(seed: int, tokens: int = TEXT_TOKENS) -> Tensor:
    return torch.randn(1, tokens, TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))


def latents(seed: int = 5, frames: int = FRAMES, dtype: torch.dtype = torch.float32) -> Tensor:
    shape = (1, CHANNELS, frames, SIDE, SIDE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def planted_inversion(steps: int, frames: int = FRAMES, dtype: torch.dtype = torch.float32) -> Inversion:
    """Some latents at each time; no model was asked."""
    times = Times.make(NoiseSchedule(), steps)
    noise = latents(6, frames, dtype)
    return Inversion(tuple(times.noised(k, latents(5, frames, dtype), noise) for k in range(steps + 1)), times)


WORDS = ["a", "red", "blue", "ball", "on", "grass", "jumps"]
STRIDE = 2  # pixels of one latent: the VAE has two levels


class Words(nn.Module):
    """A text encoder that looks its words up, as transformers' return it."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.table = nn.Embedding(count, TEXT_WIDTH)

    def forward(self, numbers: Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.table(numbers))


def vae() -> nn.Module:
    from diffusers import AutoencoderKL

    return _random(
        lambda: AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=CHANNELS,
        ),
        3,
        torch.float32,
    )


def backbone(unet: nn.Module, vae: nn.Module, longest: int | None = None) -> Backbone:
    """Tiny modules as the editors get them."""
    motion = any("motion_modules" in name for name, _ in unet.named_modules())
    words = WordTokenizer(WORDS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        table = Words(len(words)).eval().requires_grad_(False)
    return Backbone(
        unet,
        vae,
        EmbeddedText(table, words),
        None,
        NoiseSchedule(),
        f"tiny/{motion}",
        latent_channels=CHANNELS,
        stride=STRIDE,
        multiple=8 * STRIDE,
        motion=motion,
        longest=(longest or 16) if motion else None,
        title="Tiny Diffusion",
    )


def frames(count: int = FRAMES, height: int = 32, width: int = 32) -> Tensor:
    """A bright square that goes right over a dark ramp."""
    clip = torch.linspace(0.1, 0.4, width).view(1, 1, width, 1).repeat(count, height, 1, 3)
    for index in range(count):
        clip[index, 8:20, 6 + index : 18 + index] = torch.tensor([0.9, 0.7, 0.2])
    return clip


def mask(count: int = FRAMES, height: int = 32, width: int = 32) -> Tensor:
    """The square."""
    marked = torch.zeros(count, height, width)
    for index in range(count):
        marked[index, 8:20, 6 + index : 18 + index] = 1
    return marked
