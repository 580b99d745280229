"""What ComfyUI sees of a model, and what travels between our nodes."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

Role = Literal["denoiser", "vae", "text_encoder", "controlnet", "segmenter", "depth", "flow"]
INNER = "diffusion_model"  # so that weight keys look like those of ComfyUI's own models


class HostedModel(nn.Module):
    """The module that a ModelPatcher manages: ours as its one child, and the plain attributes ComfyUI asks for.

    A patcher can't hold a diffusers or transformers model itself: it sets `device`, which is a read-only property
    there. Nothing here refers back to a patcher, so that a model is freed as soon as the graph lets go of it.
    """

    def __init__(self, module: nn.Module, role: Role, compute_dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.add_module(INNER, module)
        self.role, self.compute_dtype, self.device = role, compute_dtype, device
        self.current_patcher: Any = None
        stored = {parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()}
        self.manual_cast_dtype = compute_dtype if stored - {compute_dtype} else None
        answer_with_the_run(module, compute_dtype)

    @property
    def inner(self) -> nn.Module:
        """The module as its library made it."""
        return self._modules[INNER]  # type: ignore[return-value]

    def get_dtype(self) -> torch.dtype:
        """The dtype the weights are stored in."""
        return next((one.dtype for one in self.inner.parameters() if one.is_floating_point()), self.compute_dtype)

    def memory_required(self, input_shape: Any, **_: Any) -> float:
        """ComfyUI's guess for its own samplers; our loops name their activations themselves."""
        return 0.0

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.inner(*args, **named)


@functools.cache
def host_class(role: Role) -> type[HostedModel]:
    """HostedModel under a name that tells something in ComfyUI's log, which prints the class."""
    return type(f"Vivid{role.title().replace('_', '')}", (HostedModel,), {"__module__": __name__})


def answer_with_the_run(module: nn.Module, compute_dtype: torch.dtype) -> None:
    """Let `module.dtype` and `module.device` tell where and in what it computes.

    The libraries ask their first parameter, which may be stored in fp8 or wait in host memory.
    """
    kind = type(module)
    if any(isinstance(inspect.getattr_static(kind, name, None), property) for name in ("dtype", "device")):
        module.__class__ = _answering(kind)
        run_on(module, None, compute_dtype)


def run_on(module: nn.Module, device: torch.device | None, compute_dtype: torch.dtype | None = None) -> None:
    """Say where a module computes from now on; None leaves it to its parameters."""
    if hasattr(type(module), "_vivid_run"):
        before = module._vivid_run
        module._vivid_run = (before[0] if compute_dtype is None else compute_dtype, device)  # type: ignore[assignment, index]


@functools.cache
def _answering(kind: type[nn.Module]) -> type[nn.Module]:
    def answer(name: str, place: int) -> property:
        asked = inspect.getattr_static(kind, name).fget
        return property(lambda self: asked(self) if self._vivid_run[place] is None else self._vivid_run[place])

    known = {"dtype": 0, "device": 1}
    answers = {
        name: answer(name, place)
        for name, place in known.items()
        if isinstance(inspect.getattr_static(kind, name, None), property)
    }
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "_vivid_run": (None, None), **answers})


@dataclass(frozen=True)
class ManagedModel:
    """A model under ComfyUI's memory, as it travels on a wire. `notes` are sentences for the report of its user.

    Every holder has a clone of the patcher; all clones share one module. ComfyUI's caches ask the methods below.
    """

    patcher: Any
    notes: list[str] = field(default_factory=list)

    @property
    def host(self) -> HostedModel:
        """What the patcher manages."""
        return self.patcher.model

    @property
    def module(self) -> nn.Module:
        """The diffusers, transformers or sam2 module. Call it only while it is `loaded`."""
        return self.host.inner

    @property
    def role(self) -> Role:
        """What the model does."""
        return self.host.role

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of its activations."""
        return self.host.compute_dtype

    @property
    def device(self) -> torch.device:
        """Where it computes when it is loaded."""
        return self.patcher.load_device

    @property
    def weight_bytes(self) -> int:
        """How many bytes its weights have."""
        return int(self.patcher.model_size())

    def clone(self) -> ManagedModel:
        """Another holder of the same weights."""
        return replace(self, patcher=self.patcher.clone(), notes=list(self.notes))

    def with_patcher(self, change: Callable[[Any], None], *notes: str) -> ManagedModel:
        """A clone whose patcher was given to `change`."""
        clone = self.clone()
        change(clone.patcher)
        return replace(clone, notes=[*clone.notes, *notes])

    def get_models(self) -> list[Any]:
        """The patchers in it."""
        return [self.patcher]

    def is_dynamic(self) -> bool:
        """Whether ComfyUI streams it from its own virtual memory."""
        return bool(getattr(self.patcher, "is_dynamic", lambda: False)())

    def get_ram_usage(self) -> int:
        """Bytes in host memory, for ComfyUI's cache under memory pressure."""
        return int(self.patcher.get_ram_usage()) if hasattr(self.patcher, "get_ram_usage") else self.weight_bytes


class ManagedBundle(ABC):
    """Something with managed models in it, as it travels on a wire. ComfyUI's caches ask the methods at the end."""

    @abstractmethod
    def models(self) -> list[ManagedModel]:
        """All models in it."""

    def get_models(self) -> list[Any]:
        """The patchers in it."""
        return [model.patcher for model in self.models()]

    def is_dynamic(self) -> bool:
        """Whether ComfyUI streams it from its own virtual memory."""
        return all(model.is_dynamic() for model in self.models())

    def get_ram_usage(self) -> int:
        """Bytes in host memory, for ComfyUI's cache under memory pressure."""
        return sum(model.get_ram_usage() for model in self.models())
