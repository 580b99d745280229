"""Several roles through one denoising, each step of which lets them share attention by rules.

`lockstep` asks the U-Net for all rows in one batch, `sequential` for one role after the other, sources first, with the
features of this step only. Both give the same results.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ..runtime import Runtime
from .attention_context import RuleContext
from .attention_processors import attached
from .attention_rules import AnyRule, FrameRule, kind_of
from .ddim import WHOLE, Ask, Times, slices
from .denoise import check_finite
from .guidance import guided
from .layer_table import LayerTable
from .roles import Role, RolePlan, Row

__all__ = ["BranchRun", "Mode", "Role", "RolePlan", "Row", "most_rows", "run_branches"]

Mode = Literal["lockstep", "sequential"]
# Parts of a clip, with how much each of their frames counts [frames of the part].
Windows = Sequence[tuple[slice, Tensor]]
_Part = tuple[range, Tensor | None]


def most_rows(roles: Sequence[Role], rules: Sequence[AnyRule], steps: int, mode: Mode = "lockstep") -> int:
    """How many rows the largest batch of a run has, to know how much memory it needs beside the weights.

    Raises ValueError as `RolePlan.make` does.
    """
    plan = RolePlan.make(roles, rules, steps)
    return plan.most_rows if mode == "lockstep" else plan.most_rows_of_one


def run_branches(
    unet: nn.Module,
    ask: Ask,
    times: Times,
    roles: Sequence[Role],
    rules: Sequence[AnyRule] = (),
    runtime: Runtime | None = None,
    *,
    mode: Mode = "lockstep",
    chunk: int | None = None,
    windows: Windows | None = None,
    modules: Sequence[nn.Module] = (),
    activations: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """Denoise `roles` together, from z_S to z_0, under `rules`.

    `ask` calls `unet`, on whose attention layers the rules act while this runs; its own processors are back afterwards
    whatever happens. `chunk` frames are asked at once (None: all), which only a U-Net for single images allows, or one
    whose motion modules are bypassed. `windows` are parts of the clip that may overlap, each with how much each of its
    frames counts there; in every step the noise that they see is averaged. `modules` are held for the run, with room
    for `activations` bytes. Each step counts one on `runtime`, with a preview of the first role that is wanted and
    denoised; what it raises to cancel passes through.

    Returns z_0 [1, C, F, h, w] on the CPU of each role that is wanted. Raises ValueError for rules that don't fit the
    roles, the U-Net, the clip or each other, for latents of different shapes, and when the model returned NaN.
    """
    run = BranchRun(unet, ask, times, roles, rules, mode=mode, chunk=chunk, windows=windows, device=device)
    return run.run(runtime, modules=modules, activations=activations)


class BranchRun:
    """The run of `run_branches`, whose arguments it takes: its plan, and the latents of each role now."""

    def __init__(
        self,
        unet: nn.Module,
        ask: Ask,
        times: Times,
        roles: Sequence[Role],
        rules: Sequence[AnyRule] = (),
        *,
        mode: Mode = "lockstep",
        chunk: int | None = None,
        windows: Windows | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Raises ValueError as `run_branches` does, but for what only the model's answers show."""
        self.unet, self.ask, self.times, self.device = unet, ask, times, device
        self.roles = {role.name: role for role in roles}
        self.plan = RolePlan.make(roles, rules, times.steps)
        self.together = mode == "lockstep"
        self.latents = {role.name: role.at(times.steps, device) for role in roles}
        shape = _one_shape(self.latents)
        self.parts = _parts(rules, shape[2], chunk) if windows is None else _windows(rules, shape[2], windows)
        self.counts = None if windows is None else _counts(shape[2], windows).to(device)
        table = LayerTable.make(unet) if rules else LayerTable(())
        self.context = RuleContext(table, rules, self.plan.rows, shape[2], (shape[3], shape[4]))
        self.context.check(times.steps)
        self.shown = next((role.name for role in roles if role.wanted and not role.replays), None)

    @property
    def most_features(self) -> int:
        """How many bytes of features it held at the worst time so far, beside what a call of the U-Net needs."""
        return self.context.peak_bytes

    @torch.no_grad()
    def run(
        self, runtime: Runtime | None = None, modules: Sequence[nn.Module] = (), activations: int = 0
    ) -> dict[str, Tensor]:
        """All steps; see `run_branches`."""
        runtime = runtime or Runtime()
        with runtime.hold(*modules, activations=activations), attached(self.unet, self.context):
            for step in range(self.times.steps):
                clean = self.step(step, runtime)
                runtime.advance(latent_cfhw=None if clean is None else partial(clean.__getitem__, 0))
        return {name: self.result(role) for name, role in self.roles.items() if role.wanted}

    def step(self, step: int, runtime: Runtime) -> Tensor | None:
        """One step of all roles that it needs; returns the x0 of the one that is shown."""
        k = self.times.steps - step
        seen = {name: self._seen(self.roles[name], k) for name in self.plan.asked[step]}
        with self.context.at(step):
            eps = self._asked(step, seen, runtime)
        cleans = {
            name: self._advanced(self.roles[name], step, latents, eps)
            for name, latents in seen.items()
            if not self.roles[name].replays
        }
        return None if self.shown is None else cleans[self.shown]

    def result(self, role: Role) -> Tensor:
        """z_0 of a role, on the CPU."""
        return _with_pinned(role, 0, role.at(0) if role.replays else self.latents[role.name].cpu())

    def _seen(self, role: Role, k: int) -> Tensor:
        latents = role.at(k, self.device) if role.replays else self.latents[role.name]
        return _with_pinned(role, k, latents)

    def _asked(self, step: int, seen: dict[str, Tensor], runtime: Runtime) -> dict[Row, Tensor]:
        """The noise in each row, part for part of the clip and, if sequential, role for role."""
        names, timestep = self.plan.asked[step], self.times.timestep(self.times.steps - step)
        eps = {row: torch.zeros_like(seen[row.role]) for row in self.plan.rows_at(step)}
        groups = [names] if self.together and names else [(name,) for name in names]
        for number, (part, weight) in enumerate(self.parts):
            later_parts = [later for later, _ in self.parts[number + 1 :]]
            at = WHOLE if len(self.parts) == 1 else slice(part.start, part.stop)
            for turn, group in enumerate(groups):
                runtime.advance(0)  # counts nothing, but a cancel arrives
                rows = tuple(row for name in group for row in self.plan.rows[name])
                batch = torch.cat([seen[row.role][:, :, at] for row in rows])
                later = [name for rest in groups[turn + 1 :] for name in rest]
                with self.context.calling(rows, part, later, later_parts):
                    said = self.ask(batch, timestep, [self.roles[row.role].text_of(row) for row in rows], at)
                for row, one in zip(rows, said.split(1)):
                    eps[row][:, :, at] += one if weight is None else one * weight.to(one).view(-1, 1, 1)
            self.context.part_done(later_parts)
        return eps if self.counts is None else {row: one / self.counts.to(one) for row, one in eps.items()}

    def _advanced(self, role: Role, step: int, latents: Tensor, eps: dict[Row, Tensor]) -> Tensor:
        """Take a role one step further; returns the x0 that it saw."""
        k = self.times.steps - step
        said = [eps[row] for row in self.plan.rows[role.name]]
        noise = said[0] if len(said) == 1 else guided(said[0], said[1], role.guidance)
        clean = _with_pinned(role, 0, self.times.clean(k, latents, noise))
        latents = self.times.down(k, latents, noise)
        if role.correct is not None:
            latents = role.correct(step, latents, clean)
        check_finite(latents)
        self.latents[role.name] = latents
        return clean


def _with_pinned(role: Role, k: int, latents: Tensor) -> Tensor:
    if role.pinned:
        latents = latents.clone()
        for frame, stored in role.pinned.items():
            latents[:, :, frame : frame + 1] = stored[k].to(latents)
    return latents


def _one_shape(latents: dict[str, Tensor]) -> torch.Size:
    shapes = {tensor.shape for tensor in latents.values()}
    if len(shapes) != 1:
        got = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in latents.items())
        raise ValueError(f"Roles: got latents of {got or 'no role at all'}; all roles need the same clip's.")
    return shapes.pop()


def _parts(rules: Sequence[AnyRule], frames: int, chunk: int | None) -> list[_Part]:
    """The parts of the clip in which it is asked, in an order that the rules between frames allow."""
    plans = [rule.plan for rule in rules if isinstance(rule, FrameRule)]
    if len(set(plans)) > 1:
        raise ValueError("Rules: got frame rules with different anchors or orders; a run goes through its frames once.")
    parts = plans[0].parts(chunk) if plans else slices(frames, chunk)
    if len(parts) > 1 and any(kind_of(rule) == "temporal" for rule in rules):
        raise ValueError(
            f"Frames at once: got {chunk} of {frames}, but a rule is about attention over time, which needs all of "
            "them at once."
        )
    return [(range(*part.indices(frames)), None) for part in parts]


def _windows(rules: Sequence[AnyRule], frames: int, windows: Windows) -> list[_Part]:
    if any(isinstance(rule, FrameRule) for rule in rules):
        raise ValueError("Rules: got a frame rule and windows; such a rule takes the clip in parts of its own order.")
    return [(range(*window.indices(frames)), weight) for window, weight in windows]


def _counts(frames: int, windows: Windows) -> Tensor:
    """How much all windows together count at each frame, [F, 1, 1]."""
    counts = torch.zeros(frames, dtype=torch.float64)
    for window, weight in windows:
        counts[window] += weight
    if not (counts > 0).all():
        missing = int((counts <= 0).nonzero()[0])
        raise ValueError(f"Windows: no window has frame {missing}; let them cover the whole clip.")
    return counts.view(-1, 1, 1)
