"""The peak of live memory in a forward pass of real size, on a machine that couldn't hold it.

Fake tensors have shapes but no numbers, so nothing is computed and nothing allocated. What is counted is what a
device's allocator would be asked for: a fused attention is one operation, and a convolution's own workspace isn't seen.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Inputs = dict[str, Any]


class LiveMemory(TorchDispatchMode):
    """In this block, counts the bytes of tensors that are alive: `live` now, `peak` at most, `peak_at` in which
    operation.

    Views share their storage, which counts once, until its last tensor is gone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.peak_at = "the inputs"
        self._known: dict[int, int] = {}

    def add(self, tensors: Iterable[Tensor], counted: bool = True, what: str = "the inputs") -> None:
        """Tensors that are alive. Those that are not counted (weights) aren't counted as anyone's view later either."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._known:
                self._known[key] = storage.nbytes() if counted else 0
                self.live += self._known[key]
                weakref.finalize(storage, self._forget, key)
        if self.live > self.peak:
            self.peak, self.peak_at = self.live, what

    def _forget(self, key: int) -> None:
        self.live -= self._known.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.add(tensors_in(result), what=str(func))
        return result


class UnfusedAttention(TorchFunctionMode):
    """In this block, attention multiplies queries and keys itself, for `rows` queries at a time: no fused kernel."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows = rows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attend(*args, **(kwargs or {}))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        shape = query.shape
        # Flat and contiguous, as a batched product of matrices wants them.
        query, key, value = (tensor.reshape(-1, *tensor.shape[-2:]) for tensor in (query, key, value))
        result = torch.empty_like(query)
        for first in range(0, query.shape[1], self._rows):
            rows = slice(first, first + self._rows)
            scores = (query[:, rows] @ key.transpose(1, 2)).div_(math.sqrt(query.shape[-1]))
            scores = scores.softmax(-1)
            result[:, rows] = scores @ value
        return result.reshape(shape)


def tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def peak_of_forward(
    module: nn.Module,
    inputs: Callable[[], Inputs],
    dtype: torch.dtype,
    call: Callable[..., object] | None = None,
    unfused_rows: int = 0,
) -> int:
    """Bytes alive at most in one forward, with its inputs and its result, without the weights.

    `module` may have its parameters on the meta device; `inputs` makes the keyword arguments of one call, floating ones
    in torch's default dtype, which is `dtype`. `call` says what to call if not the module; with `unfused_rows`
    attention is not fused and takes that many queries at a time.
    """
    before = torch.get_default_dtype()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, torch.no_grad():
        torch.set_default_dtype(dtype)
        try:
            weights = _fake_weights(module, mode, dtype)
            given = inputs()
            memory = LiveMemory()
            memory.add(weights, counted=False)
            memory.add(tensors_in(given))
            with memory, UnfusedAttention(unfused_rows) if unfused_rows else nullcontext():
                (call or module)(**given)
        finally:
            torch.set_default_dtype(before)
    return memory.peak


def _fake_weights(module: nn.Module, mode: FakeTensorMode, dtype: torch.dtype) -> list[Tensor]:
    """Make all tensors of a module fake, those of a file with fractions in `dtype`, and return them."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = torch.empty(parameter.shape, dtype=dtype if parameter.is_floating_point() else parameter.dtype)
                part._parameters[name] = nn.Parameter(fake, requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                fake = mode.from_tensor(buffer)
                saved = name not in part._non_persistent_buffers_set and buffer.is_floating_point()
                part._buffers[name] = fake.to(dtype) if saved else fake
    return [*module.parameters(), *module.buffers()]
