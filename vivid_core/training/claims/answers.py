"""What is kept of an attempt: the numbers that the claims are about, so that no picture has to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

from torch import Tensor

from ..measures import INSIDE, Score, score
from .edits import Attempt
from .line import mean
from .store import Answers

VERSION = 1  # of trials and measures: another one makes kept answers worthless
OWN, LATER, LIMIT = "own", "own without frame 0", "codec limit"
KEY, OUTSIDE = "keyframe: largest difference", "outside: largest difference"
LARGEST = (KEY, OUTSIDE)  # of several seeds the largest counts, of all else the mean
DRIFT, LIMIT_DRIFT = "own: drift", f"{LIMIT}: drift"
FIRST_IOU, LAST_IOU = "iou_first_window", "iou_last_window"
MEASURES = tuple(one.name for one in fields(Score))


def answers_of(attempt: Attempt, window: int | None = None) -> dict[str, float]:
    """All figures of an attempt by name: every measure of the edit and of what stands beside it (`figure`), what must
    be exact, and for a chain of windows of `window` frames how colours drift in it."""
    scores = {OWN: attempt.own, LATER: attempt.scored(attempt.edited_fhwc, first=1)}
    scores |= {name: attempt.beside(name) for name in attempt.references}
    found = {figure(name, one): getattr(value, one) for name, value in scores.items() for one in MEASURES}
    found |= {KEY: attempt.key_difference if attempt.key_hwc is not None else math.nan, OUTSIDE: attempt.outside}
    return found if window is None else found | _of_a_chain(attempt, window)


def figure(name: str, measure: str) -> str:
    """The name of a measure of the edit itself (`OWN`), or of what stands beside it."""
    return f"{name}: {measure}"


def references_in(answers: Answers) -> list[str]:
    """The names of what stands beside the edit: the codec's limit, and trivial answers."""
    found = (name.removesuffix(": iou") for name in answers if name.endswith(": iou"))
    return [name for name in found if name not in (OWN, LATER)]


def over_seeds(answers: Sequence[Answers]) -> dict[str, float]:
    """One trial's answers over several seeds of the noise: their mean, and the largest of what must be exact."""
    together = {name: [one[name] for one in answers] for name in answers[0]}
    return {name: max(values) if name in LARGEST else mean(values) for name, values in together.items()}


def drift(attempt: Attempt, edited_fhwc: Tensor, window: int) -> float:
    """The largest change of a channel between the object's colours in the first window (without the keyframe) and in
    the last, in levels of 255: medians over the pixels that are all object, so that an edge that slips doesn't
    count."""
    inside = attempt.truth.weight_fhw > INSIDE
    first, last = slice(1, window), slice(len(edited_fhwc) - window + 1, len(edited_fhwc))
    before, after = (edited_fhwc[part][inside[part]].median(0).values for part in (first, last))
    return 255 * float((after - before).abs().max())


def _of_a_chain(attempt: Attempt, window: int) -> dict[str, float]:
    count = len(attempt.edited_fhwc)
    return {
        DRIFT: drift(attempt, attempt.edited_fhwc, window),
        LIMIT_DRIFT: drift(attempt, attempt.references[LIMIT], window),
        FIRST_IOU: _part(attempt, slice(1, window)).iou,
        LAST_IOU: _part(attempt, slice(count - window + 1, count)).iou,
    }


def _part(attempt: Attempt, frames: slice) -> Score:
    truth = attempt.truth
    parts = {name: getattr(truth, name)[frames] for name in ("oracle_fhwc", "backdrop_fhwc", "weight_fhw")}
    return score(attempt.edited_fhwc[frames], replace(truth, edit_mask_fhw=truth.edit_mask_fhw[frames], **parts))
