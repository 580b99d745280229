"""ComfyUI's own video models: how each family of them wants the clip, the hole, the mask and the keyframes.

The models run by ComfyUI's nodes and samplers; here is only what they are shown. What the pack's own adapters say about
a family (fill, lengths, sizes, mask in time) is taken from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .adapters import cogvideox, wan_vace
from .adapters.cogvideox import known_latents
from .contract import Place, Traits, latent_frames

STRIDE = 8  # pixels of a side for one latent, of all these families
STEP = 4  # frames for one latent, after the first one
SIZES = ("auto", "480p", "720p", "frames")
PIXELS = {"480p": 480 * 832, "720p": 720 * 1280}
WAN = {"in_channels": 16, "patch_size": (1, 2, 2), "num_layers": 30}
FUN = {"in_channels": 33, "max_text_seq_length": 226, "use_rotary_positional_embeddings": True}


@dataclass(frozen=True)
class NativeFamily:
    """One family. `mask_latents` turns an edit mask [F, H, W] (1 = edit) into what the model's mask says of each latent
    frame, [C, f, h, w] with 1 = generate; None where its VAE encodes the mask as a picture. `vae` names the package of
    the VAE that it was trained with, `core_class` the class that its models have in ComfyUI, `channels` are those that
    the model takes, the noise's included, `even` says that it takes an even number of latent frames, `blank` that it
    was trained with nothing at all in place of a clip of which nothing is known, `control` that it takes the clip as a
    control video and not beside the noise."""

    name: str
    traits: Traits
    vae: str
    core_class: str
    channels: int
    mask_latents: Callable[[Tensor], Tensor] | None
    even: bool = False
    blank: bool = False
    control: bool = False

    @property
    def label(self) -> str:
        return self.traits.label

    def sized(self, size: str, height: int, width: int) -> Traits:
        """The traits for frames of this size, with the number of pixels that was chosen, one of SIZES.

        Raises ValueError for another word.
        """
        if size not in SIZES:
            raise ValueError(f"Size: got {size!r}; use one of {', '.join(SIZES)}.")
        if size == "auto":
            return self.traits
        return replace(self.traits, pixels=PIXELS.get(size, height * width))

    def length_for(self, count: int) -> int:
        """The shortest length that holds `count` frames and that the family takes."""
        length = self.traits.frames_for(count)
        return length + STEP if self.even and latent_frames(length) % 2 else length

    def held(self, length: int) -> tuple[float, ...]:
        """For each frame of a window, how far (0..1) the model's mask can say that it alone is known."""
        if self.mask_latents is None:
            return (1.0,) * length
        hole = torch.ones(length, STRIDE, STRIDE)
        unknown, found = self.mask_latents(hole), []
        for index in range(length):
            hole[index] = 0
            found.append(float((unknown - self.mask_latents(hole)).abs().max()))
            hole[index] = 1
        return tuple(found)


def vace_mask(edit_fhw: Tensor) -> Tensor:
    """[64, f, h, w]: of one frame of each four, all 8x8 pixels of a latent. As WanVaceToVideo makes it."""
    made = wan_vace.wan_vace(WAN).mask_latents(edit_fhw, nn.Identity(), Place())
    return rearrange(made, "1 f c h w -> c f h w")


def fun_mask(edit_fhw: Tensor) -> Tensor:
    """[4, f, h, w]: a channel for each of four frames, frame 0 four times; the middle 2x2 pixels of each 8x8."""
    edit = (edit_fhw > 0.5).float()
    size = (edit.shape[1] // STRIDE, edit.shape[2] // STRIDE)
    cells = F.interpolate(edit[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return rearrange(torch.cat([cells[:1].expand(STEP - 1, -1, -1), cells]), "(f c) h w -> c f h w", c=STEP)


def cogvideox_mask(edit_fhw: Tensor) -> Tensor:
    """[1, f, h, w]: frame 0 apart, later ones linearly, which is the mean of the middle two of each four."""
    return rearrange(1 - known_latents((edit_fhw > 0.5).float()[None], STRIDE, STEP), "1 f c h w -> c f h w")


def _families() -> tuple[NativeFamily, ...]:
    vace = wan_vace.wan_vace(WAN).traits
    fun = replace(vace, name="wan_fun_inp", label="Wan-Fun InP")
    cog, later = (cogvideox.fun({**FUN, "patch_size_t": step}).traits for step in (None, 2))
    later = replace(later, label="CogVideoX-Fun 1.5 InP")
    void = replace(later, name="void", label="VOID", pixels=384 * 672)
    return (
        NativeFamily("wan_vace", replace(vace, label="Wan VACE"), "wan", "WAN21_Vace", 16, vace_mask, control=True),
        NativeFamily("wan_fun_inp", fun, "wan", "WAN21", 36, fun_mask),
        NativeFamily("cogvideox_fun", cog, "cogvideo", "CogVideoX", 33, cogvideox_mask, blank=True),
        NativeFamily("cogvideox_fun_1.5", later, "cogvideo", "CogVideoX", 33, cogvideox_mask, even=True, blank=True),
        NativeFamily("void", void, "cogvideo", "CogVideoX", 48, None, even=True),
    )


FAMILIES = {family.name: family for family in _families()}
