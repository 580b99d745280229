"""Pix2Video as its paper tells it: one frame after the other, with a store of features of all steps.

What vivid_core's lockstep must give, too. Written apart from it: each frame is denoised from start to end by a U-Net
for single images, and notes the input of the attentions on the way up, for every step and both halves of guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Ask = Callable[..., Tensor]
Features = dict[tuple[int, str], Tensor]  # by step and layer: [halves, tokens, channels]
WAY_UP = tuple(
    f"up_blocks.{block}.attentions.{layer}.transformer_blocks.0.attn1" for block in (1, 2, 3) for layer in range(3)
)


@dataclass
class Naive:
    """The frames attended to besides, in the layers of these names, and the guided update of the early steps.

    After a run, `most_bytes` is what lay in stores at the worst time: the anchor's features, the last frame's, and
    those of the frame being made.
    """

    guidance: float = 7.5
    weight: float = 0.0122
    updated: int = 0  # steps
    layers: Sequence[str] = WAY_UP
    attended: tuple[str, ...] = ("anchor", "previous")
    most_bytes: int = 0
    _now: _Frame | None = field(default=None, repr=False)

    def run(
        self,
        unet: nn.Module,
        ask: Ask,
        times: Any,
        start: Tensor,
        texts: tuple[Tensor, Tensor],
        order: Sequence[tuple[int, int | None]] | None = None,
        given: dict[int, Sequence[Tensor]] | None = None,
    ) -> Tensor:
        """z_0 [1, C, F, h, w]; `texts` are the prompt's and the negative one's. `order` has pairs of a frame and the
        one before it (None: the anchor stands for it), the anchor first; `given` are z_0..z_S of known frames."""
        order = order or [(frame, frame - 1 if frame else None) for frame in range(start.shape[2])]
        made, clean, stores = start.clone(), {}, {}
        anchor = order[0][0]
        modules = {name: unet.get_submodule(name) for name in self.layers}
        before = {name: module.processor for name, module in modules.items()}
        for name, module in modules.items():
            module.set_processor(_Attention(self, name))
        try:
            for at, (frame, previous) in enumerate(order):
                known = (given or {}).get(frame)
                alone = frame == anchor or known is not None
                seen = [] if alone else [stores[one] for one in self._attended(anchor, previous)]
                self._now = _Frame(seen, "own" in self.attended and not alone)
                drawn_to = None if previous is None or known is not None else clean[previous]
                made[:, :, frame : frame + 1], clean[frame] = self._denoised(
                    ask, times, made, frame, texts, drawn_to, known
                )
                stores[frame] = self._now.features
                self.most_bytes = max(self.most_bytes, sum(map(_bytes, stores.values())))
                needed = {anchor} | {one for _, one in order[at + 1 :] if one is not None}
                stores = {one: kept for one, kept in stores.items() if one in needed}
        finally:
            for name, module in modules.items():
                module.set_processor(before[name])
        return made

    def _attended(self, anchor: int, previous: int | None) -> list[int]:
        named = {"anchor": anchor, "previous": anchor if previous is None else previous}
        return list(dict.fromkeys(named[word] for word in self.attended if word in named))

    def _denoised(
        self,
        ask: Ask,
        times: Any,
        start: Tensor,
        frame: int,
        texts: tuple[Tensor, Tensor],
        drawn_to: list[Tensor] | None,
        known: Sequence[Tensor] | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """z_0 of one frame, and what it pointed at in each step."""
        prompt, negative = texts
        where = slice(frame, frame + 1)
        latents, cleans = start[:, :, where], []
        assert self._now is not None
        for step, k in enumerate(reversed(range(1, times.steps + 1))):
            self._now.step = step
            latents = latents if known is None else known[k]
            both = ask(torch.cat([latents, latents]), times.timestep(k), [negative, prompt], where)
            eps = both[:1] + self.guidance * (both[1:] - both[:1])
            clean = times.clean(k, latents, eps) if known is None else known[0]
            latents = times.down(k, latents, eps)
            if drawn_to is not None and step < self.updated:
                latents = latents - self.weight * (clean - drawn_to[step])
            cleans.append(clean)
        return (latents if known is None else known[0]), cleans


@dataclass
class _Frame:
    """The frame being made: the stores that it looks at, and its own."""

    seen: list[Features]
    own_too: bool
    features: Features = field(default_factory=dict)
    step: int = 0


class _Attention:
    def __init__(self, naive: Naive, name: str) -> None:
        self.naive, self.name = naive, name

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        now = self.naive._now
        assert now is not None
        key = (now.step, self.name)
        now.features[key] = hidden_states.clone()
        others = [store[key] for store in now.seen]
        context = torch.cat([*others, *([hidden_states] if now.own_too or not others else [])], dim=1)
        heads = [
            part.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for part in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        ]
        return attn.to_out[0](F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def _bytes(features: Features) -> int:
    return sum(one.numel() * one.element_size() for one in features.values())
