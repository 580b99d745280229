"""Whether the memory of Pix2Video grows with the clip: 80 frames against 16, in parts of 8."""

from __future__ import annotations

from typing import Any

from .timing import memory_growth

SHORT, LONG = 16, 80
STEPS = 2  # the least in which something could be kept from one step to the next
GOAL = 1.3

CODE = """
import torch
from diffusers import UNet2DConditionModel
from core.uniedit_models import TEXT_WIDTH, backbone, frames, mask, vae
from vivid_core.editors.inverted import InversionPlan, invert_clip
from vivid_core.editors.pix2video import Pix2VideoSettings
from vivid_core.editors.pix2video_clip import edit_frames

torch.manual_seed(0)
unet = UNet2DConditionModel(
    block_out_channels=(32, 64, 64, 64), norm_num_groups=16, cross_attention_dim=TEXT_WIDTH, attention_head_dim=4
)
model = backbone(unet.eval().requires_grad_(False), vae())
plan = InversionPlan(STEPS, still=True, chunk=8, checked=False)

def inverted(count):
    return invert_clip(model, frames(count, 64, 64), "a red ball", plan).clip

def edit(clip, marked):
    return edit_frames(model, clip, "a blue ball", settings=Pix2VideoSettings(chunk=8), mask_fhw=marked)

edit(inverted(9), mask(9, 64, 64))  # imports and buffers of the libraries
clip, marked = inverted(COUNT), mask(COUNT, 64, 64)
baseline()
made = edit(clip, marked)
done(made.frames_fhwc, made.blend_mask_fhw, made.seen_fhwc)
"""
ABOUT = {
    "measures": "memory beyond input and output of Pix2Video, 80 small frames over 16, in parts of 8, 2 steps",
    "peer": "the same on 16 frames",
    "instead": "no ComfyUI pack has Pix2Video; the paper's script keeps features of all steps",
    "goal": "at most 1.3x",
    "timed": False,
    "not_on_cuda": "host memory: a GPU would only take the part of the model out of it",
}


def run(full: bool) -> dict[str, Any]:
    what = (
        f"peak memory (GB) beyond input and output of Pix2Video on {LONG} frames of 64x64 over {SHORT}, inside a "
        f"mask, in parts of 8 (random weights, 32x32 latents, {STEPS} steps); interval: smallest and largest run"
    )
    return memory_growth(
        "long_pix2video",
        what,
        lambda frames: CODE.replace("COUNT", str(frames)).replace("STEPS", str(STEPS)),
        (LONG, SHORT),
        GOAL,
        5 if full else 1,
        1e9,
    )
