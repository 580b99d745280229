"""Pix2Video with all frames in lockstep against frame by frame with a store of features, as the paper has it.

Both compute the same; what differs is how often weights are read, once a step or once a frame and step, and that keys
and values are projected once. So the frames are small: there, as where weights are streamed, reading them counts. Large
frames gain little.
"""

from __future__ import annotations

import time
from typing import Any

from .timing import paired

GOAL = 1.2
CHANNELS, SIDE = (256, 512, 1024, 1024), 16  # 0.8 times as wide as Stable Diffusion, frames of 128x128
STEPS, UPDATED, FRAMES = 2, 1, 5
AT_LEAST_S = 0.5  # of one call of the U-Net; shorter ones would measure Python


def run(full: bool) -> dict[str, Any]:
    import torch

    from ._unets import asking, clip_and_texts, frame_by_frame, image_unet, lockstep

    unet = image_unet(CHANNELS)
    latents, texts = clip_and_texts(1, SIDE)

    def ours() -> Any:
        return lockstep(unet, STEPS, FRAMES, SIDE, UPDATED).run()["edit"]

    def theirs() -> Any:
        return frame_by_frame(unet, STEPS, FRAMES, SIDE, UPDATED)[0]

    wanted = theirs()
    difference = float((ours() - wanted).abs().max() / wanted.abs().max())
    with torch.no_grad():
        begin = time.perf_counter()
        asking(unet)(torch.cat([latents] * 2), 500, texts)
        call_s = time.perf_counter() - begin
    if difference > 1e-3 or call_s < AT_LEAST_S:
        raise RuntimeError(f"No fair comparison: results differ by {difference:g}, a call takes {call_s:.2f} s.")
    timed = paired(ours, theirs, pairs=10 if full else 3)
    ratio, interval = timed.times_faster
    return {
        "name": "pix2video_vs_sequential",
        "ours": round(timed.ours_s, 3),
        "peer": round(timed.peer_s, 3),
        "ratio": round(ratio, 3),
        "interval": [round(end, 3) for end in interval],
        "goal": GOAL,
        "met": ratio >= GOAL,
        "unit": "x",
        "what": f"seconds of Pix2Video ({FRAMES} frames of 128x128, {STEPS} steps, a U-Net 0.8 times as wide as "
        "Stable Diffusion's): frame by frame with stored features over all in lockstep; both give the same latents",
    }
