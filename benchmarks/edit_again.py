"""Another prompt on an inversion that is there, against the first edit of the clip, inversion and all."""

from __future__ import annotations

from typing import Any

from .timing import Paired, paired

GOALS = {"pix2video": 0.70, "appearance": 0.75}
FRAMES, SIDE, STEPS = 8, 64, 10
ABOUT = {
    "measures": "a second prompt on one inversion: Pix2Video, and UniEdit appearance beside it",
    "peer": "the first run, which inverts the clip",
    "instead": "no ComfyUI pack has Pix2Video or UniEdit; the papers' scripts invert again",
    "goal": "at most 0.7x the time; 0.75x for UniEdit",
    "not_on_cuda": "the share of the inversion in the work is the same there",
}


def run(full: bool) -> dict[str, Any]:
    timed = {editor: _timed(editor, 12 if full else 3) for editor in GOALS}
    frames, clip = timed["pix2video"], timed["appearance"]
    return {
        "name": "edit_again",
        "ours": round(frames.ours_s, 3),
        "peer": round(frames.peer_s, 3),
        "ratio": round(frames.ratio, 3),
        "interval": [round(end, 3) for end in frames.interval],
        "goal": GOALS["pix2video"],
        "uniedit_appearance": {
            "ours": round(clip.ours_s, 3),
            "peer": round(clip.peer_s, 3),
            "ratio": round(clip.ratio, 3),
            "interval": [round(end, 3) for end in clip.interval],
            "goal": GOALS["appearance"],
        },
        "also": "UniEdit appearance: {:.3g}x [{:.3g}, {:.3g}]".format(clip.ratio, *clip.interval),
        "met": frames.ratio <= GOALS["pix2video"] and clip.ratio <= GOALS["appearance"],
        "unit": "x",
        "what": f"seconds of a second edit by Pix2Video over those of the first, which inverts the clip (without its "
        f"check), and of UniEdit appearance beside it: {FRAMES} frames of {SIDE}x{SIDE}, {STEPS} steps, the embedded "
        "topology with random weights, encoding and decoding counted",
    }


def _timed(editor: str, pairs: int) -> Paired:
    import torch

    from vivid_core.editors.inverted import InversionPlan, invert_clip
    from vivid_core.editors.pix2video_clip import edit_frames
    from vivid_core.editors.uniedit_clip import edit_clip

    backbone = _backbone(motion=editor == "appearance")
    frames = torch.rand(FRAMES, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    plan = InversionPlan(STEPS, still=not backbone.motion, checked=False)
    edit = edit_clip if editor == "appearance" else edit_frames
    kept = invert_clip(backbone, frames, "", plan).clip

    def again() -> Any:
        return edit(backbone, kept, "a blue ring")

    def first() -> Any:
        return edit(backbone, invert_clip(backbone, frames, "", plan).clip, "a red ring")

    return paired(again, first, pairs)


def _backbone(motion: bool) -> Any:
    """The embedded Stable Diffusion with random weights."""
    from vivid_core.diffusion.ddim import NoiseSchedule
    from vivid_core.editors.backbone import Backbone
    from vivid_core.editors.texts import EmbeddedText
    from vivid_core.models import embedded_sd
    from vivid_core.models.embedded_codec import PATCH, SCALING_FACTOR
    from vivid_core.models.embedded_frames import load_frame_codec
    from vivid_core.training.sd_world.words import vocabulary

    model = embedded_sd.build(vocabulary(), 0)
    unet = embedded_sd.with_motion(model.unet, embedded_sd.new_motion(0)) if motion else model.unet
    return Backbone(
        unet.eval().requires_grad_(False),
        load_frame_codec(),
        EmbeddedText(model.text_encoder.eval(), model.tokenizer),
        None,
        NoiseSchedule(),
        f"random/{motion}",
        latent_channels=embedded_sd.LATENT_CHANNELS,
        scale=SCALING_FACTOR,
        stride=PATCH,
        multiple=8 * PATCH,
        motion=motion,
        longest=embedded_sd.LONGEST if motion else None,
    )
