"""What Stitch Back needs beyond input and output: soft edge, colour match and composite of 48 frames of 720p."""

from __future__ import annotations

from typing import Any

from .timing import memory_beside

GOAL_GB = 1.0

SCENE = """
import torch
torch.manual_seed(0)
original = torch.rand(48, 720, 1280, 3)
edited = original.mul(0.9).add_(0.05)
mask = torch.zeros(48, 720, 1280)
for index, mask_hw in enumerate(mask):
    mask_hw[160:560, 200 + 8 * index : 600 + 8 * index] = 1
"""

OURS = """
from vivid_core.video.stitch import stitch_back
{scene}
stitch_back(original[:2], edited[:2], mask[:2], feather=16, colour_match="lab")  # imports and buffers of the libraries
baseline()
result, _ = stitch_back(original, edited, mask, feather=16, colour_match="lab")
done(result)
"""

# The same with tensors of the whole clip: a blend mask, the edit in the original's colours, and the blend of the two.
PEER = """
import torch.nn.functional as F
{scene}
def plain(original, edited, mask):
    ring = F.max_pool2d(mask, 33, 1, 16).bool() & (mask == 0)
    ours, theirs = edited[ring], original[ring]
    scale = theirs.std(0) / ours.std(0)
    matched = edited * scale + (theirs.mean(0) - ours.mean(0) * scale)
    blend = F.avg_pool2d(F.max_pool2d(mask, 17, 1, 8), 17, 1, 8)[..., None]
    return torch.lerp(original, matched, blend)
plain(original[:2], edited[:2], mask[:2])
baseline()
result = plain(original, edited, mask)
done(result)
"""
ABOUT = {
    "measures": "memory beyond input and output of Stitch Back, 48 frames of 720p",
    "peer": "the same with tensors of the whole clip",
    "instead": "Inpaint Crop and Stitch, which holds the clip and matches no colours",
    "goal": "at most 1 GB",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    what = (
        "peak memory beyond input and output to stitch 48 frames of 1280x720 back (colour match, soft edge, composite)"
        "; peer: the same with tensors of the whole clip"
    )
    ours, peer = (code.format(scene=SCENE) for code in (OURS, PEER))
    return memory_beside("stitch", what, ours, peer, GOAL_GB, 5 if full else 1)
