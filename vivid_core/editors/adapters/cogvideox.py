"""CogVideoX with the clip and its hole beside the noise: VIVID (own training) and CogVideoX-Fun InP.

Both see 16 channels of noise, then the mask, then 16 of the clip with a black hole. In the model's mask 1 means known,
the opposite of ours, and everything is multiplied with the factor of the latents. Frame 0 is a latent of its own, so a
clean first frame (a keyframe) is exact: no hole in it, neither in the mask nor in the clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...diffusion import schedulers
from ...diffusion.cogvideox_predict import LATENT_CHANNELS, padded, padding, predictor, trimmed
from ...diffusion.denoise import Predict, noise
from ...diffusion.guidance import Guidance
from ...models.cogvideox import latent_scale
from ...models.widening import WIDTHS
from ...video.keyframes import Keyframes
from ..contract import Place, Traits, latent_frames, with_hole, with_keys

FAMILY = "cogvideox"  # in models.families
EMBEDDED_STRIDE = 4  # pixels for one latent of the embedded codec
DELETION = "Remove objects and generate areas that blend with the background."  # the paper's, to the letter
FUN_NOISE = 0.0563  # on the pixels that Fun V1.1 5B sees, as its own pipeline adds it


@dataclass(frozen=True)
class CogVideoXAdapter:
    """See `contract.Adapter`. `config` is the transformer's, `scale` the factor of its latents, `mask_encoding` one of
    `widening.WIDTHS`, `stride` the VAE's (pixels for one latent), `reference_noise` what the family wants on the clip
    in its condition; keyframes are never noised."""

    traits: Traits
    config: Mapping[str, Any]
    scale: float
    mask_encoding: str = "resize"
    stride: int = 8
    reference_noise: float = 0.0

    def noise_shape(self, frame_count: int, height: int, width: int) -> tuple[int, ...]:
        """[1, f, 16, h, w]; 1.5 takes an even number of latent frames, so there may be one more in front."""
        frames = latent_frames(frame_count, self.traits.frame_step)
        frames += padding(frames, self.config)
        return 1, frames, LATENT_CHANNELS, height // self.stride, width // self.stride

    def mask_latents(self, mask_fhw: Tensor, vae: nn.Module, place: Place) -> Tensor:
        """What is known: [1, f, 1, h, w] in 0..scale, or [1, f, 16, h, w] where the VAE encodes it (1 = white)."""
        edit = (mask_fhw > 0.5).float()[None]
        if self.mask_encoding == "vae":
            return self.encode((1 - edit)[..., None].expand(*edit.shape, 3), vae, place)
        known = known_latents(edit, self.stride, self.traits.frame_step, pool=self.mask_encoding == "pool")
        return (known * self.scale).to(place.device)

    def condition(
        self,
        frames_fhwc: Tensor,
        mask_fhw: Tensor,
        keys: Keyframes,
        vae: nn.Module,
        place: Place,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """[1, f, 17 or 32, h, w], float32: the known mask, then the clip with its hole, padded like the noise.

        All zero when nothing is known, as the families were trained. Noise on the clip needs a `generator`.
        Raises ValueError when the window breaks the frame or size rule, or a key doesn't fit it.
        """
        self.traits.check_window(frames_fhwc, mask_fhw)
        frames, mask = with_keys(frames_fhwc, mask_fhw, keys)
        shape = self.noise_shape(len(frames), *frames.shape[1:3])
        if bool((mask > 0.5).all()):
            return torch.zeros(1, shape[1], WIDTHS[self.mask_encoding] - LATENT_CHANNELS, *shape[3:]).to(place.device)
        seen = with_hole(frames, mask, self.traits.fill)
        if self.reference_noise and generator is not None:
            # In -1..1, as everything that a VAE sees; where the picture is black, which the hole is, there is none.
            added = self.reference_noise / 2 * noise(seen.shape, generator)
            added[list(keys.indices)] = 0
            seen = torch.where(seen == 0, seen, seen + added)
        known = self.mask_latents(mask, vae, place)
        return padded(torch.cat([known, self.encode(seen[None], vae, place)], dim=2), self.config)

    def predictor(
        self,
        transformer: nn.Module,
        condition: Tensor,
        prompt_bld: Tensor,
        negative_bld: Tensor | None,
        place: Place,
    ) -> Predict:
        """What the denoising loop asks; guidance is by text alone, the condition stands in both predictions.

        Raises ValueError when the transformer doesn't have the channels for it.
        """
        return predictor(transformer, prompt_bld, negative_bld, condition, place.dtype)

    @torch.no_grad()
    def encode(self, frames_bfhwc: Tensor, vae: nn.Module, place: Place) -> Tensor:
        """Scaled latents of frames in 0..1: the most likely ones, nothing is drawn. Float32."""
        frames_bcfhw = rearrange(frames_bfhwc, "b f h w c -> b c f h w").contiguous()  # or every norm makes a copy
        pixels = frames_bcfhw.to(place.device, place.dtype) * 2 - 1
        latents = vae.encode(pixels).latent_dist.mode()  # type: ignore[operator]
        return rearrange(latents, "b c f h w -> b f c h w").float() * self.scale

    @torch.no_grad()
    def decode(self, latents_bfchw: Tensor, frame_count: int, vae: nn.Module, place: Place) -> Tensor:
        """frames_fhwc in 0..1, on the CPU in float32, of finished latents with or without padding in front."""
        latents = trimmed(latents_bfchw, latent_frames(frame_count, self.traits.frame_step)) / self.scale
        if latents.shape[1] > 1 and latents.shape[1] % 2 == 0:
            # The VAE decodes by twos, an odd one with the first; in an even clip it would take the first latent, which
            # stands for one frame, for four. So the last one is repeated, and its frames are cut off again.
            latents = torch.cat([latents, latents[:, -1:]], dim=1)
        pixels = vae.decode(rearrange(latents, "b f c h w -> b c f h w").to(place.device, place.dtype)).sample  # type: ignore[operator]
        frames = rearrange(pixels[0, :, :frame_count], "c f h w -> f h w c")
        return frames.float().div(2).add(0.5).clamp(0, 1).cpu()


def known_latents(edit_bfhw: Tensor, stride: int = 8, frame_step: int = 4, pool: bool = False) -> Tensor:
    """What is known of each latent, [B, f, 1, h, w] in 0..1, of a binary edit mask; frame 0 is a latent of its own.

    As CogVideoX-Fun resizes it: linearly, which is the mean of the middle pixels of the middle frames. `pool` takes a
    place as known only if all of it is, so that thin and fast masks never vanish.
    """
    frames, height, width = edit_bfhw.shape[1:]
    size = (height // stride, width // stride)
    edit = edit_bfhw.float()[:, None]
    parts = [(edit[:, :, :1], (1, *size))]
    if frames > 1:
        parts.append((edit[:, :, 1:], (latent_frames(frames, frame_step) - 1, *size)))
    if pool:
        resized = [F.adaptive_max_pool3d(part, target) for part, target in parts]
    else:
        resized = [F.interpolate(part, target, mode="trilinear", align_corners=False) for part, target in parts]
    return 1 - rearrange(torch.cat(resized, dim=2), "b 1 f h w -> b f 1 h w")


def vivid(config: Mapping[str, Any], mask_encoding: str = "resize", stride: int = 8) -> CogVideoXAdapter:
    """VIVID on a CogVideoX transformer of these settings, 1.0 or 1.5; clips at any rate.

    Raises ValueError when the settings' channels are not those of the mask encoding.
    """
    rotary = bool(config["use_rotary_positional_embeddings"])
    traits = Traits(
        name="vivid",
        label="VIVID",
        # As the text-to-video models are sampled: 5B by DPM with dynamic guidance, 2B by DDIM.
        schedule=schedulers.cogvideox() if rotary else schedulers.cogvideox(3.0, "ddim"),
        longest=int(config["sample_frames"]),
        pixels=_pixels(config, stride),
        multiple=stride * int(config["patch_size"]),
        text_encoder="t5_encoder",
        text_tokens=int(config["max_text_seq_length"]),
        guidance=Guidance(6.0, dynamic=rotary),
        deletion=DELETION,
    )
    return CogVideoXAdapter(traits, config, latent_scale(config), _checked(config, mask_encoding), stride)


def embedded(config: Mapping[str, Any]) -> CogVideoXAdapter:
    """VIVID's form on the small model that comes with the pack: one step without guidance, boxes as masks.

    In its world the caption and the mask tell the whole answer, so the mean of all answers, which one step from pure
    noise gives, is that answer. Every further step adds errors of a small model, as `make claims` with --steps shows.

    Raises ValueError as `vivid` does.
    """
    adapter = vivid(config, "pool", EMBEDDED_STRIDE)
    traits = replace(
        adapter.traits,
        name="embedded",
        label="The embedded model",
        schedule=schedulers.cogvideox(default="ddim"),
        text_encoder="embedded",
        mask_mode="box",
        steps=1,
        guidance=Guidance(1.0),
        room=0.7,
    )
    return replace(adapter, traits=traits)


def fun(config: Mapping[str, Any]) -> CogVideoXAdapter:
    """CogVideoX-Fun InP, V1.1 (2B, 5B) and V1.5 (5B), of the settings in its config.json.

    Its training masks were mostly known first frames, boxes and ellipses, so it likes boxes; its clips had 8 frames a
    second.

    Raises ValueError when its channels are neither 33 nor 48.
    """
    later = config.get("patch_size_t") is not None
    traits = Traits(
        name="cogvideox_fun",
        label="CogVideoX-Fun InP",
        # Its pipelines sample by plain DDIM, whose noise schedule is without CogVideoX-2B's shift for 2B too.
        schedule=schedulers.cogvideox(default="ddim"),
        longest=85 if later else 49,
        pixels=480 * 720,
        multiple=16,
        text_encoder="t5_encoder",
        text_tokens=int(config["max_text_seq_length"]),
        fps=8,
        mask_mode="box",
        guidance=Guidance(6.0),
        ends_on_keys=True,
    )
    encoding = "vae" if config["in_channels"] == WIDTHS["vae"] else "resize"
    extra = FUN_NOISE if config.get("add_noise_in_inpaint_model") else 0.0
    return CogVideoXAdapter(traits, config, latent_scale(config), _checked(config, encoding), reference_noise=extra)


def _pixels(config: Mapping[str, Any], stride: int) -> int:
    """Pixels of a frame in training. 1.5 counts positions up to 300, which is no size that it was trained at."""
    if config.get("patch_size_t") is not None and config["sample_height"] == 300:
        return 768 * 1360
    return int(config["sample_height"] * config["sample_width"] * stride**2)


def _checked(config: Mapping[str, Any], mask_encoding: str) -> str:
    if WIDTHS.get(mask_encoding) != config["in_channels"]:
        raise ValueError(
            f"This CogVideoX transformer takes {config['in_channels']} channels, but editing with the mask encoding "
            f"{mask_encoding!r} needs {WIDTHS.get(mask_encoding, '33 or 48')}: choose an InP model, or load the "
            "trained parts of VIVID with it."
        )
    return mask_encoding
