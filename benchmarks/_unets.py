"""U-Nets for timing: the topology of Stable Diffusion with random weights, as wide as is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TOKENS, WIDTH = 77, 256


def image_unet(channels: tuple[int, ...], in_channels: int = 4) -> Any:
    """A UNet2DConditionModel whose levels are so wide."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        in_channels=in_channels,
        block_out_channels=channels,
        norm_num_groups=min(32, channels[0] // 2),
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
    )
    return unet.eval().requires_grad_(False)


def asking(unet: Any) -> Any:
    """How it is asked about a clip, frame by frame in one batch."""
    import torch
    from torch import Tensor

    def ask(latents: Tensor, timestep: float, texts: Sequence[Tensor], frames: slice = slice(None)) -> Tensor:
        count = latents.shape[2]
        text = torch.cat([one.expand(count, -1, -1) for one in texts])
        said = unet(latents.transpose(1, 2).flatten(0, 1), timestep, text, return_dict=False)[0]
        return said.unflatten(0, (len(latents), count)).transpose(1, 2)

    return ask


def clip_and_texts(frames: int, side: int, device: Any = "cpu") -> tuple[Any, tuple[Any, Any]]:
    """Noisy latents [1, 4, F, side, side], and the prompt's and the negative embedding."""
    import torch

    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, frames, side, side, generator=generator)
    prompt, negative = torch.randn(2, 1, TOKENS, WIDTH, generator=generator)
    return latents.to(device), (prompt.to(device), negative.to(device))


def lockstep(unet: Any, steps: int, frames: int, side: int, updated: int = 0, chunk: int | None = None) -> Any:
    """Pix2Video as vivid_core runs it."""
    from vivid_core.diffusion.branches import BranchRun
    from vivid_core.diffusion.ddim import NoiseSchedule, Times
    from vivid_core.diffusion.roles import Role
    from vivid_core.editors.pix2video import EDIT, Pix2VideoSettings, guided_update, plan_for, rules_for

    start, (prompt, negative) = clip_and_texts(frames, side, unet.device)
    settings = Pix2VideoSettings(update_share=updated / steps)
    plan = plan_for(settings, frames)
    role = Role(EDIT, prompt, negative, settings.guidance, start, correct=guided_update(plan, settings, steps))
    times = Times.make(NoiseSchedule(), steps)
    return BranchRun(unet, asking(unet), times, [role], rules_for(settings, plan), chunk=chunk)


def frame_by_frame(unet: Any, steps: int, frames: int, side: int, updated: int = 0) -> tuple[Any, Any]:
    """The same by the method of the paper, with a store of features: its latents, and the run that made them."""
    import torch
    from harness.naive_pix2video import Naive

    from vivid_core.diffusion.ddim import NoiseSchedule, Times

    start, texts = clip_and_texts(frames, side, unet.device)
    naive = Naive(updated=updated)
    with torch.no_grad():
        return naive.run(unet, asking(unet), Times.make(NoiseSchedule(), steps), start, texts), naive
