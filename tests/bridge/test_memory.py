"""Models under ComfyUI's memory give the results of the untouched module, account for every byte, and let go of it.

The models are tiny, the architectures, ComfyUI and its memory manager are real.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from harness.pretend.accelerator import Accelerator
from harness.tiny import BY_NAME, MODELS, TinyModel
from situations import (
    ROOM,
    SHARES,
    Managed,
    Situation,
    bytes_of,
    each_model,
    each_model_and_dtype,
    each_situation,
    expected,
    held_on,
    run_untouched,
)
from torch import nn

pytestmark = pytest.mark.gpu
FP8 = torch.float8_e4m3fn


@pytest.fixture(autouse=True)
def as_in_a_prompt() -> Any:
    """ComfyUI executes nodes in inference mode."""
    with torch.inference_mode():
        yield


@each_situation
@each_model_and_dtype
def test_results_are_those_of_the_untouched_module_to_the_bit(
    bridge: Any,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
    model: TinyModel,
    dtype: torch.dtype,
    situation: Situation,
) -> None:
    managed = Managed(bridge, accelerator, model, model.make(dtype), dtype)
    situation(managed, monkeypatch)
    result = managed.run()
    least, most = SHARES[situation]
    assert least <= managed.on_device() <= most, "the situation did not come about"
    assert torch.equal(result, expected(model.name, dtype, accelerator.device))


def allocated_so_far(accelerator: Accelerator) -> int:
    """Without what the traceback of a failed test keeps alive."""
    if accelerator.allocated():
        gc.collect()
    return accelerator.allocated()


STORED_IN_FP8 = [model for model in MODELS if model.eight_bit is not None]
STORED_IN_FP16 = [model for model in MODELS if model.role in ("denoiser", "controlnet", "text_encoder")]


def in_fp8(model: TinyModel, then: torch.dtype) -> nn.Module:
    """A bf16 model whose big weights were stored in fp8, and then in `then`."""
    module = model.make(torch.bfloat16)
    changed = 0
    for name, parameter in module.named_parameters():
        if model.eight_bit is not None and model.eight_bit(name, parameter):
            parameter.data = parameter.data.to(FP8).to(then)
            changed += 1
    assert changed >= 8
    return module


@each_situation
@pytest.mark.parametrize("model", STORED_IN_FP8, ids=lambda model: model.name)
def test_weights_stored_in_fp8_compute_as_their_bf16_values(
    bridge: Any, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, model: TinyModel, situation: Situation
) -> None:
    twin = run_untouched(model, in_fp8(model, then=torch.bfloat16), torch.bfloat16, accelerator.device)
    managed = Managed(bridge, accelerator, model, in_fp8(model, then=FP8), torch.bfloat16)
    situation(managed, monkeypatch)
    result = managed.run()
    assert FP8 in {parameter.dtype for parameter in managed.module.parameters()}
    assert result.dtype == twin.dtype and torch.equal(result, twin)


@each_situation
@pytest.mark.parametrize("model", STORED_IN_FP16, ids=lambda model: model.name)
def test_weights_stored_in_fp16_compute_as_their_fp32_values(
    bridge: Any, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, model: TinyModel, situation: Situation
) -> None:
    widened = nn.Module.float(model.make(torch.float16))
    twin = run_untouched(model, widened, torch.float32, accelerator.device)
    managed = Managed(bridge, accelerator, model, model.make(torch.float16), torch.float32)
    situation(managed, monkeypatch)
    result = managed.run()
    assert torch.float16 in {parameter.dtype for parameter in managed.module.parameters()}
    assert result.dtype == torch.float32 and torch.equal(result, twin)


@pytest.mark.parametrize("model", STORED_IN_FP8, ids=lambda model: model.name)
def test_a_streamed_module_tells_where_and_in_what_it_computes(
    bridge: Any, accelerator: Accelerator, model: TinyModel
) -> None:
    managed = Managed(bridge, accelerator, model, in_fp8(model, then=FP8), torch.bfloat16)
    managed.give_room_for(0.0)
    with bridge.memory.loaded(managed.managed, activations=ROOM):
        assert managed.module.device == accelerator.device
        assert managed.module.dtype == torch.bfloat16


@each_model
def test_names_and_values_of_the_weights_stay(bridge: Any, accelerator: Accelerator, model: TinyModel) -> None:
    before = model.make().state_dict()
    managed = Managed(bridge, accelerator, model, model.make(), torch.float32)
    for share in (0.35, 1.2):
        managed.give_room_for(share)
        managed.run()
        after = managed.module.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[name].cpu(), before[name]) for name in before)


@each_model
@pytest.mark.parametrize("share", [1.2, 0.7, 0.35, 0.0])
def test_every_byte_on_the_device_is_a_weight_or_a_buffer(
    bridge: Any, accelerator: Accelerator, model: TinyModel, share: float
) -> None:
    before = allocated_so_far(accelerator)
    managed = Managed(bridge, accelerator, model, model.make(), torch.float32)
    managed.give_room_for(share)
    with bridge.memory.loaded(managed.managed, activations=ROOM):
        assert accelerator.allocated() - before == held_on(managed.module, accelerator.device)
        told = managed.managed.patcher.loaded_size()
        assert told <= held_on(managed.module, accelerator.device)
        if share > 1:
            assert told == managed.managed.weight_bytes
            assert all(one.device == accelerator.device for one in managed.module.state_dict().values())


@each_model
@pytest.mark.parametrize("share", [1.2, 0.35])
def test_an_unloaded_model_leaves_nothing_on_the_device_and_can_come_back(
    bridge: Any, accelerator: Accelerator, model: TinyModel, share: float
) -> None:
    import comfy.model_management

    before = allocated_so_far(accelerator)
    managed = Managed(bridge, accelerator, model, model.make(), torch.float32)
    managed.give_room_for(share)
    first = managed.run()
    comfy.model_management.unload_all_models()
    assert managed.on_device() == 0 and accelerator.allocated() == before
    assert torch.equal(managed.run(), first)


def test_what_a_cancelled_run_left_in_a_model_is_unloaded_too(
    bridge: Any, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management

    before = allocated_so_far(accelerator)
    model = BY_NAME["wan_vae"]
    managed = Managed(bridge, accelerator, model, model.make(), torch.float32)
    managed.give_room_for(1.2)
    first = managed.run()

    def cancelled(*_: Any, **__: Any) -> None:
        raise comfy.model_management.InterruptProcessingException

    with monkeypatch.context() as patch:  # the encoder remembers the last frames, the decoder the latents
        patch.setattr(managed.module.decoder.norm_out, "forward", cancelled)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            managed.run()
    assert any(isinstance(kept, torch.Tensor) for kept in managed.module._feat_map)
    comfy.model_management.unload_all_models()
    assert managed.on_device() == 0 and accelerator.allocated() == before
    assert torch.equal(managed.run(), first)


@each_model
@pytest.mark.parametrize("share", [1.2, 0.35])
def test_a_model_nobody_holds_is_gone_at_once(
    bridge: Any, accelerator: Accelerator, model: TinyModel, share: float
) -> None:
    before = allocated_so_far(accelerator)
    managed = Managed(bridge, accelerator, model, model.make(), torch.float32)
    managed.give_room_for(share)
    managed.run()
    alive = weakref.ref(managed.module)
    gc.disable()  # what is left to the garbage collector keeps gigabytes until it happens to run
    try:
        del managed
        assert alive() is None
        assert accelerator.allocated() == before
    finally:
        gc.enable()


def test_two_models_make_room_for_each_other(bridge: Any, accelerator: Accelerator) -> None:
    first, second = (
        Managed(bridge, accelerator, BY_NAME[name], BY_NAME[name].make(), torch.float32)
        for name in ("cogvideox", "unet_motion")
    )
    accelerator.set_capacity(first.size + second.size // 2 + ROOM)
    for _ in range(2):
        for one, other in ((first, second), (second, first)):
            result = one.run()
            assert torch.equal(result, expected(one.tiny.name, torch.float32, accelerator.device))
            assert one.on_device() == 1 and other.on_device() < 1
    assert 0 < first.on_device() < 1, "it was unloaded whole, though a part would have been enough"


def test_models_that_are_needed_together_share_the_room(bridge: Any, accelerator: Accelerator) -> None:
    models = [
        Managed(bridge, accelerator, BY_NAME[name], BY_NAME[name].make(), torch.float32)
        for name in ("unet2d", "controlnet", "t5")
    ]
    accelerator.set_capacity(sum(model.size for model in models) // 2 + ROOM)
    with bridge.memory.loaded(*(model.managed for model in models), activations=ROOM):
        for model in models:
            result = model.tiny.run(model.module, torch.float32, accelerator.device).cpu()
            assert torch.equal(result, expected(model.tiny.name, torch.float32, accelerator.device))
    assert 0 < sum(bytes_of(model.module, accelerator.device) for model in models) < accelerator.capacity - ROOM // 2


def test_weights_are_brought_once_for_each_forward_when_nothing_fits(bridge: Any, accelerator: Accelerator) -> None:
    if accelerator.is_real:
        pytest.skip("a real GPU does not count its traffic")
    model = Managed(bridge, accelerator, BY_NAME["cogvideox"], BY_NAME["cogvideox"].make(), torch.float32)
    brought = []
    for share in (1.2, 0.0):
        model.give_room_for(share)
        model.run()
        with bridge.memory.loaded(model.managed, activations=ROOM):
            before = accelerator.traffic()[0]
            model.tiny.run(model.module, torch.float32, accelerator.device)
            brought.append(accelerator.traffic()[0] - before)
        waiting = bytes_of(model.module, torch.device("cpu"))
    assert brought[1] - brought[0] == waiting > 0.9 * model.size


def test_a_full_device_is_explained_and_stays_comfyuis_error(bridge: Any, accelerator: Accelerator) -> None:
    import comfy.model_management as management

    explained = bridge.memory.explained_out_of_memory("width and height")
    with pytest.raises(management.OOM_EXCEPTION, match="lower width and height"), explained:
        torch.zeros(1 << 60, dtype=torch.uint8, device=accelerator.device)
