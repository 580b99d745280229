"""The claims about steered models, one line each: what was expected, what came out, and how sure that is.

A claim may have several parts. It holds when each does, so its p is the largest of theirs; its effect is the first
part's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .line import NOT_RUN, Line, mean
from .statistics import interval, sign_flip_p
from .steered_arms import IN_TURN
from .steered_claims import CLAIMS, EXACT, Expectation, Part, Trials


def told(trials: Mapping[str, Trials], missing: Mapping[str, str]) -> list[Line]:
    """All claims of `CLAIMS`, then P5, which is exact, from the answers of each experiment. `missing` says of an
    experiment why it could not be made. No p is corrected yet."""
    lines = [_line(one, trials.get(one.experiment, ()), missing.get(one.experiment)) for one in CLAIMS]
    return [*lines, _exact_line(trials.get(IN_TURN, ()), missing.get(IN_TURN))]


def not_run(why: str) -> list[Line]:
    """The same claims where none of them was run."""
    return told({}, dict.fromkeys((IN_TURN, *(one.experiment for one in CLAIMS)), why))


def _line(claim: Expectation, trials: Trials, why: str | None) -> Line:
    """A claim with its own p; `holds` says so far only whether the means are in order."""
    if why is not None or not trials:
        return Line(claim.name, claim.paper, claim.expected, why=f"{NOT_RUN}: {why or 'there are no trials of it'}")
    parts = {part.name: _sure(part, trials) for part in claim.parts}
    first = claim.parts[0].differences(trials)
    beside = {part.name: _sure(part, trials) for part in claim.beside}
    means: dict[str, float] = {}
    for part in (*claim.parts, *claim.beside):
        means |= part.means(trials)
    ps = [part["p"] for part in parts.values()]
    return Line(
        claim.name,
        claim.paper,
        claim.expected,
        measured=mean(first.tolist()),
        holds=all(_in_order(arms, trials) for arms in claim.rising),
        n=int(min(part["n"] for part in parts.values())),
        effect=mean(first.tolist()),
        interval=interval(first),
        of=claim.parts[0].name,
        p=math.nan if any(math.isnan(p) for p in ps) else max(ps),
        needs_p=True,
        means=means,
        more={**({"parts": parts} if len(parts) > 1 else {}), **({"beside": beside} if beside else {})},
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


def _exact_line(trials: Trials, why: str | None) -> Line:
    claim = "P5 all frames at once"
    paper = "Pix2Video, its method (frame after frame)"
    expected = f"latents differ by at most {EXACT:g} in fp64 from those made frame after frame with every feature kept"
    if why is not None or not trials:
        return Line(claim, paper, expected, why=f"{NOT_RUN}: {why or 'there are no trials of it'}")
    worst = max(answer["difference"] for one in trials for answer in one.values())
    return Line(claim, paper, expected, worst, worst <= EXACT, len(trials))
