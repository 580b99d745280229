"""The device that tests of memory run on: a CUDA GPU where there is one, otherwise the pretend accelerator."""

from __future__ import annotations

import types
from typing import Protocol

import torch

from . import build

AMPLE = 8 << 30


class Accelerator(Protocol):
    """A device with a settable capacity. All sizes are bytes."""

    device: torch.device
    is_real: bool

    @property
    def capacity(self) -> int:
        """How much memory ComfyUI is told that the device has."""

    def set_capacity(self, size: int) -> None:
        """The pretend accelerator also enforces it: more raises torch.OutOfMemoryError."""

    def allocated(self) -> int:
        """What tensors occupy now."""

    def peak(self) -> int:
        """The most they occupied since `reset_peak`."""

    def reset_peak(self) -> None: ...

    def traffic(self) -> tuple[int, int] | None:
        """(to the device, to the host) since the process began; None on a real GPU, which doesn't count it."""


def find_accelerator() -> Accelerator:
    """The best device there is. Raises `build.CannotBuild` if that is the pretend one and it can't be compiled."""
    return CudaGpu() if torch.cuda.is_available() else PretendAccelerator(build.load())


class PretendAccelerator:
    """Host memory behind a device type of its own; see device.cpp."""

    is_real = False

    def __init__(self, ledger: types.ModuleType) -> None:
        self.device = torch.device(build.NAME, 0)
        self._ledger = ledger
        self.set_capacity(AMPLE)

    @property
    def capacity(self) -> int:
        return self._capacity

    def set_capacity(self, size: int) -> None:
        self._capacity = int(size)
        self._ledger.set_capacity(self._capacity)

    def allocated(self) -> int:
        return self._ledger.allocated()

    def peak(self) -> int:
        return self._ledger.peak()

    def reset_peak(self) -> None:
        self._ledger.reset_peak()

    def traffic(self) -> tuple[int, int] | None:
        return self._ledger.traffic()


class CudaGpu:
    """The first CUDA GPU. Its capacity is what ComfyUI is told, not a limit: the libraries' workspaces come on top."""

    is_real = True

    def __init__(self) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.capacity = AMPLE

    def set_capacity(self, size: int) -> None:
        self.capacity = int(size)

    def allocated(self) -> int:
        torch.cuda.synchronize(self.device)
        torch._C._cuda_clearCublasWorkspaces()  # cuBLAS keeps a workspace for each stream, which is no tensor of ours
        return self._requested("current")

    def peak(self) -> int:
        return self._requested("peak")

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def traffic(self) -> tuple[int, int] | None:
        return None

    def _requested(self, when: str) -> int:
        # What tensors asked for; torch's other counters round each of them up to blocks.
        return torch.cuda.memory_stats(self.device).get(f"requested_bytes.all.{when}", 0)
