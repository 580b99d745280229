"""The features that Pix2Video stores frame by frame, over those that it holds in lockstep: computed, and measured."""

from __future__ import annotations

from typing import Any

GOAL = 50
CHANNELS, SIDE, FRAMES, STEPS = (32, 64, 64, 64), 8, 3, 50
RELEASED, RELEASED_SIDE = (320, 640, 1280, 1280), 64  # Stable Diffusion on frames of 512x512
STORED = 3  # frames frame by frame: the anchor, the last one and the one being made, each at all steps
HELD = 2  # frames in lockstep, in parts: the anchor and the last one of the part before, at this step
BYTES, HALVES = 4, 2
ABOUT = {
    "measures": "attention features kept by Pix2Video in 50 steps, frame by frame over ours",
    "peer": "the paper's way: frame by frame with a store of features",
    "instead": "no ComfyUI pack has Pix2Video",
    "goal": "at least 50x",
    "timed": False,
    "not_on_cuda": "counted bytes, the same on every device",
}


def run(full: bool) -> dict[str, Any]:
    from ._unets import frame_by_frame, image_unet, lockstep

    unet = image_unet(CHANNELS)
    made, naive = frame_by_frame(unet, STEPS, FRAMES, SIDE)
    ours = lockstep(unet, STEPS, FRAMES, SIDE, chunk=2)
    difference = float((ours.run()["edit"] - made).abs().max() / made.abs().max())
    one = features(CHANNELS, SIDE)
    computed = (HELD * one, STORED * STEPS * one)
    if difference > 1e-2 or (ours.most_features, naive.most_bytes) != computed:
        raise RuntimeError(
            f"No fair comparison: results differ by {difference:g}; held {ours.most_features} and {naive.most_bytes} "
            f"bytes, computed {computed[0]} and {computed[1]}."
        )
    ratio = naive.most_bytes / ours.most_features
    real = features(RELEASED, RELEASED_SIDE)
    return {
        "name": "pix2video_memory",
        "ours": round(ours.most_features / 1e6, 3),
        "peer": round(naive.most_bytes / 1e6, 3),
        "ratio": round(ratio, 1),
        "interval": [round(ratio, 1)] * 2,
        "also": f"for 512x512, computed: {STORED * STEPS * real / 1e9:.1f} GB over {HELD * real / 1e9:.2f} GB",
        "goal": GOAL,
        "met": ratio >= GOAL,
        "unit": "x",
        "what": f"MB of attention features kept by Pix2Video in {STEPS} steps, frame by frame with a store (9 layers) "
        "over ours in parts of 2 frames; measured, and exactly as computed. Computed for Stable Diffusion at 512x512 "
        f"in fp32: {STORED * STEPS * real / 1e9:.1f} GB over {HELD * real / 1e9:.2f} GB",
    }


def features(channels: tuple[int, ...], side: int) -> int:
    """Bytes of the inputs of the self-attentions on the way up, of one frame at one step in both halves of guidance."""
    layers = [(side >> level) ** 2 * channels[level] for level in (2, 1, 0) for _ in range(3)]
    return HALVES * BYTES * sum(layers)
