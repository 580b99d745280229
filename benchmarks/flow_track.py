"""Tracking an object through 48 frames of 720p, against nothing but the flow that any tracker by flow needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

FRAMES, HEIGHT, WIDTH = 48, 720, 1280
OBJECT_SIZE = 0.315  # radius over height: 18 % of the frame
GOAL = 1.5
LEAST_OVERLAP = 0.95  # a track that fast must still be right
ABOUT = {
    "measures": "tracking an object through 48 frames of 720p",
    "peer": "OpenCV's plain DIS flow (medium) of the same whole frames, which gives no mask yet",
    "instead": "SAM 3.1 in ComfyUI's core, which needs its weights and a GPU",
    "goal": "at most 1.5x the time",
    "not_on_cuda": "this work is done on the CPU on every machine",
}


def run(full: bool) -> dict[str, Any]:
    from core.scenes import make_scene, mean_overlap

    from benchmarks.timing import paired
    from vivid_core.masks.prompts import Prompt, Prompts
    from vivid_core.masks.track import track_by_flow

    scene = make_scene(0, "mixed", FRAMES, WIDTH, HEIGHT, object_size=OBJECT_SIZE)
    prompts = Prompts([Prompt(0, mask_hw=scene.masks_fhw[0])])

    def ours() -> Any:
        return track_by_flow(scene.frames_fhwc, prompts)

    def peer() -> int:
        return plain_flow(scene.frames_fhwc)

    reached = mean_overlap(ours().masks(), scene.masks_fhw)
    if reached < LEAST_OVERLAP:
        raise RuntimeError(f"The track is wrong (mean IoU {reached:.3f}), so its time means nothing.")
    timed = paired(ours, peer, 9 if full else 5)
    low, high = timed.interval
    return {
        "name": "flow_track",
        "ours": round(timed.ours_s, 3),
        "peer": round(timed.peer_s, 3),
        "ratio": round(timed.ratio, 3),
        "interval": [round(low, 3), round(high, 3)],
        "goal": GOAL,
        "met": high <= GOAL,
        "unit": "x",
        "what": f"tracking an object of {100 * float(scene.masks_fhw.mean()):.0f} % of the frame through {FRAMES} "
        f"frames of 720p (mean IoU {reached:.3f}); peer: OpenCV's DIS flow (medium) from each frame to the next, "
        "whole pictures, which gives no mask yet",
    }


def plain_flow(frames_fhwc: torch.Tensor) -> int:
    """The forward flow of each pair of frames, at their own size; returns how many."""
    import cv2

    grays = [cv2.cvtColor((frame.numpy() * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for frame in frames_fhwc]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return len([search.calc(before, after, None) for before, after in zip(grays, grays[1:])])
