"""What one role's attention takes from another's, as data: which layers, which steps, which of q, k and v, where.

A *role* is a clip on its way through denoising ("source", "edit", "motion"). Rules read what the roles' own hidden
states give before any rule acts, so their order matters only where two act on the same tensor: the later one then acts
on what the earlier one left. Steps are counted from the noisy end, from 0; layers as in `layer_table`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .layer_table import Kind

Letter = Literal["q", "k", "v"]
Halves = Literal["both", "prompted"]
Attended = Literal["anchor", "previous", "own"]
Order = Literal["outward", "forward", "reverse"]

LETTERS: tuple[Letter, ...] = ("q", "k", "v")
DECODER = range(7, 16)  # the spatial layers on the way up


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the clip, for one rule: where `mask_fhw` [F, H, W] is 1, or where it is 0 if not `inside`. It may have
    any size; a layer sees for each of its tokens the share that is marked."""

    mask_fhw: Tensor
    inside: bool = True


@dataclass(frozen=True, eq=False)
class Rule:
    """In `layers` (None: all) and at `steps` (None: all), the `targets` take those of q, k, v that `takes` names from
    `source`, frame by frame.

    Without a `region` they are replaced; with one, blended by it token by token: marked tokens come from the source,
    the others stay. If `joins`, keys and values of the source stand beside the target's own instead, and `region` says
    which of the source's tokens may be looked at. With `halves` "prompted" the half of guidance without the prompt
    stays as it is.

    Raises ValueError when nothing is taken, when only one of keys and values would be joined, or when a role would take
    from itself.
    """

    kind: Kind
    takes: frozenset[Letter]
    source: str
    targets: tuple[str, ...]
    layers: tuple[int, ...] | None = None
    steps: range | None = None
    region: Region | None = None
    joins: bool = False
    halves: Halves = "both"

    def __post_init__(self) -> None:
        if not self.takes or not self.takes <= set(LETTERS):
            raise ValueError(f"Rule: got {sorted(self.takes)} to take from {self.source}; name some of q, k and v.")
        if self.joins and self.takes != {"k", "v"}:
            raise ValueError(f"Rule: got {sorted(self.takes)} to join; keys and values are joined together.")
        if self.source in self.targets:
            raise ValueError(f"Rule: {self.source} would take from itself; name other targets.")


@dataclass(frozen=True, eq=False)
class SplitRule:
    """Attention in two parts (UniEdit's masked attention): marked queries see only marked keys, the others only
    unmarked ones. It acts on what the rules left.

    `queries_fhw` and `keys_fhw` are masks [F, H, W] of any size; the outcome of both parts is blended by the share of a
    query's token that is marked, a key's token counts as marked from one half on. Where a part has no keys at all, its
    queries see all of them.
    """

    kind: Kind
    targets: tuple[str, ...]
    queries_fhw: Tensor
    keys_fhw: Tensor
    layers: tuple[int, ...] | None = None
    steps: range | None = None


@dataclass(frozen=True)
class FramePlan:
    """In which order the frames of a clip depend on each other: the anchor comes first, each other frame looks back at
    one neighbour. `outward` goes from the anchor to both ends, `forward` from the first frame to the last, `reverse`
    the other way. The `given` frames, besides the anchor, look at themselves alone."""

    frames: int
    anchor: int
    order: Order = "outward"
    given: frozenset[int] = frozenset()

    @classmethod
    def make(
        cls, frames: int, anchor: int | None = None, order: Order = "outward", given: Iterable[int] = ()
    ) -> FramePlan:
        """A plan whose anchor is by default the first frame in its order.

        Raises ValueError when the anchor is no frame of the clip.
        """
        if anchor is None:
            anchor = frames - 1 if order == "reverse" else 0
        if not 0 <= anchor < frames:
            raise ValueError(f"Anchor: got frame {anchor} of a clip of {frames}; use 0 to {frames - 1}.")
        return cls(frames, anchor, order, frozenset(given))

    def previous(self, frame: int) -> int | None:
        """The frame that `frame` looks back at; None for the anchor and for one that begins a direction."""
        falling = self.order == "reverse" or (self.order == "outward" and frame < self.anchor)
        found = frame + 1 if falling else frame - 1
        return found if frame != self.anchor and 0 <= found < self.frames else None

    def seen(self, frame: int, attended: Iterable[Attended]) -> tuple[int, ...]:
        """Which frames `frame` attends to, each once; the anchor sees itself alone, and a frame without a previous one
        sees the anchor in its place."""
        if frame == self.anchor or frame in self.given:
            return (frame,)
        before = self.previous(frame)
        named = {"anchor": self.anchor, "previous": self.anchor if before is None else before, "own": frame}
        return tuple(dict.fromkeys(named[word] for word in attended))

    def parts(self, size: int | None = None) -> list[slice]:
        """All frames in parts of at most `size` neighbours, such that what a frame looks back at is in its own part or
        in one before it. None is one part.

        Raises ValueError for a size below 1.
        """
        size = self.frames if size is None else size
        if size < 1:
            raise ValueError(f"Frames at once: got {size}; use 1 or more.")
        if size >= self.frames:
            return [slice(0, self.frames)]
        return [part for run in self._runs() for part in _cut(run, size)]

    def _runs(self) -> list[range]:
        """Neighbours in the order in which they are made, the anchor first."""
        first, stop, anchor = 0, self.frames, self.anchor
        if self.order == "forward":
            runs = [range(anchor, anchor + 1), range(first, anchor), range(anchor + 1, stop)]
            return [range(first, stop)] if anchor == first else runs
        if self.order == "reverse":
            runs = [range(anchor, anchor + 1), range(anchor + 1, stop)[::-1], range(first, anchor)[::-1]]
            return [range(first, stop)[::-1]] if anchor == stop - 1 else runs
        return [range(anchor, stop), range(first, anchor)[::-1]]


def _cut(run: range, size: int) -> list[slice]:
    parts = [run[at : at + size] for at in range(0, len(run), size)]
    return [slice(min(part), max(part) + 1) for part in parts]


@dataclass(frozen=True)
class FrameRule:
    """In spatial `layers` and at `steps` (None: all), each frame of `roles` gets its keys and values from the frames
    that `attended` names, of its own role and half, instead of from itself (Pix2Video)."""

    plan: FramePlan
    roles: tuple[str, ...]
    attended: tuple[Attended, ...] = ("anchor", "previous")
    layers: tuple[int, ...] = tuple(DECODER)
    steps: range | None = None

    def __post_init__(self) -> None:
        if not self.attended:
            raise ValueError("Frame rule: got no frames to attend to; name some of anchor, previous and own.")


AnyRule = Rule | SplitRule | FrameRule


def targets_of(rule: AnyRule) -> tuple[str, ...]:
    """The roles on whose attention a rule acts."""
    return rule.roles if isinstance(rule, FrameRule) else rule.targets


def kind_of(rule: AnyRule) -> Kind:
    """Whether a rule is about attention within frames or over time."""
    return "spatial" if isinstance(rule, FrameRule) else rule.kind


def acts(rule: AnyRule, step: int) -> bool:
    """Whether a rule acts at this step."""
    return rule.steps is None or step in rule.steps
