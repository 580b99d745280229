"""Tracking with SAM 2 by our loop against the sam2 package's own video predictor: same weights, frames and click."""

from __future__ import annotations

from typing import Any

GOAL = 1.05
FRAMES, SIDE, MODEL = 10, 256, "tiny"
SAME = 0.001  # share of pixels that may differ
ABOUT = {
    "measures": "following one click by our loop (SAM 2.1)",
    "peer": "the sam2 package's own video predictor; both give the same masks",
    "instead": "the sam2 package, or a node around it",
    "goal": "at most 1.05x the time",
    "not_on_cuda": "the loop's own work is a larger share where a frame is fast: the CPU's size shows more of it",
}


def run(full: bool) -> dict[str, Any]:
    import torch

    from vivid_core.masks.prompts import Prompt

    from ._segmenters import CLICK, bare_predictor, model, panning_clip, tracked_barely, tracker
    from .timing import paired

    module, frames = model(MODEL, SIDE), panning_clip(FRAMES).contiguous()
    predictor, track = bare_predictor(module), tracker(module, frames)

    @torch.inference_mode()  # in which ComfyUI runs nodes, and the package its predictor
    def ours() -> Any:
        return track(Prompt(0, points=CLICK), direction="forward").masks()

    def theirs() -> Any:
        return tracked_barely(predictor, frames, CLICK) > 0

    masks, expected = ours() > 0.5, theirs()
    different = float((masks != expected).float().mean())
    if different > SAME or not 0.01 < float(expected.float().mean()) < 0.99:
        raise RuntimeError(f"No fair comparison: {different:.2%} of the pixels differ, or there is nothing to follow.")
    timed = paired(ours, theirs, 15 if full else 5, warm=True)
    low, high = timed.interval
    return {
        "name": "track_overhead",
        "ours": round(timed.ours_s / FRAMES, 4),
        "peer": round(timed.peer_s / FRAMES, 4),
        "ratio": round(timed.ratio, 3),
        "interval": [round(low, 3), round(high, 3)],
        "goal": GOAL,
        "met": timed.ratio <= GOAL,
        "unit": "x",
        "what": f"seconds a frame of following one click through {FRAMES} frames of 480p by our loop over the sam2 "
        f"package's video predictor (SAM 2.1 {MODEL}, random weights, {SIDE} px); both give the same masks",
    }
