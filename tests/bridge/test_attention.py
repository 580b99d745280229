"""The user's attention backend reaches models that call torch's own attention."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from harness.inprocess import bridge
from torch import Tensor
from torch.nn import functional

pytestmark = pytest.mark.usefixtures("comfy_base")


class Backend:
    """A backend of the user's: counts its calls and answers as torch does."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **named: Any) -> Tensor:
        self.calls.append({"heads": heads, "mask": mask, **named})
        with torch._C.DisableTorchFunction():
            return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """ComfyUI with another attention chosen, as --use-sage-attention does at its start."""
    from comfy.ldm.modules import attention

    chosen = Backend()
    monkeypatch.setattr(attention, "optimized_attention", chosen)
    return chosen


def tensors(heads: int = 3, size: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, heads, 9, size, generator=generator) for _ in range(3))


def test_a_plain_call_goes_to_the_chosen_backend(backend: Backend) -> None:
    query, key, value = tensors()
    expected = functional.scaled_dot_product_attention(query, key, value)
    with bridge("attention").routed() as router:
        result = functional.scaled_dot_product_attention(query, key, value)
    assert torch.equal(result, expected)
    assert router.routed_calls == 1 and backend.calls[0]["heads"] == 3
    assert backend.calls[0]["skip_reshape"] and backend.calls[0]["skip_output_reshape"]


def test_a_mask_goes_along(backend: Backend) -> None:
    query, key, value = tensors()
    mask = torch.zeros(2, 1, 9, 9).masked_fill(torch.rand(2, 1, 9, 9) < 0.3, -1e4)
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with bridge("attention").routed():
        result = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert torch.equal(result, expected) and backend.calls[0]["mask"] is mask


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, {"is_causal": True}),
        ({}, {"dropout_p": 0.5}),
        ({}, {"scale": 1.0}),
        ({"size": 256}, {}),
    ],
)
def test_what_a_backend_cannot_do_goes_to_torch(backend: Backend, change: dict, named: dict) -> None:
    with bridge("attention").routed():
        functional.scaled_dot_product_attention(*tensors(**change), **named)
    assert not backend.calls


def test_training_goes_to_torch(backend: Backend) -> None:
    query, key, value = tensors()
    with bridge("attention").routed(), torch.enable_grad():
        functional.scaled_dot_product_attention(query.requires_grad_(), key, value).sum().backward()
    assert not backend.calls and query.grad is not None


def test_outside_the_block_and_in_other_threads_nothing_changes(backend: Backend) -> None:
    query, key, value = tensors()
    functional.scaled_dot_product_attention(query, key, value)
    with bridge("attention").routed():
        other = threading.Thread(target=functional.scaled_dot_product_attention, args=(query, key, value))
        other.start()
        other.join()
    assert not backend.calls


def test_a_segmenter_asks_for_full_precision(backend: Backend) -> None:
    with bridge("attention").routed(low_precision=False):
        functional.scaled_dot_product_attention(*tensors())
    assert backend.calls[0]["low_precision_attention"] is False


def test_a_segmenter_never_gets_quantised_attention(backend: Backend) -> None:
    backend.__name__ = "attention_sage"
    query, key, value = tensors()
    expected = functional.scaled_dot_product_attention(query, key, value)
    with bridge("attention").routed(low_precision=False) as router:
        result = functional.scaled_dot_product_attention(query, key, value)
    assert torch.equal(result, expected) and router.routed_calls == 1 and not backend.calls
    with bridge("attention").routed():
        functional.scaled_dot_product_attention(query, key, value)
    assert len(backend.calls) == 1


@pytest.mark.parametrize(
    ("name", "fused"), [("attention_pytorch", True), ("attention_split", False), ("attention_sub_quad", False)]
)
def test_memory_estimates_know_which_backends_hold_scores(
    monkeypatch: pytest.MonkeyPatch, name: str, fused: bool
) -> None:
    from comfy.ldm.modules import attention

    monkeypatch.setattr(attention, "optimized_attention", getattr(attention, name))
    assert bridge("attention").is_fused() is fused
