"""The marks of several objects on frames of a clip, as they are made in an editor; `marks_text` reads its text.

Places are normalised to 0..1 of the frame, so that marks survive a resize of the clip; they say on which clip
they were made, so that another one is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .prompts import Box, Point, Prompt, Prompts
from .strokes import Stroke, paint, stroke_prompt

ASPECT_SLACK = 0.03  # sides are often rounded to multiples of 8 or 16 when a clip is resized


@dataclass(frozen=True)
class MarkedClip:
    """The clip that marks were made on; `digest` tells it from others of the same size and may be empty."""

    frames: int
    width: int
    height: int
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Mark:
    """What is marked of one object on one frame.

    With `painted` the strokes over `base` (bool [h, w], or nothing) are the finished mask of the frame, which may be
    empty: "the object is not here". Otherwise strokes are a hint to the segmenter, as points are.
    """

    frame: int
    object_id: int
    points: tuple[Point, ...] = ()
    box: Box | None = None
    strokes: tuple[Stroke, ...] = ()
    painted: bool = False
    base: Tensor | None = None

    @property
    def says_something(self) -> bool:
        return bool(self.points or self.box or self.strokes or self.painted)

    def mask(self, height: int, width: int) -> Tensor | None:
        """The finished mask, float32 [height, width] of 0 and 1; None when the object isn't painted here."""
        if not self.painted:
            return None
        return paint(_resized(self.base, height, width), self.strokes)

    @property
    def hints(self) -> tuple[Point, ...]:
        """The points, with those that strokes become when they are no finished mask."""
        if not self.strokes or self.painted:
            return self.points
        along = stroke_prompt(self.frame, self.strokes, self.object_id).points
        return tuple(dict.fromkeys([*self.points, *along]))

    def prompt(self, height: int, width: int) -> Prompt:
        """The mark for the segmenter, on frames of this size."""
        return Prompt(self.frame, self.object_id, self.hints, self.box, self.mask(height, width))


class Marks:
    """All marks, in the order of frame and object; `names` are by the objects' ids, `clip` is what was marked."""

    def __init__(self, marks: list[Mark], names: Mapping[int, str], clip: MarkedClip | None) -> None:
        self._marks = tuple(sorted(marks, key=lambda mark: (mark.frame, mark.object_id)))
        self.names = dict(names)
        self.clip = clip

    def __iter__(self) -> Iterator[Mark]:
        return iter(self._marks)

    def __len__(self) -> int:
        return len(self._marks)

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that carry at least one mark, in order."""
        return tuple(sorted({mark.frame for mark in self._marks}))

    def on(self, frame: int) -> tuple[Mark, ...]:
        """The marks on one frame."""
        return tuple(mark for mark in self._marks if mark.frame == frame)

    def called(self, object_id: int) -> str:
        """An object's number, and its name if it has one."""
        name = self.names.get(object_id, "")
        return f'object {object_id} ("{name}")' if name else f"object {object_id}"

    def prompts(self, height: int, width: int) -> Prompts:
        """The same for a segmenter, on frames of this size."""
        return Prompts(mark.prompt(height, width) for mark in self._marks)

    def text(self) -> str:
        """What is marked, one line for each object."""
        if not self._marks:
            return "Mark Object: nothing is marked yet; open the editor and click on the object."
        lines = []
        for object_id in sorted({mark.object_id for mark in self._marks}):
            own = [mark for mark in self._marks if mark.object_id == object_id]
            kinds = (
                ("points", [mark.frame for mark in own if mark.points]),
                ("a box", [mark.frame for mark in own if mark.box]),
                ("strokes", [mark.frame for mark in own if mark.strokes and not mark.painted]),
                ("a painted mask", [mark.frame for mark in own if mark.painted]),
            )
            told = [f"{kind} on frame {', '.join(map(str, frames))}" for kind, frames in kinds if frames]
            called = self.called(object_id)
            lines.append(f"{called[0].upper()}{called[1:]}: {'; '.join(told)}.")
        return "\n".join(lines)

    def check_for(self, frames_fhwc: Tensor, digest: str | None = None, notes: list[str] | None = None) -> None:
        """Raise ValueError when the marks can't belong to this clip: other shape, or frames that it doesn't have.

        What may be meant so is added to `notes`: another length, or other pictures (`digest` is the clip's) with marks
        that lie inside, and objects without a mark.
        """
        count, height, width = frames_fhwc.shape[:3]
        self._check_shape(width, height)
        self._check_frames(count)
        if not self._marks or notes is None:
            return
        if self.clip is not None and self.clip.frames != count:
            notes.append(
                f"Mark Object: the marks were made on a clip of {self.clip.frames} frames and this one has {count}; "
                "look whether they are still on the right frames."
            )
        elif self._was_replaced(width, height, digest):
            notes.append(
                "Mark Object: the clip is another one than the marks were made on, with the same size and length; "
                "look in the editor whether they still fit."
            )
        marked = {mark.object_id for mark in self._marks}
        for object_id in sorted(set(self.names) - marked):
            notes.append(f"Mark Object: {self.called(object_id)} has no mark yet and is left out.")

    def _was_replaced(self, width: int, height: int, digest: str | None) -> bool:
        if self.clip is None or not digest or not self.clip.digest:
            return False
        return (self.clip.width, self.clip.height) == (width, height) and self.clip.digest != digest

    def _check_shape(self, width: int, height: int) -> None:
        if self.clip is None or not self._marks:
            return
        ratio = (self.clip.width / self.clip.height) / (width / height)
        if not 1 / (1 + ASPECT_SLACK) <= ratio <= 1 + ASPECT_SLACK:
            first = self._marks[0]
            raise ValueError(
                f"Mark Object: the marks (the first is {self.called(first.object_id)} on frame {first.frame}) were "
                f"made on frames of {self.clip.width}x{self.clip.height}, but these are {width}x{height}, of another "
                "shape; connect the clip that was marked, or open the editor and mark this one."
            )

    def _check_frames(self, count: int) -> None:
        beyond = next((mark for mark in self._marks if mark.frame >= count), None)
        if beyond is not None:
            raise ValueError(
                f"Mark Object: {self.called(beyond.object_id)} is marked on frame {beyond.frame}, but the clip has "
                f"only {count} frames (0 to {count - 1}); connect the clip that was marked, or delete that mark in the "
                "editor."
            )


def _resized(base: Tensor | None, height: int, width: int) -> Tensor:
    if base is None:
        return torch.zeros(height, width)
    if tuple(base.shape) == (height, width):
        return base.float()
    return (
        F.interpolate(base.float()[None, None], (height, width), mode="bilinear", antialias=True)[0, 0].gt(0.5).float()
    )
