"""One window through the model: what it sees, the key of that, and what it makes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion import schedulers
from ..diffusion.denoise import denoise, generator_for, noise
from ..runtime import Runtime
from ..video.keyframes import Keyframe, Keyframes
from .contract import SettledRequest, with_keys
from .drift import Drift, measured_drift
from .engine import Engine
from .window_store import rounded

FORM = "vivid window 1"  # to be changed with anything that changes what a window gives
SEEDS = 2**64


@dataclass(frozen=True)
class SeenWindow:
    """A window as the model sees it: at its size, in the order of its run, padded to the frame rule.

    `mask_fhw` is the edit mask, also on `anchors` (counted in the window), where it shows no hole. The first `count`
    frames are not padding. `place` says where in the clip the window lies, `offset` how many frames its run has before
    it.
    """

    frames_fhwc: Tensor
    mask_fhw: Tensor
    anchors: Keyframes
    count: int
    place: str
    offset: int


def seen_window(
    frames_fhwc: Tensor, mask_fhw: Tensor, anchors: dict[int, Tensor], pad: int, place: str, offset: int
) -> SeenWindow:
    """Pads by repeating the last frame; behind a known frame the repeated ones are known, too.

    `anchors` are image_hwc by their index in the window.
    """
    count = len(frames_fhwc)
    if pad:
        frames_fhwc, mask_fhw = (
            torch.cat([part, part[-1:].expand(pad, *part.shape[1:])]) for part in (frames_fhwc, mask_fhw)
        )
    known = dict(anchors)
    if count - 1 in known:
        known |= dict.fromkeys(range(count, count + pad), known[count - 1])
    keys = Keyframes(Keyframe(index, image) for index, image in known.items())
    return SeenWindow(frames_fhwc, mask_fhw, keys, count, place, offset)


def content_key(engine: Engine, request: SettledRequest, seen: SeenWindow, colour_match: bool) -> str:
    """The SHA-256 of all that decides what `run_window` gives: the model, the settings and what it sees."""
    settings = (
        FORM,
        engine.identity,
        engine.adapter,
        engine.place,
        engine.vae_place,
        (request.seed, request.steps, request.guidance, request.sampler, colour_match),
        (seen.place, seen.offset, seen.count, seen.anchors.indices),
    )
    digest = hashlib.sha256(repr(_told(settings)).encode())
    frames, mask = with_keys(seen.frames_fhwc, seen.mask_fhw, seen.anchors)
    # The mask on the anchors is no hole, but says where colours are compared.
    for tensor in (frames, mask, seen.mask_fhw, request.prompt_bld, request.negative_bld):
        digest.update(repr(None if tensor is None else tensor.shape).encode())
        if tensor is not None:
            digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def run_window(
    engine: Engine, request: SettledRequest, seen: SeenWindow, colour_match: bool, runtime: Runtime
) -> tuple[Tensor, Drift | None]:
    """What the model makes of a window: its frames without padding, float32 in whole 65535ths, and how far their
    colours had drifted, which is undone. Counts `request.steps` on `runtime`.

    All noise comes from the run's seed plus the window's `offset`, so a window alone gives the same as in a full run,
    and the same forward as backward in time. Raises ValueError when the model or the VAE returns NaN.
    """
    adapter, sizes = engine.adapter, tuple(seen.frames_fhwc.shape[:3])
    generator = generator_for((request.seed + seen.offset) % SEEDS)
    start = noise(adapter.noise_shape(*sizes), generator, engine.place.device)
    with runtime.hold(engine.vae, activations=engine.footprint.encode(1, *sizes)):
        condition = adapter.condition(
            seen.frames_fhwc, seen.mask_fhw, seen.anchors, engine.vae, engine.vae_place, generator
        )
    predict = adapter.predictor(engine.transformer, condition, request.prompt_bld, request.negative_bld, engine.place)
    batch = 2 if request.guidance.active and request.guidance.batched else 1
    latents = denoise(
        predict,
        schedulers.make(adapter.traits.schedule, request.sampler),
        start,
        request.steps,
        request.guidance,
        generator,
        runtime,
        (engine.transformer,),
        engine.footprint.denoise(batch, *sizes),
    )
    with runtime.hold(engine.vae, activations=engine.footprint.decode(1, *sizes)):
        decoded = adapter.decode(latents, sizes[0], engine.vae, engine.vae_place)[: seen.count]
    if not bool(torch.isfinite(decoded).all()):
        raise ValueError(
            "Decoding: the VAE returned NaN (not a number) values; run it in bf16 or fp32 instead of fp16, and check "
            "that its weights are complete."
        )
    drift = _drift(decoded, seen) if colour_match else None
    return rounded(decoded if drift is None else drift.transform.apply(decoded)), drift


def _told(value: Any) -> Any:
    """Settings in a form that is the same in every process: diffusers' configs hold private lists in random order."""
    if is_dataclass(value):
        return type(value).__name__, [(one.name, _told(getattr(value, one.name))) for one in fields(value) if one.repr]
    if isinstance(value, Mapping):
        return sorted((str(name), _told(one)) for name, one in value.items() if not str(name).startswith("_"))
    if isinstance(value, tuple | list):
        return [_told(one) for one in value]
    return repr(value)


def _drift(decoded_fhwc: Tensor, seen: SeenWindow) -> Drift | None:
    anchors = [key for key in seen.anchors if key.index < seen.count]
    if not anchors:
        return None
    at = [key.index for key in anchors]
    return measured_drift(decoded_fhwc[at], torch.stack([key.image_hwc for key in anchors]), seen.mask_fhw[at])
