"""Self-attention under rules, within frames and over time.

Both are the same on hidden states [rows, groups, tokens, channels] and differ only in what a group is: a frame whose
tokens are places, or a place whose tokens are frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from .attention_context import Manner, RuleContext
from .attention_rules import FrameRule, Region, Rule, SplitRule
from .layer_table import Layer
from .roles import Row

MARKED = 0.5  # a key's token counts as marked from this share on


@contextmanager
def attached(unet: nn.Module, context: RuleContext) -> Iterator[None]:
    """In this block the layers that the context's rules are about obey them; then their own processors are back."""
    with swapped(unet, {layer.name: RuledAttention(context, layer) for layer in context.layers}):
        yield


@contextmanager
def swapped(unet: nn.Module, processors: Mapping[str, Any]) -> Iterator[None]:
    """In this block the attention modules of these names have these processors; then they have their own again,
    whatever happens. A processor with an attribute `own` is told there what it stands for."""
    with ExitStack() as back:
        for name, processor in processors.items():
            attention: Any = unet.get_submodule(name)
            own = attention.processor
            back.callback(attention.set_processor, own)
            if hasattr(processor, "own"):
                processor.own = own
            attention.set_processor(processor)
        yield


class RuledAttention:
    """The processor of one layer. Hidden states are [(rows frames), places, channels] in a spatial layer, [(rows
    places), frames, channels] in a temporal one; where no rule acts the layer's own processor answers."""

    def __init__(self, context: RuleContext, layer: Layer) -> None:
        self.context, self.layer = context, layer
        self.own: Callable[..., Tensor] | None = None

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args: Any, **named: Any
    ) -> Tensor:
        assert self.own is not None
        context, layer = self.context, self.layer
        hidden = rearrange(hidden_states, "(r g) n c -> r g n c", r=len(context.batch))
        if any(context.taking(layer, row) or context.manner(layer, row) for row in context.batch):
            mixed = _Mixing(attn, hidden, context, layer).all()
            out = attn.to_out[1](attn.to_out[0](mixed))
            answer = rearrange(out, "r g n c -> (r g) n c") / attn.rescale_output_factor
        else:
            answer = self.own(attn, hidden_states, encoder_hidden_states, *args, **named)
        context.keep(layer, hidden)  # last, since what was read before may have been let go
        return answer


class _Mixing:
    """One layer's call: `hidden` [R, G, N, C] of the batch, its own q, k and v, and what the rules make of them."""

    def __init__(self, attn: Any, hidden: Tensor, context: RuleContext, layer: Layer) -> None:
        self.attn, self.context, self.layer = attn, context, layer
        self.batch = context.batch
        self.project: dict[str, Callable[[Tensor], Tensor]] = {"q": attn.to_q, "k": attn.to_k, "v": attn.to_v}
        self.own = {letter: project(hidden) for letter, project in self.project.items()}

    def all(self) -> Tensor:
        """The attended values of all rows, before the layer's last projection."""
        q, k, v = (self._taken(letter) for letter in ("q", "k", "v"))
        by_manner: dict[int, tuple[Manner, list[int]]] = {}
        for index, row in enumerate(self.batch):
            manner = self.context.manner(self.layer, row)
            by_manner.setdefault(id(manner), (manner, []))[1].append(index)
        mixed = torch.empty_like(q)
        for manner, rows in by_manner.values():
            if len(rows) == len(self.batch):
                return self._by(manner, rows, q, k, v)
            mixed[rows] = self._by(manner, rows, q[rows], k[rows], v[rows])
        return mixed

    def _by(self, manner: Manner, rows: list[int], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if isinstance(manner, FrameRule):
            return self._framed(manner, rows, q, k, v)
        if isinstance(manner, SplitRule):
            return self._split(manner, q, k, v)
        if isinstance(manner, Rule):
            return self._joined(manner, rows, q, k, v)
        return self._attend(q, k, v)

    def _taken(self, letter: str) -> Tensor:
        """q, k or v of all rows, after the rules that take it from other rows."""
        own = self.own[letter]
        made: dict[int, Tensor] = {}
        for index, row in enumerate(self.batch):
            for rule in self.context.taking(self.layer, row):
                if letter in rule.takes:
                    given = self._of_source(letter, rule, row)
                    made[index] = self._blended(made.get(index, own[index]), given, rule.region)
        if not made:
            return own
        return torch.stack([made.get(index, own[index]) for index in range(len(self.batch))])

    def _of_source(self, letter: str, rule: Rule, row: Row) -> Tensor:
        source = self.context.source_row(rule, row)
        if source in self.batch:
            return self.own[letter][self.batch.index(source)]
        return self.project[letter](self.context.kept_row(self.layer, source))

    def _blended(self, own: Tensor, given: Tensor, region: Region | None) -> Tensor:
        return given if region is None else torch.lerp(own, given, self._share(region, own)[..., None])

    def _share(self, region: Region, like: Tensor) -> Tensor:
        share = self.context.share(region.mask_fhw, self.layer, like)
        return share if region.inside else 1 - share

    def _joined(self, rule: Rule, rows: list[int], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """With keys and values of the source in front of the own ones."""
        given = [torch.stack([self._of_source(one, rule, self.batch[row]) for row in rows]) for one in ("k", "v")]
        keys, values = torch.cat([given[0], k], dim=2), torch.cat([given[1], v], dim=2)
        if rule.region is None:
            return self._attend(q, keys, values)
        seen = self._share(rule.region, q) >= MARKED
        return self._attend(q, keys, values, torch.cat([seen, torch.ones_like(seen)], dim=1))

    def _split(self, rule: SplitRule, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Marked queries see marked keys, the others the unmarked ones."""
        marked = self.context.share(rule.keys_fhw, self.layer, q) >= MARKED
        inside, outside = (self._attend(q, k, v, seen | ~seen.any(1, keepdim=True)) for seen in (marked, ~marked))
        return torch.lerp(outside, inside, self.context.share(rule.queries_fhw, self.layer, q)[..., None])

    def _framed(self, rule: FrameRule, rows: list[int], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Each frame with the keys and values of those that it attends to; frames that see equally many together."""
        here = list(self.context.part)
        seen = {frame: rule.plan.seen(frame, rule.attended) for frame in here}
        outside = sorted({at for frames in seen.values() for at in frames} - set(here))
        if outside:
            kept = torch.stack(
                [
                    torch.stack([self.context.kept_frame(self.layer, self.batch[row], at) for at in outside])
                    for row in rows
                ]
            )
            k, v = torch.cat([k, self.project["k"](kept)], dim=1), torch.cat([v, self.project["v"](kept)], dim=1)
        place = {frame: at for at, frame in enumerate([*here, *outside])}
        mixed = torch.empty_like(q)
        for count in {len(frames) for frames in seen.values()}:
            asking = [frame for frame in here if len(seen[frame]) == count]
            at = [place[frame] for frame in asking]
            keys = torch.tensor([[place[other] for other in seen[frame]] for frame in asking], device=q.device)
            found = (rearrange(given[:, keys], "r g s n c -> r g (s n) c") for given in (k, v))
            mixed[:, at] = self._attend(q[:, at], *found)
        return mixed

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
        """Attention [R, G, N, C]; `seen` [G, keys] says which keys there are for a group."""
        heads = self.attn.heads
        asked, keys, values = (rearrange(one, "r g n (h d) -> (r g) h n d", h=heads) for one in (q, k, v))
        bias = None
        if seen is not None:
            barred = torch.zeros(seen.shape, dtype=q.dtype, device=q.device).masked_fill(~seen, float("-inf"))
            bias = repeat(barred, "g n -> (r g) 1 1 n", r=len(q))
        mixed = torch.nn.functional.scaled_dot_product_attention(asked, keys, values, attn_mask=bias)
        return rearrange(mixed, "(r g) h n d -> r g n (h d)", r=len(q))
