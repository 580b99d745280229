"""Runs that are cancelled at a step or inside the decoding of what was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.inprocess import Executor, Result
from harness.probes import call
from torch import Tensor, nn

INTERRUPTED = "execution_interrupted"


@dataclass
class Work:
    """One node with inputs that make it run for some steps; `decoder` is the module that turns latents into frames."""

    node_id: str
    inputs: Callable[[], dict[str, Any]]
    decoder: Callable[[dict[str, Any]], nn.Module] | None = None
    steps: list[int] = field(default_factory=list)

    def whole(self, executor: Executor) -> list[Tensor]:
        """What an undisturbed run gives: its tensors. How many steps it has is written down."""
        self.steps.clear()
        result = call(executor, self.node_id, lambda done, total: self.steps.append(done), **self.inputs())
        assert result.ok, result.exception
        return tensors(result)

    def moments(self) -> tuple[int, ...]:
        """After the first step, in the middle, and before the last one."""
        last = self.steps[-1]
        return tuple(sorted({1, max(1, last // 2), max(1, last - 1)}))

    def cancelled_at(self, executor: Executor, step: int) -> Result:
        """A run whose user cancels after so many steps."""

        def stop(done: int, total: int) -> None:
            if done == step:
                interrupt()

        return call(executor, self.node_id, stop, **self.inputs())

    def cancelled_in_decoding(self, executor: Executor) -> tuple[Result, int]:
        """A run whose user cancels while frames are decoded, and how often they were."""
        assert self.decoder is not None
        given = self.inputs()
        with _at_each_call(self.decoder(given), interrupt) as calls:
            result = call(executor, self.node_id, **given)
        return result, len(calls)


def tensors(result: Result) -> list[Tensor]:
    """The pictures and masks of a result, those of its videos among them."""
    films = [one.get_components().images for one in result.outputs["node"] if hasattr(one, "get_components")]
    return [one for one in result.outputs["node"] if isinstance(one, Tensor)] + films


def differ(first: list[Tensor], second: list[Tensor]) -> list[str]:
    """What two runs of a node gave differently, which should have given the same: one sentence for each."""
    if len(first) != len(second) or not first:
        return [f"{len(first)} results, then {len(second)}"]
    most = [float((one - other).abs().max()) for one, other in zip(first, second)]
    return [f"result {number} is another one, by {value:g}" for number, value in enumerate(most) if value]


def was_interrupted(result: Result) -> bool:
    """Whether ComfyUI took it for a cancelled run, not for a failed one."""
    return not result.ok and any(name == INTERRUPTED for name, _ in result.messages)


def interrupt() -> None:
    """What the page's button does."""
    import comfy.model_management

    comfy.model_management.interrupt_current_processing()


@contextmanager
def _at_each_call(module: nn.Module, do: Callable[[], None]) -> Iterator[list[int]]:
    calls: list[int] = []

    def hook(*_: object) -> None:
        calls.append(1)
        do()

    handle = module.register_forward_pre_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()
