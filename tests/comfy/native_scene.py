"""A clip, its mask and its keyframes for ComfyUI's own models, and the nodes around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from harness.engines import returned
from harness.inprocess import Result
from torch import Tensor

HEIGHT, WIDTH, COUNT = 32, 48, 9
Call = Callable[..., Result]
PLAIN = {"window_index": 0, "window": 0, "overlap": 1, "size": "frames", "crop": "off", "from_keys": False}
SAMPLING = {"seed": 5, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
STITCH = {"feather": 0, "colour_match": "none", "blend": "feather"}


def clip(count: int = COUNT, seed: int = 1) -> Tensor:
    """Frames of one scene, so that none of them counts as a cut."""
    scene = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(seed))
    return (scene + 0.02 * torch.arange(count)[:, None, None, None]).clamp(0, 1)


def mask(count: int = COUNT) -> Tensor:
    """A box that moves."""
    made = torch.zeros(count, HEIGHT, WIDTH)
    for index in range(count):
        made[index, 8:24, 4 + index % 8 : 28 + index % 8] = 1
    return made


def keyframes(call: Call, at: str, seed: int = 9) -> Any:
    """What Set Keyframes gives; the first picture is that of `clip(seed=seed)`, and so on."""
    images = clip(len(at.split(",")), seed)
    return returned(call("VividKeyframes", images=images, at_frames=at, strength=1.0))[0]


def sampled(call: Call, model: Any, conditioning: list[Any], **changes: Any) -> Any:
    """What KSampler gives on (positive, negative, latent, ...)."""
    positive, negative, latent = conditioning[:3]
    given = {"positive": positive, "negative": negative, "latent_image": latent, **SAMPLING, **changes}
    return returned(call("KSampler", model=model, **given))[0]


def decoded(call: Call, vae: Any, samples: Any) -> Tensor:
    """What VAE Decode gives."""
    return returned(call("VAEDecode", samples=samples, vae=vae))[0]


def stitched(call: Call, edited: Tensor, stitch: Any, count: int = COUNT, **changes: Any) -> list[Any]:
    """What Stitch Back gives."""
    given = {"original": clip(count), "edit_mask": mask(count), **STITCH, **changes}
    return returned(call("VividStitch", edited=edited, stitch=stitch, **given))


def assert_edited(frames: Tensor, edited: Tensor, keys: str = "") -> None:
    """The clip outside the mask, the keyframes on their frames and what was edited on the others, all to the bit."""
    inside, at = mask(len(frames)) > 0.5, [int(key) for key in keys.split(",") if key]
    assert torch.equal(frames[~inside], clip(len(frames))[~inside])
    for index, (frame, hole) in enumerate(zip(frames, inside)):
        wanted = clip(len(at), 9)[at.index(index)] if index in at else edited[index]
        assert torch.equal(frame[hole], wanted[hole]), index
