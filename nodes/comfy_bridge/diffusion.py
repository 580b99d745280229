"""A diffusion model under ComfyUI's memory, as it travels from Load Diffusion Model to the tuning-free editors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.latent_formats
from einops import rearrange
from torch import Tensor

from ...vivid_core.editors.backbone import Backbone
from .host import ManagedBundle, ManagedModel
from .memory import explained_out_of_memory, plan
from .previews import fitted_format, wanted
from .progress import ComfyRuntime

FRAMES, SIDE = 16, 512  # of the clip that a report is about: what the motion modules were trained with
TO_LOWER = "the size of the frames or their number at once, or the precision in Load Diffusion Model,"
DEPTH_SENTENCES = {
    "none": "It sees no depth.",
    "channel": "It sees depth, in a channel of its own.",
    "controlnet": "It sees depth, or whatever its ControlNet was made for.",
}


@dataclass(frozen=True)
class ManagedDiffusion(ManagedBundle):
    """The managed models of a `Backbone`; `text` and `controlnet` are None where it came without. `base` is its name in
    reports, `notes` are sentences for the report of its user. `latent_format` shows latents on the way, if not None.
    """

    backbone: Backbone
    unet: ManagedModel
    vae: ManagedModel
    text: ManagedModel | None
    controlnet: ManagedModel | None
    base: str
    notes: list[str] = field(default_factory=list)
    latent_format: Any = None

    def runtime(self) -> ComfyRuntime:
        """For one run: it holds these models and no others."""
        return ComfyRuntime(*self.models(), latent_format=self._shown() if wanted() else None)

    @contextmanager
    def running(self) -> Iterator[tuple[Backbone, ComfyRuntime]]:
        """The backbone and a runtime, for a block that edits; a full device is explained."""
        with explained_out_of_memory(TO_LOWER):
            yield self.backbone, self.runtime()

    def report(self) -> str:
        """What was loaded, what fits on the device, and what the model takes."""
        backbone, unet = self.backbone, self.unet
        side = SIDE if backbone.stride == 8 else backbone.multiple * 2
        frames = min(FRAMES, backbone.longest or FRAMES)
        needed = backbone.footprint.denoise(2, frames, side, side)
        moving = f"It makes clips of up to {backbone.longest} frames." if backbone.motion else "It makes single images."
        lines = [
            f"{self.base}: kept in {_named(unet.host.get_dtype())}, computing in {_named(unet.compute_dtype)}; VAE in "
            f"{_named(self.vae.compute_dtype)}.",
            f"{moving} {DEPTH_SENTENCES[backbone.depth]} It predicts {_PREDICTS[backbone.noise.prediction]}.",
            f"Sides of frames are multiples of {backbone.multiple} pixels.",
            plan([model for model in (unet, self.controlnet) if model is not None], needed).sentence(),
        ]
        return "\n".join([*lines, *self.notes])

    def models(self) -> list[ManagedModel]:
        """All models in it."""
        return [model for model in (self.unet, self.vae, self.text, self.controlnet) if model is not None]

    def _shown(self) -> Any:
        """How to show latents: ComfyUI's own way, or what the VAE tells of its colours."""
        if self.latent_format is not None:
            return self.latent_format
        frames = _Frames(self.backbone, ComfyRuntime(self.vae))
        return fitted_format(frames, self.backbone.vae, self.backbone.vae_place)


@dataclass(frozen=True)
class _Frames:
    """A backbone as `fitted_format` asks an adapter."""

    backbone: Backbone
    runtime: ComfyRuntime

    def encode(self, frames_bfhwc: Tensor, *_: Any) -> Tensor:
        return rearrange(self.backbone.encode(frames_bfhwc[0], self.runtime), "1 c f h w -> 1 f c h w")


_PREDICTS = {"epsilon": "noise", "v_prediction": "v"}


def known_format() -> Any:
    """ComfyUI's own format of the latents of SD 1.x and 2.x; without the small decoder, which takes no clips."""
    made = comfy.latent_formats.SD15()
    made.taesd_decoder_name = None
    return made


def _named(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
