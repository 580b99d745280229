"""What an edit costs, before it is run: operations, bytes, and seconds at a rate that was measured.

Operations are floating point ones of the denoising transformer, a multiplication and an addition counted as two. The
figures that VIVID publishes (17.1 and 1.5 PFLOPs) are those of the linear layers alone; attention, which grows with the
square of the tokens, is as much again in a clip of 49 frames, so both are kept apart here. VAE and text encoder are
not counted: they run once, not in each step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .diffusion.guidance import Guidance
from .editors.contract import Adapter, Place

PETA = 1e15
RATE_TOKENS = 2048  # enough to keep a device busy, little enough to be done at once
RATE_SECONDS = 0.25


@dataclass(frozen=True)
class Flops:
    """Floating point operations: those of linear layers, and those of attention's two products."""

    linear: float = 0.0
    attention: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return self.linear + self.attention

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.linear + other.linear, self.attention + other.attention)

    def __mul__(self, times: float) -> Flops:
        return Flops(self.linear * times, self.attention * times)


@dataclass(frozen=True)
class Tries:
    """The two ways to an edit that took `count` tries: each try a whole clip, or each one frame and one clip at the
    end (KIVE). `keyframe` and `clip` are what one of each costs."""

    keyframe: Flops
    clip: Flops
    count: int

    @property
    def direct(self) -> Flops:
        """Every try on the whole clip."""
        return self.clip * self.count

    @property
    def kive(self) -> Flops:
        """Every try on the keyframe, then the clip once."""
        return self.keyframe * self.count + self.clip

    @property
    def worth_it_from(self) -> int | None:
        """The number of tries from which KIVE costs less; None where one frame costs as much as the clip."""
        saved = self.clip.total - self.keyframe.total
        return math.floor(self.clip.total / saved) + 1 if saved > 0 else None


@dataclass(frozen=True)
class Rates:
    """Operations a second in linear layers and in attention."""

    linear: float
    attention: float

    def seconds(self, flops: Flops) -> float:
        """How long these take at the least: nothing but products is in the rates."""
        return flops.linear / self.linear + flops.attention / self.attention


def forward_flops(config: Mapping[str, Any], frames: int, height: int, width: int, text_tokens: int) -> Flops:
    """One prediction of a CogVideoX or Wan VACE transformer of these settings, for one prompt.

    `frames`, `height` and `width` are those of the latents, padding for patches of two frames included.

    Raises ValueError when the settings are those of no family known here.
    """
    if "num_layers" not in config or "attention_head_dim" not in config:
        raise ValueError(
            "Cost: these settings have no num_layers and attention_head_dim; give those of a CogVideoX or Wan VACE "
            "transformer."
        )
    by_family = _wan_vace if "vace_layers" in config else _cogvideox
    return by_family(config, frames, height, width, text_tokens)


def run_flops(
    adapter: Adapter, config: Mapping[str, Any], lengths: Sequence[int], size: tuple[int, int], steps: int, guided: bool
) -> Flops:
    """A run over windows of these numbers of frames, all of `size` (height, width) in pixels as the model sees them.

    With guidance each step asks twice.
    """
    total, text = Flops(), adapter.traits.text_tokens
    for length in lengths:
        _, frames, _, height, width = adapter.noise_shape(adapter.traits.frames_for(length), *size)
        total += forward_flops(config, frames, height, width, text) * (steps * (2 if guided else 1))
    return total


def window_tokens(adapter: Adapter, config: Mapping[str, Any], length: int, size: tuple[int, int]) -> int:
    """How many tokens the transformer sees at once in a window of `length` frames of `size` (height, width) in pixels:
    patches, and the text where it is in one sequence with them."""
    _, frames, _, height, width = adapter.noise_shape(adapter.traits.frames_for(length), *size)
    patches = _patches(config, frames, height, width)
    return patches if "vace_layers" in config else patches + adapter.traits.text_tokens


def tries_flops(
    adapter: Adapter,
    config: Mapping[str, Any],
    lengths: Sequence[int],
    size: tuple[int, int],
    tries: int,
    steps: int | None = None,
    guidance: Guidance | None = None,
) -> Tries:
    """KIVE against direct editing, with the family's own steps and guidance where these are None; as `run_flops`.

    Raises ValueError for less than one try or one step.
    """
    steps = adapter.traits.steps if steps is None else steps
    guided = (guidance or adapter.traits.guidance).active
    if tries < 1 or steps < 1:
        raise ValueError(f"Cost: got {tries} tries of {steps} steps; both must be at least 1.")
    keyframe = run_flops(adapter, config, [1], size, steps, guided)
    return Tries(keyframe, run_flops(adapter, config, lengths, size, steps, guided), tries)


def weight_bytes(module: nn.Module, dtype: torch.dtype | None = None) -> int:
    """The memory of a module's weights, as they are or, those with fractions, in `dtype`. Works on the meta device."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(_width(tensor, dtype) * tensor.numel() for tensor in tensors)


@torch.no_grad()
def measured_rates(
    config: Mapping[str, Any],
    place: Place,
    clock: Callable[[], float] = time.perf_counter,
    seconds: float = RATE_SECONDS,
) -> Rates:
    """What `place` reaches in products of the model's own width: about half a second of work and a few megabytes."""
    inner, head = _width_inside(config), int(config["attention_head_dim"])
    tokens = torch.ones(RATE_TOKENS, inner, device=place.device, dtype=place.dtype)
    weight = torch.ones(4 * inner, inner, device=place.device, dtype=place.dtype)
    heads = tokens.view(1, RATE_TOKENS, -1, head).transpose(1, 2)

    def attend() -> Tensor:
        return nn.functional.scaled_dot_product_attention(heads, heads, heads)

    linear = _each(lambda: nn.functional.linear(tokens, weight), place, clock, seconds)
    attention = _each(attend, place, clock, seconds)
    return Rates(2.0 * RATE_TOKENS * weight.numel() / linear, 4.0 * RATE_TOKENS**2 * inner / attention)


def _each(work: Callable[[], Tensor], place: Place, clock: Callable[[], float], seconds: float) -> float:
    """Seconds of one call; the first one, which may compile or choose a kernel, doesn't count."""
    work()
    _finish(place)
    calls, began = 0, clock()
    while (spent := clock() - began) < seconds or not calls:
        work()
        _finish(place)
        calls += 1
    return spent / calls


def _finish(place: Place) -> None:
    """Wait for a device that works on its own."""
    if place.device.type != "cpu":
        torch.get_device_module(place.device).synchronize(place.device)


def _width(tensor: Tensor, dtype: torch.dtype | None) -> int:
    return dtype.itemsize if dtype is not None and tensor.is_floating_point() else tensor.element_size()


def _width_inside(config: Mapping[str, Any]) -> int:
    return int(config["num_attention_heads"]) * int(config["attention_head_dim"])


def _patch(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Frames, rows and columns of the latents that make one token."""
    patch = config.get("patch_size", 2)
    return (config.get("patch_size_t") or 1, patch, patch) if isinstance(patch, int) else tuple(patch)


def _patches(config: Mapping[str, Any], frames: int, height: int, width: int) -> int:
    """How many tokens latents of this size are."""
    return math.prod(size // step for size, step in zip((frames, height, width), _patch(config)))


def _cogvideox(config: Mapping[str, Any], frames: int, height: int, width: int, text_tokens: int) -> Flops:
    """Text and patches go through the same layers, in one sequence."""
    inner, layers, time_width = _width_inside(config), config["num_layers"], config.get("time_embed_dim", 512)
    video, cells = _patches(config, frames, height, width), math.prod(_patch(config))
    tokens = video + text_tokens
    for_token = 12 * inner**2 * layers  # queries, keys, values and result; and a feed-forward four times as wide
    for_patch = inner * cells * (config["in_channels"] + config["out_channels"])
    for_text = inner * config.get("text_embed_dim", 4096)
    once = time_width * (inner + time_width) + time_width * inner * (12 * layers + 2)  # the time, and what it modulates
    return Flops(
        2.0 * (for_token * tokens + for_patch * video + for_text * text_tokens + once),
        4.0 * tokens**2 * inner * layers,
    )


def _wan_vace(config: Mapping[str, Any], frames: int, height: int, width: int, text_tokens: int) -> Flops:
    """Patches see themselves, and the text beside; the control goes through blocks of its own."""
    inner, control_blocks = _width_inside(config), len(config["vace_layers"])
    blocks = config["num_layers"] + control_blocks
    video, cells = _patches(config, frames, height, width), math.prod(_patch(config))
    for_block = 6 * inner**2 + 2 * inner * config["ffn_dim"]
    for_patch = inner * cells * (config["in_channels"] + config["vace_in_channels"] + config["out_channels"])
    joints = inner**2 * (control_blocks + 1)  # the control enters once and leaves at each of its blocks
    for_text = inner * config["text_dim"] + inner**2 + 2 * inner**2 * blocks
    once = inner * config["freq_dim"] + inner**2 + 6 * inner**2
    return Flops(
        2.0 * ((for_block * blocks + for_patch + joints) * video + for_text * text_tokens + once),
        4.0 * video * (video + text_tokens) * inner * blocks,
    )
