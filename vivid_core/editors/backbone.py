"""A diffusion backbone of the tuning-free editors: the modules of one SD 1.x or 2.x model, and how they are asked.

One backbone serves all of them: with motion modules it is asked for whole clips, and `still` bypasses these modules so
that the same weights are the image model that they were put into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..diffusion.ddim import WHOLE, Ask, NoiseSchedule
from ..models.unet_motion import bypassed, is_motion_unet
from .contract import Place
from .engine import Footprint, TextEncoder

if TYPE_CHECKING:
    from ..runtime import Runtime

Depth = Literal["none", "channel", "controlnet"]
WEIGHT = re.compile(r"\([^()]+:\s*\d*\.?\d+\s*\)")  # as ComfyUI's own prompts have them


@dataclass(frozen=True)
class Backbone:
    """A diffusion model whose modules a `Runtime` holds.

    `unet` is a UNetMotionModel where `motion` is true or was bypassed, else a UNet2DConditionModel; `vae` has the
    interface of AutoencoderKL; `controlnet` is there where `depth` is "controlnet". `noise` is the schedule it was
    trained with and `still_noise`, if not None, that of the images before motion modules were put in.
    `latent_channels` leave out the depth channel, `scale` is the VAE's scaling factor. Both sides of a frame are
    multiples of `multiple` pixels, and `stride` x `stride` of these make one latent pixel. `longest` is how many frames
    the motion modules take at most, None where any number. `identity` tells two backbones apart that would give other
    results. `title` names the model in messages.
    """

    unet: nn.Module = field(repr=False)  # ComfyUI shows the inputs of a node that failed
    vae: nn.Module = field(repr=False)
    text: TextEncoder | None = field(repr=False)
    controlnet: nn.Module | None = field(repr=False)
    noise: NoiseSchedule
    identity: str
    latent_channels: int = 4
    scale: float = 0.18215
    stride: int = 8
    multiple: int = 64
    depth: Depth = "none"
    motion: bool = False
    longest: int | None = None
    still_noise: NoiseSchedule | None = None
    title: str = "the diffusion model"
    place: Place = field(default_factory=Place)
    vae_place: Place = field(default_factory=Place)
    text_place: Place = field(default_factory=Place)
    footprint: Footprint = field(default_factory=Footprint)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """What must be held while it is asked: the U-Net and, if any, the ControlNet. `footprint.denoise` says how many
        bytes they need beside their weights for (rows, frames, height, width) in pixels."""
        return (self.unet,) if self.controlnet is None else (self.unet, self.controlnet)

    def ask(self, depth_fhw: Tensor | None = None, strength: float = 1.0) -> Ask:
        """How it is asked about a clip; `modules` must be held while it is.

        `depth_fhw` is the clip's normalised depth [F, H, W] in 0..1, near = 1, of any size (`depth_size` needs no
        resizing); all rows get it. `strength` is the ControlNet's; the depth channel has none.

        Raises ValueError when the backbone needs depth and there is none, or has no use for the depth that is given.
        """
        if self.depth != "none" and depth_fhw is None:
            raise ValueError(
                f"{self.title} was made to see depth: connect the depth of the clip, from Estimate Depth or from any "
                "node that gives depth as an IMAGE."
            )
        if self.depth == "none" and depth_fhw is not None:
            raise ValueError(
                f"{self.title} can't see depth: disconnect it, or choose a depth ControlNet or an SD 2 depth model in "
                "Load Diffusion Model."
            )
        return _Asked(self, depth_fhw, strength)

    @torch.no_grad()
    def encode(self, frames_fhwc: Tensor, runtime: Runtime) -> Tensor:
        """Frames as scaled latents [1, C, F, h, w], float32 on the CPU: the mean of the VAE's posterior, no noise.

        One frame at a time; each counts one step of `runtime`, which holds the VAE here.

        Raises ValueError when a side is no multiple of `multiple`, or the VAE returned NaN.
        """
        height, width = frames_fhwc.shape[1:3]
        latents = torch.empty(len(frames_fhwc), self.latent_channels, *self.latent_size(height, width))
        vae: Any = self.vae
        with runtime.hold(vae, activations=self.footprint.encode(1, 1, height, width)):
            for index, frame_hwc in enumerate(frames_fhwc):
                pixels = rearrange(frame_hwc, "h w c -> 1 c h w").to(self.vae_place.device, self.vae_place.dtype)
                latents[index] = vae.encode(2 * pixels - 1).latent_dist.mode()[0].float().cpu() * self.scale
                runtime.advance()
        self._check_finite(latents, "encoding")
        return rearrange(latents, "f c h w -> 1 c f h w")

    @torch.no_grad()
    def decode(self, latents_bcfhw: Tensor, runtime: Runtime) -> Tensor:
        """One row of latents [1, C, F, h, w] as frames_fhwc in 0..1, float32 on the CPU; counts and holds as `encode`.

        Raises ValueError when there are several rows, or the VAE returned NaN.
        """
        rows, _, count, height, width = latents_bcfhw.shape
        if rows != 1:
            raise ValueError(f"Decoding: got {rows} rows of latents; decode one at a time.")
        height, width = height * self.stride, width * self.stride
        frames = torch.empty(count, height, width, 3)
        vae: Any = self.vae
        with runtime.hold(vae, activations=self.footprint.decode(1, 1, height, width)):
            for index in range(count):
                latent = latents_bcfhw[:, :, index].float() / self.scale
                pixels = vae.decode(latent.to(self.vae_place.device, self.vae_place.dtype), return_dict=False)[0]
                frames[index] = rearrange((pixels.float().cpu() / 2 + 0.5), "1 c h w -> h w c")
                runtime.advance()
        self._check_finite(frames, "decoding")
        return frames.clamp_(0, 1)

    def encoded(self, text: str, runtime: Runtime, notes: list[str] | None = None) -> Tensor:
        """One text as float32 text_bld [1, L, D], on the CPU; the text encoder is held here. What of the text is not
        read or not known is said in `notes`.

        Raises ValueError when the backbone came without one.
        """
        if self.text is None:
            raise ValueError(
                f"{self.title} came without a text encoder: choose a checkpoint that holds one, or a whole diffusers "
                "folder, in Load Diffusion Model."
            )
        if notes is not None:
            notes += self._remarks(self.text, text)
        with runtime.hold(self.text.module), torch.no_grad():
            return self.text.encode([text], self.text_place)

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the latents of frames of this size.

        Raises ValueError when a side is no multiple of `multiple`.
        """
        if height % self.multiple or width % self.multiple:
            raise ValueError(
                f"The frames are {width}x{height}, but {self.title} takes sides that are multiples of {self.multiple}: "
                "resize or crop the clip."
            )
        return height // self.stride, width // self.stride

    def depth_size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width in which depth goes in for frames of this size: the latents' for a depth channel, the
        frames' for a ControlNet. Normalise there, as the models' own pipelines do."""
        return self.latent_size(height, width) if self.depth == "channel" else (height, width)

    @contextmanager
    def still(self) -> Iterator[Backbone]:
        """In this block the image model: motion modules do nothing, any number of frames goes, `still_noise` holds. The
        backbone itself where it has no motion."""
        if not self.motion:
            yield self
            return
        with bypassed(self.unet):
            yield replace(
                self,
                motion=False,
                longest=None,
                noise=self.still_noise or self.noise,
                still_noise=None,
                identity=f"{self.identity}/still",
            )

    def _remarks(self, encoder: TextEncoder, text: str) -> Iterator[str]:
        excess, unknown = encoder.excess(text), list(dict.fromkeys(encoder.unknown(text)))
        if excess:
            yield f"The text is too long: its last {excess} tokens are not read; shorten it, or put what matters first."
        if unknown:
            yield f"{self.title} has never seen these words and can't follow them: {', '.join(unknown)}."
        if WEIGHT.search(text):
            yield "Weights in brackets, such as (red:1.2), are read as text here: leave them out."

    def _check_finite(self, values: Tensor, doing: str) -> None:
        if not torch.isfinite(values).all():
            raise ValueError(
                f"{self.title}: the VAE returned NaN (not a number) values while {doing}; run it in bf16 or fp32 "
                "(ComfyUI's option --fp32-vae), and check that its weights are complete."
            )


@dataclass(frozen=True)
class _Asked:
    """A backbone and the depth of a clip; see `ddim.Ask`."""

    backbone: Backbone
    depth_fhw: Tensor | None
    strength: float

    @torch.no_grad()
    def __call__(self, latents_bcfhw: Tensor, timestep: int, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        place, longest = self.backbone.place, self.backbone.longest
        rows, _, count = latents_bcfhw.shape[:3]
        if longest is not None and count > longest:
            raise ValueError(
                f"{self.backbone.title} takes at most {longest} frames at once and got {count}: take a shorter clip "
                "or windows of it."
            )
        given = latents_bcfhw.to(place.device, place.dtype)
        text = _for_each_frame(texts, rows, count, frames).to(place.device, place.dtype)
        time = torch.as_tensor(timestep, device=place.device)
        named: dict[str, Any] = {"encoder_hidden_states": text, "return_dict": False}
        if self.backbone.depth == "controlnet":
            named |= self._residuals(given, time, text, frames)
        elif self.backbone.depth == "channel":
            depth = 2 * self._depth(given, frames, tuple(given.shape[3:])) - 1
            given = torch.cat([given, repeat(depth, "f h w -> b 1 f h w", b=rows)], dim=1)
        said = self._unet(given, time, named).to(latents_bcfhw)
        return self.backbone.noise.epsilon(said, latents_bcfhw, timestep)

    def _unet(self, given_bcfhw: Tensor, time: Tensor, named: dict[str, Any]) -> Tensor:
        unet = self.backbone.unet
        if is_motion_unet(unet):
            return unet(given_bcfhw, time, **named)[0]
        said = unet(_images(given_bcfhw), time, **named)[0]
        return rearrange(said, "(b f) c h w -> b c f h w", b=len(given_bcfhw))

    def _residuals(self, given_bcfhw: Tensor, time: Tensor, text: Tensor, frames: slice) -> dict[str, Any]:
        height, width = (side * self.backbone.stride for side in given_bcfhw.shape[3:])
        depth = self._depth(given_bcfhw, frames, (height, width))
        picture = repeat(depth, "f h w -> (b f) c h w", b=len(given_bcfhw), c=3)
        controlnet: Any = self.backbone.controlnet
        down, middle = controlnet(
            _images(given_bcfhw), time, text, picture, conditioning_scale=self.strength, return_dict=False
        )
        return {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}

    def _depth(self, given_bcfhw: Tensor, frames: slice, size: tuple[int, ...]) -> Tensor:
        """Depth of these frames, [F, height, width] in 0..1, beside the latents and in their dtype."""
        assert self.depth_fhw is not None
        depth = self.depth_fhw[frames].to(given_bcfhw.device, torch.float32)
        if len(depth) != given_bcfhw.shape[2]:
            raise ValueError(
                f"Depth: got {len(depth)} frames of depth for {given_bcfhw.shape[2]} frames; each needs its own, so "
                "estimate depth on the same clip."
            )
        if tuple(depth.shape[1:]) != size:
            depth = F.interpolate(depth[:, None], size=size, mode="bicubic", antialias=True)[:, 0].clamp(0, 1)
        return depth.to(given_bcfhw.dtype)


def _images(values_bcfhw: Tensor) -> Tensor:
    return rearrange(values_bcfhw, "b c f h w -> (b f) c h w")


def _for_each_frame(texts: Sequence[Tensor], rows: int, count: int, frames: slice) -> Tensor:
    """[(rows x count), L, D]: the text of each frame of each row."""
    if len(texts) != rows:
        raise ValueError(f"Texts: got {len(texts)} texts for {rows} rows of latents; each row needs one.")
    if len({tuple(text.shape[1:]) for text in texts}) > 1:
        shapes = ", ".join(str(tuple(text.shape[1:])) for text in texts)
        raise ValueError(f"Texts: got embeddings of {shapes}; encode all with the same text encoder to one length.")
    cut = [text if len(text) == 1 else text[frames] for text in texts]
    odd = next((len(text) for text in cut if len(text) not in (1, count)), None)
    if odd is not None:
        raise ValueError(
            f"Texts: got texts for {odd} frames, but the latents are of {count}; give one text, or one for each frame."
        )
    return torch.cat([text.expand(count, -1, -1) for text in cut])
