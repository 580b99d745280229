"""How a track is doing: where the object is lost, where its mask jumps, and where one more click would help."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..checks import checked_mask
from ..masks.tracks import Track
from .health_series import AREA_JUMP, LOW_OVERLAP, Jump, mask_series

__all__ = ["Health", "Jump", "ObjectHealth", "track_health"]

LOST_SCORE = 0.1  # a tracker that is less sure than this follows something else
LOST_AREA = 0.03  # of the object's usual area: a remnant
MOST_SUGGESTIONS = 5

Span = tuple[int, int]


@dataclass(frozen=True)
class ObjectHealth:
    """One object over the clip. Series have one value for each frame.

    `areas` are parts of the frame; `area_ratios` and `overlaps` (IoU, motion taken out) compare with the previous
    frame and are None where there is nothing to compare: after a cut, and where either mask is empty. `lost` are spans
    (first, last); `found_again` the frames at which the object came back.
    """

    object_id: int
    areas: tuple[float, ...]
    area_ratios: tuple[float | None, ...]
    overlaps: tuple[float | None, ...]
    scores: tuple[float, ...] | None
    lost: tuple[Span, ...]
    found_again: tuple[int, ...]
    jumps: tuple[Jump, ...]
    suggestions: tuple[str, ...]

    def text(self) -> str:
        """A few sentences for a person."""
        count = len(self.areas)
        seen = count - sum(last - first + 1 for first, last in self.lost)
        if not seen:
            return " ".join([f"Object {self.object_id}: lost on all {count} frames.", *self._advice()])
        areas = [area for area in self.areas if area > 0]
        parts = [
            f"Object {self.object_id}: seen on {f'all {count}' if seen == count else f'{seen} of {count}'} frames, "
            f"covers {min(areas):.1%} to {max(areas):.1%} of the frame."
        ]
        known = [(overlap, frame) for frame, overlap in enumerate(self.overlaps) if overlap is not None]
        if known:
            parts.append("Lowest overlap with the previous frame {:.2f} (frame {}).".format(*min(known)))
        if self.lost:
            parts.append(f"Lost on frames {', '.join(_span(span) for span in self.lost)}.")
        if self.found_again:
            parts.append(f"Found again at frame {', '.join(map(str, self.found_again))}.")
        if self.jumps:
            parts.append(f"Jumps at frame {', '.join(str(jump.frame) for jump in self.jumps)}.")
        return " ".join([*parts, *self._advice()])

    def _advice(self) -> list[str]:
        if not self.suggestions:
            return [] if self.lost else ["Nothing to correct."]
        more = len(self.suggestions) - MOST_SUGGESTIONS
        shown = "; ".join(self.suggestions[:MOST_SUGGESTIONS])
        return [f"To do: {shown}{f'; and {more} more' if more > 0 else ''}."]


@dataclass(frozen=True)
class Health:
    """All objects of a track, and the cuts of the clip (first frames of new shots)."""

    objects: tuple[ObjectHealth, ...]
    cuts: tuple[int, ...] = ()

    @property
    def lost(self) -> tuple[Span, ...]:
        """The lost spans of every object, in order."""
        return tuple(sorted(span for each in self.objects for span in each.lost))

    @property
    def suggestions(self) -> tuple[str, ...]:
        return tuple(text for each in self.objects for text in each.suggestions)

    def text(self) -> str:
        """A short report, one line for each object."""
        lines = [each.text() for each in self.objects]
        if self.cuts:
            lines.append(f"New shots begin at frame {', '.join(map(str, self.cuts))}.")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain lists and numbers."""
        return asdict(self)

    def json(self) -> str:
        """The same as a JSON text."""
        return json.dumps(self.as_dict())


def track_health(
    track: Track | Tensor, scores: Sequence[float] | Tensor | None = None, cuts: Iterable[int] = ()
) -> Health:
    """The health of a track, or of any mask_fhw [F, H, W] with optional scores (one for each frame, 0 = lost).

    A track brings its own scores, cuts and corrected frames. One frame is unpacked at a time.
    Raises ValueError when scores are given for another number of frames.
    """
    if isinstance(track, Track):
        objects = []
        for row, number in enumerate(track.object_ids):
            objects.append(
                _object_health(
                    number,
                    track.frame_count,
                    lambda frame, number=number: track.mask(frame, [number]).numpy(),  # type: ignore[misc]
                    [float(score) for score in track.scores[row]],
                    track.cuts,
                    track.corrected,
                )
            )
        return Health(tuple(objects), track.cuts)
    mask_fhw = checked_mask(track, "Track health")
    count = mask_fhw.shape[0]
    known = None if scores is None else [float(score) for score in scores]
    if known is not None and len(known) != count:
        raise ValueError(f"Track health: got {len(known)} scores for {count} masks; give one score for each mask.")
    cuts = tuple(sorted(set(cuts)))
    health = _object_health(1, count, lambda frame: mask_fhw[frame].numpy() > 0.5, known, cuts, ())
    return Health((health,), cuts)


def _object_health(
    object_id: int,
    count: int,
    mask_at: Callable[[int], np.ndarray],
    scores: list[float] | None,
    cuts: Sequence[int],
    corrected: Sequence[int],
) -> ObjectHealth:
    series = mask_series(count, mask_at, cuts)
    lost = _lost_spans(series.areas, scores)
    jumps = series.jumps({frame for first, last in lost for frame in range(first, last + 1)})
    return ObjectHealth(
        object_id,
        tuple(series.areas),
        tuple(series.area_ratios),
        tuple(series.overlaps),
        None if scores is None else tuple(scores),
        lost,
        tuple(last + 1 for first, last in lost if first > 0 and last + 1 < count),
        jumps,
        tuple(_suggestions(count, lost, jumps, set(corrected), set(cuts))),
    )


def _lost_spans(areas: list[float], scores: list[float] | None) -> tuple[Span, ...]:
    usual = float(np.median([area for area in areas if area > 0])) if any(areas) else 0.0
    spans: list[list[int]] = []
    for frame, area in enumerate(areas):
        unsure = scores is not None and scores[frame] < LOST_SCORE
        if area > LOST_AREA * usual and not unsure:
            continue
        if spans and spans[-1][1] == frame - 1:
            spans[-1][1] = frame
        else:
            spans.append([frame, frame])
    return tuple((first, last) for first, last in spans)


def _suggestions(
    count: int, lost: tuple[Span, ...], jumps: tuple[Jump, ...], corrected: set[int], cuts: set[int]
) -> Iterable[str]:
    """What to do, in the order of the frames."""
    found: list[tuple[int, str]] = []
    for first, last in lost:
        told = [frame for frame in range(first, last + 1) if frame in corrected]
        if told:  # the user has said that the object is not there
            continue
        frame = last if first == 0 and last < count - 1 else first
        where = " (a new shot begins there)" if frame in cuts else ", if the object is visible there"
        found.append((frame, f"add a click or a box at frame {frame}{where}"))
    for jump in jumps:
        if jump.frame in corrected:
            continue
        found.append(
            (jump.frame, f"check frame {jump.frame} ({_reason(jump)}), add a click or a box there if it is wrong")
        )
    return [text for _, text in sorted(found)]


def _reason(jump: Jump) -> str:
    if not 1 / AREA_JUMP <= jump.area_ratio <= AREA_JUMP:
        return f"its area is {jump.area_ratio:.1f} times the one before"
    if jump.overlap < LOW_OVERLAP:
        return "its shape changes at once"
    return f"it leaps by {jump.leap:.1f} times its size"


def _span(span: Span) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"
