"""Modules as citizens of ComfyUI's memory: a patcher of the core's own class around each, loaded, streamed and unloaded
by ComfyUI alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch
from comfy.patcher_extension import CallbacksMP
from torch import nn

from .castable import COMPUTED_IN, has_own_parameters, is_leaf_with_parameters, make_castable
from .host import HostedModel, ManagedModel, Role, host_class, run_on

# Layers up to this many bytes stay on the device. Streaming a norm costs more than its bytes, and some models read the
# weight of a small child instead of calling it.
RESIDENT_BYTES = 64 * 1024
CALLBACKS = "vivid"
ON_THE_DEVICE = ("denoiser", "controlnet", "flow")  # never on the CPU beside a GPU: every step waits for them

Rebuild = Callable[[bool], ManagedModel]


def manage(
    module: nn.Module,
    *,
    role: Role,
    compute_dtype: torch.dtype | None = None,
    rebuild: Rebuild | None = None,
    load_device: torch.device | None = None,
    offload_device: torch.device | None = None,
    dynamic: bool = True,
) -> ManagedModel:
    """Put a module under ComfyUI's memory, once for each module; everybody else takes a `clone()`.

    Its layers change their class in place (`castable`). It computes in `compute_dtype`; without one, in the dtype it
    is stored in, or bfloat16 if nothing computes in that. The devices are those ComfyUI chose for the role.
    `rebuild(disable_dynamic)` makes the model anew from its files, for what needs a copy of its own (torch.compile,
    several GPUs); `dynamic=False` asks for the classic patcher.
    """
    module.eval().requires_grad_(False)
    stored = {one.dtype for one in module.parameters() if one.is_floating_point()}
    compute_dtype = compute_dtype or next((dtype for dtype in COMPUTED_IN if dtype in stored), torch.bfloat16)
    load_device, offload_device = load_device or run_device(role), offload_device or _waiting_device(role)
    kind = _core_class(dynamic)
    operations = comfy.ops.pick_operations(
        compute_dtype if stored <= {compute_dtype} else min(stored, key=lambda dtype: dtype.itemsize),
        compute_dtype,
        load_device=load_device,
        disable_fast_fp8=stored <= {compute_dtype},
    )
    make_castable(module, operations, compute_dtype, dynamic=_is_dynamic(kind))
    host = host_class(role)(module, role, compute_dtype, offload_device)
    if hasattr(comfy.model_management, "archive_model_dtypes"):
        comfy.model_management.archive_model_dtypes(module)
    patcher = _keeping_residents(kind)(host, load_device=load_device, offload_device=offload_device)
    patcher.add_callback_with_key(CallbacksMP.ON_LOAD, CALLBACKS, _loaded)
    patcher.add_callback_with_key(CallbacksMP.ON_DETACH, CALLBACKS, _detached)
    patcher.add_callback_with_key(CallbacksMP.ON_CLONE, CALLBACKS, _cloned)
    if rebuild is not None:
        patcher.cached_patcher_init = (_rebuilt_patcher, (rebuild,))
    return ManagedModel(patcher)


def _rebuilt_patcher(rebuild: Rebuild, disable_dynamic: bool = False) -> Any:
    return rebuild(disable_dynamic).patcher


def run_device(role: Role) -> torch.device:
    """Where ComfyUI, told by its flags, wants models of this role to run."""
    management = comfy.model_management
    if role in ON_THE_DEVICE:
        return management.get_torch_device()
    return management.vae_device() if role == "vae" else management.text_encoder_device()


def _waiting_device(role: Role) -> torch.device:
    """Where it wants them to wait. Segmenters and depth models are placed like text encoders, and flow models like
    denoisers, as the core's own are."""
    management = comfy.model_management
    if role in ON_THE_DEVICE:
        return management.unet_offload_device()
    return management.vae_offload_device() if role == "vae" else management.text_encoder_offload_device()


def _core_class(dynamic: bool) -> type:
    """The class that the running ComfyUI uses for its own models; asked anew each time, it is chosen at its start."""
    classic = comfy.model_patcher.ModelPatcher
    return getattr(comfy.model_patcher, "CoreModelPatcher", classic) if dynamic else classic


def _is_dynamic(kind: type) -> bool:
    dynamic = getattr(comfy.model_patcher, "ModelPatcherDynamic", None)
    return dynamic is not None and issubclass(kind, dynamic)


@functools.cache
def _keeping_residents(kind: type) -> type:
    """`kind`, which after a partial unload brings back what must stay: no callback is called there."""

    class VividPatcher(kind):  # type: ignore[valid-type, misc]
        def partially_unload(self, *args: Any, **named: Any) -> Any:
            freed = super().partially_unload(*args, **named)
            if self.current_loaded_device() == self.load_device:
                _bring_residents(self, self.load_device)
            return freed

    return VividPatcher


def _cloned(_: Any, clone: Any) -> None:
    """A classic clone of a dynamic patcher comes in ComfyUI's own class, whatever the class of the patcher."""
    if type(clone) is comfy.model_patcher.ModelPatcher:
        clone.__class__ = _keeping_residents(comfy.model_patcher.ModelPatcher)


def _loaded(patcher: Any, device: torch.device, *_: Any) -> None:
    run_on(patcher.model.inner, device)
    _bring_residents(patcher, device)


def _detached(patcher: Any, unpatch_all: bool = True, *_: Any) -> None:
    if not unpatch_all:
        return  # the weights stay where they are: another holder takes them over, or runs them at this moment
    run_on(patcher.model.inner, None)
    for module in _holders_that_are_no_layers(patcher.model):  # a dynamic patcher never moves these back
        _move_parameters(module, patcher.offload_device)
    for module in patcher.model.modules():
        if not isinstance(module, comfy.ops.CastWeightBiasOp):  # there, it is ComfyUI's view of memory it gave back
            _recall(vars(module), patcher.load_device, patcher.offload_device)


def _recall(kept: dict[Any, Any] | list[Any], device: torch.device, home: torch.device) -> None:
    """Take home what a module keeps in plain attributes, in dictionaries and lists (positions, tables for a size, what
    Wan's VAE remembers of a clip that was cancelled)."""
    for key, value in list(kept.items() if isinstance(kept, dict) else enumerate(kept)):
        if isinstance(value, torch.Tensor) and value.device == device:
            kept[key] = value.to(home)
        elif type(value) in (dict, list) and key not in ("_parameters", "_buffers", "_modules"):
            _recall(value, device, home)


def _bring_residents(patcher: Any, device: torch.device) -> None:
    """Put on the device what ComfyUI's list of layers doesn't know (parameters of modules with children, buffers) or
    can't stream, and what is too small to stream."""
    if device is None or getattr(patcher, "is_dynamic", lambda: False)():
        return  # a dynamic patcher does this by itself
    host: HostedModel = patcher.model
    for module in _holders_that_are_no_layers(host):
        _move_parameters(module, device)
    for name, module in host.named_modules():
        if is_leaf_with_parameters(module) and _is_resident(module):
            for key in list(module._parameters):
                patcher.unpin_weight(f"{name}.{key}")  # a pinned buffer must not be dropped
            _move_parameters(module, device)
        for key, buffer in module._buffers.items():
            if buffer is not None and buffer.device != device:
                module._buffers[key] = buffer.to(device)


def _is_resident(layer: nn.Module) -> bool:
    size = sum(one.nbytes for one in layer._parameters.values() if one is not None)
    return size <= RESIDENT_BYTES or not hasattr(layer, "comfy_cast_weights")


def _holders_that_are_no_layers(host: nn.Module) -> Iterator[nn.Module]:
    return (module for module in host.modules() if has_own_parameters(module) and not is_leaf_with_parameters(module))


def _move_parameters(module: nn.Module, device: torch.device) -> None:
    for key, parameter in module._parameters.items():
        if parameter is None or parameter.device == device:
            continue
        moved = parameter.detach().to(device)
        if torch._has_compatible_shallow_copy_type(parameter, moved):
            parameter.data = moved  # the same object, so that tied weights stay tied
        else:
            module._parameters[key] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
