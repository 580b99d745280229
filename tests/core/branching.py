"""Tiny U-Nets with the true topology of Stable Diffusion, the plainest way to ask them, and roles and rules of runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vivid_core.diffusion.attention_rules import AnyRule, Letter, Rule
from vivid_core.diffusion.branches import Mode, run_branches
from vivid_core.diffusion.ddim import WHOLE, Ask, NoiseSchedule, Times
from vivid_core.diffusion.roles import Role

WIDTH = 12  # of a text
CHANNELS = (8, 16, 16, 16)
AS_RELEASED = NoiseSchedule()
OF_MOTION = NoiseSchedule(betas="linear")


def _spread(unet: nn.Module, seed: int) -> Any:
    """So that layers that begin at zero have an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return unet.eval().requires_grad_(False)


@cache
def image_unet(in_channels: int = 4, dtype: torch.dtype = torch.float32) -> Any:
    """A UNet2DConditionModel; with 5 channels it is one for depth."""
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            in_channels=in_channels,
            block_out_channels=CHANNELS,
            norm_num_groups=4,
            cross_attention_dim=WIDTH,
            attention_head_dim=2,
        )
    return _spread(unet, 1).to(dtype)


@cache
def motion_unet(middle: bool = True, dtype: torch.dtype = torch.float32) -> Any:
    """A UNetMotionModel; without a motion module in the middle it is as with the third AnimateDiff."""
    from diffusers import UNetMotionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNetMotionModel(
            block_out_channels=CHANNELS,
            norm_num_groups=4,
            cross_attention_dim=WIDTH,
            num_attention_heads=2,
            motion_num_attention_heads=2,
            motion_max_seq_length=16,
            use_motion_mid_block=middle,
        )
    return _spread(unet, 2).to(dtype)


def asking(unet: Any, depth_fhw: Tensor | None = None, noise: NoiseSchedule = AS_RELEASED) -> Ask:
    """How a U-Net is asked, with depth (-1..1, of the latents' size) as a fifth channel if there is any."""

    def ask(latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        count = latents.shape[2]
        text = torch.cat([one.expand(count, -1, -1) if len(one) == 1 else one[frames] for one in texts])
        seen = latents
        if depth_fhw is not None:
            seen = torch.cat([latents, depth_fhw[frames].expand(len(latents), 1, -1, -1, -1)], dim=1)
        if hasattr(unet.config, "motion_max_seq_length"):
            said = unet(seen, timestep, text, return_dict=False)[0]
        else:
            said = unet(seen.transpose(1, 2).flatten(0, 1), timestep, text, return_dict=False)[0]
            said = said.unflatten(0, (len(latents), count)).transpose(1, 2)
        return noise.epsilon(said, latents, timestep)

    return ask


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def text(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return drawn(1, 5, WIDTH, seed=100 + seed, dtype=dtype)


def times(steps: int = 4, noise: NoiseSchedule = AS_RELEASED) -> Times:
    return Times.make(noise, steps)


# ------------------------------------------------------------------------------------- runs of three roles

STEPS, FRAMES, SIDE = 2, 3, 8
DOUBLE = torch.float64
QK: frozenset[Letter] = frozenset({"q", "k"})
V: frozenset[Letter] = frozenset({"v"})
KV: frozenset[Letter] = frozenset({"k", "v"})
STRUCTURE = Rule("spatial", QK, "source", ("edit", "motion"), steps=range(1))
CONTENT = Rule("spatial", V, "source", ("edit",), tuple(range(10, 16)))
MOTION = Rule("temporal", QK, "motion", ("edit",))


def clip(seed: int) -> Tensor:
    return drawn(1, 4, FRAMES, SIDE, SIDE, seed=seed, dtype=DOUBLE)


def marked(seed: int = 0) -> Tensor:
    """A mask whose marked part differs from frame to frame; frame 1 has none."""
    mask = (drawn(FRAMES, 16, 16, seed=50 + seed) > 0.3).float()
    mask[0, :, :8], mask[1] = 1, 0
    return mask


def role(name: str, seed: int, guidance: float = 3.0, **more: Any) -> Role:
    negative = text(9, DOUBLE) if guidance > 1 else None
    return Role(name, text(seed, DOUBLE), negative, guidance, **({"start": clip(seed)} | more))


def single(name: str, seed: int, guidance: float = 3.0, **more: Any) -> Role:
    start = {} if "stored" in more else {"start": drawn(1, 4, FRAMES, SIDE, SIDE, seed=seed)}
    return Role(name, text(seed), text(9), guidance, **(start | more))


def run(roles: Sequence[Role], rules: Sequence[AnyRule], mode: Mode = "lockstep", **more: Any) -> dict[str, Tensor]:
    unet = motion_unet(dtype=DOUBLE)
    return run_branches(unet, asking(unet), times(STEPS), roles, rules, mode=mode, **more)
