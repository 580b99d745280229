"""One more click after a track with SAM 2: the re-track from stored memory against running everything again."""

from __future__ import annotations

from typing import Any

GOAL = 0.35
FRAMES, SIDE, MODEL = 100, 128, "tiny"
CLICKED, MORE = (0, 20, 40, 60), 80
ABOUT = {
    "measures": "a correction at 80 % of a clip of 100 frames, from stored memory (SAM 2.1)",
    "peer": "a run of everything",
    "instead": "a SAM 2 node, which tracks the whole clip again",
    "goal": "at most 0.35x the time",
    "not_on_cuda": "a ratio of frames, the same on every device",
}


def run(full: bool) -> dict[str, Any]:
    from vivid_core.masks.prompts import Prompt

    from ._segmenters import CLICK, OTHER_CLICK, model, panning_clip, tracker
    from .timing import paired

    track = tracker(model(MODEL, SIDE), panning_clip(FRAMES))
    before = [Prompt(frame, points=OTHER_CLICK if frame else CLICK) for frame in CLICKED]
    click = Prompt(MORE, points=OTHER_CLICK)
    earlier = track(*before)

    def ours() -> Any:
        return track(*before, click, previous=earlier)

    def everything() -> Any:
        return track(*before, click)

    again = ours()
    kept = (again.packed[:, : CLICKED[-1] + 1] == earlier.packed[:, : CLICKED[-1] + 1]).all()
    if not bool(kept) or bool((again.scores == earlier.scores).all()):
        raise RuntimeError("No fair comparison: the re-track did not keep what it must, or changed nothing.")
    timed = paired(ours, everything, 9 if full else 3, warm=True)
    low, high = timed.interval
    return {
        "name": "retrack_one_click",
        "ours": round(timed.ours_s, 2),
        "peer": round(timed.peer_s, 2),
        "ratio": round(timed.ratio, 3),
        "interval": [round(low, 3), round(high, 3)],
        "goal": GOAL,
        "met": timed.ratio <= GOAL,
        "unit": "x",
        "what": f"seconds for a click at {MORE / FRAMES:.0%} of {FRAMES} frames after clicks at 0, 20, 40 and 60 %, "
        f"re-tracked from stored memory, over running everything (SAM 2.1 {MODEL}, random weights, {SIDE} px)",
    }
