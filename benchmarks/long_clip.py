"""Whether memory grows with the clip: track, preview propagation and stitch, 400 frames of 480p against 100."""

from __future__ import annotations

from typing import Any

from .timing import memory_growth

SHORT, LONG = 100, 400  # both whole numbers of the chunks that frames are stitched in
GOAL = 1.2

CODE = """
from core.scenes import make_scene
from vivid_core.editors.flow_warp import propagate_by_flow
from vivid_core.masks.prompts import Prompt, Prompts
from vivid_core.masks.track import track_by_flow
from vivid_core.video.keyframes import Keyframe, Keyframes
from vivid_core.video.stitch import stitch_back

def edit(frames, mask_hw):
    track = track_by_flow(frames, Prompts([Prompt(0, mask_hw=mask_hw)]))
    mask = track.masks()
    tint = 1 - 0.4 * mask[0, ..., None]
    propagation = propagate_by_flow(frames, mask, Keyframes([Keyframe(0, frames[0] * tint)]))
    stitched, _ = stitch_back(frames, propagation.frames_fhwc, mask, blend_mask_fhw=propagation.blend_mask_fhw)
    return track.packed, mask, propagation.frames_fhwc, propagation.blend_mask_fhw, stitched

scene = make_scene(0, "mixed", {frames}, 854, 480)
frames, mask_hw = scene.frames_fhwc, scene.masks_fhw[0].clone()
del scene
edit(frames[:3], mask_hw)  # imports and buffers of the libraries
baseline()
done(*edit(frames, mask_hw))
"""
ABOUT = {
    "measures": "memory beyond input and output of track, preview and stitch, 400 frames of 480p over 100",
    "peer": "the same on 100 frames",
    "instead": "a tracker that loads the clip and keeps masks unpacked",
    "goal": "at most 1.2x",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    what = (
        f"peak memory in GB beyond input and output of track, preview propagation and stitch: {LONG} frames of 480p "
        f"over {SHORT}"
    )
    return memory_growth(
        "long_clip", what, lambda frames: CODE.format(frames=frames), (LONG, SHORT), GOAL, 3 if full else 1, 1e9
    )
