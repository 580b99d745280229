"""Tiny models under ComfyUI's memory, and the situations a model can meet there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from harness.pretend.accelerator import Accelerator
from harness.tiny import BY_NAME, MODELS, TinyModel
from torch import Tensor, nn

ROOM = 24 << 20  # bytes for activations: more than any tiny model needs
SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16"}

each_model_and_dtype = pytest.mark.parametrize(
    ("model", "dtype"),
    [
        pytest.param(model, dtype, id=f"{model.name}-{SHORT[dtype]}")
        for model in MODELS
        for dtype in (torch.float32, torch.bfloat16)
        if dtype in model.dtypes
    ],
)
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def bytes_of(module: nn.Module, device: torch.device | None = None) -> int:
    """Of the parameters; those on a device, or all. Tied ones are counted for each place, as ComfyUI does."""
    parameters = (one for _, one in module.named_parameters(remove_duplicate=False))
    return sum(one.nbytes for one in parameters if device in (None, one.device))


def held_on(module: nn.Module, device: torch.device) -> int:
    """Bytes of parameters and buffers on a device, what shares its memory counted once."""
    tensors = [one for one in (*module.parameters(), *module.buffers()) if one.device == device]
    return sum({one.data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


def run_untouched(model: TinyModel, module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The result of a module that no bridge has seen, wholly on the device; on the CPU."""
    return model.run(module.to(device), dtype, device).cpu()


@functools.cache
def expected(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What an untouched tiny model gives."""
    return run_untouched(BY_NAME[name], BY_NAME[name].make(dtype), dtype, device)


class Managed:
    """A module under the bridge, with a model's way to run it."""

    def __init__(
        self, bridge: Any, accelerator: Accelerator, model: TinyModel, module: nn.Module, compute: torch.dtype
    ) -> None:
        self.bridge, self.accelerator, self.tiny, self.compute = bridge, accelerator, model, compute
        self.size = bytes_of(module)
        self.managed = bridge.patcher.manage(module, role=model.role, compute_dtype=compute)
        assert self.managed.device == accelerator.device

    @property
    def module(self) -> nn.Module:
        return self.managed.module

    def run(self, room: int = ROOM) -> Tensor:
        """One forward as a node would do it; the result on the CPU."""
        with self.bridge.memory.loaded(self.managed, activations=room):
            return self.tiny.run(self.module, self.compute, self.accelerator.device).cpu()

    def give_room_for(self, share: float) -> None:
        """A device on which this share of the weights fits beside the activations."""
        self.accelerator.set_capacity(int(self.size * share) + ROOM)

    def on_device(self) -> float:
        """The share of the weights that lies on the device."""
        return bytes_of(self.module, self.accelerator.device) / self.size


def everything_fits(model: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    model.give_room_for(1.2)


def it_shrank(model: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    model.give_room_for(1.2)
    model.run(room=0)
    assert model.on_device() == 1
    model.accelerator.set_capacity(int(model.size * 0.6) + ROOM)


def most_fits(model: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    model.give_room_for(0.7)


def a_third_fits(model: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    model.give_room_for(0.35)


def nothing_fits(model: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    model.give_room_for(0.0)


def novram(model: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management as management

    model.give_room_for(1.2)
    monkeypatch.setattr(management, "vram_state", management.VRAMState.NO_VRAM)


Situation = Callable[[Managed, pytest.MonkeyPatch], None]
SHARES: dict[Situation, tuple[float, float]] = {  # how much of the weights lies on the device then
    everything_fits: (1.0, 1.0),
    it_shrank: (0.0, 0.9),
    most_fits: (0.2, 0.9),
    a_third_fits: (0.02, 0.6),
    nothing_fits: (0.0, 0.4),
    novram: (0.0, 0.4),
}
each_situation = pytest.mark.parametrize("situation", SHARES, ids=lambda situation: situation.__name__)
