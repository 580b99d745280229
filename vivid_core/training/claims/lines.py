"""The claims, one line each: what was measured, whether it holds, and what stands beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..measures import INSIDE, Score, score
from .edits import Attempt
from .statistics import not_worse_p, paired, sign_flip_p

LIMIT = "codec limit"
PAPER = {
    "modify": "modifies what the local caption says, inside the mask (section 5)",
    "add": "adds what the local caption says, inside the mask (section 5)",
    "delete": "deletes, and paints areas that blend with the background (sections 3.2 and 5)",
    "kive": "an edited keyframe is carried through the clip (section 4.3)",
    "par": "KIVE is on par with direct editing (table 4)",
    "chain": "long clips are edited in chained windows (section 4.3)",
}
IOU_OF_LIMIT = {"modify": 0.8, "add": 0.8, "kive": 0.9}
COLOUR, BACKGROUND = 0.97, 0.90
PSNR, BELOW_LIMIT, OVER_TRIVIAL = 26.0, 1.5, 3.0
DRIFT = 3.0  # levels of 255
MARGIN = 0.03  # of an IoU or a colour: less is no difference worth naming
SURE = 0.05


@dataclass(frozen=True)
class Claim:
    """One line. `p` is of the paired sign-flip test that it is better than the trivial answer `against`, or of what
    `p_of` says; `limit` is the codec's, `trivial` what trivial answers get in the same measure."""

    claim: str
    paper: str
    goal: str
    measured: float
    holds: bool
    n: int
    p: float | None = None
    limit: float | None = None
    against: str | None = None
    trivial: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, float | str] = field(default_factory=dict)

    def json(self) -> str:
        """One line of JSON; what has no meaning is null."""
        line = {"claim": self.claim, "paper": self.paper, "goal": self.goal, "measured": self.measured}
        line |= {"holds": self.holds, "n": self.n, "p": self.p, "limit": self.limit, "against": self.against}
        return json.dumps(_rounded({**line, "trivial": dict(self.trivial), **self.more}), allow_nan=False)


def entity_claims(task: str, attempts: Sequence[Attempt], title: str) -> list[Claim]:
    """Shape, colour and background of attempts that paint something; `task` is a key of `IOU_OF_LIMIT`."""
    share = IOU_OF_LIMIT[task]
    iou = _Measure(attempts, lambda score: score.iou)
    colour = _Measure(attempts, lambda score: score.colour)
    background = _Measure(attempts, lambda score: score.background)
    found = [
        iou.claim(f"{title}: IoU with the truth", task, f">= {share:.0%} of the limit", iou.own >= share * iou.limit),
        colour.claim(f"{title}: colour on the object", task, f">= {COLOUR:.0%}", colour.own >= COLOUR, "mean fill"),
    ]
    if task != "kive":
        goal = f">= {BACKGROUND:.0%}"
        holds = background.own >= BACKGROUND
        found.append(background.claim(f"{title}: background in the mask", task, goal, holds, "whole mask"))
    return found


def deletion_claim(attempts: Sequence[Attempt], title: str) -> Claim:
    """How near to the true background a deletion comes."""
    psnr = _Measure(attempts, lambda score: score.psnr)
    over = psnr.own - psnr.beside("mean fill")
    holds = psnr.own >= PSNR or (psnr.own >= psnr.limit - BELOW_LIMIT and over >= OVER_TRIVIAL)
    goal = f">= {PSNR:g} dB, or {BELOW_LIMIT:g} dB below the limit and {OVER_TRIVIAL:g} dB over mean fill"
    return psnr.claim(f"{title}: PSNR in the mask", "delete", goal, holds)


def exactness_claims(attempts: Sequence[Attempt]) -> list[Claim]:
    """Keyframes come back to the bit, and nothing changes outside the mask."""
    keyed = [one for one in attempts if one.key_hwc is not None]
    parts = (
        ("keyframe: largest difference", PAPER["kive"], [one.key_difference for one in keyed]),
        (
            "outside the mask: largest difference",
            "the background is kept (section 5)",
            [one.outside for one in attempts],
        ),
    )
    return [Claim(name, paper, "exactly 0", max(values), not any(values), len(values)) for name, paper, values in parts]


def par_claims(keyed: Sequence[Attempt], direct: Sequence[Attempt]) -> list[Claim]:
    """KIVE, its keyframe by the model itself, is no worse than direct editing: of the same trials, without frame 0."""
    found = []
    for name, measure in (("IoU", lambda score: score.iou), ("colour", lambda score: score.colour)):
        ours = [measure(one.own) for one in keyed]
        theirs = [measure(one.scored(one.edited_fhwc, first=1)) for one in direct]
        differences = paired(ours, theirs)
        p = not_worse_p(differences, MARGIN)
        more: dict[str, float | str] = {
            "p_of": f"worse by {MARGIN:g} or more",
            "p_better": sign_flip_p(differences),
            "p_worse": sign_flip_p(-differences),
            "kive": _mean(ours),
            "direct": _mean(theirs),
        }
        goal = f"not worse by {MARGIN:g} (p < {SURE:g})"
        title = f"KIVE against direct editing: {name}"
        found.append(Claim(title, PAPER["par"], goal, _mean(differences), p < SURE, len(differences), p, more=more))
    return found


def drift_claim(attempts: Sequence[Attempt], unmatched: Sequence[Attempt], window: int, title: str) -> Claim:
    """How far the object's colour moves from the first window of a chain to the last, in levels of 255; `unmatched`
    are the same trials without the colour match."""
    own = [drift(one, one.edited_fhwc, window) for one in attempts]
    limit = [drift(one, one.references[LIMIT], window) for one in attempts]
    hop, count = window - 1, len(attempts[0].edited_fhwc)
    more: dict[str, float | str] = {"windows": float(-(-(count - 1) // hop)), "largest": max(own)}
    for name, part in (("iou_first_window", slice(1, window)), ("iou_last_window", slice(count - hop, count))):
        more[name] = _mean([_part(one, part).iou for one in attempts])
    loose = [drift(one, one.edited_fhwc, window) for one in unmatched]
    more |= {"without_colour_match": _mean(loose), "p_match_lowers": sign_flip_p(paired(loose, own))}
    goal = f"<= {DRIFT:g} levels of 255"
    return Claim(title, PAPER["chain"], goal, _mean(own), _mean(own) <= DRIFT, len(own), limit=_mean(limit), more=more)


def drift(attempt: Attempt, edited_fhwc: Tensor, window: int) -> float:
    """The largest change of a channel between the object's colours in the first window (without the keyframe) and in
    the last: medians over the pixels that are all object, so that an edge that slips doesn't count."""
    inside = attempt.truth.weight_fhw > INSIDE
    first, last = slice(1, window), slice(len(edited_fhwc) - window + 1, len(edited_fhwc))
    before, after = (edited_fhwc[part][inside[part]].median(0).values for part in (first, last))
    return 255 * float((after - before).abs().max())


class _Measure:
    """One measure of attempts and of what stands beside them."""

    def __init__(self, attempts: Sequence[Attempt], of: Callable[[Score], float]) -> None:
        self._values = [of(one.own) for one in attempts]
        names = attempts[0].references
        self._beside = {name: [of(one.beside(name)) for one in attempts] for name in names}

    @property
    def own(self) -> float:
        return _mean(self._values)

    @property
    def limit(self) -> float:
        return self.beside(LIMIT)

    def beside(self, name: str) -> float:
        return _mean(self._beside[name])

    def claim(self, title: str, task: str, goal: str, holds: bool, against: str | None = None) -> Claim:
        """The line; without `against` the best of the trivial answers is what it must beat."""
        trivial = {name: self.beside(name) for name in self._beside if name != LIMIT}
        against = against or max(trivial, key=lambda name: trivial[name])
        differences = paired(self._values, self._beside[against])
        p, n = sign_flip_p(differences), sum(math.isfinite(value) for value in self._values)
        return Claim(title, PAPER[task], goal, self.own, holds, n, p, self.limit, against, trivial)


def _part(attempt: Attempt, frames: slice) -> Score:
    truth = attempt.truth
    parts = {name: getattr(truth, name)[frames] for name in ("oracle_fhwc", "backdrop_fhwc", "weight_fhw")}
    return score(attempt.edited_fhwc[frames], replace(truth, edit_mask_fhw=truth.edit_mask_fhw[frames], **parts))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
