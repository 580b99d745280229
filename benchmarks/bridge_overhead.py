"""What ComfyUI's memory costs in time: a denoising step through the bridge against the bare module, fully loaded."""

from __future__ import annotations

from typing import Any

from .timing import paired

GOAL = 1.03
ABOUT = {
    "measures": "a CogVideoX step loaded by ComfyUI and called through the bridge",
    "peer": "the bare module, called as a script would",
    "instead": "a pack that moves its modules itself, beside ComfyUI's memory",
    "goal": "at most 1.03x the time",
    "not_on_cuda": "its tests run there; the share of the bridge is largest where a step is short, on the CPU's size",
}


def run(full: bool) -> dict[str, Any]:
    from ._models import boot, forward, transformer

    bridge = boot()
    bare = transformer()
    model = bridge("patcher").manage(transformer(), role="denoiser")

    def through_the_bridge() -> None:
        with bridge("progress").ComfyRuntime(model).hold(model.module):
            forward(model.module)

    timed = paired(through_the_bridge, lambda: forward(bare), pairs=30 if full else 10)
    return {
        "name": "bridge_overhead",
        "ours": round(timed.ours_s, 3),
        "peer": round(timed.peer_s, 3),
        "ratio": round(timed.ratio, 3),
        "interval": [round(end, 3) for end in timed.interval],
        "goal": GOAL,
        "met": timed.ratio <= GOAL,
        "unit": "x",
        "what": "seconds of a denoising step (CogVideoX, 1024 wide, 1762 tokens) loaded by ComfyUI and called through "
        "its layers and attention, over the same module by itself",
    }
