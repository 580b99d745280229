"""Files of votes as win rates: who was preferred how often, in which question, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .statistics import binomial_p, wilson
from .study import FORMAT_OF_VOTES, KEY, QUESTIONS, SIDES, Study, read_object
from .tables import escaped

SAME = "same"
WHAT = "a file that the blind page saved"


@dataclass(frozen=True)
class Vote:
    """One answer: of `rater` (a session of the page), about a pair; `winner` is an engine, or "" for no difference."""

    rater: str
    pair: str
    question: str
    first: str
    second: str
    winner: str


@dataclass(frozen=True)
class WinRate:
    """How often `first` was preferred to `second` in a question.

    `rate` is of the votes that saw a difference, with Wilson's 95 % interval; `p` the exact two-sided one of "both win
    as often". NaN where all saw none.
    """

    first: str
    second: str
    question: str
    wins: int
    losses: int
    ties: int
    raters: int
    clips: int
    rate: float
    low: float
    high: float
    p: float


def read_votes(paths: Iterable[str | Path], study: Study) -> list[Vote]:
    """The votes of all files. Where a page was saved several times the last file in order counts, answer by answer.

    Raises ValueError, with the file's name, for what is no such file, or of another study.
    """
    votes: dict[tuple[str, str, str], Vote] = {}
    for path in paths:
        told = read_object(path, FORMAT_OF_VOTES, WHAT)
        if told.get("study") != study.id:
            raise ValueError(f"{path} holds votes of another study; give the {KEY} that belongs to its page.")
        try:
            for vote in _votes(told, study):
                votes[vote.rater, vote.pair, vote.question] = vote
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise ValueError(f"{path} is damaged ({fault}); give {WHAT}.") from fault
    return list(votes.values())


def _votes(told: Mapping[str, Any], study: Study) -> Iterator[Vote]:
    """The answers of one file. Raises ValueError, TypeError or KeyError for what the page never writes."""
    pairs = {pair.id: pair for pair in study.pairs}
    session, listed = told["session"], told["votes"]
    if not isinstance(session, str) or not isinstance(listed, list):
        raise TypeError("it has no session, or no list of votes")
    for one in listed:
        pair = pairs[one["pair"]]
        for question, side in one["answers"].items():
            if question not in pair.questions or side not in (*SIDES, SAME):
                raise ValueError("an answer is none that the page gives")
            first, second = sorted((pair.left, pair.right), key=study.engines.index)
            yield Vote(session, pair.id, question, first, second, "" if side == SAME else getattr(pair, side))


def win_rates(votes: Sequence[Vote]) -> list[WinRate]:
    """A rate for each two engines and each question that was answered."""
    groups: dict[tuple[str, str, str], list[Vote]] = {}
    for vote in votes:
        groups.setdefault((vote.first, vote.second, vote.question), []).append(vote)
    order = list(QUESTIONS)
    found = []
    for (first, second, question), group in sorted(
        groups.items(), key=lambda one: (*one[0][:2], order.index(one[0][2]))
    ):
        wins, losses = (sum(vote.winner == name for vote in group) for name in (first, second))
        decided = wins + losses
        rate = wins / decided if decided else float("nan")
        p = binomial_p(wins, decided) if decided else float("nan")
        people, pairs = len({vote.rater for vote in group}), len({vote.pair for vote in group})
        counts = (wins, losses, len(group) - decided, people, pairs)
        found.append(WinRate(first, second, question, *counts, rate, *wilson(wins, decided), p))
    return found


def rates_markdown(rates: Sequence[WinRate]) -> str:
    """The win rates as a table for people."""
    lines = ["# Win rates", "", "| engine | against | question | wins | losses | no difference | win rate | p |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for one in rates:
        known = one.wins + one.losses > 0
        share = f"{100 * one.rate:.0f} % [{100 * one.low:.0f}, {100 * one.high:.0f}]" if known else "–"
        p = f"{one.p:.2g}" if known else "–"
        names = f"{escaped(one.first)} | {escaped(one.second)}"
        lines.append(f"| {names} | {one.question} | {one.wins} | {one.losses} | {one.ties} | {share} | {p} |")
    people = max((one.raters for one in rates), default=0)
    clips = max((one.clips for one in rates), default=0)
    lines += [
        "",
        f"Up to {people} raters and {clips} clips a line. The win rate is of the votes that saw a difference, ",
    ]
    lines[-1] += "with Wilson's 95 % interval; p is of the exact two-sided sign test. Both take votes as independent, "
    lines[-1] += "which several votes on one clip or of one person are not quite."
    lines += ["", *(f"- **{key}**: {text}" for key, text in QUESTIONS.items())]
    return "\n".join(lines) + "\n"


def rates_json(rates: Sequence[WinRate]) -> str:
    """The same as JSON; what is not defined is null."""
    told: list[dict[str, Any]] = [asdict(one) for one in rates]
    plain = [{key: None if value != value else value for key, value in one.items()} for one in told]
    return json.dumps({"version": 1, "win_rates": plain}, indent=1, ensure_ascii=False) + "\n"
