"""What Preview Propagation needs beyond its input and its output: two keyframes carried over 48 frames of 720p."""

from __future__ import annotations

from typing import Any

from .timing import memory_beside

GOAL_GB = 1.0

SCENE = """
import torch
torch.manual_seed(0)
grain = torch.rand(1, 3, 90, 160)
back, front = (torch.nn.functional.interpolate(g, (720, 1280), mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0)
               for g in (grain, grain.flip(3)))
frames = torch.empty(48, 720, 1280, 3)
mask = torch.zeros(48, 720, 1280)
for index in range(48):
    left = 200 + 8 * index
    frames[index] = back
    frames[index, 140:580, left : left + 420] = front[100:540, 300:720]
    mask[index, 140:580, left : left + 420] = 1
first, last = frames[0].flip(2), frames[47] * 0.7
"""

OURS = """
from vivid_core.editors.flow_warp import propagate_by_flow
from vivid_core.video.keyframes import Keyframe, Keyframes
{scene}
propagate_by_flow(frames[:3], mask[:3], Keyframes([Keyframe(0, first)]))  # imports and buffers of the libraries
baseline()
result = propagate_by_flow(frames, mask, Keyframes([Keyframe(0, first), Keyframe(47, last)]))
done(result.frames_fhwc, result.blend_mask_fhw)
"""

# The same with maps and both carried keyframes of the whole clip in memory.
PEER = """
import torch.nn.functional as F
{scene}
def plain(frames, mask):
    y, x = torch.meshgrid(torch.linspace(-1, 1, 720), torch.linspace(-1, 1, 1280), indexing="ij")
    steps = torch.arange(len(frames)) * 16 / 1280
    maps = torch.stack([x, y], -1).expand(len(frames), -1, -1, -1).clone()
    forward = maps.clone(); forward[..., 0] -= steps[:, None, None]
    backward = maps; backward[..., 0] += steps.flip(0)[:, None, None]
    carried = [F.grid_sample(key.permute(2, 0, 1).expand(len(frames), -1, -1, -1), way, align_corners=True)
               for key, way in ((first, forward), (last, backward))]
    share = torch.linspace(0, 1, len(frames))[:, None, None, None]
    blend = F.avg_pool2d(F.max_pool2d(mask, 17, 1, 8), 17, 1, 8)
    return torch.lerp(frames, torch.lerp(*carried, share).permute(0, 2, 3, 1), blend[..., None]), blend
plain(frames[:3], mask[:3])
baseline()
result, blend = plain(frames, mask)
done(result, blend)
"""
ABOUT = {
    "measures": "memory beyond input and output of two keyframes carried over 48 frames of 720p",
    "peer": "the same with maps and carried keyframes of the whole clip",
    "instead": "RAFT in ComfyUI's core with warps of the whole clip",
    "goal": "at most 1 GB",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    what = (
        "peak memory beyond input and output to carry two keyframes over 48 frames of 1280x720; peer: the same with "
        "the maps and the carried keyframes of the whole clip"
    )
    ours, peer = (code.format(scene=SCENE) for code in (OURS, PEER))
    return memory_beside("preview_propagation", what, ours, peer, GOAL_GB, 5 if full else 1)
