"""What has to be run to track marked objects: everything, or only what a new mark changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from .prompts import Prompt, Prompts
from .segmenter import ObjectMemory, resuming_every

SAMPLED = 32  # places to a side at which each frame is looked at to know a clip again


@dataclass(frozen=True)
class TrackMemory:
    """What a track was made from, and what the segmenter remembers of each object: enough to correct it later.

    `clip` and `marks` (by object and frame) are digests; `objects` holds those that were followed.
    """

    clip: str
    segmenter: str
    direction: str
    marks: Mapping[int, Mapping[int, str]]
    objects: Mapping[int, ObjectMemory]


@dataclass(frozen=True)
class Leg:
    """One object in one direction: frames beyond `start` are run, after the prompts on `corrections` (frames in the
    order of the pass) were settled by following the object to them from `resume`."""

    backward: bool
    start: int
    resume: int
    corrections: tuple[int, ...]

    def beyond(self, frame: int, count: int) -> range:
        """The frames beyond `frame` in the order of the pass."""
        return range(frame - 1, -1, -1) if self.backward else range(frame + 1, count)

    @property
    def rehearsal(self) -> range:
        """The frames to follow before the last correction is settled, those of the corrections included."""
        if not self.corrections:
            return range(0)
        step = -1 if self.backward else 1
        return range(self.resume + step, self.corrections[-1] + step, step)


@dataclass
class Course:
    """All that is to be done for one object. `alone` are the frames whose prompts need nothing but themselves; `memory`
    is None for an object that is said to be nowhere; `again` = what was tracked before stays where no leg leads."""

    object_id: int
    prompts: dict[int, Prompt]
    memory: ObjectMemory | None = None
    alone: tuple[int, ...] = ()
    legs: tuple[Leg, ...] = ()
    again: bool = field(default=False)


def plan_courses(
    prompts: Prompts, direction: str, count: int, earlier: TrackMemory | None, anew: bool = False
) -> list[Course]:
    """The course of each object of `prompts` (fitted to the clip of `count` frames), given the memory of an earlier
    track, if any.

    With `anew` everything is run; of the earlier track only the frame counts from which each object was followed.
    Raises ValueError when an object has background points only, or prompts that `direction` never reaches.
    """
    courses = []
    for object_id in prompts.object_ids:
        given = {prompt.frame: prompt for prompt in prompts.of_object(object_id)}
        memory = earlier.objects.get(object_id) if earlier else None
        course = None
        if earlier is not None and memory is not None and not anew:
            course = _corrected(object_id, given, memory, earlier.marks[object_id], direction)
        course = course or _whole(object_id, given, direction, memory.anchor if memory else None)
        if course.memory is not None:
            course.memory.every = resuming_every(count)
        courses.append(course)
    return courses


def _whole(object_id: int, given: dict[int, Prompt], direction: str, known: int | None) -> Course:
    if all(_says_nowhere(prompt) for prompt in given.values()):
        return Course(object_id, given)
    anchor = known if known in given and _finds(given[known]) and direction == "both" else None
    anchor = _anchor(object_id, given, direction) if anchor is None else anchor
    legs = []
    for backward in (False, True):
        beyond = [
            frame for frame in sorted(given, reverse=backward) if (frame < anchor) == backward and frame != anchor
        ]
        corrections = tuple(frame for frame in beyond if _corrects(given[frame]))
        if direction == ("forward" if backward else "backward"):
            if corrections:
                raise ValueError(
                    f"Track Mask: {given[corrections[0]].name} has points that correct the track, but followed "
                    f'{direction} from frame {anchor} it never gets there; choose the direction "both".'
                )
            continue
        legs.append(Leg(backward, anchor, anchor, corrections))
    alone = tuple(frame for frame in given if frame == anchor or not _corrects(given[frame]))
    return Course(object_id, given, ObjectMemory(object_id, anchor), alone, tuple(legs))


def _corrected(
    object_id: int, given: dict[int, Prompt], earlier: ObjectMemory, marks: Mapping[int, str], direction: str
) -> Course | None:
    """The course that keeps what it can of an earlier track; None when it can keep nothing."""
    digests = {frame: prompt_digest(prompt) for frame, prompt in given.items()}
    changed = {frame for frame in {*digests, *marks} if digests.get(frame) != marks.get(frame)}
    anchor = earlier.anchor
    unreached = {"forward": min, "backward": max}.get(direction)
    if anchor in changed or (unreached and changed and unreached(anchor, *changed) != anchor):
        return None
    memory = earlier.copy()
    for frame in changed:
        memory.marked.pop(frame, None)
    legs = []
    for backward in (False, True):
        there = _beyond(anchor, changed, backward)
        if not there:
            continue
        held = [frame for frame in memory.marked if not backward and anchor <= frame < there[0]]
        held += [frame for frame in memory.marked if backward and there[0] < frame <= anchor]
        start = min(held) if backward else max(held)
        corrections = tuple(frame for frame in there if frame in given and _corrects(given[frame]))
        resume = start
        if corrections and not changed & set(marks):
            resume = memory.places_to_resume(start, corrections[0], backward)[-1]
        legs.append(Leg(backward, start, resume, corrections))
    alone = tuple(frame for frame in sorted(changed) if frame in given and not _corrects(given[frame]))
    return Course(object_id, given, memory, alone, tuple(legs), again=True)


def _beyond(anchor: int, frames: Iterable[int], backward: bool) -> list[int]:
    """Those of `frames` on one side of the anchor, the nearest first."""
    there = (frame for frame in frames if (frame < anchor if backward else frame > anchor))
    return sorted(there, reverse=backward)


def _anchor(object_id: int, given: Mapping[int, Prompt], direction: str) -> int:
    """The frame from which an object is followed: the one that tells most of it, or with one direction the first."""
    finding = [frame for frame in sorted(given) if _finds(given[frame])]
    if not finding:
        raise ValueError(
            f"Track Mask: object {object_id} has background points only; put a point on the object, or draw a box."
        )
    if direction != "both":
        return finding[0] if direction == "forward" else finding[-1]

    def tells(frame: int) -> tuple[bool, bool, int]:
        prompt = given[frame]
        return prompt.mask_hw is not None, prompt.box is not None, sum(label for _, _, label in prompt.points)

    return max(finding, key=tells)


def _says_nowhere(prompt: Prompt) -> bool:
    return prompt.mask_hw is not None and not bool((prompt.mask_hw > 0.5).any())


def _finds(prompt: Prompt) -> bool:
    """Whether the prompt alone says where the object is."""
    if prompt.mask_hw is not None:
        return not _says_nowhere(prompt)
    return prompt.box is not None or any(label == 1 for _, _, label in prompt.points)


def _corrects(prompt: Prompt) -> bool:
    """Whether, on a frame other than the anchor, the prompt puts right what was followed to there."""
    return prompt.mask_hw is None and prompt.box is None


def clip_digest(frames_fhwc: Tensor) -> str:
    """A text that tells this clip from others by size, length, and a grid of pixels of each frame."""
    digest = hashlib.sha256(repr(tuple(frames_fhwc.shape)).encode())
    down, across = (max(1, side // SAMPLED) for side in frames_fhwc.shape[1:3])
    for frame_hwc in frames_fhwc:
        digest.update(np.ascontiguousarray(frame_hwc[::down, ::across].float().numpy()).tobytes())
    return digest.hexdigest()


def prompt_digest(prompt: Prompt) -> str:
    """A text that tells what is marked from anything else that could be marked on that frame."""
    digest = hashlib.sha256(repr((prompt.points, prompt.box)).encode())
    if prompt.mask_hw is not None:
        digest.update(np.packbits(prompt.mask_hw.numpy() > 0.5).tobytes())
    return digest.hexdigest()


def mark_digests(prompts: Prompts) -> dict[int, dict[int, str]]:
    """The digests of all prompts, by object and frame."""
    return {
        object_id: {prompt.frame: prompt_digest(prompt) for prompt in prompts.of_object(object_id)}
        for object_id in prompts.object_ids
    }


def told(courses: Sequence[Course], count: int, reason: str | None) -> str:
    """Which of both a run was: of the whole track, or of what the new marks change. `reason` is why all is run."""
    if not any(course.again for course in courses):
        return f"Track Mask: full run over {count} frames{f' ({reason})' if reason else ''}."
    parts = [f"object {course.object_id} {_fate(course, count)}" for course in courses]
    return f"Track Mask: re-track from stored memory: {'; '.join(parts)}."


def _fate(course: Course, count: int) -> str:
    if not course.again:
        return "was tracked in full"
    spans = [leg.beyond(leg.start, count) for leg in course.legs]
    if not any(spans):
        return "stays as it was"
    again = " and ".join(f"{min(span)} to {max(span)}" for span in spans if span)
    return f"was run again on frames {again}, and stays on the others"
