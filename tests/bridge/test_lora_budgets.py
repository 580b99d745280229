"""A LoRA gives the same picture whatever memory is free: exactly in fp32, within bounds where merging rounds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from harness.pretend.accelerator import Accelerator
from harness.tiny import BY_NAME
from situations import Managed, Situation, each_situation, run_untouched
from test_lora import merged, with_alpha, with_peft
from test_memory import FP8, in_fp8
from torch import Tensor

pytestmark = pytest.mark.gpu
COGVIDEOX = BY_NAME["cogvideox"]


@pytest.fixture(autouse=True)
def as_in_a_prompt() -> Any:
    with torch.inference_mode():
        yield


def patched(bridge: Any, managed: Managed, tensors: dict[str, Tensor]) -> Managed:
    managed.managed = bridge.lora.with_lora(managed.managed, with_alpha(tensors, 8.0))
    return managed


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)], ids=["fp32", "bf16"])
@each_situation
def test_the_result_is_that_of_pefts_merge(
    bridge: Any,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
    situation: Situation,
    dtype: torch.dtype,
    bound: float,
) -> None:
    with torch.inference_mode(False), torch.no_grad():
        reference, tensors = with_peft(dtype)
        expected = run_untouched(COGVIDEOX, merged(reference), dtype, accelerator.device)
    managed = patched(bridge, Managed(bridge, accelerator, COGVIDEOX, COGVIDEOX.make(dtype), dtype), tensors)
    situation(managed, monkeypatch)
    assert distance(managed.run(), expected) <= bound


@each_situation
def test_on_an_fp8_base_it_is_within_what_another_rounding_costs(
    bridge: Any, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, situation: Situation
) -> None:
    with torch.inference_mode(False), torch.no_grad():
        reference, tensors = with_peft(torch.bfloat16)
        wide = in_fp8(COGVIDEOX, then=torch.bfloat16).state_dict()
        for name, parameter in reference.named_parameters():
            if "lora_" not in name:
                parameter.data = wide[name.replace(".base_layer", "")]
        expected = run_untouched(COGVIDEOX, reference, torch.bfloat16, accelerator.device)
    managed = Managed(bridge, accelerator, COGVIDEOX, in_fp8(COGVIDEOX, then=FP8), torch.bfloat16)
    plain = managed.run()
    patched(bridge, managed, tensors)
    situation(managed, monkeypatch)
    assert distance(managed.run(), expected) <= 0.03 < distance(plain, expected)
    assert any("rounds" in note for note in managed.managed.notes)


@each_situation
def test_taking_it_away_gives_the_very_weights_back(
    bridge: Any, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, situation: Situation
) -> None:
    _, tensors = with_peft(torch.float32)
    plain = Managed(bridge, accelerator, COGVIDEOX, COGVIDEOX.make(torch.float32), torch.float32)
    with_lora = object.__new__(Managed)
    with_lora.__dict__.update(vars(plain))
    patched(bridge, with_lora, tensors)
    situation(plain, monkeypatch)
    first = plain.run()
    assert not torch.equal(with_lora.run(), first)
    assert torch.equal(plain.run(), first)
