"""Training samples of the world: what a plan says, rendered, with its mask and caption."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...masks.augment import augment_mask, size_verdict
from ..draws import Draws
from ..tasks import DELETION, Sample, SamplePlan, finished
from .render import FRAMES, SIDE, Rendering, coverage, render
from .scene import Entity, Path, Scene, draw_entity, draw_scene
from .words import DELETION_CAPTION

TRIES = 50
LEAST_SEEN = 0.5  # of an entity, in every frame
LEAST_BACKDROP = 0.95  # of a hole that was pasted, over the clip


def world_sample(plan: SamplePlan, side: int = SIDE, frames: int = FRAMES) -> Sample:
    """The sample that `plan` describes: a clip of `frames` frames, or one of them as an image.

    Raises ValueError when a clip and 49 others in its place have nothing to edit, which the world's sizes exclude.
    """
    times = (round(plan.moment * (frames - 1)), 1) if plan.is_image else (0, frames)
    for attempt in range(TRIES):
        draws = Draws(f"train/{plan.clip}", attempt)
        scene = draw_scene(draws)
        shown = render(scene, side, times[1], times[0])
        choose = _hole if plan.task == DELETION else _entity
        chosen = choose(plan, scene, shown, side, times, Draws(f"sample/{plan.seed}", attempt))
        if chosen is not None:
            return finished(plan, f"world/{plan.clip}", shown.frames_fhwc, *chosen)
    raise ValueError(f"World: clip {plan.clip} has nothing to edit at {side} pixels; choose a larger side.")


def _entity(
    plan: SamplePlan, scene: Scene, shown: Rendering, side: int, times: tuple[int, int], draws: Draws
) -> tuple[Tensor, str] | None:
    """The mask and caption of one entity; None if it is hidden, or its mask too small or too large."""
    index = draws.below(len(scene.entities))
    entity = scene.entities[index]
    whole = coverage(entity, side, _moments(times)).sum((1, 2))
    if (shown.weights_nfhw[index].sum((1, 2)) < LEAST_SEEN * whole).any():
        return None
    mask_fhw = augment_mask(shown.touched_fhw(index), plan.mask_mode, randomise=True, seed=plan.seed)
    return None if size_verdict(mask_fhw) else (mask_fhw, entity.caption(plan.caption_length))


def _hole(
    plan: SamplePlan, scene: Scene, shown: Rendering, side: int, times: tuple[int, int], draws: Draws
) -> tuple[Tensor, str] | None:
    """Another clip's mask, pasted where there is only backdrop; None if there is no room."""
    foreground_fhw = torch.from_numpy((shown.weights_nfhw > 0).any(0))
    moments = _moments(times)
    for _ in range(TRIES):
        donor = draw_entity(draws)
        if plan.paste_motion == "background":
            donor = _glued(donor, scene, times[0])
        pasted_fhw = torch.from_numpy((coverage(donor, side, moments) > 0).astype(np.float32))
        if _backdrop_share(pasted_fhw, foreground_fhw) < LEAST_BACKDROP:
            continue
        mask_fhw = augment_mask(pasted_fhw, plan.mask_mode, randomise=True, seed=plan.seed)
        if _backdrop_share(mask_fhw, foreground_fhw) >= LEAST_BACKDROP and not size_verdict(mask_fhw):
            return mask_fhw, DELETION_CAPTION
    return None


def _moments(times: tuple[int, int]) -> np.ndarray:
    return times[0] + np.arange(times[1], dtype=np.float64)


def _backdrop_share(mask_fhw: Tensor, foreground_fhw: Tensor) -> float:
    marked = mask_fhw > 0.5
    return 1 - float((marked & foreground_fhw).sum()) / max(1.0, float(marked.sum()))


def _glued(donor: Entity, scene: Scene, start: float) -> Entity:
    """The donor as a part of the backdrop: it moves as that does. It turns round at the border."""
    right, down = (float(value) for value in donor.centres(np.array([start], np.float64))[0])
    pan = scene.backdrop.pan
    return replace(donor, path=Path("drift", (right - pan[0] * start, down - pan[1] * start), pan, 1.0, 0.0))
