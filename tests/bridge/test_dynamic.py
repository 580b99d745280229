"""Models under ComfyUI's dynamic memory give the results of the untouched module, and leave nothing behind.

ComfyUI's dynamic patcher and its layers are the real ones; the allocator they use is a stand-in, since the true one
needs a GPU (harness.pretend.dynamic).
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.pretend.accelerator import AMPLE, PretendAccelerator
from harness.pretend.dynamic import Pages, dynamic_memory
from harness.tiny import BY_NAME, TinyModel
from safetensors.torch import save_file
from situations import ROOM, Managed, each_model, each_model_and_dtype, expected, held_on, run_untouched
from test_memory import FP8, STORED_IN_FP8, allocated_so_far, in_fp8
from torch import Tensor, nn

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")
COGVIDEOX = BY_NAME["cogvideox"]


@dataclass
class Dynamic:
    """ComfyUI with dynamic memory, inside a node."""

    bridge: Any
    accelerator: PretendAccelerator
    pages: Pages

    def manage(self, model: TinyModel, module: nn.Module | None = None, dtype: torch.dtype = torch.float32) -> Managed:
        return Managed(self.bridge, self.accelerator, model, model.make(dtype) if module is None else module, dtype)

    def run(self, managed: Any, model: TinyModel = COGVIDEOX) -> Tensor:
        """One forward in fp32; the result on the CPU."""
        with self.bridge.memory.loaded(managed, activations=ROOM):
            return model.run(managed.module, torch.float32, managed.device).cpu()

    def expected(self, model: TinyModel = COGVIDEOX, dtype: torch.dtype = torch.float32) -> Tensor:
        return expected(model.name, dtype, self.accelerator.device)


def skip_without_dynamic_memory() -> None:
    import comfy.model_patcher

    if not hasattr(comfy.model_patcher, "ModelPatcherDynamic"):
        pytest.skip("this ComfyUI has no dynamic memory")


@pytest.fixture
def dynamic(bridge: Any, accelerator: Any) -> Iterator[Dynamic]:
    skip_without_dynamic_memory()
    if accelerator.is_real:
        pytest.skip("the stand-in for ComfyUI's allocator works on the pretend accelerator only")
    with dynamic_memory(accelerator) as pages, torch.inference_mode():
        yield Dynamic(bridge, accelerator, pages)


def everything_fits(dynamic: Dynamic, size: int) -> None:
    dynamic.accelerator.set_capacity(int(size * 2.5) + ROOM)  # fp8 computes from pages as large as they, beside them
    dynamic.pages.headroom = ROOM


def a_part_fits(dynamic: Dynamic, size: int) -> None:
    dynamic.accelerator.set_capacity(int(size * 0.6) + ROOM)
    dynamic.pages.headroom = ROOM


def no_page_fits(dynamic: Dynamic, size: int) -> None:
    dynamic.pages.headroom = AMPLE


Situation = Callable[[Dynamic, int], None]
SITUATIONS: tuple[Situation, ...] = (everything_fits, a_part_fits, no_page_fits)
each_situation = pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)


def came_about(situation: Situation, pages: Pages) -> bool:
    """Whether as many pages were refused as the situation is about."""
    if situation is everything_fits:
        return pages.refused == 0 < pages.brought
    if situation is a_part_fits:
        return 0 < pages.refused < pages.asked
    return pages.refused == pages.asked > 0


@each_situation
@each_model_and_dtype
def test_results_are_those_of_the_untouched_module_to_the_bit(
    dynamic: Dynamic, model: TinyModel, dtype: torch.dtype, situation: Situation
) -> None:
    managed = dynamic.manage(model, dtype=dtype)
    assert managed.managed.is_dynamic()
    situation(dynamic, managed.size)
    results = [managed.run() for _ in range(2)]
    assert came_about(situation, dynamic.pages)
    assert dynamic.pages.in_use == 0
    assert all(torch.equal(result, dynamic.expected(model, dtype)) for result in results)


@each_model
def test_what_fits_is_brought_once(dynamic: Dynamic, model: TinyModel) -> None:
    managed, pages = dynamic.manage(model), dynamic.pages
    everything_fits(dynamic, managed.size)
    managed.run()
    asked, _ = pages.asked, pages.restart_counts()
    managed.run()
    assert (pages.asked, pages.brought, pages.refused) == (asked, 0, 0)


@each_model
def test_names_and_values_of_the_weights_stay(dynamic: Dynamic, model: TinyModel) -> None:
    before = model.make().state_dict()
    managed = dynamic.manage(model)
    a_part_fits(dynamic, managed.size)
    managed.run()
    after = managed.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name].cpu(), before[name]) for name in before)


@each_model
@pytest.mark.parametrize("situation", SITUATIONS[:2], ids=lambda situation: situation.__name__)
def test_an_unloaded_model_leaves_nothing_on_the_device_and_can_come_back(
    dynamic: Dynamic, model: TinyModel, situation: Situation
) -> None:
    import comfy.model_management

    before = allocated_so_far(dynamic.accelerator)
    managed, device = dynamic.manage(model), dynamic.accelerator
    situation(dynamic, managed.size)
    first = managed.run()
    in_pages = dynamic.pages.resident()
    without_a_copy_at_home = device.allocated() - before - in_pages
    (_, taken_home) = device.traffic()
    comfy.model_management.unload_all_models()
    assert device.traffic()[1] - taken_home <= without_a_copy_at_home < in_pages, "it read pages that were given back"
    assert dynamic.pages.resident() == held_on(managed.module, device.device) == 0
    assert device.allocated() == before
    assert torch.equal(managed.run(), first)


@each_model
def test_a_model_nobody_holds_is_gone_at_once(dynamic: Dynamic, model: TinyModel) -> None:
    before = allocated_so_far(dynamic.accelerator)
    managed = dynamic.manage(model)
    everything_fits(dynamic, managed.size)
    managed.run()
    alive = weakref.ref(managed.module)
    gc.disable()  # what is left to the garbage collector keeps gigabytes until it happens to run
    try:
        del managed
        assert alive() is None
        assert dynamic.accelerator.allocated() == before and dynamic.pages.resident() == 0
    finally:
        gc.enable()


@each_situation
@pytest.mark.parametrize("model", STORED_IN_FP8, ids=lambda model: model.name)
def test_weights_stored_in_fp8_compute_as_their_bf16_values(
    dynamic: Dynamic, model: TinyModel, situation: Situation
) -> None:
    twin = run_untouched(model, in_fp8(model, then=torch.bfloat16), torch.bfloat16, dynamic.accelerator.device)
    managed = dynamic.manage(model, in_fp8(model, then=FP8), torch.bfloat16)
    situation(dynamic, managed.size)
    results = [managed.run() for _ in range(2)]
    assert came_about(situation, dynamic.pages)
    assert FP8 in {parameter.dtype for parameter in managed.module.parameters()}
    assert all(torch.equal(result, twin) for result in results)


def a_lora(module: nn.Module) -> dict[str, Tensor]:
    """Of rank 4, for each linear layer and convolution inside the blocks."""
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, weight in module.state_dict().items():
        if "block" in name and weight.ndim in (2, 4) and name.endswith(".weight"):
            layer, (rows, columns, *sides) = name.removesuffix(".weight"), weight.shape
            tensors[f"{layer}.lora_A.weight"] = torch.randn(4, columns, *sides, generator=generator) * 0.05
            tensors[f"{layer}.lora_B.weight"] = torch.randn(rows, 4, *[1] * len(sides), generator=generator) * 0.05
    return tensors


@each_situation
@pytest.mark.parametrize("model", [BY_NAME[name] for name in ("cogvideox", "unet2d", "t5")], ids=lambda one: one.name)
def test_a_lora_does_what_it_does_in_classic_memory_and_leaves_no_trace(
    dynamic: Dynamic, model: TinyModel, situation: Situation
) -> None:
    with_lora, lora = dynamic.bridge.lora.with_lora, a_lora(model.make())
    classic = dynamic.bridge.patcher.manage(model.make(), role=model.role, dynamic=False)
    wanted = dynamic.run(with_lora(classic, lora), model)
    del classic
    base = dynamic.manage(model)
    patched = with_lora(base.managed, lora)
    situation(dynamic, base.size)
    plain = base.run()
    for _ in range(2):
        assert float((dynamic.run(patched, model) - wanted).abs().max()) <= 1e-6 * float(wanted.abs().max())
        assert torch.equal(base.run(), plain)
    assert not torch.allclose(wanted, plain, atol=1e-3)
    after = base.module.state_dict()
    assert all(torch.equal(after[name].cpu(), weight) for name, weight in model.make().state_dict().items())


@pytest.mark.parametrize("kind", ["dynamic", "classic"])
def test_a_model_in_use_knows_its_device_though_another_of_its_holders_goes(dynamic: Dynamic, kind: str) -> None:
    model = dynamic.bridge.patcher.manage(COGVIDEOX.make(), role="denoiser", dynamic=kind == "dynamic")
    a_part_fits(dynamic, model.weight_bytes // 2)
    other = model.clone()
    with dynamic.bridge.memory.loaded(model, activations=ROOM):
        assert next(model.module.parameters()).device == CPU
        del other
        assert model.module.device == dynamic.accelerator.device


def test_two_models_take_pages_from_each_other(dynamic: Dynamic) -> None:
    first, second = (dynamic.manage(BY_NAME[name]) for name in ("cogvideox", "unet_motion"))
    dynamic.accelerator.set_capacity(first.size + second.size // 2 + ROOM)
    dynamic.pages.headroom = ROOM
    for one in (first, second, first, second):
        assert torch.equal(one.run(), dynamic.expected(one.tiny))
    assert dynamic.pages.refused == dynamic.pages.in_use == 0


@pytest.mark.parametrize("named", [{"dynamic": False}, {"load_device": CPU}], ids=["asked for", "on the CPU"])
def test_a_model_can_be_classic(dynamic: Dynamic, named: dict[str, Any]) -> None:
    managed = dynamic.bridge.patcher.manage(COGVIDEOX.make(), role="denoiser", **named)
    assert not managed.is_dynamic()
    assert torch.equal(dynamic.run(managed), expected("cogvideox", torch.float32, managed.device))
    assert dynamic.pages.asked == 0


@pytest.fixture
def from_file(dynamic: Dynamic, tmp_path: Path) -> Any:
    """A model that was loaded from a file, as a node does it."""
    path = tmp_path / "cogvideox.safetensors"
    save_file(COGVIDEOX.make().state_dict(), path)
    return dynamic.bridge.loading.load_model(path, {"cogvideox"}, "fp32")


@each_situation
def test_weights_go_from_their_file_straight_to_the_device(
    dynamic: Dynamic, from_file: Any, situation: Situation
) -> None:
    assert from_file.is_dynamic()
    situation(dynamic, from_file.weight_bytes)
    assert all(torch.equal(dynamic.run(from_file), dynamic.expected()) for _ in range(2))
    assert came_about(situation, dynamic.pages)
    assert dynamic.pages.bytes_from_files >= 0.9 * from_file.weight_bytes


def test_a_classic_copy_is_made_anew_from_the_file(dynamic: Dynamic, from_file: Any) -> None:
    patched = dynamic.bridge.lora.with_lora(from_file, a_lora(from_file.module))
    with_lora = dynamic.run(patched)
    for share in (1.2, 0.4):
        dynamic.accelerator.set_capacity(int(from_file.weight_bytes * share) + ROOM)
        copy, patched_copy = (
            dynamic.bridge.host.ManagedModel(one.patcher.clone(disable_dynamic=True)) for one in (from_file, patched)
        )
        assert not copy.is_dynamic() and copy.module is not from_file.module
        assert torch.equal(dynamic.run(copy), dynamic.expected())
        assert float((dynamic.run(patched_copy) - with_lora).abs().max()) <= 1e-6 * float(with_lora.abs().max())


@each_model
def test_a_classic_copy_can_run_after_it_made_room(dynamic: Dynamic, model: TinyModel) -> None:
    def build(disable_dynamic: bool) -> Any:
        return dynamic.bridge.patcher.manage(model.make(), role=model.role, dynamic=not disable_dynamic, rebuild=build)

    copy = dynamic.bridge.host.ManagedModel(build(False).patcher.clone(disable_dynamic=True))
    for share in (1.2, 0.7):
        dynamic.accelerator.set_capacity(int(copy.weight_bytes * share) + ROOM)
        assert torch.equal(dynamic.run(copy, model), dynamic.expected(model))


def test_afterwards_comfyui_is_as_it_was(comfy_base: Path, pretend: PretendAccelerator) -> None:
    skip_without_dynamic_memory()
    import comfy.memory_management
    import comfy.model_patcher as core
    import comfy.ops

    def state() -> tuple[Any, ...]:
        package = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "comfy_aimdo"}
        return core.CoreModelPatcher, core.ModelPatcher._load_list, core.comfy_aimdo, comfy.ops.comfy_aimdo, package

    before = state()
    with dynamic_memory(pretend):
        during = state()
    assert all(one is not other for one, other in zip(before, during))
    assert state() == before and not comfy.memory_management.aimdo_enabled
