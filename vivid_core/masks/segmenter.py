"""What tracking asks of a segmenter: a session over one clip, and a memory of each object that outlives the session."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from ..runtime import Runtime
from .prompts import Prompt

CHECKPOINT = 32  # frames at least between places from which a track can be taken up again
MOST_PLACES = 12  # of those in a clip, so that what is kept does not grow with it


@dataclass(frozen=True)
class Seen:
    """One object on one frame: `logits_hw`, float32 [H, W] on the CPU, above 0 = object, and the confidence in 0..1
    (0 = lost)."""

    logits_hw: Tensor
    score: float


@dataclass(frozen=True)
class FrameMemory:
    """What is remembered of one object on one frame, on the CPU.

    `features` [1, C, h, w] tell where it was (None once the frame is far away), `pointer` [1, C] what it looks like.
    """

    features: Tensor | None
    pointer: Tensor


@dataclass(frozen=True)
class Reach:
    """How many frames back a segmenter looks: at `features`, and at `pointers` (at least as many)."""

    features: int
    pointers: int


@dataclass
class ObjectMemory:
    """What a segmenter remembers of one object: of every frame that the user marked, and of some that it passed.

    `anchor` is the marked frame from which the object is followed both ways. Of the passed frames those within reach
    are kept, and those from which the track can be taken up again: around marked frames, and before each place that
    `every` so many frames leave (see `resuming_every`).
    """

    object_id: int
    anchor: int
    marked: dict[int, FrameMemory] = field(default_factory=dict)
    passed: dict[int, FrameMemory] = field(default_factory=dict)
    every: int = CHECKPOINT

    def copy(self) -> ObjectMemory:
        """A memory that can go on without changing this one."""
        return ObjectMemory(self.object_id, self.anchor, dict(self.marked), dict(self.passed), self.every)

    def before(self, frame: int, backward: bool, reach: Reach) -> dict[int, FrameMemory]:
        """The passed frames that a step to `frame` may look at.

        Forward steps look at none before the anchor: those were passed later, on the way back.
        """
        step = 1 if backward else -1
        places = range(frame + step, frame + step * (reach.pointers + 1), step)
        return {
            place: self.passed[place] for place in places if place in self.passed and (backward or place >= self.anchor)
        }

    def remember(self, frame: int, memory: FrameMemory, backward: bool, reach: Reach) -> None:
        """Keep what was seen in passing, and let go what just got out of reach."""
        self.passed[frame] = memory
        step = 1 if backward else -1
        for distance, keeps_pointer in ((reach.features, True), (reach.pointers, False)):
            place = frame + step * distance
            if place not in self.passed or self._leads_to_a_place_to_resume(place, distance, backward):
                continue
            if keeps_pointer:
                self.passed[place] = replace(self.passed[place], features=None)
            else:
                del self.passed[place]

    def _leads_to_a_place_to_resume(self, frame: int, distance: int, backward: bool) -> bool:
        to_checkpoint = frame % self.every if backward else -frame % self.every
        return to_checkpoint < distance or any(abs(frame - marked) <= distance for marked in self.marked)

    def places_to_resume(self, start: int, stop: int, backward: bool) -> list[int]:
        """The frames from `start` up to before `stop`, in the order of the pass, after which it can be taken up."""
        between = range(start, stop, -1 if backward else 1)
        return [
            frame
            for frame in between
            if frame in self.marked or frame == start or (frame % self.every == 0 and frame in self.passed)
        ]

    def forget_beyond(self, frame: int, backward: bool) -> None:
        """Let go of everything passed beyond `frame`, in the direction of the pass."""
        self.passed = {
            place: memory for place, memory in self.passed.items() if (place >= frame if backward else place <= frame)
        }


def resuming_every(count: int) -> int:
    """How many frames lie between the places from which a track of `count` frames can be taken up again."""
    return max(CHECKPOINT, -(-count // MOST_PLACES))


class Session(Protocol):
    """A segmenter at work on one clip; frames are read one at a time, when they are asked for.

    Every method takes the memory of the object that it is about, and adds to it what it has seen.
    """

    def mark(self, memory: ObjectMemory, prompt: Prompt) -> Seen:
        """What the prompt alone says (its mask, or its box and points), remembered as marked."""

    def correct(self, memory: ObjectMemory, prompt: Prompt, backward: bool = False) -> Seen:
        """The object as followed up to the prompt's frame, put right by the prompt's points; remembered as marked."""

    def follow(self, memory: ObjectMemory, frame: int, backward: bool = False) -> Seen:
        """The object on `frame`, found by memory; remembered in passing."""


class Segmenter(Protocol):
    """A model that finds and follows marked objects. `identity` differs whenever its results could."""

    @property
    def identity(self) -> str:
        """Which weights and settings these are."""

    def session(self, frames_fhwc: Tensor, runtime: Runtime) -> AbstractContextManager[Session]:
        """A session over a clip; the model is held by `runtime` while it is open."""
