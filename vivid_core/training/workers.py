"""The processes that train one model together: one alone, or several on the devices of a machine through accelerate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..optional import require


class Workers:
    """A process alone. Each of several trains a part of every step's samples; the gradients are their mean."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.rank, self.count = 0, 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return value

    def wait(self) -> None:
        """Until all processes have come here."""

    def share_gradients(self, weights: Sequence[Tensor]) -> None:
        """Give every process the mean of all gradients."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        # The trained parts are small, so they go over in one piece once a step; nothing must be wrapped for it.
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for weight, gradient in zip(weights, flat.split([gradient.numel() for gradient in gradients])):
            weight.grad = gradient.view_as(weight)


class AcceleratedWorkers(Workers):
    """What `accelerate launch` or `torchrun` started: this process among the others, with a device of its own.

    Raises ModuleNotFoundError without accelerate.
    """

    def __init__(self, on_the_cpu: bool = False) -> None:
        # Where it isn't told that there is nothing but the CPU, it takes each of several processes for one alone.
        on_the_cpu = on_the_cpu or not any(one.is_available() for one in (torch.cuda, torch.xpu, torch.backends.mps))
        self._accelerator = require("accelerate", "Training on several devices").Accelerator(cpu=on_the_cpu)
        super().__init__(self._accelerator.device)
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return self._accelerator.reduce(value, "mean")

    def wait(self) -> None:
        """Until all processes have come here."""
        self._accelerator.wait_for_everyone()
