"""Following marked objects through a clip with a segmenter such as SAM 2, and again after one more mark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from torch import Tensor

from ..runtime import Runtime
from .prompts import Prompts
from .segmenter import Seen, Segmenter, Session
from .track import checked_request, spotlight
from .track_plan import Course, Leg, TrackMemory, clip_digest, mark_digests, plan_courses, told
from .tracks import Track, TrackBuilder


def track_by_segmenter(
    frames_fhwc: Tensor,
    prompts: Prompts,
    segmenter: Segmenter,
    direction: str = "both",
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
    *,
    previous: Track | None = None,
    anew: bool = False,
    cuts: Iterable[int] = (),
) -> Track:
    """Follow each prompted object through `frames_fhwc` (float32 [F, H, W, 3] in 0..1), from its anchor outwards.

    The anchor is the frame that tells most of an object (a mask, else a box, else the most points); with the direction
    "forward" or "backward" it is the first or last frame that shows it. Every prompted frame is a conditioning frame
    of all the others. Masks and boxes stand for themselves; points on another frame than the anchor correct what was
    followed up to there. Masks override last and come back exactly; an empty one says "not here". Scores are the
    confidence in 0..1, 0 where the object is lost. Objects are followed across `cuts` (see `shot_cuts`), since a
    segmenter may know them again; the track carries them for its health.

    `previous` is a track of this clip that the same segmenter made: after a new, changed or removed prompt the frames
    up to the marked one before it stay, and the rest is run again from the stored memory; an object whose anchor
    changes is run in full. So is everything with `anew`, and where `previous` is of another clip, segmenter or
    direction. The last of `notes` says which it was.

    Raises ValueError when nothing is prompted, on an unknown direction, for an object with background points only, for
    points that `direction` never reaches, or as `Prompts.fitted` does.
    """
    runtime = runtime or Runtime()
    prompts = checked_request(frames_fhwc, prompts, direction)
    clip = clip_digest(frames_fhwc)
    earlier, reason = _usable(previous, clip, segmenter.identity, direction)
    courses = plan_courses(prompts, direction, len(frames_fhwc), earlier, anew)
    builder = TrackBuilder(prompts.object_ids, *frames_fhwc.shape[:3])
    for course in courses:
        if course.again and previous is not None:
            builder.keep(previous, course.object_id)
    runtime.begin(_steps(courses, len(frames_fhwc)))
    with segmenter.session(frames_fhwc, runtime) as session:
        _Run(frames_fhwc, courses, session, builder, runtime).go()
    for prompt in prompts:
        if prompt.mask_hw is not None:
            builder.set(prompt.object_id, prompt.frame, prompt.mask_hw, 1.0)
    if notes is not None:
        notes.append(told(courses, len(frames_fhwc), reason))
    objects = {course.object_id: course.memory for course in courses if course.memory is not None}
    memory = TrackMemory(clip, segmenter.identity, direction, mark_digests(prompts), objects)
    return builder.build(cuts, prompts.frames, memory)


def _usable(previous: Track | None, clip: str, segmenter: str, direction: str) -> tuple[TrackMemory | None, str | None]:
    """The memory of an earlier track, or the reason why it is of no use here."""
    if previous is None:
        return None, None
    memory = previous.memory
    if not isinstance(memory, TrackMemory):
        return None, "the earlier track was made without a segmenter"
    for now, then, what in (
        (clip, memory.clip, "clip"),
        (segmenter, memory.segmenter, "segmenter"),
        (direction, memory.direction, "direction"),
    ):
        if now != then:
            return None, f"the earlier track has another {what}"
    return memory, None


def _steps(courses: Sequence[Course], count: int) -> int:
    return sum(
        len(course.alone) + sum(len(leg.rehearsal) + len(leg.beyond(leg.start, count)) for leg in course.legs)
        for course in courses
    )


class _Run:
    """The passes over the clip. Each goes over all objects frame by frame, so that a frame is encoded once for all."""

    def __init__(
        self, frames_fhwc: Tensor, courses: Sequence[Course], session: Session, builder: TrackBuilder, runtime: Runtime
    ) -> None:
        self._frames = frames_fhwc
        self._courses = courses
        self._session = session
        self._builder = builder
        self._runtime = runtime

    def go(self) -> None:
        alone = ((frame, course) for course in self._courses for frame in course.alone)
        for frame, course in sorted(alone, key=lambda pair: pair[0]):
            assert course.memory is not None
            self._put(course, frame, self._session.mark(course.memory, course.prompts[frame]))
        for backward in (False, True):
            self._settle_corrections(backward)
        for course in self._courses:
            for leg in course.legs:
                assert course.memory is not None
                course.memory.forget_beyond(leg.start, leg.backward)
        for backward in (False, True):
            self._follow(backward)

    def _settle_corrections(self, backward: bool) -> None:
        legs = [(course, leg, leg.rehearsal) for course, leg in self._legs(backward)]
        for frame, course, leg in _abreast(legs, backward):
            assert course.memory is not None
            if frame in leg.corrections:
                seen = self._session.correct(course.memory, course.prompts[frame], backward)
                self._put(course, frame, seen)
                continue
            if frame not in course.memory.marked:
                self._session.follow(course.memory, frame, backward)
            self._runtime.advance()

    def _follow(self, backward: bool) -> None:
        count = len(self._frames)
        legs = [(course, leg, leg.beyond(leg.start, count)) for course, leg in self._legs(backward)]
        for frame, course, _ in _abreast(legs, backward):
            assert course.memory is not None
            if frame in course.memory.marked:
                self._runtime.advance()
            else:
                self._put(course, frame, self._session.follow(course.memory, frame, backward))

    def _legs(self, backward: bool) -> Iterator[tuple[Course, Leg]]:
        for course in self._courses:
            for leg in course.legs:
                if leg.backward == backward:
                    yield course, leg

    def _put(self, course: Course, frame: int, seen: Seen) -> None:
        mask = (seen.logits_hw > 0).numpy()
        self._builder.set(course.object_id, frame, mask, seen.score)
        self._runtime.advance(preview=partial(spotlight, self._frames[frame], mask))


def _abreast(legs: Sequence[tuple[Course, Leg, range]], backward: bool) -> Iterator[tuple[int, Course, Leg]]:
    """Every frame of every leg, all objects of a frame before the next frame."""
    frames = sorted({frame for _, _, span in legs for frame in span}, reverse=backward)
    for frame in frames:
        for course, leg, span in legs:
            if frame in span:
                yield frame, course, leg
