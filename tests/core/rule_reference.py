"""The rules again, as slowly and plainly as can be: one row at a time, one group at a time, explicit softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vivid_core.diffusion.attention_rules import AnyRule, Rule, SplitRule
from vivid_core.diffusion.ddim import Times
from vivid_core.diffusion.roles import Role

Half = tuple[str, bool]  # a role, and whether with its prompt


class Layer:
    """A processor for one layer of one kind that notes the hidden states of each half, and obeys the rules."""

    def __init__(self, run: Reference, kind: str, index: int) -> None:
        self.run, self.kind, self.index = run, kind, index

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        self.run.noted[self.kind, self.index, self.run.half] = hidden_states
        q, k, v = (self.taken(attn, letter, hidden_states) for letter in "qkv")
        if self.rules(SplitRule) or any(rule.joins for rule in self.rules(Rule)):
            mixed = torch.stack([self.group(attn, at, q[at], k[at], v[at]) for at in range(len(q))])
        else:
            mixed = self.softmax(attn, q, k, v)
        return attn.to_out[0](mixed)

    def rules(self, what: type) -> list[Any]:
        role, prompted = self.run.half
        return [
            rule
            for rule in self.run.rules
            if isinstance(rule, what)
            and rule.kind == self.kind
            and role in rule.targets
            and (rule.layers is None or self.index in rule.layers)
            and (rule.steps is None or self.run.step in rule.steps)
            and (prompted or getattr(rule, "halves", "both") == "both")
        ]

    def of_source(self, attn: Any, letter: str, rule: Rule) -> Tensor:
        noted = self.run.noted[self.kind, self.index, (rule.source, self.run.half[1])]
        return getattr(attn, f"to_{letter}")(noted)

    def taken(self, attn: Any, letter: str, hidden: Tensor) -> Tensor:
        own = getattr(attn, f"to_{letter}")(hidden)
        for rule in self.rules(Rule):
            if letter in rule.takes and not rule.joins:
                given = self.of_source(attn, letter, rule)
                if rule.region is None:
                    own = given
                else:
                    share = self.share(rule.region.mask_fhw, hidden)
                    share = share if rule.region.inside else 1 - share
                    own = share[..., None] * given + (1 - share[..., None]) * own
        return own

    def share(self, mask_fhw: Tensor, hidden: Tensor) -> Tensor:
        """[groups, tokens]; the test's masks and latents are squares with sides that halve evenly."""
        places = hidden.shape[1] if self.kind == "spatial" else hidden.shape[0]
        side = int(places**0.5)
        block = mask_fhw.shape[1] // side
        means = mask_fhw.reshape(len(mask_fhw), side, block, side, block).mean((2, 4)).double().flatten(1)
        return means if self.kind == "spatial" else means.T

    def group(self, attn: Any, at: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One frame's places, or one place's frames."""
        splits, joins = self.rules(SplitRule), [rule for rule in self.rules(Rule) if rule.joins]
        hidden = self.run.noted[self.kind, self.index, self.run.half]
        if splits:
            queries, keys = (self.share(mask, hidden)[at] for mask in (splits[0].queries_fhw, splits[0].keys_fhw))
            marked = [index for index in range(len(keys)) if keys[index] >= 0.5]
            others = [index for index in range(len(keys)) if keys[index] < 0.5]
            inside, outside = (
                self.softmax(attn, q, k[seen or slice(None)], v[seen or slice(None)]) for seen in (marked, others)
            )
            return queries[:, None] * inside + (1 - queries[:, None]) * outside
        for rule in joins:
            given = [self.of_source(attn, letter, rule)[at] for letter in "kv"]
            if rule.region is not None:
                share = self.share(rule.region.mask_fhw, hidden)[at]
                share = share if rule.region.inside else 1 - share
                given = [one[share >= 0.5] for one in given]
            k, v = torch.cat([k, given[0]]), torch.cat([v, given[1]])
        return self.softmax(attn, q, k, v)

    def softmax(self, attn: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        width = q.shape[-1] // attn.heads
        heads = [slice(head * width, (head + 1) * width) for head in range(attn.heads)]
        maps = [(q[..., at] @ k[..., at].transpose(-1, -2) / width**0.5).softmax(-1) for at in heads]
        return torch.cat([map_of_one @ v[..., at] for map_of_one, at in zip(maps, heads)], dim=-1)


class Reference:
    """What is going on: the step, the half that is asked, and what was noted in this step."""

    def __init__(self, rules: Sequence[AnyRule]) -> None:
        self.rules, self.step, self.half = rules, 0, ("", True)
        self.noted: dict[tuple[str, int, Half], Tensor] = {}


@torch.no_grad()
def reference(unet: Any, times: Times, roles: Sequence[Role], rules: Sequence[AnyRule]) -> dict[str, Tensor]:
    """The latents of all roles at the end, each half of each asked alone: "source" first, then "motion"."""
    run, before = Reference(rules), dict(unet.attn_processors)
    unet.set_attn_processor(_all_layers(unet, run))
    latents = {role.name: role.at(times.steps) for role in roles}
    try:
        for run.step in range(times.steps):
            k = times.steps - run.step
            for role in sorted(roles, key=lambda one: ("source", "motion", "edit").index(one.name)):
                seen = role.at(k) if role.replays else latents[role.name]
                said = []
                for prompted in (False, True):
                    run.half = (role.name, prompted)
                    words = role.text_bld if prompted or role.negative_bld is None else role.negative_bld
                    words = words.expand(seen.shape[2], -1, -1)
                    said.append(unet(seen, times.timestep(k), words, return_dict=False)[0])
                if not role.replays:
                    eps = said[0] + role.guidance * (said[1] - said[0])
                    latents[role.name] = times.down(k, seen, eps)
    finally:
        unet.set_attn_processor(before)
    return latents


def _all_layers(unet: Any, run: Reference) -> dict[str, Any]:
    """Processors of all self-attentions by hand: the order of calls, without the table that is tested."""
    spatial, temporal = [], []
    blocks = [*(f"down_blocks.{at}" for at in range(4)), "mid_block", *(f"up_blocks.{at}" for at in range(4))]
    for block in blocks:
        for name in (one for one in unet.attn_processors if one.startswith(block)):
            if ".motion_modules." in name:
                temporal.append(name)
            elif ".attn1." in name:
                spatial.append(name)
    processors = dict(unet.attn_processors)
    processors |= {name: Layer(run, "spatial", index) for index, name in enumerate(spatial)}
    return processors | {name: Layer(run, "temporal", index) for index, name in enumerate(temporal)}
