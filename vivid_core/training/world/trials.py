"""The held-out trials by which a model is judged in the world: an edit, and the truth that it should have made.

Frozen: a trial is known by its task, its group and its number, and no trained clip can be among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ...masks.augment import augment_mask
from ..draws import Draws
from ..measures import Truth
from . import words
from .render import FRAMES, SIDE, Rendering, render
from .scene import Scene, draw_scene

TASKS = ("modify", "add", "delete")
GROUPS = ("seen", "unseen")  # the pair of shape and colour that is asked for; a deletion asks for none
COUNTS = {"seen": 64, "unseen": 32}
MASK_MODES = {"modify": "box", "add": "box", "delete": "expand"}  # by which `Trial.truth` widens the mask
AMOUNT = 0.3
TRIES = 1000


@dataclass(frozen=True)
class Trial:
    """An edit of a held-out clip.

    `target` is the scene as it should be, `index` the edited entity in it, or in `source` for a deletion. In every
    frame the entity is whole, and a loose box around it holds nothing else but the backdrop; so the caption and a box
    tell all of the answer. Trials with odd numbers have other entities elsewhere in the frame.
    """

    task: str
    group: str
    number: int
    frames: int
    source: Scene
    target: Scene
    index: int

    @property
    def id(self) -> str:
        """The name under which results are kept."""
        length = "" if self.frames == FRAMES else f"/{self.frames} frames"
        return f"{self.task}/{self.group}/{self.number}{length}"

    @property
    def caption(self) -> str:
        """What is asked for: the three lengths in turn, or the sentence for deletions."""
        if self.task == "delete":
            return words.DELETION_CAPTION
        return self.target.entities[self.index].caption(words.CAPTION_LENGTHS[self.number % 3])

    def source_fhwc(self, side: int = SIDE) -> Tensor:
        """The clip that is to be edited, float32 [F, side, side, 3] in 0..1."""
        return render(self.source, side, self.frames).frames_fhwc

    def truth(self, side: int = SIDE, mask_mode: str | None = None) -> Truth:
        """What the edit should make, with its mask in `mask_mode` of the six, else in the task's own.

        The mask covers the old and the new entity. Only a box tells nothing of the new outline.
        """
        target, mask_fhw = render(self.target, side, self.frames), self._touched_fhw(side)
        edit_mask_fhw = augment_mask(mask_fhw, mask_mode or MASK_MODES[self.task], AMOUNT)
        if self.task == "delete":
            return Truth(target.frames_fhwc, target.frames_fhwc, torch.zeros_like(mask_fhw), edit_mask_fhw, None)
        bare = render(self.target.without(self.index), side, self.frames)
        weight_fhw = torch.from_numpy(target.weights_nfhw[self.index])
        return Truth(
            target.frames_fhwc,
            bare.frames_fhwc,
            weight_fhw,
            edit_mask_fhw,
            self.target.entities[self.index].colour,
        )

    def _touched_fhw(self, side: int) -> Tensor:
        """The pixels that the edit must change: those of the old entity and those of the new one."""
        scenes = {"modify": (self.source, self.target), "add": (self.target,), "delete": (self.source,)}[self.task]
        parts = [render(scene, side, self.frames).touched_fhw(self.index) for scene in scenes]
        return torch.stack(parts).amax(0)


@lru_cache(maxsize=1024)
def trial(task: str, group: str, number: int, frames: int = FRAMES) -> Trial:
    """The trial of this name; `frames` above 9 makes longer clips, which are other trials.

    Raises ValueError on another task or group, or a deletion of the unseen group.
    """
    if task not in TASKS or group not in GROUPS or (task == "delete" and group == "unseen"):
        raise ValueError(
            f'Trials: got "{task}" of the group "{group}"; choose {", ".join(TASKS)} of the group '
            f"{' or '.join(GROUPS)}, and for delete only seen."
        )
    for attempt in range(TRIES):
        draws = Draws(f"held-out/{task}/{group}/{number}/{frames}", attempt)
        scene = draw_scene(draws)
        if number % 2 and len(scene.entities) == 1:
            continue
        index = draws.below(len(scene.entities))
        found = _trial(task, group, number, frames, scene, index, draws)
        if _is_clear(found.source if task == "delete" else found.target, index, frames):
            return found
    raise ValueError(f"Trials: no clip of {frames} frames suits {task}; choose shorter ones.")


def trials(task: str, group: str = "seen", count: int | None = None, frames: int = FRAMES) -> list[Trial]:
    """The first `count` trials of a task, else as many as `COUNTS` says; errors as `trial`."""
    return [trial(task, group, number, frames) for number in range(COUNTS[group] if count is None else count)]


def _trial(task: str, group: str, number: int, frames: int, scene: Scene, index: int, draws: Draws) -> Trial:
    if task == "delete":
        return Trial(task, group, number, frames, scene, scene.without(index), index)
    old = scene.entities[index]
    taken = {entity.colour for entity in scene.entities}
    pairs = words.SEEN_PAIRS if group == "seen" else words.UNSEEN_PAIRS
    wanted = [(shape, colour) for shape, colour in pairs if shape != old.shape and colour not in taken]
    if group == "unseen" and not wanted:
        wanted = list(words.UNSEEN_PAIRS)
    target = scene.with_changed(index, *draws.one_of(wanted))
    source = scene if task == "modify" else target.without(index)
    return Trial(task, group, number, frames, source, target, index)


def _is_clear(scene: Scene, index: int, frames: int) -> bool:
    """The entity is whole in every frame and nothing but the backdrop is around it."""
    shown = render(scene, SIDE, frames)
    alone = render(Scene(scene.backdrop, (scene.entities[index],)), SIDE, frames)
    loose_fhw = augment_mask(alone.touched_fhw(0), "box+expand", AMOUNT)
    return not bool((_others_fhw(shown, index) * loose_fhw).any())


def _others_fhw(shown: Rendering, index: int) -> Tensor:
    others = [shown.touched_fhw(other) for other in range(len(shown.weights_nfhw)) if other != index]
    return torch.stack(others).amax(0) if others else torch.zeros(shown.weights_nfhw.shape[1:])
