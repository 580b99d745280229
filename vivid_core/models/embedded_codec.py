"""The small codec of the embedded model: the causal layout of CogVideoX's VAE at a thousandth of its cost.

Frame 0 becomes latent 0 alone, every four frames after it one latent, each 4x4 pixels one place of 16 channels. A
latent depends on its own frames only: a first frame has the same latent in a clip and alone, and any cut of a clip
at a latent's border encodes to the cut of its latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .family import Family, Tensors, width
from .files import WeightFiles, open_weights, read_tensors

LABEL = "embedded codec"
WEIGHTS = Path(__file__).with_name("embedded_codec.safetensors")
PATCH, GROUP = 4, 4  # pixels and frames in one latent
SCALING_FACTOR = 0.7  # CogVideoX 5B's: latents times this have a variance of 1


@dataclass(frozen=True)
class CodecConfig:
    """What a pipeline asks of a VAE's settings. `block_out_channels` has three entries because 2 ** (3 - 1) = 4."""

    latent_channels: int = 16
    hidden_channels: int = 64
    in_channels: int = 3
    scaling_factor: float = SCALING_FACTOR
    temporal_compression_ratio: int = GROUP
    block_out_channels: tuple[int, ...] = (64, 64, 64)
    invert_scale_latents: bool = False


class CodecPosterior:
    """The latents, under the names of diffusers' distribution: there is no variance, so all give the same."""

    def __init__(self, latents: Tensor) -> None:
        self.mean = self.parameters = latents

    def mode(self) -> Tensor:
        """The latents."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The latents; nothing is drawn."""
        return self.mean


@dataclass(frozen=True)
class Encoded:
    """What `encode` returns."""

    latent_dist: CodecPosterior


@dataclass(frozen=True)
class Decoded:
    """What `decode` returns: `sample` is the clip, [B, 3, F, H, W]."""

    sample: Tensor


class GroupCodec(nn.Module):
    """Groups of `frames` frames to latents by a linear map, and back by another and what convolutions add to it."""

    def __init__(self, frames: int, latent_channels: int, hidden_channels: int) -> None:
        super().__init__()
        pixels = frames * 3 * PATCH * PATCH
        self.frames = frames
        self.project = nn.Conv2d(pixels, latent_channels, 1)
        self.unproject = nn.Conv2d(latent_channels, pixels, 1)
        self.correction = Correction(latent_channels, pixels, hidden_channels)

    def encode(self, frames_bcfhw: Tensor) -> Tensor:
        """[B, 3, f * frames, H, W] to [B, C, f, h, w]."""
        count = frames_bcfhw.shape[2] // self.frames
        packed = F.pixel_unshuffle(frames_bcfhw.transpose(1, 2), PATCH)  # [B, frames, 3 * 16, h, w]
        packed = packed.reshape(-1, self.frames * packed.shape[2], *packed.shape[3:])
        return self.project(packed).unflatten(0, (-1, count)).transpose(1, 2)

    def decode(self, latents_bcfhw: Tensor) -> Tensor:
        """[B, C, f, h, w] to [B, 3, f * frames, H, W]."""
        count = latents_bcfhw.shape[2]
        latents = latents_bcfhw.transpose(1, 2).flatten(0, 1)
        packed = self.unproject(latents) + self.correction(latents)
        pixels = F.pixel_shuffle(packed.unflatten(1, (self.frames, -1)), PATCH)  # [B * f, frames, 3, H, W]
        return pixels.reshape(-1, count * self.frames, *pixels.shape[2:]).transpose(1, 2)


class Correction(nn.Module):
    """What convolutions add to a linear map: they look at the neighbours, and begin by adding nothing."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, hidden, 3, padding=1, padding_mode="replicate")
        self.middle = nn.Conv2d(hidden, hidden, 3, padding=1, padding_mode="replicate")
        self.leave = nn.Conv2d(hidden, outputs, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, values: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, outputs, h, w]."""
        hidden = F.silu(self.enter(values))
        return self.leave(hidden + F.silu(self.middle(hidden)))


class EmbeddedCodec(nn.Module):
    """A codec with the interface of AutoencoderKLCogVideoX, as far as a pipeline calls it."""

    def __init__(self, latent_channels: int = 16, hidden_channels: int = 64) -> None:
        super().__init__()
        self.config = CodecConfig(latent_channels, hidden_channels)
        self.first = GroupCodec(1, latent_channels, hidden_channels)
        self.rest = GroupCodec(GROUP, latent_channels, hidden_channels)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.first.project.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.first.project.weight.device

    def encode(self, frames_bcfhw: Tensor, return_dict: bool = True) -> Encoded | tuple[CodecPosterior]:
        """`latents` as diffusers' VAEs return them."""
        posterior = CodecPosterior(self.latents(frames_bcfhw))
        return Encoded(posterior) if return_dict else (posterior,)

    def decode(self, latents_bcfhw: Tensor, return_dict: bool = True) -> Decoded | tuple[Tensor]:
        """`frames` as diffusers' VAEs return them."""
        frames_bcfhw = self.frames(latents_bcfhw)
        return Decoded(frames_bcfhw) if return_dict else (frames_bcfhw,)

    def latents(self, frames_bcfhw: Tensor) -> Tensor:
        """Frames in -1..1, [B, 3, 4k+1, H, W], to latents [B, 16, k+1, H/4, W/4], yet to be scaled.

        Raises ValueError on another number of channels or frames, or sides that are no multiples of 4.
        """
        _, channels, count, height, width = frames_bcfhw.shape
        if channels != 3 or count % GROUP != 1 or height % PATCH or width % PATCH:
            raise ValueError(
                f"The embedded codec got {count} frames of {width}x{height} with {channels} channels, but it takes "
                f"{GROUP}k+1 RGB frames with sides that are multiples of {PATCH}; pad or trim the clip."
            )
        first = self.first.encode(frames_bcfhw[:, :, :1])
        return first if count == 1 else torch.cat([first, self.rest.encode(frames_bcfhw[:, :, 1:])], dim=2)

    def frames(self, latents_bcfhw: Tensor) -> Tensor:
        """What `latents` made, back to frames, about -1..1; values beyond are not cut off.

        Raises ValueError on another number of channels.
        """
        if latents_bcfhw.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"The embedded codec got latents of {latents_bcfhw.shape[1]} channels, but its own have "
                f"{self.config.latent_channels}, at position 1 of [batch, channels, frames, height, width]."
            )
        first = self.first.decode(latents_bcfhw[:, :, :1])
        if latents_bcfhw.shape[2] == 1:
            return first
        return torch.cat([first, self.rest.decode(latents_bcfhw[:, :, 1:])], dim=2)

    def there_and_back(self, frames_fhwc: Tensor) -> Tensor:
        """frames_fhwc in 0..1, encoded and decoded: the most that a model with this codec can show."""
        frames_bcfhw = frames_fhwc.permute(3, 0, 1, 2)[None].to(self.device, self.dtype) * 2 - 1
        with torch.no_grad():
            shown = self.frames(self.latents(frames_bcfhw))[0]
        return ((shown.permute(1, 2, 3, 0) + 1) / 2).clamp(0, 1).to(frames_fhwc)


def save_codec(codec: EmbeddedCodec, path: str | Path, notes: Mapping[str, str] | None = None) -> None:
    """Write the codec as fp16 safetensors, with `notes` (seed, steps, PSNR) as metadata."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().half().contiguous() for name, tensor in codec.state_dict().items()}
    save_file(tensors, str(path), metadata={"family": FAMILY.name, **(notes or {})})


def load_codec(path: str | Path = WEIGHTS) -> EmbeddedCodec:
    """The codec of a file, in fp32, evaluation mode and without gradients.

    Raises ValueError when the file is missing or damaged, or holds another model.
    """
    files = open_weights(path)
    if not FAMILY.detects(files.tensors):
        raise ValueError(f"{files.path.name} is no {LABEL}: choose the embedded_codec.safetensors of the pack.")
    codec = EmbeddedCodec(**FAMILY.config(files))
    codec.load_state_dict({name: tensor.float() for name, tensor in read_tensors(files).items()})
    return codec.eval().requires_grad_(False)


def _detects(tensors: Tensors) -> bool:
    return all(f"{part}.{layer}.weight" in tensors for part in ("first", "rest") for layer in ("project", "unproject"))


def _config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from the shapes."""
    hidden = width(files.tensors, "rest.correction.middle.weight")
    return {"latent_channels": width(files.tensors, "rest.project.weight"), "hidden_channels": hidden}


def _build(config: Mapping[str, Any]) -> nn.Module:
    return EmbeddedCodec(**config)


FAMILY = Family(
    name="embedded_codec",
    label=f"small {LABEL}",
    role="vae",
    get_it="get this pack again, of which it is a part",
    detects=_detects,
    config=_config,
    build=_build,
)
