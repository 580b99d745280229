"""Where a model sees what a word names: masks from its cross-attention (UniEdit, masks without a segmenter)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from ..diffusion.ddim import Ask, Inversion
from ..diffusion.layer_table import Layer, LayerTable
from ..models.clip_text import TOKENS
from ..runtime import Runtime
from .backbone import Backbone
from .clip_texts import ClipText
from .engine import TextEncoder
from .inverted import InvertedClip
from .texts import EmbeddedText

THRESHOLD = 0.4  # of the paper
LOOKS = 8  # times of the inversion at which is looked
CLEAREST = 16 * 16  # tokens of a layer that tells objects best: Stable Diffusion's third level at 512 x 512


def word_mask(
    backbone: Backbone,
    clip: InvertedClip,
    words: str,
    runtime: Runtime | None = None,
    threshold: float = THRESHOLD,
) -> Tensor:
    """Where the source pass of an inverted clip sees `words` of its source prompt: mask_fhw of 0 and 1, [F, h, w] at
    the size of the latents. Steps on `runtime`: `looks_for(clip.steps)`.

    Raises ValueError when the words are not in the source prompt, and as `mask_of` and `InvertedClip.asked` do.
    """
    tokens = places_of(words, clip.source, backbone.text)
    if not tokens:
        raise ValueError(
            f'Mask from a word: "{words}" is not in the source prompt "{clip.source}", or the model does not know it; '
            "say there what the clip shows, with the object in the same words, in Invert Clip."
        )
    with clip.asked(backbone, clip.plan.still, "Mask from a word") as asked:
        source, named = (clip.inversion, clip.text_bld), asked.named(1)
        found = attention_map(asked.backbone.unet, asked.ask, *source, tokens, asked.windows, runtime, **named)
    return mask_of(found, threshold)


def looks_for(steps: int) -> int:
    """How many times a clip of so many steps is looked at."""
    return len(looked_at(steps, LOOKS))


def places_of(words: str, text: str, encoder: TextEncoder | None) -> tuple[int, ...]:
    """Which tokens of a text are those of `words`, wherever they stand in it one after the other; none if nowhere, or
    if the encoder doesn't know them.

    Raises ValueError for a text encoder whose tokens can't be told.
    """
    if encoder is not None and encoder.unknown(words):
        return ()
    numbers = [_numbers(encoder, one) for one in (words, text, "")]
    wanted, given, empty = numbers
    before = next((at for at, pair in enumerate(zip(wanted, empty)) if pair[0] != pair[1]), len(wanted))
    count = next(n for n in range(len(wanted) + 1) if wanted[before + n :] == empty[before : len(empty) - n])
    tokens = wanted[before : before + count]
    if not tokens:
        return ()
    starts = [at for at in range(len(given)) if given[at : at + count] == tokens]
    return tuple(at + offset for at in starts for offset in range(count))


def _numbers(encoder: TextEncoder | None, text: str) -> list[int]:
    if isinstance(encoder, ClipText):
        return encoder.tokenize([text], TOKENS)[0].tolist()
    if isinstance(encoder, EmbeddedText):
        return encoder.words([text])[0].tolist()
    raise ValueError(
        "Mask from a word: the tokens of this text encoder can't be told; use the model's own text encoder, or a mask."
    )


@contextmanager
def watched(unet: nn.Module, layers: Sequence[Layer], tokens: Sequence[int]) -> Iterator[list[Tensor]]:
    """In this block each call of the cross-attention beside the spatial `layers` puts into the list how much every
    place looks at these tokens of the text: [rows, places], the mean over the heads and the tokens, float32 on the CPU.

    What the U-Net computes stays the same to the bit; its processors are put back whatever happens.
    """
    found = dict(unet.named_modules())
    crosses: list[Any] = [found[layer.name.removesuffix("attn1") + "attn2"] for layer in layers]
    originals = [cross.processor for cross in crosses]
    maps: list[Tensor] = []
    try:
        for cross, original in zip(crosses, originals):
            cross.set_processor(_Watching(original, tokens, maps.append))
        yield maps
    finally:
        for cross, original in zip(crosses, originals):
            cross.set_processor(original)


class _Watching:
    """A processor of diffusers that does what another one does, and looks at the map by itself."""

    def __init__(self, original: Any, tokens: Sequence[int], keep: Callable[[Tensor], None]) -> None:
        self._original, self._tokens, self._keep = original, list(tokens), keep

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        assert encoder_hidden_states is not None
        heads = {"h": attn.heads}
        query = rearrange(attn.to_q(hidden_states), "b n (h c) -> b h n c", **heads).float()
        key = rearrange(attn.to_k(encoder_hidden_states), "b l (h c) -> b h l c", **heads).float()
        seen = (query @ key.transpose(-1, -2) * attn.scale).softmax(-1)[..., self._tokens]
        self._keep(reduce(seen, "b h n l -> b n", "mean").cpu())
        return self._original(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


def clearest_layers(unet: nn.Module, height: int, width: int) -> tuple[Layer, ...]:
    """The layers whose number of tokens is nearest to 16 x 16 for latents of this size; those in the middle left out,
    of which there is one."""
    layers = LayerTable.make(unet).spatial
    levels = {layer.level for layer in layers} - {max(layer.level for layer in layers)}

    def apart(level: int) -> float:
        return abs(math.log(height * width / 4**level / CLEAREST))

    nearest = min(sorted(levels), key=apart)
    return tuple(layer for layer in layers if layer.level == nearest)


@torch.no_grad()
def attention_map(
    unet: nn.Module,
    ask: Ask,
    inversion: Inversion,
    text_bld: Tensor,
    tokens: Sequence[int],
    spans: Sequence[slice],
    runtime: Runtime | None = None,
    *,
    modules: Sequence[nn.Module] = (),
    activations: int = 0,
    device: torch.device | str = "cpu",
    looks: int = LOOKS,
) -> Tensor:
    """How much each place of a clip looks at `tokens` of its text, [F, h, w] in 0..1 over the clip.

    The clip is looked at on its way to noise, at `looks` of its times, at guidance 1: the pass of the source. The mean
    over these, the clearest layers, their heads and the tokens, brought to the size of the latents. `spans` are the
    frames that are asked at once. `modules` are held, with room for `activations` bytes; each look counts one step.
    """
    runtime = runtime or Runtime()
    frames, height, width = inversion.latents[0].shape[2:]
    layers = clearest_layers(unet, height, width)
    rows, columns = layers[0].size(height, width)
    total, seen = torch.zeros(frames, rows, columns), torch.zeros(frames, 1, 1)
    with runtime.hold(*modules, activations=activations), watched(unet, layers, tokens) as maps:
        for k in looked_at(inversion.times.steps, looks):
            for span in spans:
                ask(inversion.latents[k][:, :, span].to(device), inversion.times.timestep(k), (text_bld,), span)
                total[span] += rearrange(torch.stack(maps).mean(0), "f (r c) -> f r c", r=rows)
                seen[span] += 1
                maps.clear()
            runtime.advance()
    mean = F.interpolate((total / seen)[None], (height, width), mode="bilinear", align_corners=False)[0]
    lowest, highest = mean.min(), mean.max()
    return (mean - lowest) / (highest - lowest).clamp(min=torch.finfo(torch.float32).tiny)


def looked_at(steps: int, looks: int) -> list[int]:
    """Times k = 1..S, at most `looks` of them, spread over the middle three fifths: before it words are not settled in
    the noise, after it the picture is hardly asked what it shows."""
    first, last = 0.2 * steps, 0.8 * steps
    count = min(looks, steps)
    return sorted({min(max(round(first + (last - first) * (at + 0.5) / count), 1), steps) for at in range(count)})


def mask_of(map_fhw: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """The mask of a map: 1 where it reaches `threshold`, else 0.

    Raises ValueError for a threshold outside 0..1.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"Mask from a word: got the threshold {threshold:g}; use a number between 0 and 1.")
    return (map_fhw >= threshold).float()
