"""The one trainer: it moves those weights of a model that want gradients, all of them or a LoRA, by the recipe's plans.

What a step trains (samples, noise, times) follows from the seed and its number alone; so a run that was interrupted
and resumed ends with the very weights of one that was not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..editors.adapters.cogvideox import EMBEDDED_STRIDE, CogVideoXAdapter, vivid
from ..editors.contract import Place
from ..runtime import Runtime
from .checkpoints import CHECKPOINT, check_finite, log_line, read_checkpoint, write_checkpoint
from .objective import Batch, Encode, Objective, fastest_attention, plain_encode
from .optimizers import adamw, muon_and_adamw
from .settings import TrainSettings, made_with
from .tasks import Recipe, Sample, SamplePlan, plan_step
from .workers import Workers

Source = Callable[[SamplePlan], Sample]


class Learner(Protocol):
    """A model in training: a CogVideoX transformer and its text. `parts` are the modules that may be trained, by name;
    `encode` gives the embeddings [B, tokens, channels] of texts."""

    @property
    def transformer(self) -> nn.Module: ...

    @property
    def parts(self) -> dict[str, nn.Module]: ...

    def encode(self, texts: Sequence[str]) -> Tensor: ...


M = TypeVar("M", bound=Learner)


class Trainer(Generic[M]):
    """Trains `model` in place, with `averaged` beside it: the weights to be used. Files go to `folder`."""

    def __init__(
        self,
        model: M,
        vae: nn.Module,
        source: Source,
        folder: str | Path,
        recipe: Recipe | None = None,
        settings: TrainSettings | None = None,
        *,
        adapter: CogVideoXAdapter | None = None,
        encode: Encode | None = None,
        workers: Workers | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Goes on from the checkpoint in `folder` if there is one.

        `adapter` is the embedded model's by default; `encode` replaces the `vae`, for instance by a cache before it;
        `about` is what else must be the same when a run goes on. Raises ValueError when nothing wants a gradient, a
        step has fewer samples than there are processes, or the checkpoint is damaged or was trained with another recipe
        or other settings.
        """
        config: Any = model.transformer.config
        self.model, self.source, self.workers = model, source, workers or Workers()
        self.folder, self.recipe, self.settings = Path(folder), recipe or Recipe(), settings or TrainSettings()
        _check_share(self.recipe, self.workers)
        self.step = 0
        self.losses: list[float] = []  # of all steps
        self._about = dict(about or {})
        adapter = adapter or vivid(config, "pool", EMBEDDED_STRIDE)
        encode = encode or plain_encode(adapter, vae, Place(self.workers.device))
        self._objective = Objective(adapter, encode, self.settings.outside, self.settings.last_time_share)
        self._weights = [weight for module in model.parts.values() for weight in module.parameters()]
        frozen = [weight for weight in self._weights if not weight.requires_grad]
        self._weights = [weight for weight in self._weights if weight.requires_grad]
        if not self._weights:
            raise ValueError("Training: no weight of the model wants a gradient; call requires_grad_ on what to train.")
        # What is frozen is shared: a base of many gigabytes must not be there twice.
        self.averaged: M = copy.deepcopy(model, {id(weight): weight for weight in frozen})
        self._optimizers = self._made_optimizers()
        self._prepare()
        state = read_checkpoint(self.folder, self._made_with)
        if state is not None:
            self._resume(state)

    def train(self, steps: int, runtime: Runtime | None = None) -> float:
        """Train `steps` more steps, at most up to the settings' total; returns the mean loss.

        Each counts one on `runtime`; a cancel there leaves a checkpoint of all that is done. Raises ValueError, with
        the step and its samples, when the loss is no number; the last checkpoint is kept then.
        """
        runtime = runtime or Runtime()
        steps = max(0, min(steps, self.settings.total_steps - self.step))
        runtime.begin(steps)
        losses: list[float] = []
        for _ in range(steps):
            with self._saved_when_stopped(bool(losses)):
                loss, size, samples = self._gradients()
            check_finite(self.step, loss, size, ", ".join(one.id for one in samples))
            self._move()
            losses.append(loss)
            self.losses.append(loss)
            if self.step % self.settings.save_every == 0:
                self.save()
                recent = losses[-self.settings.save_every :]
                self._log(sum(recent) / len(recent))
            with self._saved_when_stopped():
                runtime.advance()
        if steps > 0:
            self.save()
        return sum(losses) / len(losses) if losses else math.nan

    def save(self) -> None:
        """Write the checkpoint; never half of one."""
        self._write()
        self.workers.wait()

    def _write(self) -> None:
        if not self.workers.is_first:
            return
        state = {
            "step": self.step,
            "losses": torch.tensor(self.losses),
            "made_with": self._made_with,
            "optimizer": self._optimizers.state_dict(),
            "model": {part: _trained(module) for part, module in self.model.parts.items()},
            "averaged": {part: _trained(module) for part, module in self.averaged.parts.items()},
        }
        write_checkpoint(self.folder, state)

    def _prepare(self) -> None:
        for module in self.model.parts.values():
            module.train()
        if self.settings.checkpointing:
            self.model.transformer.enable_gradient_checkpointing()  # type: ignore[operator]
        self.folder.mkdir(parents=True, exist_ok=True)

    def _made_optimizers(self) -> Any:
        rate, matrix_rate = self.settings.learning_rate, self.settings.matrix_rate
        if matrix_rate:
            return muon_and_adamw(self.model.parts.values(), rate, matrix_rate)
        return adamw(self._weights, rate)

    @contextmanager
    def _saved_when_stopped(self, worth_it: bool = True) -> Iterator[None]:
        """Where the weights are not being moved: whatever stops the run here, nothing of it is lost."""
        try:
            yield
        except BaseException:
            if worth_it:
                self._write()  # the other processes may never come to wait for this one
            raise

    def _gradients(self) -> tuple[float, float, list[Sample]]:
        """Those of the step, with its loss, their size before it was limited, and the samples of this process."""
        plans = plan_step(self.recipe, self.settings.seed, self.step)
        mine = slice(self.workers.rank, None, self.workers.count)
        samples = [self.source(plan) for plan in plans[mine]]
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        self._optimizers.zero_grad()
        with torch.enable_grad():
            batch = self._objective.batch(samples, generator, len(plans), mine, self.workers.device)
            loss = float(self.workers.mean(self._backward(batch)))
        self.workers.share_gradients(self._weights)
        size = float(nn.utils.clip_grad_norm_(self._weights, self.settings.clip_gradients))
        return loss, size, samples

    def _move(self) -> None:
        self._optimizers.step(self.settings.rate_at(self.step))
        self._average()
        self.step += 1

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of the mean over all processes' samples, some samples at a time; returns this one's part."""
        at_once, device = self.settings.at_once or len(batch), batch.clean.device
        whole = self.workers.mean(batch.weight.sum()) * batch.clean.shape[2]
        total = torch.zeros((), device=device)
        for start in range(0, len(batch), at_once):
            part = batch.part(start, start + at_once)
            with fastest_attention(part.clean):
                with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.bf16):
                    text = self.model.encode(part.captions).to(device)
                    loss = self._objective.loss(self.model.transformer, text, part) / whole
                loss.backward()
            total += loss.detach()
        return total

    @torch.no_grad()
    def _average(self) -> None:
        kept = self.settings.ema_at(self.step)
        for (_, mean), (_, weight) in zip(self._named(self.averaged), self._named(self.model)):
            mean.lerp_(weight, 1 - kept)

    @staticmethod
    def _named(model: Learner) -> Iterator[tuple[str, Tensor]]:
        for module in model.parts.values():
            yield from ((name, weight) for name, weight in module.named_parameters() if weight.requires_grad)

    @property
    def _made_with(self) -> str:
        return made_with(self.recipe, self.settings, self._about)

    def _resume(self, state: Mapping[str, Any]) -> None:
        for part, module in self.model.parts.items():
            _put(state["model"][part], module, self.folder)
            _put(state["averaged"][part], self.averaged.parts[part], self.folder)
        self._optimizers.load_state_dict(state["optimizer"])
        self.step, self.losses = state["step"], state.get("losses", torch.zeros(0)).tolist()

    def _log(self, loss: float) -> None:
        if self.workers.is_first:
            log_line(self.folder, self.step, loss, rate=self.settings.rate_at(self.step))


def _trained(module: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint needs of a module: not its frozen weights."""
    return {name: one.detach() for name, one in module.state_dict(keep_vars=True).items() if one.requires_grad}


def _put(tensors: Mapping[str, Tensor], module: nn.Module, folder: Path) -> None:
    own = _trained(module).items()
    wrong = sorted(name for name, one in own if name not in tensors or tensors[name].shape != one.shape)
    if wrong:
        raise ValueError(
            f"{folder / CHECKPOINT} lacks {len(wrong)} of the weights that are trained, or has them in another size "
            f"({wrong[0]}); it belongs to another model, so train into another folder."
        )
    module.load_state_dict(dict(tensors), strict=False)


def _check_share(recipe: Recipe, workers: Workers) -> None:
    fewest = min(recipe.image_batch, recipe.video_batch)
    if fewest < workers.count:
        raise ValueError(
            f"Training: {workers.count} processes train together, but a step has only {fewest} samples; raise the "
            f"batch to {workers.count} or more, or start fewer processes."
        )
