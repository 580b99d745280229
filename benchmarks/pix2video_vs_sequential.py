"""Pix2Video with all frames in lockstep against frame by frame with a store of features, as the paper has it.

Both compute the same; what differs is how often weights are read, once a step or once a frame and step, and that keys
and values are projected once. So the ratio depends on the frames' size. Here they are small and the U-Net is wide: a
call takes its half second for reading weights, as it does where weights are streamed. On large frames arithmetic is
what takes the time, and that is the same on both sides: the full form times such a shape, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .timing import Paired, clock_of, paired

GOAL = 1.2
STEPS, UPDATED = 2, 1
AT_LEAST_S = 0.5  # of one call of the U-Net for one frame; shorter ones would measure Python
ALIKE = 1e-3
ABOUT = {
    "measures": "Pix2Video in lockstep on 5 small frames (128x128), where reading weights is most of a U-Net's call; "
    "on large frames it gains little, which the full form shows",
    "peer": "the paper's way: frame by frame with stored features; both give the same latents",
    "instead": "no ComfyUI pack has Pix2Video; the paper's script goes frame by frame",
    "goal": "at least 1.2x the time",
}


@dataclass(frozen=True)
class Shape:
    """How wide the U-Net's levels are, how large the latents of a frame, and how many frames there are."""

    channels: tuple[int, ...]
    side: int
    frames: int

    @property
    def told(self) -> str:
        """In words; the VAE of Stable Diffusion makes 8 pixels of a latent."""
        pixels, width = 8 * self.side, self.channels[0] / 320
        return f"{self.frames} frames of {pixels}x{pixels}, a U-Net {width:g} times as wide as Stable Diffusion's"


SMALL = Shape((256, 512, 1024, 1024), 16, 5)
LARGE = Shape((128, 256, 512, 512), 48, 4)
ON_A_GPU = Shape((320, 640, 1280, 1280), 64, 8)


def run(full: bool) -> dict[str, Any]:
    """Small frames; in the full form large ones beside them."""
    found = compared(SMALL, 10 if full else 3)
    if not full:
        return found
    large = compared(LARGE, 3)
    low, high = large["interval"]
    return {**found, "large": large, "also": f"{large['ratio']:.3g}x [{low:.3g}, {high:.3g}] on {LARGE.told}"}


def run_cuda(full: bool) -> dict[str, Any]:
    """Frames and width of Stable Diffusion itself. A call takes less than on a CPU, so all of it is timed at once."""
    import torch

    torch.backends.cudnn.allow_tf32 = False  # its rounding would differ between one frame and many
    return compared(ON_A_GPU, 10 if full else 3, "cuda", least_s=0.0)


def compared(shape: Shape, pairs: int, device: str = "cpu", least_s: float = AT_LEAST_S) -> dict[str, Any]:
    """The line of one shape.

    Raises RuntimeError when the two give different latents, or a call takes less than `least_s`.
    """
    from ._unets import frame_by_frame, image_unet, lockstep

    unet = image_unet(shape.channels).to(device)
    size = (STEPS, shape.frames, shape.side, UPDATED)

    def ours() -> Any:
        return lockstep(unet, *size).run()["edit"]

    def theirs() -> Any:
        return frame_by_frame(unet, *size)[0]

    wanted = theirs()
    difference = float((ours() - wanted).abs().max() / wanted.abs().max())
    call_s = _call_s(unet, shape.side, device)
    if difference > ALIKE or call_s < least_s:
        raise RuntimeError(f"No fair comparison: results differ by {difference:g}, a call takes {call_s:.2f} s.")
    return _line(paired(ours, theirs, pairs, clock_of(device), warm=True), shape, call_s)


def _call_s(unet: Any, side: int, device: str) -> float:
    """Seconds of one call for one frame, in both halves of guidance, after one that does not count."""
    import torch

    from ._unets import asking, clip_and_texts

    (latents, texts), clock = clip_and_texts(1, side, device), clock_of(device)
    with torch.no_grad():
        for _ in range(2):
            began = clock()
            asking(unet)(torch.cat([latents] * 2), 500, texts)
            took = clock() - began
    return took


def _line(timed: Paired, shape: Shape, call_s: float) -> dict[str, Any]:
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
        "call_s": round(call_s, 3),
        "what": f"seconds of Pix2Video ({shape.told}, {STEPS} steps, {call_s:.2f} s a call for a frame): frame by "
        "frame with stored features over all in lockstep; both give the same latents",
    }
