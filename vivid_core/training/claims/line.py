"""One line for each claim, whatever it is about: where it is made, what should come out, what did, and how sure that
is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .statistics import holm

SURE = 0.05
DIGITS = 5
NOT_RUN = "not run"


@dataclass(frozen=True)
class Line:
    """One claim.

    `paper` is where it is made, `expected` what should come out. `measured` is the figure that it is about, `means`
    what stands beside it, by name. `effect` is the mean of paired differences over `n` trials, above 0 as expected,
    `interval` where 95 % of such means lie, `of` between what. `p` is that of an effect of 0 or less, or of what `p_of`
    says; `p_holm` is p corrected for the number of all claims. `holds` is None, and `why` says why, where a claim
    can't be judged. With `needs_p`, a claim holds only if `p_holm` is below `SURE`, too.
    """

    claim: str
    paper: str
    expected: str
    measured: float = math.nan
    holds: bool | None = None
    n: int = 0
    effect: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)
    of: str = ""
    p: float = math.nan
    p_of: str = ""
    p_holm: float = math.nan
    needs_p: bool = False
    means: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    why: str | None = None

    def json(self) -> str:
        """One line of JSON; what has no meaning is null."""
        names = ("claim", "paper", "expected", "measured", "holds", "n", "effect", "interval", "of", "p", "p_holm")
        line = {name: getattr(self, name) for name in names}
        line["interval"] = dict(zip(("low", "high"), self.interval))
        line |= {"means": dict(self.means), **({"p_of": self.p_of} if self.p_of else {}), **self.more}
        return json.dumps(_told(line if self.why is None else {**line, "why": self.why}), allow_nan=False)


def corrected(lines: Sequence[Line]) -> list[Line]:
    """The lines with each p corrected for the number of all of them (Holm), and `holds` by it where a p is needed."""
    found = []
    for line, p in zip(lines, holm([line.p for line in lines])):
        holds = line.holds and p < SURE if line.needs_p and line.holds is not None else line.holds
        found.append(replace(line, p_holm=p, holds=holds))
    return found


def mean(values: Sequence[float]) -> float:
    """Of those that are known; NaN when none is."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _told(value: object) -> object:
    """For JSON: `DIGITS` significant digits, since what is exact differs by 1e-15; null where there is no number."""
    if isinstance(value, Mapping):
        return {name: _told(one) for name, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
