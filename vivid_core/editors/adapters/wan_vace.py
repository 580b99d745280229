"""Wan2.1-VACE: the clip apart in what is kept and what is replaced, and the mask beside them pixel by pixel.

In its mask 1 means generate, as in ours. The hole must be grey: what lies under the mask is shown to the model as what
to replace, and it would rebuild whatever it sees there. In time it takes the nearest frame of each four (not the first
frame for the first latent), so a keyframe at frame 0 is told by the kept part alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...diffusion import schedulers
from ...diffusion.denoise import Predict
from ...diffusion.guidance import Guidance
from ...diffusion.wan_predict import predictor
from ...video.keyframes import Keyframes
from ..contract import Place, Traits, latent_frames, with_hole, with_keys

FAMILY = "wan_vace"  # in models.families
STRIDE = 8
LAYERS_OF_14B = 40
GREY = 0.5


@dataclass(frozen=True)
class WanVaceAdapter:
    """See `contract.Adapter`. `strength` scales what the control adds. `first_frame_mask` takes the first latent's mask
    from frame 0, so that a keyframe there is known in the mask too; the family was not trained so."""

    traits: Traits
    channels: int = 16
    strength: float = 1.0
    first_frame_mask: bool = False

    def noise_shape(self, frame_count: int, height: int, width: int) -> tuple[int, ...]:
        """[1, f, 16, h, w]."""
        return 1, latent_frames(frame_count), self.channels, height // STRIDE, width // STRIDE

    def mask_latents(self, mask_fhw: Tensor, vae: nn.Module, place: Place) -> Tensor:
        """The edit mask, [1, f, 64, h, w]: of one frame of each four, all 8x8 pixels of a latent as channels."""
        edit = (mask_fhw > 0.5).float()
        cells = rearrange(edit, "f (h p) (w q) -> 1 (p q) f h w", p=STRIDE, q=STRIDE)
        frames = latent_frames(len(edit))
        nearest = F.interpolate(cells, (frames, *cells.shape[3:]), mode="nearest-exact")
        if self.first_frame_mask:
            nearest[:, :, 0] = cells[:, :, 0]
        return rearrange(nearest, "b c f h w -> b f c h w").to(place.device)

    def condition(
        self,
        frames_fhwc: Tensor,
        mask_fhw: Tensor,
        keys: Keyframes,
        vae: nn.Module,
        place: Place,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """[1, f, 96, h, w], float32: latents of the kept part, of the grey hole, and the mask. Nothing is drawn.

        Raises ValueError when the window breaks the frame or size rule, or a key doesn't fit it.
        """
        self.traits.check_window(frames_fhwc, mask_fhw)
        frames, mask = with_keys(frames_fhwc, mask_fhw, keys)
        edit = (mask > 0.5)[..., None]
        filled = with_hole(frames, mask, self.traits.fill)
        parts = (self.encode(torch.where(edit == kept, GREY, filled)[None], vae, place) for kept in (True, False))
        return torch.cat([*parts, self.mask_latents(mask, vae, place)], dim=2)

    def predictor(
        self,
        transformer: nn.Module,
        condition: Tensor,
        prompt_bld: Tensor,
        negative_bld: Tensor | None,
        place: Place,
    ) -> Predict:
        """What the denoising loop asks; guidance is by text alone.

        Raises ValueError when the transformer takes another number of control channels.
        """
        return predictor(transformer, prompt_bld, negative_bld, condition, self.strength, place.dtype)

    @torch.no_grad()
    def encode(self, frames_bfhwc: Tensor, vae: nn.Module, place: Place) -> Tensor:
        """Latents of frames in 0..1 with mean 0 and variance 1: the most likely ones, nothing is drawn. Float32."""
        frames_bcfhw = rearrange(frames_bfhwc, "b f h w c -> b c f h w").contiguous()  # or every norm makes a copy
        pixels = frames_bcfhw.to(place.device, place.dtype) * 2 - 1
        latents = vae.encode(pixels).latent_dist.mode().float()  # type: ignore[operator]
        mean, deviation = _statistics(vae, latents.device)
        return rearrange((latents - mean) / deviation, "b c f h w -> b f c h w")

    @torch.no_grad()
    def decode(self, latents_bfchw: Tensor, frame_count: int, vae: nn.Module, place: Place) -> Tensor:
        """frames_fhwc in 0..1, on the CPU in float32."""
        mean, deviation = _statistics(vae, latents_bfchw.device)
        latents = rearrange(latents_bfchw, "b f c h w -> b c f h w") * deviation + mean
        pixels = vae.decode(latents.to(place.device, place.dtype)).sample  # type: ignore[operator]
        frames = rearrange(pixels[0, :, :frame_count], "c f h w -> f h w c")
        return frames.float().div(2).add(0.5).clamp(0, 1).cpu()


def wan_vace(config: Mapping[str, Any], shift: float = 3.0) -> WanVaceAdapter:
    """Wan2.1-VACE 1.3B or 14B of these settings. `shift` is the flow's; few-step LoRAs often want 5 or more, guidance
    1 and the steps they were made for."""
    large = int(config["num_layers"]) >= LAYERS_OF_14B
    traits = Traits(
        name="wan_vace",
        label="Wan2.1-VACE",
        schedule=schedulers.wan(shift),
        longest=81,
        pixels=720 * 1280 if large else 480 * 832,
        multiple=STRIDE * int(config["patch_size"][1]),
        text_encoder="umt5",
        text_tokens=512,
        fill=GREY,
        fps=16,
        guidance=Guidance(5.0),
        ends_on_keys=True,
    )
    return WanVaceAdapter(traits, int(config["in_channels"]))


def _statistics(vae: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of the VAE's latents, [1, C, 1, 1, 1]."""
    config: Any = vae.config
    values = (torch.tensor(config[name], device=device) for name in ("latents_mean", "latents_std"))
    mean, deviation = (value.view(1, -1, 1, 1, 1) for value in values)
    return mean, deviation
