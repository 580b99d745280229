"""Makes the ComfyUI of this process, which was booted for the CPU, take an accelerator for its GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from .accelerator import AMPLE, Accelerator


@contextlib.contextmanager
def gpu_of_comfyui(accelerator: Accelerator) -> Iterator[None]:
    """Within, ComfyUI loads models to the accelerator and believes in its capacity; afterwards everything is as before.

    ComfyUI's own reserves are off, so that a capacity means what it says: what a model asks for is free, to the byte.
    """
    import comfy.model_management as management

    accelerator.set_capacity(AMPLE)
    ours = _memory(management, accelerator) | _choices(management, accelerator)
    with _replaced(management, ours), _repeatable(accelerator):
        try:
            yield
        finally:
            management.unload_all_models()
            accelerator.set_capacity(AMPLE)


def _memory(management: Any, accelerator: Accelerator) -> dict[str, Any]:
    """How much there is, and how much of it ComfyUI may fill."""
    free_elsewhere, total_elsewhere = management.get_free_memory, management.get_total_memory

    def get_free_memory(dev: torch.device | None = None, torch_free_too: bool = False) -> Any:
        if dev is not None and dev != accelerator.device:
            return free_elsewhere(dev, torch_free_too)
        free = accelerator.capacity - accelerator.allocated()
        return (free, 0) if torch_free_too else free

    def get_total_memory(dev: torch.device | None = None, torch_total_too: bool = False) -> Any:
        if dev is not None and dev != accelerator.device:
            return total_elsewhere(dev, torch_total_too)
        return (accelerator.capacity, accelerator.capacity) if torch_total_too else accelerator.capacity

    return {
        "get_free_memory": get_free_memory,
        "get_total_memory": get_total_memory,
        "minimum_inference_memory": lambda: 0,
        "EXTRA_RESERVED_VRAM": 0,
        "MIN_WEIGHT_MEMORY_RATIO": 0.0,  # what it is on NVIDIA
    }


def _choices(management: Any, accelerator: Accelerator) -> dict[str, Any]:
    """What ComfyUI decides once, when it is imported, and would have decided otherwise for a GPU."""
    choices = {
        "get_torch_device": lambda: accelerator.device,
        "vram_state": management.VRAMState.NORMAL_VRAM,
        "lora_compute_dtype": lambda device: torch.float32,
    }
    if accelerator.is_real:
        host = management.get_total_memory(torch.device("cpu"))
        return choices | {
            "cpu_state": management.CPUState.GPU,
            "NUM_STREAMS": 2,
            "MAX_PINNED_MEMORY": int(host * 0.4),
        }
    # With cpu_state left alone, every other question about CUDA is answered with no.
    halves = _any_but_cpu
    return choices | {"should_use_fp16": halves, "should_use_bf16": halves}


def _any_but_cpu(device: torch.device | None = None, *_: Any, **__: Any) -> bool:
    return device is None or device.type != "cpu"


@contextlib.contextmanager
def _replaced(module: Any, values: dict[str, Any]) -> Iterator[None]:
    """Set those names of a module that it has: not every ComfyUI has all of them."""
    before = {name: getattr(module, name) for name in values if hasattr(module, name)}
    try:
        for name in before:
            setattr(module, name, values[name])
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


@contextlib.contextmanager
def _repeatable(accelerator: Accelerator) -> Iterator[None]:
    """On a real GPU: convolutions that choose the same algorithm whatever memory is free."""
    if not accelerator.is_real:
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
