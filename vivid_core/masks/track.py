"""Following marked objects through a clip by optical flow, with no weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..optional import opencv
from ..runtime import Runtime
from .fields import box_of
from .flow import INVERSE_SEARCH, PURPOSE, Flags, Floats, FlowEstimator
from .follower import follow
from .prompts import Prompts
from .select import select_object
from .shots import shot_cuts
from .tracks import Track, TrackBuilder

DIRECTIONS = ("both", "forward", "backward")
ALIKE = 0.5  # IoU from which two carried masks are blended; below, the surer one is taken


@dataclass(frozen=True)
class _Leg:
    """One carry: from the mask on `reference` through `order`, towards another mask's frame `other` if there is one."""

    reference: int
    order: range
    other: int | None = None
    blended: bool = False


def track_by_flow(
    frames_fhwc: Tensor,
    prompts: Prompts,
    direction: str = "both",
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
    flow: FlowEstimator = INVERSE_SEARCH,
) -> Track:
    """Follow each prompted object through `frames_fhwc`, within its shot, from the prompted frames outwards.

    A prompt with a mask is used as it is; boxes and points are turned into masks by `select_object`. Several prompts
    of one object are corrections: their masks come back exactly, and between two of them the masks carried from both
    sides are blended by distance and confidence. `direction` is one of DIRECTIONS. Scores are the visible share of the
    object; where it is lost the mask is empty and the score 0. An empty mask as prompt says "not here". `flow` finds
    the motion from frame to frame.
    Raises ValueError when nothing is prompted, all masks are empty, on an unknown direction, or as `Prompts.fitted`
    does.
    """
    runtime = runtime or Runtime()
    prompts = checked_request(frames_fhwc, prompts, direction)
    count, height, width = frames_fhwc.shape[:3]
    runtime.begin(count * (1 + len(prompts.object_ids)))
    cuts = shot_cuts(frames_fhwc, runtime)
    _note_cuts(cuts, prompts, count, notes)
    builder = TrackBuilder(prompts.object_ids, count, height, width)
    for object_id in prompts.object_ids:
        _track_object(frames_fhwc, prompts, object_id, cuts, direction, runtime, builder, flow)
    return builder.build(cuts, prompts.frames)


def checked_request(frames_fhwc: Tensor, prompts: Prompts, direction: str) -> Prompts:
    """The prompts fitted to the clip. Raises ValueError as `track_by_flow` does."""
    if direction not in DIRECTIONS:
        raise ValueError(f'Track Mask: got the direction "{direction}", but it must be one of {", ".join(DIRECTIONS)}.')
    if not len(prompts):
        raise ValueError(
            "Track Mask: nothing is marked; mark the object in Mark Object, or with a box, points or a mask here."
        )
    prompts = prompts.fitted(frames_fhwc)
    if not any(prompt.shows for prompt in prompts):
        raise ValueError(
            "Track Mask: every mask given is empty, so there is nothing to follow; give a mask of a frame that shows "
            "the object."
        )
    return prompts


def _track_object(
    frames_fhwc: Tensor,
    prompts: Prompts,
    object_id: int,
    cuts: Sequence[int],
    direction: str,
    runtime: Runtime,
    builder: TrackBuilder,
    flow: FlowEstimator,
) -> None:
    given = {prompt.frame: select_object(frames_fhwc[prompt.frame], prompt) for prompt in prompts.of_object(object_id)}
    for frame, mask_hw in given.items():
        builder.set(object_id, frame, mask_hw, 1.0)
    scores: dict[int, float] = {}
    for leg in _legs(tuple(given), cuts, len(frames_fhwc), direction):
        if not bool((given[leg.reference] > 0.5).any()):
            continue
        start = given[leg.reference].numpy()
        for frame, mask, score in follow(frames_fhwc, leg.reference, start, leg.order, flow):
            if leg.blended and frame in scores:
                assert leg.other is not None
                nearness = abs(frame - leg.other) / abs(leg.reference - leg.other)
                weights = (score * nearness, scores[frame] * (1 - nearness))
                mask, score = _blended(mask, builder.get(object_id, frame), weights), max(score, scores[frame])
                steps = 0
            else:
                steps = 1
            runtime.advance(steps, preview=partial(spotlight, frames_fhwc[frame], mask))
            scores[frame] = score
            builder.set(object_id, frame, mask, score)
    runtime.advance(len(frames_fhwc) - len(scores))  # the given frames, and those that nothing reaches


def spotlight(image_hwc: Tensor, mask: Flags) -> Tensor:
    """The frame with all but the object darkened."""
    return image_hwc * torch.from_numpy(np.where(mask, 1.0, 0.35).astype(np.float32))[..., None]


def _legs(given: Sequence[int], cuts: Sequence[int], count: int, direction: str) -> Iterator[_Leg]:
    """The carries that reach every frame of the shots that hold a given mask."""
    starts = [0, *cuts]
    for start, stop in zip(starts, [*cuts, count]):
        inside = [frame for frame in sorted(given) if start <= frame < stop]
        for place, frame in enumerate(inside):
            before = inside[place - 1] if place else None
            after = inside[place + 1] if place + 1 < len(inside) else None
            if direction != "backward":
                yield _Leg(frame, range(frame + 1, stop if after is None else after), after)
            if direction != "forward":
                both = before is not None and direction == "both"
                yield _Leg(frame, range(frame - 1, start - 1 if before is None else before, -1), before, both)


def _blended(first: Flags, second: Flags, weights: tuple[float, float]) -> Flags:
    """The shape between two masks: their signed distances averaged by `weights`."""
    total = weights[0] + weights[1]
    if total <= 0:
        return first & second
    surer = first if weights[0] >= weights[1] else second
    box = box_of(first | second)
    if box is None:
        return surer
    a, b = first[box.slices], second[box.slices]
    if (a & b).sum() < ALIKE * (a | b).sum():
        return surer
    between = weights[0] * _signed_distance(a) + weights[1] * _signed_distance(b)
    result = np.zeros_like(first)
    result[box.slices] = between > 0
    return result


def _signed_distance(mask: Flags) -> Floats:
    cv2 = opencv(PURPOSE)
    padded = np.pad(mask, 1).astype(np.uint8)  # outside of the box nothing is object
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - padded, cv2.DIST_L2, 3)
    return (inside - outside)[1:-1, 1:-1]


def _note_cuts(cuts: Sequence[int], prompts: Prompts, count: int, notes: list[str] | None) -> None:
    if notes is None or not cuts:
        return
    notes.append(
        f"Track Mask: the clip cuts to another shot at frame {', '.join(map(str, cuts))}; nothing is followed across."
    )
    for start, stop in zip([0, *cuts], [*cuts, count]):
        if not any(start <= frame < stop for frame in prompts.frames):
            notes.append(
                f"Track Mask: nothing is marked on frames {start} to {stop - 1} (a shot of its own), so the mask is "
                "empty there; mark the object on one of them if it is seen."
            )
