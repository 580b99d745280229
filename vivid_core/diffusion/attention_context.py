"""What the attention layers of a run know: which rules act now, on which rows and frames, and features of this step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .attention_rules import AnyRule, FrameRule, Rule, SplitRule, acts, kind_of, targets_of
from .layer_table import Layer, LayerTable
from .roles import Row

# How a row looks at keys, beyond what it takes from other rows: a row has at most one such rule in a layer.
Manner = FrameRule | SplitRule | Rule | None


@dataclass
class RuleContext:
    """One run's rules and where it is. `frames` are those of the clip, `size` the rows and columns of its latents,
    `rows` the rows of each role. Nothing in it outlives the step."""

    table: LayerTable
    rules: Sequence[AnyRule]
    rows: Mapping[str, tuple[Row, ...]]
    frames: int
    size: tuple[int, int]
    peak_bytes: int = 0  # of the features that it held
    batch: tuple[Row, ...] = ()
    part: range = field(default_factory=lambda: range(0))
    _acting: dict[Layer, list[AnyRule]] = field(default_factory=dict)
    _later_roles: frozenset[str] = frozenset()
    _later_frames: frozenset[int] = frozenset()
    _of_rows: dict[tuple[Layer, Row], Tensor] = field(default_factory=dict)
    _of_frames: dict[tuple[Layer, Row, int], Tensor] = field(default_factory=dict)
    _shares: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = field(default_factory=dict)

    def check(self, steps: int) -> None:
        """Raise ValueError for rules that name layers this U-Net hasn't, masks of another clip, or that would make one
        role look at keys in two manners at once."""
        for rule in self.rules:
            self._check_layers(rule)
            for mask in _masks_of(rule):
                if mask.shape[0] not in (1, self.frames):
                    raise ValueError(
                        f"Mask: got {mask.shape[0]} frames for a clip of {self.frames}; each frame needs one, so trim "
                        "both alike."
                    )
            if isinstance(rule, FrameRule) and rule.plan.frames != self.frames:
                raise ValueError(
                    f"Frame rule: it is for {rule.plan.frames} frames, but the clip has {self.frames}; plan it anew."
                )
        for step in range(steps):
            for rules in self._acting_at(step).values():
                _check_manners(rules)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that any rule is about."""
        return tuple(dict.fromkeys(layer for rule in self.rules for layer in self._layers_of(rule)))

    @property
    def held_bytes(self) -> int:
        """Bytes of the features that are held now."""
        tensors = [*self._of_rows.values(), *self._of_frames.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """One step: at its end all features are let go, whatever happens."""
        self._acting = self._acting_at(step)
        try:
            yield
        finally:
            self._acting = {}
            self._of_rows.clear()
            self._of_frames.clear()

    @contextmanager
    def calling(
        self, batch: tuple[Row, ...], part: range, later_roles: Sequence[str] = (), later_parts: Sequence[range] = ()
    ) -> Iterator[None]:
        """One call of the U-Net within a step, for these rows and frames. `later_roles` come in other calls of the same
        part, `later_parts` after all of them."""
        self.batch, self.part = batch, part
        self._later_roles = frozenset(later_roles)
        self._later_frames = self._seen_from(later_parts)
        try:
            yield
        finally:
            self.batch, self.part = (), range(0)

    def part_done(self, later_parts: Sequence[range]) -> None:
        """All roles were asked about a part: let go what no later one needs."""
        needed = self._seen_from(later_parts)
        self._of_rows.clear()
        self._of_frames = {key: kept for key, kept in self._of_frames.items() if key[2] in needed}

    def taking(self, layer: Layer, row: Row) -> list[Rule]:
        """The rules by which a row replaces some of its q, k and v, in their order."""
        return [rule for rule in self._rules_on(layer, row) if isinstance(rule, Rule) and not rule.joins]

    def manner(self, layer: Layer, row: Row) -> Manner:
        """The rule by which a row looks at keys, if any."""
        found = [rule for rule in self._rules_on(layer, row) if not isinstance(rule, Rule) or rule.joins]
        return found[0] if found else None

    def source_row(self, rule: Rule, row: Row) -> Row:
        """The row that `row` takes from: of its own half, if the source has two."""
        wanted = Row(rule.source, row.prompted)
        return wanted if wanted in self.rows[rule.source] else Row(rule.source)

    def keep(self, layer: Layer, hidden_rgnc: Tensor) -> None:
        """Keep of this call's hidden states [rows, groups, tokens, channels] what later calls of this step need."""
        acting = self._acting.get(layer, [])
        givers = {rule.source for rule in acting if isinstance(rule, Rule) and self._later_roles & set(rule.targets)}
        framed = {role for rule in acting if isinstance(rule, FrameRule) for role in rule.roles}
        for row, hidden in zip(self.batch, hidden_rgnc):
            if row.role in givers:
                self._of_rows[layer, row] = hidden.clone()  # a view would keep the whole batch alive
            if row.role in framed:
                for frame in self._later_frames.intersection(self.part):
                    self._of_frames[layer, row, frame] = hidden[frame - self.part.start].clone()
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def kept_row(self, layer: Layer, row: Row) -> Tensor:
        """Hidden states [groups, tokens, channels] of a row that was asked earlier in this step."""
        return self._of_rows[layer, row]

    def kept_frame(self, layer: Layer, row: Row, frame: int) -> Tensor:
        """Hidden states [tokens, channels] of a frame that was asked earlier in this step; let go if no later part
        needs them."""
        key = (layer, row, frame)
        return self._of_frames[key] if frame in self._later_frames else self._of_frames.pop(key)

    def share(self, mask_fhw: Tensor, layer: Layer, like: Tensor) -> Tensor:
        """How much of each token is marked, [groups, tokens] of this call, where and in what `like` is: frames x places
        in a spatial layer, places x frames in a temporal one."""
        key = (id(mask_fhw), layer.level, like.device, like.dtype)
        if key not in self._shares:
            resized = F.interpolate(mask_fhw[:, None].float(), layer.size(*self.size), mode="area")
            self._shares[key] = rearrange(resized, "f 1 h w -> f (h w)").expand(self.frames, -1).to(like)
        share = self._shares[key][self.part.start : self.part.stop]
        return share if layer.kind == "spatial" else share.T

    def _rules_on(self, layer: Layer, row: Row) -> list[AnyRule]:
        return [
            rule
            for rule in self._acting.get(layer, [])
            if row.role in targets_of(rule) and (row.prompted or not isinstance(rule, Rule) or rule.halves == "both")
        ]

    def _acting_at(self, step: int) -> dict[Layer, list[AnyRule]]:
        acting: dict[Layer, list[AnyRule]] = {}
        for rule in self.rules:
            for layer in self._layers_of(rule) if acts(rule, step) else ():
                acting.setdefault(layer, []).append(rule)
        return acting

    def _layers_of(self, rule: AnyRule) -> tuple[Layer, ...]:
        layers = self.table.of(kind_of(rule))
        return layers if rule.layers is None else tuple(layers[index] for index in rule.layers)

    def _check_layers(self, rule: AnyRule) -> None:
        count = len(self.table.of(kind_of(rule)))
        if not count:
            raise ValueError(
                "Rules: got one for attention over time, but this model has no motion modules; load a motion adapter "
                "with it."
            )
        wrong = [index for index in rule.layers or () if not 0 <= index < count]
        if wrong:
            raise ValueError(f"Rules: got {kind_of(rule)} layer {wrong[0]}; this model has 0 to {count - 1}.")

    def _seen_from(self, parts: Sequence[range]) -> frozenset[int]:
        """Frames that the frames of `parts` see outside of their own part."""
        framed = [rule for rules in self._acting.values() for rule in rules if isinstance(rule, FrameRule)]
        plans = {(rule.plan, rule.attended) for rule in framed}
        seen: set[int] = set()
        for part in parts:
            for plan, attended in plans:
                seen |= {at for frame in part for at in plan.seen(frame, attended) if at not in part}
        return frozenset(seen)


def _masks_of(rule: AnyRule) -> tuple[Tensor, ...]:
    if isinstance(rule, SplitRule):
        return rule.queries_fhw, rule.keys_fhw
    return (rule.region.mask_fhw,) if isinstance(rule, Rule) and rule.region is not None else ()


def _check_manners(rules: Sequence[AnyRule]) -> None:
    """The rules that act on one layer at one step."""
    manners: list[str] = []
    taking: set[str] = set()
    framed: set[str] = set()
    for rule in rules:
        if isinstance(rule, Rule) and not rule.joins:
            taking |= set(rule.targets)
            continue
        manners += targets_of(rule)
        framed |= set(rule.roles) if isinstance(rule, FrameRule) else set()
    twice = sorted({name for name in manners if manners.count(name) > 1} | (taking & framed))
    if twice:
        raise ValueError(
            f"Rules: {twice[0]} would look at keys in two ways in one layer at one step; let these rules act in "
            "different layers or steps."
        )
