"""Layers that ComfyUI can stream: the class of each layer is changed in place, everything else stays as it was.

ComfyUI keeps a layer's weights in host memory and brings them to the device for one call only if the layer is one of
its own (`comfy.ops`). Names, state-dict keys, parameter objects and hooks of a diffusers, transformers or sam2 module
survive the change, and so do its results, to the last bit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import comfy.model_management
import comfy.ops
import torch
from torch import Tensor, nn

STANDARD = (
    "Linear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",
    "Embedding",
)
UNTOUCHABLE = (nn.MultiheadAttention, nn.LSTM, nn.GRU)  # their C++ paths read the weights of what is inside them
COMPUTED_IN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def make_castable(module: nn.Module, operations: Any, compute_dtype: torch.dtype, dynamic: bool = False) -> None:
    """Change the class of every layer that holds parameters; `operations` is one of ComfyUI's families of layers.

    Layers inside of `UNTOUCHABLE` are left alone, and so always stay on the device. Parameters of a module that also
    has children stay with it; `patcher` keeps those on the device. `dynamic` says
    that a dynamic patcher will manage the module: it loads what it doesn't know by itself.
    """
    left_alone = {
        id(inner) for outer in module.modules() if isinstance(outer, UNTOUCHABLE) for inner in outer.modules()
    }
    for layer in list(module.modules()):
        feed_forward = _FEED_FORWARDS.get(type(layer).__name__)
        if feed_forward is not None:
            layer.__class__ = _without_dtype_guess(type(layer), feed_forward)
        if id(layer) in left_alone or not is_leaf_with_parameters(layer):
            continue
        if isinstance(layer, comfy.ops.CastWeightBiasOp):
            continue
        layer.__class__ = _as_core_layer(type(layer), operations) or _lending(type(layer), dynamic)
        layer._vivid_compute_dtype = compute_dtype  # type: ignore[assignment]
        _complete(layer)


def is_leaf_with_parameters(module: nn.Module) -> bool:
    """Whether a module holds parameters and none of its children does: what ComfyUI counts as a layer."""
    return has_own_parameters(module) and not any(True for child in module.children() for _ in child.parameters())


def has_own_parameters(module: nn.Module) -> bool:
    """Whether a module holds parameters that are not its children's."""
    return any(parameter is not None for parameter in module._parameters.values())


def _as_core_layer(kind: type[nn.Module], operations: Any) -> type[nn.Module] | None:
    """ComfyUI's class for a torch layer or a plain subclass of one; None if there is none."""
    for name in STANDARD:
        base, core = getattr(nn, name, None), getattr(operations, name, None)
        if base is None or core is None or not issubclass(kind, base):
            continue
        core = _embedding(core) if name == "Embedding" else core
        if kind is base:
            return core
        if kind.forward is base.forward or _ends_in_super(kind):
            return _mixed(kind, core)
    return None


def _ends_in_super(kind: type[nn.Module]) -> bool:
    """Whether a layer's own forward calls super().forward(), behind which ComfyUI's class can be put."""
    code = getattr(kind.forward, "__code__", None)
    return code is not None and {"super", "forward"} <= set(code.co_names)


@functools.cache
def _mixed(kind: type[nn.Module], core: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (kind, core), {"__module__": __name__})


@functools.cache
def _embedding(core: type[nn.Module]) -> type[nn.Module]:
    """A table has no floating input to take the dtype from; one that is stored narrower must be read in the compute
    dtype, or everything after it computes in the narrow one."""

    class Embedding(core):  # type: ignore[valid-type, misc]
        def forward(self, input: Tensor, **named: Any) -> Tensor:
            if _is_narrower(self.weight.dtype, self._vivid_compute_dtype):
                named.setdefault("out_dtype", self._vivid_compute_dtype)
            return super().forward(input, **named)

    return Embedding


@functools.cache
def _lending(kind: type[nn.Module], dynamic: bool) -> type[nn.Module]:
    """`kind` with its tensors lent to the device for one call. A classic patcher streams only what has
    `comfy_cast_weights`; a dynamic one puts what hasn't on the device by itself."""
    named = {"__module__": __name__} | ({} if dynamic else {"comfy_cast_weights": True})
    return type(kind.__name__, (_Lends, kind), named)


class _Lends:
    """Goes before a layer's own class."""

    weight_function: Any = ()
    bias_function: Any = ()
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _vivid_compute_dtype: torch.dtype

    def forward(self, *args: Any, **named: Any) -> Any:
        comfy.ops.run_every_op()
        given = next((value for value in (*args, *named.values()) if isinstance(value, Tensor)), None)
        device = comfy.model_management.get_torch_device() if given is None else given.device
        own = self._parameters, self._buffers
        patched = bool(self.weight_function) or bool(self.bias_function)
        if not patched and all(self._is_ready(tensor, device) for tensor in _tensors(*own)):
            return super().forward(*args, **named)  # type: ignore[misc]
        self._parameters = {key: self._lent(key, tensor, device) for key, tensor in own[0].items()}
        self._buffers = {key: self._lent("", tensor, device) for key, tensor in own[1].items()}
        try:
            return super().forward(*args, **named)  # type: ignore[misc]
        finally:
            self._parameters, self._buffers = own

    def _is_ready(self, tensor: Tensor, device: torch.device) -> bool:
        return tensor.device == device and not _is_narrower(tensor.dtype, self._vivid_compute_dtype)

    def _lent(self, key: str, tensor: Tensor | None, device: torch.device) -> Tensor | None:
        if tensor is None:
            return None
        narrower = _is_narrower(tensor.dtype, self._vivid_compute_dtype)
        dtype = self._vivid_compute_dtype if narrower else tensor.dtype
        functions = {"weight": self.weight_function, "bias": self.bias_function}.get(key, ())
        lent = comfy.model_management.cast_to(tensor, dtype, device, copy=bool(functions))
        for function in functions:
            lent = function(lent)
        return lent


def _tensors(*groups: dict[str, Tensor | None]) -> Iterator[Tensor]:
    return (tensor for group in groups for tensor in group.values() if tensor is not None)


def _is_narrower(stored: torch.dtype, computed: torch.dtype) -> bool:
    """Whether weights must be converted to compute with them; wider ones are left alone, they are so on purpose."""
    return stored.is_floating_point and stored.itemsize < computed.itemsize


def _complete(layer: nn.Module) -> None:
    """Give a layer the attributes its new class expects. ComfyUI's `reset_parameters` add them and never initialise;
    anybody else's would overwrite the weights."""
    for kind in type(layer).__mro__:
        reset = kind.__dict__.get("reset_parameters")
        if reset is not None:
            if reset.__module__.startswith("comfy."):
                reset(layer)
            break
    for name in ("weight", "bias"):
        if name not in layer._parameters and not hasattr(layer, name):
            layer.register_parameter(name, None)


def _gated(self: Any, hidden: Tensor) -> Tensor:
    return self.wo(self.dropout(self.act(self.wi_0(hidden)) * self.wi_1(hidden)))


def _plain(self: Any, hidden: Tensor) -> Tensor:
    return self.wo(self.dropout(self.act(self.wi(hidden))))


# transformers casts T5's activations to the dtype its last weight is stored in, which destroys them when that is fp8.
_FEED_FORWARDS = {
    "T5DenseGatedActDense": _gated,
    "T5DenseActDense": _plain,
    "UMT5DenseGatedActDense": _gated,
    "UMT5DenseActDense": _plain,
}


@functools.cache
def _without_dtype_guess(kind: type[nn.Module], forward: Any) -> type[nn.Module]:
    return type(kind.__name__, (kind,), {"__module__": __name__, "forward": forward})
