"""Pix2Video as its paper has it: frame after frame, each through all steps, with every feature of the others kept.

It is what going through all frames at once must be equal to (P5), and is there for nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ...diffusion.attention_processors import swapped
from ...diffusion.attention_rules import FramePlan
from ...diffusion.ddim import Inversion
from ...diffusion.guidance import guided
from ...diffusion.layer_table import LayerTable
from ...editors.backbone import Backbone
from ...editors.clip_windows import ClipAsk
from ...editors.inverted import InvertedClip
from ...editors.pix2video import Pix2VideoSettings, pix2video, plan_for
from ...runtime import Runtime

Features = dict[tuple[str, int, int], Tensor]  # of a layer, a step and a frame


def difference(backbone: Backbone, clip: InvertedClip, prompt: str, settings: Pix2VideoSettings) -> float:
    """The largest difference between latents that were made frame after frame and all at once, in fp64."""
    exact, double = _in_fp64(backbone), _clip_in_fp64(clip)
    at_once = pix2video(exact, double, prompt, settings=settings).latents
    return float((in_turn(exact, double, prompt, settings) - at_once).abs().max())


@torch.no_grad()
def in_turn(backbone: Backbone, clip: InvertedClip, prompt: str, settings: Pix2VideoSettings) -> Tensor:
    """z_0 [1, C, F, h, w] of the edit, frame after frame (Pix2Video, section 4)."""
    plan, runtime = plan_for(settings, clip.frame_count), Runtime()
    kept: Features = {}
    cleans: dict[tuple[int, int], Tensor] = {}
    latents = torch.zeros_like(clip.inversion.noisiest)
    with clip.asked(backbone, True, "Claims") as asked:
        texts = (backbone.encoded("", runtime), backbone.encoded(prompt, runtime))
        for frame in _order(plan):
            latents[:, :, frame : frame + 1] = _one(asked, clip, plan, frame, texts, settings, kept, cleans)
    return latents


def _one(
    asked: ClipAsk,
    clip: InvertedClip,
    plan: FramePlan,
    frame: int,
    texts: tuple[Tensor, Tensor],
    settings: Pix2VideoSettings,
    kept: Features,
    cleans: dict[tuple[int, int], Tensor],
) -> Tensor:
    times, at, unet = clip.inversion.times, slice(frame, frame + 1), asked.backbone.unet
    names = [layer.name for layer in LayerTable.make(unet).spatial if layer.index in settings.layers]
    seen, before = plan.seen(frame, settings.attended), plan.previous(frame)
    latents = clip.inversion.noisiest[:, :, at]
    for step in range(clip.steps):
        k = times.steps - step
        with swapped(unet, {name: _Keeping(name, step, frame, seen, kept) for name in names}):
            plain, told = asked.ask(torch.cat([latents, latents]), times.timestep(k), texts, at).chunk(2)
        eps = guided(plain, told, settings.guidance)
        cleans[frame, step] = times.clean(k, latents, eps)
        latents = times.down(k, latents, eps)
        if before is not None and step < round(settings.update_share * clip.steps):
            latents = latents - settings.update_weight * (cleans[frame, step] - cleans[before, step])
    return latents


class _Keeping:
    """A processor that keeps what its layer is given, and looks at what it was given for other frames."""

    def __init__(self, name: str, step: int, frame: int, seen: tuple[int, ...], kept: Features) -> None:
        self._name, self._step, self._frame, self._seen, self._kept = name, step, frame, seen, kept
        self.own: Callable[..., Tensor] | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **named: Any) -> Tensor:
        assert self.own is not None
        self._kept[self._name, self._step, self._frame] = hidden_states
        found = torch.stack([self._kept[self._name, self._step, frame] for frame in self._seen])
        return self.own(attn, hidden_states, rearrange(found, "s b n c -> b (s n) c"))


def _order(plan: FramePlan) -> list[int]:
    """The frames, each after those that it looks at."""
    done: list[int] = []
    while len(done) < plan.frames:
        left = [frame for frame in range(plan.frames) if frame not in done]
        done += [
            frame for frame in left if frame == plan.anchor or {plan.anchor, plan.previous(frame)} <= {*done, None}
        ]
    return done


def _in_fp64(backbone: Backbone) -> Backbone:
    """The image model of a backbone without motion modules; its VAE and text encoder stay as they are."""
    controlnet = None if backbone.controlnet is None else copy.deepcopy(backbone.controlnet).double()
    place = replace(backbone.place, dtype=torch.float64)
    return replace(backbone, unet=copy.deepcopy(backbone.unet).double(), controlnet=controlnet, place=place)


def _clip_in_fp64(clip: InvertedClip) -> InvertedClip:
    latents = tuple(one.double() for one in clip.inversion.latents)
    return replace(clip, inversion=Inversion(latents, clip.inversion.times))
