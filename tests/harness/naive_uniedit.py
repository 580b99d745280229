"""UniEdit as its paper tells it, with nothing saved: every role in both halves of guidance, at every step.

What vivid_core's branch engine must give, too, where it asks less. Written apart from it: layers by the order of calls,
rules as plain assignments between rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SOURCE, EDIT, MOTION = slice(0, 2), slice(2, 4), slice(4, 6)  # rows: without the prompt, with it
Ask = Callable[..., Tensor]


@dataclass(frozen=True)
class Naive:
    """Until which step (counted from the noisy end) each rule acts; `content_from` is the first layer of content.
    Masks are [F, h, w] at the size of the latents: the object in the source and in the result."""

    structure: int
    content: int = 0
    injection: int = 0
    content_from: int = 10
    background: int = 0
    guidance: float = 7.5
    motion: bool = False
    source_mask: Tensor | None = None
    target_mask: Tensor | None = None

    def run(
        self, unet: nn.Module, ask: Ask, times: Any, start: Tensor, texts: tuple[Tensor, Tensor, Tensor]
    ) -> list[Tensor]:
        """z_0 of source, edit and (in motion mode) motion reference; `texts` are the source's, the target's and the
        negative one."""
        source, target, negative = texts
        roles = 3 if self.motion else 2
        asked = [negative, source] + [negative, target] * (roles - 1)
        latents = [start.clone() for _ in range(roles)]
        acting = _Acting(self, unet, latents[0].shape)
        with acting:
            for step, k in enumerate(reversed(range(1, times.steps + 1))):
                acting.step = step
                both = torch.cat([latent for latent in latents for _ in range(2)])
                eps = ask(both, times.timestep(k), asked)
                for role in range(roles):
                    without, with_prompt = eps[2 * role : 2 * role + 1], eps[2 * role + 1 : 2 * role + 2]
                    guided = without + self.guidance * (with_prompt - without)
                    latents[role] = times.down(k, latents[role], guided)
        return latents


class _Acting:
    """Processors on all self-attention of a U-Net while it is open."""

    def __init__(self, naive: Naive, unet: nn.Module, shape: tuple[int, ...]) -> None:
        self.naive, self.frames, self.size = naive, shape[2], tuple(shape[3:])
        self.step = 0
        self._modules = {
            name: module
            for name, module in unet.named_modules()
            if name.endswith("attn1") or (name.endswith("attn2") and "motion_modules" in name)
        }
        self._before = {name: module.processor for name, module in self._modules.items()}
        self._order: list[str] = []  # of spatial layers, by their first calls

    def __enter__(self) -> None:
        for name, module in self._modules.items():
            module.set_processor(_Attention(self, name))

    def __exit__(self, *_: Any) -> None:
        for name, module in self._modules.items():
            module.set_processor(self._before[name])

    def index(self, name: str) -> int:
        if name not in self._order:
            self._order.append(name)
        return self._order.index(name)

    def tokens(self, mask_fhw: Tensor, count: int) -> Tensor:
        """[F, tokens] of a layer with so many tokens."""
        factor = round((self.size[0] * self.size[1] / count) ** 0.5)
        return F.avg_pool2d(mask_fhw[:, None], factor)[:, 0].flatten(1) if factor > 1 else mask_fhw.flatten(1)


class _Attention:
    def __init__(self, acting: _Acting, name: str) -> None:
        self.acting, self.name = acting, name

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        naive, frames = self.acting.naive, self.acting.frames
        temporal = "motion_modules" in self.name
        rows = 6 if naive.motion else 4
        query, key, value = (
            layer(hidden_states).unflatten(0, (rows, -1)) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        mixed: Tensor | None = None
        if temporal:
            self._take_motion(query, key)
        else:
            mixed = self._take_source(attn, query, key, value, frames)
        out = _attend(attn, query, key, value)
        if mixed is not None:
            out[EDIT] = mixed
        return attn.to_out[1](attn.to_out[0](out.flatten(0, 1)))

    def _take_motion(self, query: Tensor, key: Tensor) -> None:
        naive = self.acting.naive
        if not naive.motion or self.acting.step >= naive.injection:
            return
        share: Any = 1.0
        if naive.target_mask is not None:
            share = self.acting.tokens(naive.target_mask, query.shape[1]).T[None, :, :, None].to(query)
        for letter in (query, key):
            letter[EDIT] = share * letter[MOTION] + (1 - share) * letter[EDIT]

    def _take_source(self, attn: Any, query: Tensor, key: Tensor, value: Tensor, frames: int) -> Tensor | None:
        naive, step, index = self.acting.naive, self.acting.step, self.acting.index(self.name)
        of_source = [letter[SOURCE].clone() for letter in (query, key, value)]
        if step < naive.structure:
            for rows in (EDIT, MOTION) if naive.motion else (EDIT,):
                query[rows], key[rows] = of_source[0], of_source[1]
        if not naive.motion:
            if naive.source_mask is not None and step < naive.background:
                inside = self.acting.tokens(naive.source_mask, query.shape[2])[None, :, :, None].to(value)
                value[EDIT] = inside * value[EDIT] + (1 - inside) * of_source[2]
            return None
        if index < naive.content_from or step >= naive.content:
            return None
        value[EDIT] = of_source[2]
        if naive.source_mask is None or naive.target_mask is None:
            return None
        marked = self.acting.tokens(naive.source_mask, query.shape[2]) >= 0.5
        shown = self.acting.tokens(naive.target_mask, query.shape[2])[None, :, :, None].to(value)
        parts = []
        for wanted in (marked, ~marked):
            seen = torch.where(wanted.any(1, keepdim=True), wanted, True)  # a part without a key sees all
            parts.append(_attend(attn, query[EDIT], key[EDIT], value[EDIT], seen[None, :, None, None]))
        return shown * parts[0] + (1 - shown) * parts[1]


def _attend(attn: Any, query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None = None) -> Tensor:
    """[rows, groups, tokens, channels]; `seen` says which keys are looked at."""
    rows = query.shape[0]
    heads = [part.unflatten(-1, (attn.heads, -1)).transpose(2, 3) for part in (query, key, value)]
    if seen is not None:
        seen = seen.expand(rows, -1, attn.heads, query.shape[2], -1).flatten(0, 1)
    flat = [part.flatten(0, 1) for part in heads]
    out = F.scaled_dot_product_attention(*flat, attn_mask=seen)
    return out.unflatten(0, (rows, -1)).transpose(2, 3).flatten(3)
