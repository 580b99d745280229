"""What ComfyUI needs to show a picture of unfinished latents, for models whose latents it doesn't know."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import torch
import torch.nn.functional as F
from comfy.cli_args import args
from einops import rearrange
from latent_preview import LatentPreviewMethod
from torch import Tensor, nn

from ...vivid_core.editors.contract import Place

KNOWN = {"wan_vace": "Wan21"}  # for which there may also be a small decoder of the user's
SIDE, PATCH = 128, 16  # pixels of the picture that colours are fitted on, and of its patches


def wanted() -> bool:
    """Whether the user wants previews of latents."""
    return args.preview_method != LatentPreviewMethod.NoPreviews


def known_format(family: str) -> Any:
    """ComfyUI's own format of a family's latents, None if it has none."""
    return getattr(comfy.latent_formats, KNOWN[family])() if family in KNOWN else None


@torch.no_grad()
def fitted_format(adapter: Any, vae: nn.Module, place: Place) -> Any:
    """A format whose colours are the best linear guess for this VAE, which must be held: found by encoding patches of
    plain colours."""
    colours_bhwc = torch.rand(1, SIDE // PATCH, SIDE // PATCH, 3, generator=torch.Generator().manual_seed(0))
    picture_bhwc = colours_bhwc.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    latents_bfchw = adapter.encode(picture_bhwc[:, None], vae, place).float().cpu()
    shown_bchw = F.interpolate(rearrange(picture_bhwc, "b h w c -> b c h w"), latents_bfchw.shape[3:], mode="area")
    return _format_of(rearrange(latents_bfchw, "1 1 c h w -> (h w) c"), rearrange(shown_bchw, "1 c h w -> (h w) c"))


def _format_of(latents_nc: Tensor, colours_nc: Tensor) -> Any:
    with_one = torch.cat([latents_nc, torch.ones(len(latents_nc), 1)], dim=1)
    # On a ridge: some channels may not move at all with plain colours.
    squares = with_one.T @ with_one + 1e-3 * len(with_one) * torch.eye(with_one.shape[1])
    factors = torch.linalg.solve(squares, with_one.T @ (2 * colours_nc - 1))
    made: Any = comfy.latent_formats.LatentFormat()
    made.latent_channels, made.latent_dimensions = latents_nc.shape[1], 3
    made.latent_rgb_factors, made.latent_rgb_factors_bias = factors[:-1].tolist(), factors[-1].tolist()
    return made
