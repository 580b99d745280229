"""The claims about steered models, one line each: what was expected, what came out, and how sure that is.

A claim may have several parts. It holds when each does, so its p is the largest of theirs; the ps of all claims are
corrected together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from .lines import SURE
from .statistics import holm, interval, sign_flip_p
from .steered_arms import IN_TURN
from .steered_claims import CLAIMS, EXACT, Expectation, Part, Trials, mean

DIGITS = 5


@dataclass(frozen=True)
class SteeredLine:
    """One line. `measured` is the mean of the first part's differences, `interval` where 95 % of its means lie, `p` the
    largest of the parts', `p_holm` that one corrected for the number of claims. `holds` is None, and `why` says why,
    where a claim can't be judged."""

    claim: str
    paper: str
    expected: str
    measured: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)
    holds: bool | None = None
    n: int = 0
    p: float = math.nan
    p_holm: float = math.nan
    means: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    why: str | None = None

    def json(self) -> str:
        """One line of JSON; what has no meaning is null."""
        line = {one.name: getattr(self, one.name) for one in fields(self)}
        line["interval"] = dict(zip(("low", "high"), self.interval))
        if self.why is None:
            del line["why"]
        return json.dumps(_told(line), allow_nan=False)


def told(trials: Mapping[str, Trials], missing: Mapping[str, str]) -> list[SteeredLine]:
    """All claims of `CLAIMS`, then P5, which is exact, from the answers of each experiment. `missing` says of an
    experiment why it could not be made."""
    lines = [_line(one, trials.get(one.experiment, ()), missing.get(one.experiment)) for one in CLAIMS]
    corrected = [
        replace(line, p_holm=p, holds=None if line.holds is None else line.holds and p < SURE)
        for line, p in zip(lines, holm([line.p for line in lines]))
    ]
    return [*corrected, _exact_line(trials.get(IN_TURN, ()), missing.get(IN_TURN))]


def _line(claim: Expectation, trials: Trials, why: str | None) -> SteeredLine:
    """A claim with its own p; `holds` says so far only whether the means are in order."""
    line = SteeredLine(claim.name, claim.paper, claim.expected)
    if why is not None or not trials:
        return replace(line, why=why or "There are no trials of it.")
    parts = {part.name: _sure(part, trials) for part in claim.parts}
    first = claim.parts[0].differences(trials)
    means: dict[str, float] = {}
    for part in (*claim.parts, *claim.beside):
        means |= part.means(trials)
    ps = [part["p"] for part in parts.values()]
    return replace(
        line,
        measured=mean(first.tolist()),
        interval=interval(first),
        holds=all(_in_order(arms, trials) for arms in claim.rising),
        n=int(min(part["n"] for part in parts.values())),
        p=math.nan if any(math.isnan(p) for p in ps) else max(ps),
        means=means,
        parts=parts if len(parts) > 1 else {},
        beside={part.name: _sure(part, trials) for part in claim.beside},
    )


def _sure(part: Part, trials: Trials) -> dict[str, float]:
    differences = part.differences(trials)
    low, high = interval(differences)
    p = sign_flip_p(differences + part.margin)
    return {"effect": mean(differences.tolist()), "low": low, "high": high, "n": len(differences), "p": p}


def _in_order(arms: Sequence[tuple[str, str]], trials: Trials) -> bool:
    """Whether the means of these (arm, measure) don't fall from one to the next."""
    means = [mean([one[arm][measure] for one in trials if arm in one]) for arm, measure in arms]
    return all(after >= before for before, after in zip(means, means[1:]))


def _exact_line(trials: Trials, why: str | None) -> SteeredLine:
    line = SteeredLine(
        "P5 all frames at once",
        "Pix2Video, section 4 (frame after frame)",
        f"latents differ by at most {EXACT:g} in fp64 from those made frame after frame with every feature kept",
    )
    if why is not None or not trials:
        return replace(line, why=why or "There are no trials of it.")
    worst = max(answer["difference"] for one in trials for answer in one.values())
    return replace(line, measured=worst, holds=worst <= EXACT, n=len(trials))


def _told(value: object) -> object:
    """For JSON: `DIGITS` significant digits, since what is exact differs by 1e-15; null where there is no number."""
    if isinstance(value, Mapping):
        return {name: _told(one) for name, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
