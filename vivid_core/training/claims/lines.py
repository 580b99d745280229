"""The claims about VIVID and KIVE, one line each: what was measured, whether it holds, and what stands beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .answers import (
    DRIFT,
    FIRST_IOU,
    KEY,
    LAST_IOU,
    LATER,
    LIMIT,
    LIMIT_DRIFT,
    OUTSIDE,
    OWN,
    figure,
    references_in,
)
from .line import SURE, Line, mean
from .statistics import interval, not_worse_p, paired, sign_flip_p
from .store import Answers

MODEL = "the model"
# Sections, tables and figures of the VIVID paper (arXiv 2411.15260). The goals are the pack's own.
PAPER = {
    "modify": "VIVID, section 5: modifies what the local caption says, inside the mask",
    "add": "VIVID, section 5: adds what the local caption says, inside the mask",
    "delete": "VIVID, sections 3.2 and 5: deletes, and paints areas that blend with the background",
    "kive": "VIVID, section 4.3: an edited keyframe is carried through the clip",
    "par": "VIVID, section 5 and table 4: KIVE is on par with direct editing",
    "chain": "VIVID, section 4.3: long clips are edited in chained windows",
    "kept": "VIVID, section 5: the background is kept",
}
IOU_OF_LIMIT = {"modify": 0.8, "add": 0.8, "kive": 0.9}
COLOUR, BACKGROUND = 0.97, 0.90
PSNR, BELOW_LIMIT, OVER_TRIVIAL = 26.0, 1.5, 3.0
DRIFT_LEVELS = 3.0  # of 255
MARGIN = 0.03  # of an IoU or a colour: less is no difference worth naming


def entity_claims(task: str, answers: Sequence[Answers], title: str) -> list[Line]:
    """Shape, colour and background of attempts that paint something; `task` is a key of `IOU_OF_LIMIT`."""
    share = IOU_OF_LIMIT[task]
    iou, colour, background = (_Measure(answers, name) for name in ("iou", "colour", "background"))
    found = [
        iou.line(f"{title}: IoU with the truth", task, f">= {share:.0%} of the limit", iou.own >= share * iou.limit),
        colour.line(f"{title}: colour on the object", task, f">= {COLOUR:.0%}", colour.own >= COLOUR, "mean fill"),
    ]
    if task != "kive":
        goal = f">= {BACKGROUND:.0%}"
        holds = background.own >= BACKGROUND
        found.append(background.line(f"{title}: background in the mask", task, goal, holds, "whole mask"))
    return found


def deletion_claim(answers: Sequence[Answers], title: str) -> Line:
    """How near to the true background a deletion comes."""
    psnr = _Measure(answers, "psnr")
    over = psnr.own - psnr.beside("mean fill")
    holds = psnr.own >= PSNR or (psnr.own >= psnr.limit - BELOW_LIMIT and over >= OVER_TRIVIAL)
    goal = f">= {PSNR:g} dB, or {BELOW_LIMIT:g} dB below the limit and {OVER_TRIVIAL:g} dB over mean fill"
    return psnr.line(f"{title}: PSNR in the mask", "delete", goal, holds)


def exactness_claims(answers: Sequence[Answers]) -> list[Line]:
    """Keyframes come back to the bit, and nothing changes outside the mask."""
    parts = (
        ("keyframe: largest difference", PAPER["kive"], KEY),
        ("outside the mask: largest difference", PAPER["kept"], OUTSIDE),
    )
    found = []
    for title, paper, name in parts:
        values = [one[name] for one in answers if not math.isnan(one[name])]
        found.append(Line(title, paper, "exactly 0", max(values), not any(values), len(values)))
    return found


def par_claims(keyed: Sequence[Answers], direct: Sequence[Answers]) -> list[Line]:
    """KIVE, its keyframe by the model itself, is no worse than direct editing: of the same trials, without frame 0."""
    found = []
    for name, measure in (("IoU", "iou"), ("colour", "colour")):
        ours, theirs = ([one[figure(LATER, measure)] for one in side] for side in (keyed, direct))
        differences = paired(ours, theirs)
        line = Line(
            f"KIVE against direct editing: {name}",
            PAPER["par"],
            f"not worse by {MARGIN:g} (p < {SURE:g})",
            measured=mean(differences.tolist()),
            holds=True,
            n=len(differences),
            effect=mean(differences.tolist()),
            interval=interval(differences),
            of="KIVE over direct editing",
            p=not_worse_p(differences, MARGIN),
            p_of=f"worse by {MARGIN:g} or more",
            needs_p=True,
            means={"KIVE": mean(ours), "direct": mean(theirs)},
            more={"p_better": sign_flip_p(differences), "p_worse": sign_flip_p(-differences)},
        )
        found.append(line)
    return found


def drift_claim(answers: Sequence[Answers], unmatched: Sequence[Answers], title: str) -> Line:
    """How far the object's colour moves from the first window of a chain to the last, in levels of 255; `unmatched`
    are the same trials without the colour match."""
    own, limit = ([one[name] for one in answers] for name in (DRIFT, LIMIT_DRIFT))
    loose = [one[DRIFT] for one in unmatched]
    below = DRIFT_LEVELS - np.asarray(own)
    more: dict[str, Any] = {
        **{name: mean([one[name] for one in answers]) for name in (FIRST_IOU, LAST_IOU)},
        "largest": max(own),
        "p_match_lowers": sign_flip_p(paired(loose, own)),
    }
    return Line(
        title,
        PAPER["chain"],
        f"<= {DRIFT_LEVELS:g} levels of 255",
        measured=mean(own),
        holds=mean(own) <= DRIFT_LEVELS,
        n=len(own),
        effect=mean(below.tolist()),
        interval=interval(below),
        of=f"{DRIFT_LEVELS:g} levels over the drift",
        p=sign_flip_p(below),
        means={MODEL: mean(own), LIMIT: mean(limit), "without colour match": mean(loose)},
        more=more,
    )


class _Measure:
    """One measure of attempts and of what stands beside them."""

    def __init__(self, answers: Sequence[Answers], measure: str) -> None:
        self._values = [one[figure(OWN, measure)] for one in answers]
        names = references_in(answers[0])
        self._beside = {name: [one[figure(name, measure)] for one in answers] for name in names}

    @property
    def own(self) -> float:
        return mean(self._values)

    @property
    def limit(self) -> float:
        return self.beside(LIMIT)

    def beside(self, name: str) -> float:
        return mean(self._beside[name])

    def line(self, title: str, task: str, goal: str, holds: bool, against: str | None = None) -> Line:
        """The line; without `against` the best of the trivial answers is what it must beat."""
        means: Mapping[str, float] = {name: self.beside(name) for name in self._beside}
        trivial = {name: value for name, value in means.items() if name != LIMIT}
        against = against or max(trivial, key=lambda name: trivial[name])
        differences = paired(self._values, self._beside[against])
        return Line(
            title,
            PAPER[task],
            goal,
            measured=self.own,
            holds=holds,
            n=sum(math.isfinite(value) for value in self._values),
            effect=mean(differences.tolist()),
            interval=interval(differences),
            of=f"{MODEL} over {against}",
            p=sign_flip_p(differences),
            means={MODEL: self.own, **means},
        )
