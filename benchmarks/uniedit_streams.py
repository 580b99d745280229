"""UniEdit with the clips that a step needs, against all clips in both halves of guidance at every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .timing import Paired, paired

GOALS = {"motion": 1.15, "appearance": 1.4}
CHANNELS, SIDE, FRAMES = (64, 128, 256, 256), 16, 8  # a fifth as wide as Stable Diffusion, frames of 128x128
STEPS = 2
TOKENS, WIDTH = 77, 256
ALIKE = 1e-3
ABOUT = {
    "measures": "UniEdit motion, and appearance beside it, with the clips that a step needs",
    "peer": "all clips in both halves of guidance at every step, as its code does; both give the same latents",
    "instead": "no ComfyUI pack has UniEdit; the paper's script runs all of them",
    "goal": "at least 1.15x the time; 1.4x for appearance",
    "not_on_cuda": "a ratio of clips asked, the same on every device",
}


def run(full: bool) -> dict[str, Any]:
    unet = _motion_unet()
    timed = {mode: _timed(unet, mode, 12 if full else 3) for mode in GOALS}
    ratios = {mode: pair.times_faster for mode, pair in timed.items()}
    (motion, motion_interval), (appearance, appearance_interval) = ratios["motion"], ratios["appearance"]
    return {
        "name": "uniedit_streams",
        "ours": round(timed["motion"].ours_s, 3),
        "peer": round(timed["motion"].peer_s, 3),
        "ratio": round(motion, 3),
        "interval": [round(end, 3) for end in motion_interval],
        "goal": GOALS["motion"],
        "appearance": {
            "ours": round(timed["appearance"].ours_s, 3),
            "peer": round(timed["appearance"].peer_s, 3),
            "ratio": round(appearance, 3),
            "interval": [round(end, 3) for end in appearance_interval],
            "goal": GOALS["appearance"],
        },
        "also": "appearance: {:.3g}x [{:.3g}, {:.3g}]".format(appearance, *appearance_interval),
        "met": motion >= GOALS["motion"] and appearance >= GOALS["appearance"],
        "unit": "x",
        "what": f"seconds of UniEdit in mode motion, and of appearance beside it ({FRAMES} frames of 128x128, {STEPS} "
        "steps, a motion U-Net a fifth as wide as Stable Diffusion's, an empty source prompt that is denoised along): "
        "every clip in both halves of guidance at every step, over ours; both give the same latents",
    }


def _timed(unet: Any, mode: str, pairs: int) -> Paired:
    import torch
    from harness.naive_uniedit import Naive

    from vivid_core.diffusion.branches import run_branches
    from vivid_core.diffusion.ddim import Inversion, NoiseSchedule, Times
    from vivid_core.editors.uniedit import EDIT, USUAL_STRUCTURE, UniEditSettings, roles_for, rules_for

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(1, 4, FRAMES, SIDE, SIDE, generator=generator)
    prompt, empty = torch.randn(2, 1, TOKENS, WIDTH, generator=generator)
    times, ask = Times.make(NoiseSchedule("linear"), STEPS), _asking(unet)
    structure = round(USUAL_STRUCTURE[mode] * STEPS)

    def ours() -> Any:
        settings = UniEditSettings(mode, replayed=False)
        inversion = Inversion((start,) * (STEPS + 1), times)
        source, edit, *motion = roles_for(settings, inversion, empty, prompt, empty)
        roles = [replace(source, wanted=False), edit, *(replace(one, wanted=False) for one in motion)]
        return run_branches(unet, ask, times, roles, rules_for(settings, STEPS))[EDIT]

    def theirs() -> Any:
        naive = Naive(structure, STEPS, STEPS, motion=mode == "motion")
        with torch.no_grad():
            return naive.run(unet, ask, times, start, (empty, prompt, empty))[1]

    wanted = theirs()
    difference = float((ours() - wanted).abs().max() / wanted.abs().max())
    if difference > ALIKE:
        raise RuntimeError(f"No fair comparison of {mode}: the results differ by {difference:g}.")
    return paired(ours, theirs, pairs, warm=True)


def _motion_unet() -> Any:
    import torch
    from diffusers import UNetMotionModel

    torch.manual_seed(0)
    unet = UNetMotionModel(
        block_out_channels=CHANNELS,
        norm_num_groups=16,
        cross_attention_dim=WIDTH,
        num_attention_heads=8,
        motion_num_attention_heads=8,
        motion_max_seq_length=16,
        use_motion_mid_block=False,
    )
    return unet.eval().requires_grad_(False)


def _asking(unet: Any) -> Any:
    import torch

    def ask(latents: Any, timestep: float, texts: Any, frames: slice = slice(None)) -> Any:
        text = torch.cat([one.expand(latents.shape[2], -1, -1) for one in texts])
        return unet(latents, timestep, text, return_dict=False)[0]

    return ask
