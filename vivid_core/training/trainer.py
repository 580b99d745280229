"""Training in full: every weight of a small editing model, from the recipe's plans, resumed bit for bit.

What a step trains (samples, noise, times) follows from the seed and its number alone; so a run that was interrupted
and resumed ends with the very weights of one that was not.
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..diffusion import schedulers
from ..diffusion.cogvideox_predict import rotary_positions
from ..editors.adapters.cogvideox import CogVideoXAdapter, known_latents, vivid
from ..editors.contract import Place
from ..models.embedded import EmbeddedModel
from ..models.embedded_codec import EmbeddedCodec
from ..runtime import Runtime
from .tasks import Recipe, Sample, SamplePlan, plan_step, stacked

CODEC_STRIDE = 4
CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"
Source = Callable[[SamplePlan], Sample]


@dataclass(frozen=True)
class TrainSettings:
    """How the weights are moved. The learning rate rises over `warmup` steps, stays, and from `decay_from` (a share of
    `total_steps`) on falls to zero along a cosine. `last_time_share` of the samples are trained at the last time,
    where nothing but noise is left; `outside` is the weight of what needs no edit in the loss."""

    seed: int = 0
    total_steps: int = 100_000
    learning_rate: float = 1.5e-3
    warmup: int = 200
    decay_from: float = 0.5
    ema: float = 0.9995
    outside: float = 0.1
    last_time_share: float = 0.1
    clip_gradients: float = 1.0
    bf16: bool = True
    save_every: int = 500

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        decay = max(0.0, step / self.total_steps - self.decay_from) / (1 - self.decay_from)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, decay)))

    def ema_at(self, step: int) -> float:
        """How much of the mean of the weights is kept in a step; little at first, when they change fast."""
        return min(self.ema, (1 + step) / (10 + step))


class Trainer:
    """Trains `model` in place, with `averaged` beside it: the weights to be used. Files go to `folder`."""

    def __init__(
        self,
        model: EmbeddedModel,
        codec: EmbeddedCodec,
        source: Source,
        folder: str | Path,
        recipe: Recipe | None = None,
        settings: TrainSettings | None = None,
    ) -> None:
        """Goes on from the checkpoint in `folder` if there is one.

        Raises ValueError when that was trained with another recipe or other settings.
        """
        self.model, self.codec, self.source = model, codec, source
        self.folder, self.recipe, self.settings = Path(folder), recipe or Recipe(), settings or TrainSettings()
        self.averaged = copy.deepcopy(model)
        self.step = 0
        config: Any = model.transformer.config
        self._adapter: CogVideoXAdapter = vivid(config, "pool", CODEC_STRIDE)
        self._schedule = schedulers.make(self._adapter.traits.schedule, "ddim")
        self._weights = [parameter for module in model.parts.values() for parameter in module.parameters()]
        self._optimizer = torch.optim.AdamW(self._weights, lr=self.settings.learning_rate, betas=(0.9, 0.99))
        for module in model.parts.values():
            module.train().requires_grad_(True)
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / CHECKPOINT).exists():
            self._resume()

    def train(self, steps: int, runtime: Runtime | None = None) -> float:
        """Train `steps` more steps, at most up to the settings' total; returns the mean loss.

        Each counts one on `runtime`, and a cancel there leaves the last checkpoint. Raises ValueError, with the step
        and its samples, when the loss is no number.
        """
        runtime = runtime or Runtime()
        steps = min(steps, self.settings.total_steps - self.step)
        runtime.begin(steps)
        losses = []
        for _ in range(steps):
            losses.append(self._one_step())
            if self.step % self.settings.save_every == 0:
                self.save()
                self._log(sum(losses[-self.settings.save_every :]) / len(losses[-self.settings.save_every :]))
            runtime.advance()
        if steps > 0:
            self.save()
        return sum(losses) / len(losses) if losses else math.nan

    def save(self) -> None:
        """Write the checkpoint; never half of one."""
        state = {
            "step": self.step,
            "made_with": self._made_with(),
            "optimizer": self._optimizer.state_dict(),
            "model": {part: module.state_dict() for part, module in self.model.parts.items()},
            "averaged": {part: module.state_dict() for part, module in self.averaged.parts.items()},
        }
        unfinished = self.folder / (CHECKPOINT + ".part")
        torch.save(state, unfinished)
        os.replace(unfinished, self.folder / CHECKPOINT)

    def _one_step(self) -> float:
        samples = [self.source(plan) for plan in plan_step(self.recipe, self.settings.seed, self.step)]
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.rate_at(self.step)
        loss = self._loss(samples, generator)
        if not torch.isfinite(loss):
            raise ValueError(
                f"Training: the loss of step {self.step} is no number (samples "
                f"{', '.join(one.id for one in samples)}); the last checkpoint is kept, so lower the learning rate "
                "and train on from it."
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights, self.settings.clip_gradients)
        self._optimizer.step()
        self._average()
        self.step += 1
        return float(loss.detach())

    def _loss(self, samples: list[Sample], generator: torch.Generator) -> Tensor:
        """v-prediction, weighted by where the edit is (VIVID, equation 1, in the form CogVideoX was trained with)."""
        frames, edit, captions = stacked(samples)
        place = Place()
        known = known_latents(edit, CODEC_STRIDE, pool=True)
        clean = self._adapter.encode(frames, self.codec, place)
        seen = self._adapter.encode(frames * (1 - edit[..., None]), self.codec, place)
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(0, 1000, (len(samples),), generator=generator)
        last = torch.rand(len(samples), generator=generator) < self.settings.last_time_share
        times = torch.where(last, 999, times)
        noisy = self._schedule.add_noise(clean, noise, times)
        wanted = self._schedule.get_velocity(clean, noise, times)
        asked = torch.cat([noisy, known * self._adapter.scale, seen], dim=2)
        config: Any = self.model.transformer.config
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bf16):
            predicted = self.model.transformer(
                hidden_states=asked,
                encoder_hidden_states=self.model.encode(captions),
                timestep=times,
                image_rotary_emb=rotary_positions(config, clean.shape[1], *clean.shape[3:]),
                return_dict=False,
            )[0]
        weight = self.settings.outside + (1 - self.settings.outside) * (1 - known)
        return ((predicted.float() - wanted).square() * weight).mean() / weight.mean()

    @torch.no_grad()
    def _average(self) -> None:
        kept = self.settings.ema_at(self.step)
        for part, module in self.model.parts.items():
            mean = self.averaged.parts[part].state_dict()
            for name, tensor in module.state_dict().items():
                if tensor.is_floating_point():
                    mean[name].lerp_(tensor, 1 - kept)

    def _resume(self) -> None:
        state = torch.load(self.folder / CHECKPOINT, map_location="cpu", weights_only=True)
        if state["made_with"] != self._made_with():
            raise ValueError(
                f"{self.folder / CHECKPOINT} was trained with another recipe or other settings; use those, or train "
                "into another folder."
            )
        self.step = state["step"]
        self._optimizer.load_state_dict(state["optimizer"])
        for part, module in self.model.parts.items():
            module.load_state_dict(state["model"][part])
            self.averaged.parts[part].load_state_dict(state["averaged"][part])

    def _made_with(self) -> str:
        """Recipe and settings as text; how often is saved makes no difference."""
        settings = {key: value for key, value in asdict(self.settings).items() if key != "save_every"}
        return json.dumps({"recipe": asdict(self.recipe), "settings": settings}, sort_keys=True)

    def _log(self, loss: float) -> None:
        line = {"step": self.step, "loss": round(loss, 5), "rate": self.settings.rate_at(self.step)}
        with open(self.folder / LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
