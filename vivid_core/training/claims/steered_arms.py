"""Experiments about steered models: the trials of each, its arms, and what an arm makes of a trial.

The arms of an experiment share a trial's inversion and differ by one rule. Frozen before anything was run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ...diffusion.ddim import Inversion
from ...editors.backbone import Backbone
from ...editors.embedded_backbone import Kind, embedded_backbone
from ...editors.inverted import InversionPlan, InvertedClip, invert_clip
from ...editors.pix2video import LAYERS, Pix2VideoSettings, pix2video
from ...editors.uniedit import EDIT, UniEditSettings, denoised, roles_for, rules_for
from ...models import embedded_sd
from ...models.embedded_codec import WEIGHTS as CODEC
from ...runtime import Runtime
from . import steered_in_turn, steered_looks
from .steered_measures import judged
from .steered_trials import SteeredTrial, new_motion, one_mover, recolouring, turned_recolouring

GUIDANCE = 4.0
VERSION = 1  # of trials and measures: another one makes kept answers worthless
SMALL_STEPS = 6  # what is exact needs no more

LOOKS, APPEARANCE, MOTION, FRAMES, IN_TURN = "looks", "appearance", "motion", "frames", "in turn"
PLAIN, VALUES, QUERIES = "no rule", "values", "structure 100 %"
STRUCTURE = {PLAIN: 0.0, "structure 30 %": 0.3, "structure 50 %": 0.5, QUERIES: 1.0}
ALL, NO_CONTENT, NO_INJECTION = "all rules", "without content", "without injection"
BOTH, ANCHOR, PREVIOUS, ALONE = "anchor and previous", "anchor", "previous", "itself"
NO_UPDATE, ALWAYS, ENCODER = "no update", "update in all steps", "encoder too"
RANDOM, SHARED = "random noise", "one random noise"


@dataclass(frozen=True)
class FrameArm:
    """An arm of Pix2Video: from the noise of the inversion, or from random noise, its own for each frame or shared."""

    settings: Pix2VideoSettings
    noise: str = "inverted"


@dataclass(frozen=True)
class Experiment:
    """Trials of one kind with the model that they need; an arm is whatever `answer` understands."""

    kind: Kind
    still: bool
    source_told: bool
    trial: Callable[[int], SteeredTrial]
    arms: Mapping[str, Any]
    answer: Callable[[Backbone, InvertedClip, SteeredTrial, Any], dict[str, float]]
    steps: int | None = None
    most: int | None = None


def _edited(backbone: Backbone, clip: InvertedClip, trial: SteeredTrial, settings: UniEditSettings) -> dict[str, float]:
    """UniEdit, but that roles which no rule needs are not asked, since nobody looks at them."""
    runtime = Runtime()
    with clip.asked(backbone, clip.plan.still, "Claims") as asked:
        texts = (backbone.encoded(trial.prompt, runtime), backbone.encoded("", runtime))
        roles = roles_for(settings, clip.inversion, clip.text_bld, *texts)
        roles = [replace(role, wanted=role.name == EDIT) for role in roles]
        latents = denoised(asked, clip, roles, rules_for(settings, clip.steps), settings, runtime)[EDIT]
    return judged(backbone.decode(latents, runtime), trial.truth)


def _framed(backbone: Backbone, clip: InvertedClip, trial: SteeredTrial, arm: FrameArm) -> dict[str, float]:
    if arm.noise != "inverted":
        clip = from_random_noise(clip, trial.id, arm.noise == "shared")
    return judged(pix2video(backbone, clip, trial.prompt, settings=arm.settings).frames_fhwc, trial.truth)


def _looked(backbone: Backbone, clip: InvertedClip, trial: SteeredTrial, arm: None) -> dict[str, float]:
    with clip.asked(backbone, False, "Claims") as asked:
        return steered_looks.overlaps(asked, clip, trial.truth.flow_fhwc)


def _in_turn(
    backbone: Backbone, clip: InvertedClip, trial: SteeredTrial, settings: Pix2VideoSettings
) -> dict[str, float]:
    return {"difference": steered_in_turn.difference(backbone, clip, trial.prompt, settings)}


def from_random_noise(clip: InvertedClip, trial: str, shared: bool) -> InvertedClip:
    """A clip as if random noise came of its inversion: always the same for a trial's id, its own for each frame, or one
    for all of them if `shared`."""
    like = clip.inversion.noisiest
    size = (*like.shape[:2], 1 if shared else like.shape[2], *like.shape[3:])
    seed = int.from_bytes(hashlib.sha256(f"{trial}/noise".encode()).digest()[:6], "big")
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed)).expand_as(like)
    return replace(clip, inversion=Inversion((*clip.inversion.latents[:-1], noise), clip.inversion.times))


def _guided(arm: Any, guidance: float) -> Any:
    """An arm with another guidance, if it has any."""
    if isinstance(arm, FrameArm):
        return replace(arm, settings=_guided(arm.settings, guidance))
    return arm if arm is None else replace(arm, guidance=guidance)


def _of_motion(**changed: float) -> UniEditSettings:
    return UniEditSettings("motion", GUIDANCE, **changed)  # type: ignore[arg-type]


_USUAL = Pix2VideoSettings(guidance=GUIDANCE)
_FRAME_ARMS = {
    BOTH: FrameArm(_USUAL),
    ALONE: FrameArm(replace(_USUAL, attended=())),
    ANCHOR: FrameArm(replace(_USUAL, attended=("anchor",))),
    PREVIOUS: FrameArm(replace(_USUAL, attended=("previous",))),
    NO_UPDATE: FrameArm(replace(_USUAL, update_weight=0.0)),
    ALWAYS: FrameArm(replace(_USUAL, update_share=1.0)),
    ENCODER: FrameArm(replace(_USUAL, layers=tuple(range(LAYERS)))),
    RANDOM: FrameArm(_USUAL, "random"),
    SHARED: FrameArm(_USUAL, "shared"),
}
_APPEARANCE_ARMS = {
    **{name: UniEditSettings("appearance", GUIDANCE, structure=share) for name, share in STRUCTURE.items()},
    VALUES: _of_motion(structure=0.0, injection=0.0, content_from=0),
}
_MOTION_ARMS = {ALL: _of_motion(), NO_CONTENT: _of_motion(content=0.0), NO_INJECTION: _of_motion(injection=0.0)}

# As the papers do: a real clip has the empty prompt in UniEdit, and a caption in Pix2Video.
EXPERIMENTS: dict[str, Experiment] = {
    MOTION: Experiment("motion", False, False, new_motion, _MOTION_ARMS, _edited),
    APPEARANCE: Experiment("motion", False, False, recolouring, _APPEARANCE_ARMS, _edited),
    LOOKS: Experiment("motion", False, True, one_mover, {"source pass": None}, _looked),
    FRAMES: Experiment("depth", True, True, turned_recolouring, _FRAME_ARMS, _framed),
    IN_TURN: Experiment("depth", True, True, turned_recolouring, {"fp64": _USUAL}, _in_turn, SMALL_STEPS, 2),
}


class Subject:
    """An embedded Stable Diffusion at the trials, with `steps` of denoising each, at `guidance`. `print` tells it,
    with its codec, from others.

    Raises ValueError as `open_weights` does when the file is none.
    """

    def __init__(self, file: str | Path, steps: int, guidance: float = GUIDANCE) -> None:
        self.file, self.steps, self.guidance = Path(file), steps, guidance
        embedded_sd.load(self.file)
        self.print = hashlib.sha256(self.file.read_bytes() + CODEC.read_bytes()).hexdigest()[:16]
        self._backbone = lru_cache(maxsize=1)(lambda kind: embedded_backbone(kind, self.file))

    def lacks(self, experiment: str) -> str | None:
        """Why it can't be asked: which part of the model is not there yet; None if it can."""
        try:
            self._backbone(EXPERIMENTS[experiment].kind)
        except ValueError as error:
            return str(error)
        return None

    def settings(self, experiment: str, arm: str) -> str:
        """A hash of all that an answer depends on beside the model and the trial."""
        wanted = _guided(EXPERIMENTS[experiment].arms[arm], self.guidance)
        told = [VERSION, self.steps_of(experiment), None if wanted is None else asdict(wanted)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]

    def steps_of(self, experiment: str) -> int:
        """How many steps of denoising its trials get."""
        most = EXPERIMENTS[experiment].steps
        return self.steps if most is None else min(most, self.steps)

    def answers(self, experiment: str, number: int, arms: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
        """What each of these arms makes of a trial, one after the other; the trial is inverted once.

        Raises ValueError when a part of the model is missing (`lacks`), and as the editors do.
        """
        about = EXPERIMENTS[experiment]
        backbone, trial = self._backbone(about.kind), about.trial(number)
        truth = trial.truth
        depth_fhwc = truth.depth_fhw[..., None].expand(-1, -1, -1, 3) if backbone.depth != "none" else None
        plan = InversionPlan(self.steps_of(experiment), about.still, checked=False)
        caption = trial.caption if about.source_told else ""
        clip = invert_clip(backbone, truth.source_fhwc, caption, plan, depth_fhwc=depth_fhwc).clip
        for arm in arms:
            yield arm, about.answer(backbone, clip, trial, _guided(about.arms[arm], self.guidance))
