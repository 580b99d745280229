"""Fits the embedded codec to clips of the world: principal components first, then all of it by gradient.

`python -m vivid_core.training.world.codec_fitting FILE` fits the one that comes with the pack.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.embedded_codec import PATCH, SCALING_FACTOR, EmbeddedCodec, GroupCodec, save_codec
from ...runtime import Runtime
from ..tasks import Recipe, plan_step
from .render import FRAMES, SIDE
from .samples import world_sample
from .trials import Trial, trials

START_CLIPS = 200
FILL = -1.0  # of a hole, as the model's masked clips have it
MASKED_SHARE = 4  # of so many clips one has its hole: latents of masked clips only condition, nobody looks at them
NOISE = 0.1  # on scaled latents while fitting: a model's latents are never exact
RATE, WARM_UP, LEAST_RATE = 2e-3, 50, 1e-5
STEPS, HIDDEN = 3000, 96  # of the codec that comes with the pack

log = logging.getLogger("vivid")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m vivid_core.training.world.codec_fitting")
    parser.add_argument("file", help="where the codec is written")
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    codec = fit_codec(given.steps, hidden=HIDDEN)
    psnr = codec_psnr(codec, trials("add"))
    fitted = f"fit_codec({given.steps}, batch=16, seed=0, hidden={HIDDEN}, side={SIDE})"
    save_codec(
        codec, given.file, {"psnr": f"{psnr:.2f} dB on the answers of the 64 held-out additions", "fitted": fitted}
    )
    log.info("%s: %.2f dB", given.file, psnr)
    return 0


def fit_codec(
    steps: int, batch: int = 16, seed: int = 0, hidden: int = 64, side: int = SIDE, runtime: Runtime | None = None
) -> EmbeddedCodec:
    """A codec fitted by `steps` steps on clips of the world: in fp32, for evaluation. With 0 steps it is linear.

    Some minutes on one core are enough; the same numbers give the same codec on the same machine.
    """
    runtime = runtime or Runtime()
    runtime.begin(steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = EmbeddedCodec(hidden_channels=hidden)
    noise = torch.Generator().manual_seed(seed)
    start_bcfhw = clips(seed, 0, START_CLIPS, side)
    _start_linear(codec, start_bcfhw)
    optimizer = torch.optim.Adam(codec.parameters(), lr=RATE)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step, steps)
        frames_bcfhw = clips(seed, step + 1, batch, side)
        optimizer.zero_grad()
        _loss(codec, frames_bcfhw, noise).backward()
        optimizer.step()
        runtime.advance()
    _scale_latents(codec, start_bcfhw)
    return codec.eval().requires_grad_(False)


def clips(seed: int, step: int, count: int, side: int = SIDE) -> Tensor:
    """Training clips in -1..1, [count, 3, 9, side, side]; each fourth has its hole filled as masked clips have it."""
    recipe = Recipe(images_per_video=0, video_batch=count)
    made = []
    for index, plan in enumerate(plan_step(recipe, seed, step)):
        sample = world_sample(plan, side)
        frames_fhwc = sample.frames_fhwc * 2 - 1
        if index % MASKED_SHARE == 0:
            frames_fhwc = frames_fhwc.masked_fill(sample.edit_mask_fhw[..., None] > 0.5, FILL)
        made.append(frames_fhwc)
    return torch.stack(made).permute(0, 4, 1, 2, 3)


def codec_psnr(codec: EmbeddedCodec, held_out: list[Trial], side: int = SIDE) -> float:
    """The codec's PSNR (dB, of the whole frame, mean over clips) on the true answers of held-out trials."""
    values = []
    for trial in held_out:
        oracle_fhwc = trial.truth(side).oracle_fhwc
        error = float((codec.there_and_back(oracle_fhwc) - oracle_fhwc).double().square().mean())
        values.append(10 * math.log10(1 / error))
    return sum(values) / len(values)


def _start_linear(codec: EmbeddedCodec, frames_bcfhw: Tensor) -> None:
    """Principal components, each with a variance of 1."""
    first, rest = frames_bcfhw[:, :, :1], frames_bcfhw[:, :, 1:FRAMES]
    for part, group in ((codec.first, first), (codec.rest, rest)):
        values = _packed(part, group).double()
        mean = values.mean(0)
        directions = torch.linalg.eigh((values - mean).T @ (values - mean) / len(values))[1]
        directions = directions.flip(1)[:, : part.project.out_channels]
        spread = ((values - mean) @ directions).std(0)
        with torch.no_grad():
            part.project.weight.copy_((directions / spread).T[..., None, None])
            part.project.bias.copy_(-(mean @ (directions / spread)))
            part.unproject.weight.copy_((directions * spread)[..., None, None])
            part.unproject.bias.copy_(mean)


def _packed(part: GroupCodec, frames_bcfhw: Tensor) -> Tensor:
    """The blocks that are projected, [places, pixels]."""
    packed = F.pixel_unshuffle(frames_bcfhw.transpose(1, 2), PATCH)
    return packed.unflatten(1, (-1, part.frames)).flatten(2, 3).movedim(2, -1).flatten(0, -2)


def _loss(codec: EmbeddedCodec, frames_bcfhw: Tensor, generator: torch.Generator) -> Tensor:
    """Squared error, first frames and groups alike, with noisy latents that are kept from growing out of the noise."""
    loss = torch.zeros(())
    for part, group in ((codec.first, frames_bcfhw[:, :, :1]), (codec.rest, frames_bcfhw[:, :, 1:])):
        latents = part.encode(group)
        power = latents.square().mean(dim=(0, 2, 3, 4), keepdim=True)
        noise = torch.randn(latents.shape, generator=generator) * NOISE * power.sqrt().detach().mean()
        loss = loss + (part.decode(latents + noise) - group).square().mean()
    return loss


def _scale_latents(codec: EmbeddedCodec, frames_bcfhw: Tensor) -> None:
    """Give scaled latents a mean of 0 in each channel and a variance of 1 over all: nothing else changes."""
    for part, group in ((codec.first, frames_bcfhw[:, :, :1]), (codec.rest, frames_bcfhw[:, :, 1:])):
        with torch.no_grad():
            latents = part.encode(group)
            mean = latents.mean(dim=(0, 2, 3, 4))
            factor = 1 / (SCALING_FACTOR * (latents - mean.view(1, -1, 1, 1, 1)).square().mean().sqrt())
            part.project.weight.mul_(factor)
            part.project.bias.sub_(mean).mul_(factor)
            _undo(part, mean, factor)


def _undo(part: GroupCodec, mean: Tensor, factor: Tensor) -> None:
    """Let the two layers that read latents read (latents / factor + mean)."""
    for layer in (part.unproject, part.correction.enter):
        layer.bias.add_(layer.weight.sum(dim=(2, 3)) @ mean)
        layer.weight.div_(factor)


def _rate(step: int, steps: int) -> float:
    return LEAST_RATE + RATE * min(1, (step + 1) / WARM_UP) * (1 - step / steps)


if __name__ == "__main__":
    raise SystemExit(main())
