"""The paper's recipe (VIVID section 4.4) as configuration, and what each step trains, from its number alone.

A step's plan depends on the seed and the step and on nothing else: a run that was interrupted goes on with the very
samples that it would have had.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..masks.augment import MODES
from .draws import Draws
from .world.words import CAPTION_LENGTHS

ENTITY, DELETION = "entity", "deletion"  # add and modify are one task: paint what the caption says into the hole
PASTE_MOTIONS = ("foreground", "background")


@dataclass(frozen=True)
class Recipe:
    """What is trained how often. The defaults are the paper's, or the specification's where the paper is silent.

    images_per_video: batches of images for each batch of videos; a batch is never mixed
    keyframe_share: of the video samples, those whose first frame has no hole
    entities_per_deletion: add-and-modify samples for each deletion sample
    mask_modes, caption_lengths: each as likely; a mode named twice is twice as likely
    text_dropout: of the samples, those with an empty caption, which guidance needs
    image_batch, video_batch: samples in a step
    clips: how many there are to draw from
    """

    images_per_video: float = 10.0
    keyframe_share: float = 0.5
    entities_per_deletion: float = 3.0
    mask_modes: tuple[str, ...] = MODES
    caption_lengths: tuple[str, ...] = CAPTION_LENGTHS
    text_dropout: float = 0.1
    image_batch: int = 32
    video_batch: int = 32
    clips: int = 1 << 40

    def __post_init__(self) -> None:
        """Raise ValueError on shares outside 0..1, negative ratios, unknown modes or lengths, or nothing to draw."""
        for name in ("keyframe_share", "text_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Recipe: {name} is {getattr(self, name):g}, but it must lie in 0..1.")
        for name in ("images_per_video", "entities_per_deletion"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Recipe: {name} is {getattr(self, name):g}, but it must be a number from 0 on.")
        for name in ("image_batch", "video_batch", "clips"):
            if getattr(self, name) < 1:
                raise ValueError(f"Recipe: {name} is {getattr(self, name)}, but it must be at least 1.")
        for name, known in (("mask_modes", MODES), ("caption_lengths", CAPTION_LENGTHS)):
            given = getattr(self, name)
            if not given or not set(given) <= set(known):
                raise ValueError(f"Recipe: {name} are {', '.join(given) or 'none'}; choose of {', '.join(known)}.")


@dataclass(frozen=True)
class SamplePlan:
    """One sample: of which clip, for which task, with which mask and text.

    `seed` draws what else is random: the entity, the mask's amounts, the donor of a deletion's mask. `moment`, 0..1,
    says which frame an image is. `paste_motion` is how a deletion's mask moves.
    """

    clip: int
    task: str
    is_image: bool
    mask_mode: str
    caption_length: str
    drops_text: bool
    is_keyed: bool
    paste_motion: str
    moment: float
    seed: int


@dataclass(frozen=True)
class Sample:
    """A clip (0..1), where it is to be edited (1), and what must appear there. `id` is for messages and logs."""

    id: str
    frames_fhwc: Tensor
    edit_mask_fhw: Tensor
    caption: str


def plan_step(recipe: Recipe, seed: int, step: int) -> tuple[SamplePlan, ...]:
    """The samples of one step, all images or all videos."""
    draws = Draws(f"step/{seed}", step)
    is_image = draws.chance(recipe.images_per_video / (recipe.images_per_video + 1))
    count = recipe.image_batch if is_image else recipe.video_batch
    return tuple(_plan(recipe, draws, is_image) for _ in range(count))


def with_first_frame_known(edit_mask_fhw: Tensor) -> Tensor:
    """The mask with no hole in frame 0: how a keyframe is told to the model (VIVID section 4.3)."""
    mask_fhw = edit_mask_fhw.clone()
    mask_fhw[0] = 0
    return mask_fhw


def finished(plan: SamplePlan, clip_id: str, frames_fhwc: Tensor, edit_mask_fhw: Tensor, caption: str) -> Sample:
    """The sample, with the plan's keyframe and text dropout applied."""
    mask_fhw = with_first_frame_known(edit_mask_fhw) if plan.is_keyed else edit_mask_fhw
    return Sample(clip_id, frames_fhwc, mask_fhw, "" if plan.drops_text else caption)


def stacked(samples: list[Sample]) -> tuple[Tensor, Tensor, list[str]]:
    """frames [B, F, H, W, 3], masks [B, F, H, W] and captions of a batch."""
    frames = torch.stack([sample.frames_fhwc for sample in samples])
    return frames, torch.stack([sample.edit_mask_fhw for sample in samples]), [sample.caption for sample in samples]


def _plan(recipe: Recipe, draws: Draws, is_image: bool) -> SamplePlan:
    entity = draws.chance(recipe.entities_per_deletion / (recipe.entities_per_deletion + 1))
    return SamplePlan(
        clip=draws.below(recipe.clips),
        task=ENTITY if entity else DELETION,
        is_image=is_image,
        mask_mode=draws.one_of(recipe.mask_modes),
        caption_length=draws.one_of(recipe.caption_lengths),
        drops_text=draws.chance(recipe.text_dropout),
        is_keyed=draws.chance(recipe.keyframe_share) and not is_image,
        paste_motion=draws.one_of(PASTE_MOTIONS),
        moment=draws.between(0, 1),
        seed=draws.below(1 << 31),
    )
