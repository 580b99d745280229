"""What every engine takes, and what every family of models has to say about itself: the contract between the two.

An engine plans windows, composites and reports; an adapter alone knows how its family wants the hole filled, what the
mask's polarity is, where a keyframe goes. Adding a family is one file in `adapters`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from ..checks import checked_frames, checked_mask_for
from ..clips import Clip, Computed
from ..diffusion.denoise import MOST_STEPS, Predict, generator_for
from ..diffusion.guidance import Guidance
from ..diffusion.schedulers import Schedule
from ..video.keyframes import Keyframes
from ..video.windows import frame_rule


@dataclass(frozen=True)
class Place:
    """Where a model computes, and in what; its weights may lie elsewhere and be streamed."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Traits:
    """What holds for a whole family of editing models.

    `frame_step`: clips have frame_step * k + 1 frames, at most `longest`. `multiple`: both sides are multiples of it;
    the family was trained at about `pixels` pixels a frame. `fill` is what the hole shows, in 0..1 (None: it is left as
    it is). `text_encoder` and `text_tokens`: whose embedding, padded to how many tokens. `fps`: the rate of its
    training clips, None for any. `mask_mode` (one of `augment.MODES`) and `mask_growth` (of the frame's short side)
    say how loose a mask it likes. `schedule`, `steps` and `guidance` are its usual settings, with its usual sampler.
    `ends_on_keys`: it was trained with known last frames, too, so a window may end on a keyframe. `room` is how much
    it should see of what is around the subject, on each side, as a part of the subject's size: as in its training.
    `deletion` is the one sentence that it was trained to remove things with; None where a text must say what is behind
    them.
    """

    name: str
    label: str
    schedule: Schedule
    longest: int
    pixels: int
    multiple: int
    text_encoder: str
    text_tokens: int
    fill: float | None = 0.0
    frame_step: int = 4
    fps: int | None = None
    mask_mode: str = "expand"
    mask_growth: float = 0.02
    steps: int = 50
    guidance: Guidance = Guidance()
    ends_on_keys: bool = False
    room: float = 0.25
    deletion: str | None = None

    def frames_for(self, count: int) -> int:
        """The shortest legal length that holds `count` frames, or the longest one."""
        return min(frame_rule(count, self.frame_step), self.longest)

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """The legal size (height, width) of about the trained number of pixels, nearest to this aspect.

        Raises ValueError for an empty frame.
        """
        if height < 1 or width < 1:
            raise ValueError(f"{self.label}: got frames of {width}x{height}; both sides must be at least 1 pixel.")
        scale = math.sqrt(self.pixels / (height * width))
        sides = (max(1, round(side * scale / self.multiple)) * self.multiple for side in (height, width))
        return next(sides), next(sides)

    def guidance_for(self, sampler: str) -> Guidance:
        """The usual guidance; a dynamic one belongs to the usual sampler alone."""
        return replace(self.guidance, dynamic=self.guidance.dynamic and sampler == self.schedule.default)

    def check_window(self, frames_fhwc: Tensor, mask_fhw: Tensor) -> None:
        """Raise ValueError unless a window keeps the frame rule and the size rule, with one mask for each frame."""
        count, height, width = frames_fhwc.shape[:3]
        fitting_height, fitting_width = self.size_for(height, width)
        if count != self.frames_for(count):
            raise ValueError(
                f"{self.label}: got {count} frames, but it takes {self.frame_step}k + 1, at most {self.longest}; cut "
                "the clip into windows of such lengths."
            )
        if height % self.multiple or width % self.multiple:
            raise ValueError(
                f"{self.label}: got frames of {width}x{height}, but both sides must be multiples of {self.multiple}; "
                f"resize or crop them, for instance to {fitting_width}x{fitting_height}."
            )
        if mask_fhw.shape != frames_fhwc.shape[:3]:
            raise ValueError(
                f"{self.label}: got masks of shape {tuple(mask_fhw.shape)} for frames of shape "
                f"{tuple(frames_fhwc.shape)}; each frame needs one mask of its size."
            )


class Adapter(Protocol):
    """One family's way to see a window of a clip. Latents are latents_bfchw, with B = 1.

    The caller holds the VAE or the transformer (`Runtime.hold`) while it calls a method that uses it.
    """

    @property
    def traits(self) -> Traits: ...

    def noise_shape(self, frame_count: int, height: int, width: int) -> tuple[int, ...]:
        """The shape of the noise to start from, with whatever the family needs beside the clip itself."""
        ...

    def mask_latents(self, mask_fhw: Tensor, vae: nn.Module, place: Place) -> Tensor:
        """The edit mask (1 = edit) in the family's own form and polarity."""
        ...

    def condition(
        self,
        frames_fhwc: Tensor,
        mask_fhw: Tensor,
        keys: Keyframes,
        vae: nn.Module,
        place: Place,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """What the model sees beside the noise: the clip with its hole, the mask, and `keys` (counted in this window)
        as frames without a hole."""
        ...

    def predictor(
        self,
        transformer: nn.Module,
        condition: Tensor,
        prompt_bld: Tensor,
        negative_bld: Tensor | None,
        place: Place,
    ) -> Predict:
        """What the denoising loop asks."""
        ...

    def decode(self, latents_bfchw: Tensor, frame_count: int, vae: nn.Module, place: Place) -> Tensor:
        """The finished clip, frames_fhwc in 0..1, on the CPU in float32."""
        ...


@dataclass(frozen=True)
class SettledRequest:
    """An `EditRequest` that was checked, with the family's habits in it; its mask is 0 or 1."""

    frames_fhwc: Clip
    edit_mask_fhw: Clip
    prompt_bld: Tensor
    negative_bld: Tensor | None
    keyframes: Keyframes
    seed: int
    steps: int
    guidance: Guidance
    sampler: str


@dataclass(frozen=True)
class EditRequest:
    """One edit: the one thing that every engine takes.

    `frames_fhwc` and the binary `edit_mask_fhw` (1 = edit) are the whole clip in its own size; `prompt_bld` and
    `negative_bld` the text's embedding by the engine's encoder, [1, tokens, channels]; `keyframes` are counted in the
    clip. What is None is the family's own habit. Frames and masks that are no tensors are made when they are asked for.
    """

    frames_fhwc: Clip
    edit_mask_fhw: Clip
    prompt_bld: Tensor
    negative_bld: Tensor | None = None
    keyframes: Keyframes = field(default_factory=lambda: Keyframes([]))
    seed: int = 0
    steps: int | None = None
    guidance: Guidance | None = None
    sampler: str | None = None

    def settled(self, traits: Traits, notes: list[str] | None = None) -> SettledRequest:
        """This request, checked, with the family's habits filled in.

        The mask becomes binary, with one for each frame; keyframes are fitted to the clip; what had to be corrected is
        said in `notes`. An empty mask is legal: nothing changes.

        Raises ValueError, in one sentence, for anything that can't be run.
        """
        frames = self.frames_fhwc
        if isinstance(frames, Tensor):
            frames = checked_frames(frames, "Frames", notes)
        mask = checked_mask_for(self.edit_mask_fhw, frames, "Mask", notes)
        steps = traits.steps if self.steps is None else self.steps
        sampler = traits.schedule.default if self.sampler is None else self.sampler
        guidance = self.guidance or traits.guidance_for(sampler)
        generator_for(self.seed)
        if not 1 <= steps <= MOST_STEPS:
            raise ValueError(f"Steps: got {steps}; use 1 to {MOST_STEPS}.")
        if sampler not in traits.schedule.samplers:
            raise ValueError(
                f"Sampler: got {sampler!r}, but {traits.label} is sampled with "
                f"{' or '.join(traits.schedule.samplers)}; choose one of these."
            )
        if guidance.active and self.negative_bld is None:
            raise ValueError(
                f"Guidance: a scale of {guidance.scale:g} needs a negative prompt, which may be empty; encode one, or "
                "set guidance to 1."
            )
        for text in (self.prompt_bld, self.negative_bld):
            if text is not None and text.shape[1] != traits.text_tokens:
                raise ValueError(
                    f"Text: got one of {text.shape[1]} tokens, but {traits.label} was trained with "
                    f"{traits.text_tokens}; encode it with Encode Prompt for this engine."
                )
        return SettledRequest(
            frames,
            _binary(mask),
            self.prompt_bld,
            self.negative_bld,
            self.keyframes.fitted(frames, notes),
            self.seed,
            steps,
            guidance,
            sampler,
        )


def _binary(mask_fhw: Clip) -> Clip:
    """The mask with 0 and 1 alone; no second copy of a clip's masks where it is so already."""
    if not isinstance(mask_fhw, Tensor):
        return Computed(tuple(mask_fhw.shape), lambda at: (mask_fhw[at] > 0.5).float())
    if all(bool(((mask_hw == 0) | (mask_hw == 1)).all()) for mask_hw in mask_fhw):
        return mask_fhw.float()
    return (mask_fhw > 0.5).float()


def with_keys(frames_fhwc: Tensor, mask_fhw: Tensor, keys: Keyframes) -> tuple[Tensor, Tensor]:
    """A window with its keyframes put in and no hole in them; other frames stay as they are.

    Raises ValueError when a key lies outside the window or has another size.
    """
    if not len(keys):
        return frames_fhwc, mask_fhw
    frames, mask = frames_fhwc.clone(), mask_fhw.clone()
    for key in keys:
        if not 0 <= key.index < len(frames) or key.image_hwc.shape != frames.shape[1:]:
            raise ValueError(
                f"Keyframe {key.index} of shape {tuple(key.image_hwc.shape)} doesn't fit a window of shape "
                f"{tuple(frames.shape)}; fit it to the clip and count it in the window."
            )
        frames[key.index], mask[key.index] = key.image_hwc, 0.0
    return frames, mask


def with_hole(frames_fhwc: Tensor, mask_fhw: Tensor, fill: float | None) -> Tensor:
    """The frames with `fill` where the mask is above 0.5; themselves for None."""
    if fill is None:
        return frames_fhwc
    return torch.where((mask_fhw > 0.5)[..., None], fill, frames_fhwc)


def latent_frames(frame_count: int, step: int = 4) -> int:
    """How many latents a causal VAE makes of a clip: one of its first frame, one of each `step` after it."""
    return (frame_count - 1) // step + 1
