"""After one of four keyframes was changed: a run that finds the other windows again, against a run of all four."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .timing import paired

SIDE = 192
STEPS = 2
GOAL = 0.3
WINDOWS = 4
CHANGED = 2  # the keyframe that is changed
ABOUT = {
    "measures": "a run after one keyframe of four was changed",
    "peer": "a run of all four windows",
    "instead": "a sampler that starts again for every change",
    "goal": "at most 0.3x the time",
    "not_on_cuda": "a ratio of windows, the same on every device",
}


def run(full: bool) -> dict[str, Any]:
    from vivid_core.editors.kive import EditOptions, propagate
    from vivid_core.editors.window_store import MemoryStore
    from vivid_core.video.keyframes import Keyframe, Keyframes

    from ._engines import FRAMES, keyframe, random_engine, request

    engine = random_engine(SIDE)
    keys = tuple(FRAMES * window for window in range(WINDOWS))
    asked = request(engine, FRAMES * WINDOWS, SIDE, SIDE, keys, steps=STEPS)
    store = MemoryStore(2**30)
    propagate(engine, asked, EditOptions(crop="off", store=store))
    levels = iter(range(1, 10**6))

    def changed() -> Any:
        at = keys[CHANGED]
        new = keyframe(asked.frames_fhwc[at], asked.edit_mask_fhw[at], next(levels) / 10**6)
        kept = (key for key in asked.keyframes if key.index != at)
        return replace(asked, keyframes=Keyframes([*kept, Keyframe(at, new)]))

    timed = paired(
        lambda: propagate(engine, changed(), EditOptions(crop="off", store=store)),
        lambda: propagate(engine, changed(), EditOptions(crop="off", store=MemoryStore(2**30))),
        pairs=15 if full else 5,
    )
    return {
        "name": "rerender_one_window",
        "ours": round(timed.ours_s, 3),
        "peer": round(timed.peer_s, 3),
        "ratio": round(timed.ratio, 3),
        "interval": [round(end, 3) for end in timed.interval],
        "goal": GOAL,
        "met": timed.ratio <= GOAL,
        "unit": "x",
        "what": f"seconds of Propagate Edit on {WINDOWS} windows of {FRAMES} frames, a keyframe on the first of each, "
        "after one keyframe was changed, over a run of all windows (random weights)",
    }
