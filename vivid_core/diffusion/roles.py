"""Roles of a denoising run: what each starts from and is told, which halves of guidance it needs, and until when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .attention_rules import AnyRule, Rule, acts, targets_of
from .ddim import Inversion

# What may correct latents after a step: (step, the latents it gave [1, C, F, h, w], the x0 it saw) -> these latents.
Correct = Callable[[int, Tensor, Tensor], Tensor]


class Row(NamedTuple):
    """One clip in a batch: a role in one half of guidance. A role that needs one half only has a prompted row."""

    role: str
    prompted: bool = True


@dataclass(frozen=True, eq=False)
class Role:
    """A clip on its way through denoising.

    It begins with `start` [1, C, F, h, w], or replays `stored` (z_0..z_S, as in `Inversion.latents`): then every step
    sees the stored latents, and nothing is advanced. Texts are [1, L, D] or [F, L, D]. Without a `negative_bld`, with
    the same text in both, or (unless it replays) with `guidance` 1 only its prompted half is asked, and serves both
    halves of the roles that take from it. `wanted` says whether its result is asked for; a role that isn't is dropped
    as soon as no rule needs it. `pinned` are frames whose latents are given at every time: z_0..z_S by the index of the
    frame, each [1, C, 1, h, w]. `correct` may change the latents after each step.

    Raises ValueError when it has not exactly one of `start` and `stored`, for a guidance below 1, and for a guidance
    above 1 without a negative text.
    """

    name: str
    text_bld: Tensor
    negative_bld: Tensor | None = None
    guidance: float = 1.0
    start: Tensor | None = None
    stored: Sequence[Tensor] | None = None
    wanted: bool = True
    pinned: Mapping[int, Sequence[Tensor]] = field(default_factory=dict)
    correct: Correct | None = None

    def __post_init__(self) -> None:
        if (self.start is None) == (self.stored is None):
            raise ValueError(f"Role {self.name}: it needs latents to start from or latents to replay, and not both.")
        if self.guidance < 1:
            raise ValueError(
                f"Guidance: got {self.guidance:g}; use 1 (the prompt alone, half the work) or more (7.5 is usual)."
            )
        if self.guidance > 1 and not self.replays and self.negative_bld is None:
            raise ValueError("Guidance above 1 needs a negative prompt, which may be empty: encode one, or use 1.")

    @classmethod
    def replay(cls, name: str, inversion: Inversion, text_bld: Tensor, wanted: bool = False) -> Role:
        """A source that shows its stored latents at every step, in one pass."""
        return cls(name, text_bld, stored=inversion.latents, wanted=wanted)

    @property
    def replays(self) -> bool:
        return self.stored is not None

    def text_of(self, row: Row) -> Tensor:
        """The text of one of its rows."""
        return self.text_bld if row.prompted or self.negative_bld is None else self.negative_bld

    def at(self, k: int, device: torch.device | str = "cpu") -> Tensor:
        """z_k of a role that replays, z_S of one that begins."""
        latents = self.start if self.stored is None else self.stored[k]
        assert latents is not None
        return (latents if latents.dtype == torch.float64 else latents.float()).to(device)


@dataclass(frozen=True)
class RolePlan:
    """Which roles are asked at each step (`asked`, each after those that it takes from), and in which rows."""

    asked: tuple[tuple[str, ...], ...]
    rows: Mapping[str, tuple[Row, ...]]

    @classmethod
    def make(cls, roles: Sequence[Role], rules: Sequence[AnyRule], steps: int) -> RolePlan:
        """The plan of a run. A role that replays is asked only at steps where a rule takes from it; one that is
        denoised and not wanted, until the last such step.

        Raises ValueError when two roles have one name, rules name a role that isn't there, or roles take from each
        other in a circle.
        """
        _check_names(roles, rules)
        taking = [rule for rule in rules if isinstance(rule, Rule)]
        denoised = {role.name for role in roles if not role.replays}
        wanted = {role.name for role in roles if role.wanted} & denoised
        asked: list[tuple[str, ...]] = []
        needed: set[str] = set()
        for step in reversed(range(steps)):
            acting = [rule for rule in taking if acts(rule, step)]
            needed = _with_sources(wanted | (needed & denoised), acting)
            asked.append(_sorted([role.name for role in roles if role.name in needed], acting))
        return cls(tuple(reversed(asked)), _rows(roles, taking))

    def rows_at(self, step: int) -> tuple[Row, ...]:
        """All rows of a step."""
        return tuple(row for name in self.asked[step] for row in self.rows[name])

    @property
    def most_rows(self) -> int:
        """How many rows the largest batch has when all roles are asked together."""
        return max((len(self.rows_at(step)) for step in range(len(self.asked))), default=0)

    @property
    def most_rows_of_one(self) -> int:
        """How many rows the largest batch has when the roles are asked one after the other."""
        return max((len(self.rows[name]) for names in self.asked for name in names), default=0)


def _check_names(roles: Sequence[Role], rules: Sequence[AnyRule]) -> None:
    names = [role.name for role in roles]
    if len(set(names)) != len(names):
        raise ValueError(f"Roles: got {', '.join(names)}; give each a name of its own.")
    for rule in rules:
        named = {*targets_of(rule), *((rule.source,) if isinstance(rule, Rule) else ())}
        if named - set(names):
            raise ValueError(
                f"Rules: got one for {', '.join(sorted(named - set(names)))}, but the roles are {', '.join(names)}; "
                "add that role, or leave the rule out."
            )


def _with_sources(needed: set[str], rules: Iterable[Rule]) -> set[str]:
    while True:
        more = needed | {rule.source for rule in rules if needed & set(rule.targets)}
        if more == needed:
            return needed
        needed = more


def _sorted(names: Sequence[str], rules: Sequence[Rule]) -> tuple[str, ...]:
    """Sources before those that take from them; otherwise in the order given."""
    left, done = list(names), []
    while left:
        free = [name for name in left if not any(name in rule.targets and rule.source in left for rule in rules)]
        if not free:
            raise ValueError(f"Rules: {', '.join(left)} take from each other in a circle; leave one of the rules out.")
        done += free
        left = [name for name in left if name not in free]
    return tuple(done)


def _rows(roles: Sequence[Role], rules: Sequence[Rule]) -> dict[str, tuple[Row, ...]]:
    guided = {
        role.name: role for role in roles if role.negative_bld is not None and (role.guidance > 1 or role.replays)
    }
    differing = {name for name, role in guided.items() if not _same(role.text_bld, role.negative_bld)}
    while True:  # what takes from a role with two halves has two itself, though both have one text
        more = {
            target
            for rule in rules
            for target in rule.targets
            if target in guided and (rule.source in differing or rule.halves != "both")
        }
        if more <= differing:
            break
        differing |= more
    return {
        role.name: (Row(role.name, False), Row(role.name)) if role.name in differing else (Row(role.name),)
        for role in roles
    }


def _same(one: Tensor, other: Tensor | None) -> bool:
    return one is other or (other is not None and one.shape == other.shape and torch.equal(one, other))
