"""A denoising step of our loop against diffusers' own pipeline: the same module, noise, texts and guidance."""

from __future__ import annotations

from typing import Any

from .timing import clock_of, paired

GOAL = 1.02
STEPS = 2
SCALE = 6.0
AT_LEAST_S = 1.0  # shorter steps would measure Python, not the step
ABOUT = {
    "measures": "a denoising step of CogVideoX by our loop",
    "peer": "diffusers' CogVideoXPipeline with the same module, noise and texts; both give the same latents",
    "instead": "diffusers' pipeline in a script or a wrapper",
    "goal": "at most 1.02x the time",
}


def run(full: bool) -> dict[str, Any]:
    """A narrow transformer, on the CPU."""
    from ._models import FRAMES, HEIGHT, WIDTH, transformer

    return compared(transformer(layers=2), (FRAMES, HEIGHT, WIDTH), 20 if full else 5)


def run_cuda(full: bool) -> dict[str, Any]:
    """As wide as 5B and with its tokens at 49 frames of 480x720, but 8 layers of 42, in fp32, so that both must give
    the same."""
    from ._models import transformer

    return compared(transformer(layers=8, heads=48), (13, 60, 90), 10 if full else 3, "cuda")


def compared(
    module: Any, size: tuple[int, int, int], pairs: int, device: str = "cpu", least_s: float = AT_LEAST_S
) -> dict[str, Any]:
    """The line of a transformer on latents of `size` (frames, height, width)."""
    from core.editing_models import pipeline

    from vivid_core.diffusion import schedulers
    from vivid_core.diffusion.cogvideox_predict import predictor
    from vivid_core.diffusion.denoise import denoise, generator_for, noise
    from vivid_core.diffusion.guidance import Guidance

    frames, height, width = size
    module = module.to(device)
    start = noise((1, frames, 16, height, width), generator_for(0), device)
    texts = [noise((1, 226, 4096), generator_for(seed), device) for seed in (1, 2)]
    schedule = schedulers.cogvideox()

    def ours() -> Any:
        scheduler, predict = schedulers.make(schedule), predictor(module, *texts)
        return denoise(predict, scheduler, start, STEPS, Guidance(SCALE, dynamic=True), generator_for(3))

    def theirs() -> Any:
        peer = pipeline(module, schedulers.make(schedule)).to(device)
        return peer(
            height=8 * height,
            width=8 * width,
            num_frames=4 * frames - 3,
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
    timed = paired(ours, theirs, pairs, clock_of(device), warm=True)
    step_s = min(timed.ours_s, timed.peer_s) / STEPS
    if difference > 1e-4 or step_s < least_s:
        raise RuntimeError(f"No fair comparison: results differ by {difference:g}, a step takes {step_s:.2f} s.")
    tokens = 226 + frames * height * width // 4
    return {
        "name": "step_vs_diffusers",
        "ours": round(timed.ours_s / STEPS, 3),
        "peer": round(timed.peer_s / STEPS, 3),
        "ratio": round(timed.ratio, 3),
        "interval": [round(end, 3) for end in timed.interval],
        "goal": GOAL,
        "met": timed.ratio <= GOAL,
        "unit": "x",
        "what": f"seconds of a denoising step (CogVideoX, {64 * module.config.num_attention_heads} wide, {tokens} "
        "tokens, DPM with dynamic guidance) by our loop over diffusers' CogVideoXPipeline; both give the same latents",
    }
