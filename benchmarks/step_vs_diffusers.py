"""A denoising step of our loop against diffusers' own pipeline: the same module, noise, texts and guidance."""

from __future__ import annotations

from typing import Any

from .timing import paired

GOAL = 1.02
STEPS = 2
SCALE = 6.0
AT_LEAST_S = 1.0  # shorter steps would measure Python, not the step


def run(full: bool) -> dict[str, Any]:
    from core.editing_models import pipeline

    from vivid_core.diffusion import schedulers
    from vivid_core.diffusion.cogvideox_predict import predictor
    from vivid_core.diffusion.denoise import denoise, generator_for, noise
    from vivid_core.diffusion.guidance import Guidance

    from ._models import FRAMES, HEIGHT, WIDTH, transformer

    module = transformer(layers=2)
    start = noise((1, FRAMES, 16, HEIGHT, WIDTH), generator_for(0))
    texts = [noise((1, 226, 4096), generator_for(seed)) for seed in (1, 2)]
    schedule = schedulers.cogvideox()

    def ours() -> Any:
        scheduler, predict = schedulers.make(schedule), predictor(module, *texts)
        return denoise(predict, scheduler, start, STEPS, Guidance(SCALE, dynamic=True), generator_for(3))

    def theirs() -> Any:
        return pipeline(module, schedulers.make(schedule))(
            height=8 * HEIGHT,
            width=8 * WIDTH,
            num_frames=4 * FRAMES - 3,
            num_inference_steps=STEPS,
            guidance_scale=SCALE,
            use_dynamic_cfg=True,
            generator=generator_for(3),
            latents=start.clone(),
            prompt_embeds=texts[0],
            negative_prompt_embeds=texts[1],
            output_type="latent",
        ).frames

    difference = float((ours() - theirs()).abs().max())
    timed = paired(ours, theirs, pairs=20 if full else 5)
    step_s = min(timed.ours_s, timed.peer_s) / STEPS
    if difference > 1e-4 or step_s < AT_LEAST_S:
        raise RuntimeError(f"No fair comparison: results differ by {difference:g}, a step takes {step_s:.2f} s.")
    return {
        "name": "step_vs_diffusers",
        "ours": round(timed.ours_s / STEPS, 3),
        "peer": round(timed.peer_s / STEPS, 3),
        "ratio": round(timed.ratio, 3),
        "interval": [round(end, 3) for end in timed.interval],
        "goal": GOAL,
        "met": timed.ratio <= GOAL,
        "unit": "x",
        "what": "seconds of a denoising step (CogVideoX, 1024 wide, 1762 tokens, DPM with dynamic guidance) by our "
        "loop over diffusers' CogVideoXPipeline; both give the same latents",
    }
