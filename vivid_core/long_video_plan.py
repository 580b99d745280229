"""The plan of a long video in words, before anything of it is made: windows, keyframes, tokens, bytes, time."""

from __future__ import annotations

import math
from typing import Any

from .cost import Flops, Rates, run_flops, weight_bytes, window_tokens
from .cost_report import duration, shown, size
from .editors.engine import Engine
from .editors.footage import Footage
from .editors.kive_plan import describe
from .editors.kive_run import KiveRun, few

KEPT_BYTES = 2  # of one value of a finished window on disk


def plan_text(engine: Engine, footage: Footage, run: KiveRun, rates: Rates | None = None, where: str = "here") -> str:
    """What `run` will do and need; with `rates` how long it takes at the least, at the speed measured `where`.

    Raises ValueError for a model of no known family.
    """
    config: Any = engine.transformer.config
    guidance, steps = run.request.guidance, run.request.steps
    seen = [(one.length, run.size_of(one)) for one in run.windows]
    work, tokens = Flops(), []
    for length, pixels in seen:
        work += run_flops(engine.adapter, config, [length], pixels, steps, guidance.active)
        tokens.append(window_tokens(engine.adapter, config, length, pixels))
    lines = [
        _clip(footage, run, engine.adapter.traits.label),
        f"Tokens: {max(tokens, default=0):,} in the largest window, {sum(tokens):,} in all windows, in "
        f"{steps} steps {'with' if guidance.active else 'without'} guidance; {shown(work)} in all.",
        _memory(engine, footage, run),
        _disk(run),
    ]
    if rates is not None:
        lines.append(
            f"Time at the speed measured {where}, at the least: {duration(rates.seconds(work))}; VAE, reading and "
            "writing come on top."
        )
    if footage.lost:
        lines.append(f"Not kept of the video: {', '.join(footage.lost)}.")
    return "\n".join([*lines, *few(describe(run.windows).splitlines())])


def _clip(footage: Footage, run: KiveRun, label: str) -> str:
    count, height, width = footage.frames_fhwc.shape[:3]
    keys = ", ".join(map(str, run.request.keyframes.indices)) or "none"
    pace = "unevenly, on average " if footage.showing.timing is not None else ""
    longest = max((one.length for one in run.windows), default=0)
    return (
        f"Plan for {label}: {count} frames of {width}x{height}, {pace}{float(footage.rate):.5g} a second, "
        f"{float(footage.seconds):.5g} s; {_counted(len(footage.cuts) + 1, 'shot')}, "
        f"{_counted(len(run.windows), 'window')} of up to {longest} frames; keyframes: {keys}."
    )


def _memory(engine: Engine, footage: Footage, run: KiveRun) -> str:
    parts = {"transformer": engine.transformer, "VAE": engine.vae}
    weights = ", ".join(f"{name} {size(weight_bytes(module))}" for name, module in parts.items())
    guidance = run.request.guidance
    batch = 2 if guidance.active and guidance.batched else 1
    frames_for = engine.adapter.traits.frames_for
    beside = max(
        (engine.footprint.denoise(batch, frames_for(one.length), *run.size_of(one)) for one in run.windows), default=0
    )
    room = f"; beside them {size(beside)} for the largest window" if beside else ""
    pixels = math.prod(footage.frames_fhwc.shape[1:])
    clip = (
        f"{footage.held} decoded frames take {size(footage.held * pixels)} at the most, however long the video is"
        if footage.held
        else f"the frames take {size(4 * pixels * len(footage.frames_fhwc))}, since they came in memory"
    )
    return f"Memory: weights of {weights}{room}; {clip}."


def _disk(run: KiveRun) -> str:
    def kept(backward_only: bool) -> int:
        return sum(
            len(one.frames) * math.prod(run.size_of(one)) * 3 * KEPT_BYTES
            for one in run.windows
            if one.backward or not backward_only
        )

    waiting = f"; {size(kept(True))} more while it runs, for windows that run back in time" if kept(True) else ""
    return f"Disk: finished windows take {size(kept(False))} where they are kept for later runs{waiting}."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
