"""Running models in ComfyUI's memory: loaded together for a block, with what they will need known beforehand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import comfy.model_management
import torch

from .host import ManagedModel

GB = 1e9


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes: all weights, the activations on top, and what of the weights stays on the device or is streamed."""

    weights: int
    activations: int
    resident: int
    streamed: int

    def sentence(self) -> str:
        """For a node's report."""
        text = f"Memory: {self.weights / GB:.2f} GB of weights and about {self.activations / GB:.2f} GB to work in; "
        if not self.streamed:
            return text + "everything fits on the device."
        return text + (
            f"{self.resident / GB:.2f} GB of the weights stay on the device and {self.streamed / GB:.2f} GB are "
            "streamed to it in every step, which is slower but gives the same result."
        )


def plan(models: list[ManagedModel], activations: int) -> MemoryPlan:
    """What will be resident and what streamed when `models` are loaded together with room for `activations` bytes.

    ComfyUI decides when it loads; this is its rule with what is free now, once everything else has made room.
    """
    management = comfy.model_management
    weights = sum(model.weight_bytes for model in models)
    device = models[0].device
    if management.is_device_cpu(device):
        return MemoryPlan(weights, activations, weights, 0)
    held = sum(entry.model_loaded_memory() for entry in management.current_loaded_models if entry.device == device)
    free = management.get_free_memory(device) + held
    room = free - max(management.minimum_inference_memory(), activations + management.extra_reserved_memory())
    if management.vram_state == management.VRAMState.NO_VRAM:
        room = 0
    resident = int(min(weights, max(0, room)))
    return MemoryPlan(weights, activations, resident, weights - resident)


@contextlib.contextmanager
def loaded(*models: ManagedModel, activations: int = 0) -> Iterator[None]:
    """Have `models` ready to be called in this block, with room for `activations` bytes beside them.

    Everything a loop calls must be named: ComfyUI may unload whatever isn't as soon as something else is loaded.
    On a real out-of-memory error ComfyUI's own handling still takes place.
    """
    patchers = [model.patcher for model in models]
    comfy.model_management.load_models_gpu(patchers, memory_required=activations)
    for patcher in patchers:
        patcher.pre_run()
    try:
        yield
    finally:
        for patcher in patchers:
            patcher.cleanup()


@contextlib.contextmanager
def explained_out_of_memory(inputs_to_lower: str) -> Iterator[None]:
    """Say which inputs to lower when the device is full. The error stays what it was, so that ComfyUI still unloads
    its models and adds its own advice."""
    try:
        yield
    except torch.OutOfMemoryError as full:
        full.args = (f"The device's memory is full: lower {inputs_to_lower} and run again. ({full})",)
        raise
