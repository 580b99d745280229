"""The core's loops under ComfyUI: models held for a block, previews of latents, what a full device says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from harness import tiny
from harness.inprocess import bridge
from harness.pretend.accelerator import Accelerator

pytestmark = pytest.mark.usefixtures("comfy_base")
COGVIDEOX = tiny.BY_NAME["cogvideox"]


def managed() -> Any:
    return bridge("patcher").manage(COGVIDEOX.make(torch.float32), role="denoiser")


@torch.inference_mode()
def test_held_modules_are_on_the_device_and_the_loop_needs_to_know_nothing_of_it(accelerator: Accelerator) -> None:
    model = managed()
    runtime = bridge("progress").ComfyRuntime(model)
    with runtime.hold(model.module):
        held = accelerator.allocated()
        COGVIDEOX.run(model.module, torch.float32, model.module.device)
    assert held >= model.weight_bytes


def test_a_plain_runtime_holds_modules_where_they_are() -> None:
    from vivid_core.runtime import Runtime

    module = torch.nn.Linear(2, 2)
    with Runtime().hold(module, activations=100):
        assert module(torch.zeros(2)).shape == (2,)


def test_a_module_that_is_none_of_the_runs_is_refused() -> None:
    runtime = bridge("progress").ComfyRuntime(managed())
    with pytest.raises(ValueError, match="Linear is not one of this run's models"), runtime.hold(torch.nn.Linear(2, 2)):
        pass


@torch.inference_mode()
def test_held_models_use_the_attention_that_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    from comfy.ldm.modules import attention

    calls = []
    backend = attention.attention_pytorch
    monkeypatch.setattr(
        attention, "optimized_attention", lambda *given, **named: (calls.append(1), backend(*given, **named))[1]
    )
    model = managed()
    with bridge("progress").ComfyRuntime(model).hold(model.module):
        COGVIDEOX.run(model.module, torch.float32, torch.device("cpu"))
    assert len(calls) == 4  # one for each block


@pytest.mark.parametrize(("role", "low_precision"), [("denoiser", True), ("segmenter", False), ("depth", False)])
def test_held_segmenters_and_depth_models_never_get_quantised_attention(
    monkeypatch: pytest.MonkeyPatch, role: str, low_precision: bool
) -> None:
    from comfy.ldm.modules import attention

    calls = []

    def attention_sage(*given: Any, **named: Any) -> torch.Tensor:
        calls.append(named)
        return attention.attention_pytorch(*given, **named)

    monkeypatch.setattr(attention, "optimized_attention", attention_sage)
    model = bridge("patcher").manage(COGVIDEOX.make(torch.float32), role=role)
    with torch.inference_mode(), bridge("progress").ComfyRuntime(model).hold(model.module):
        COGVIDEOX.run(model.module, torch.float32, torch.device("cpu"))
    assert bool(calls) is low_precision


def test_latents_are_previewed_as_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.latent_formats
    import comfy.utils
    import latent_preview
    from comfy.cli_args import args

    class Format(comfy.latent_formats.LatentFormat):
        latent_channels, latent_dimensions = 16, 3
        latent_rgb_factors = [[1.0 * (row == column) for column in range(3)] for row in range(16)]

    shown, last = [], []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda done, total, preview, **_: shown.append(preview))
    runtime = bridge("progress").ComfyRuntime(latent_format=Format())
    for method in (latent_preview.LatentPreviewMethod.NoPreviews, latent_preview.LatentPreviewMethod.Latent2RGB):
        monkeypatch.setattr(args, "preview_method", method)
        monkeypatch.setattr(latent_preview, "default_preview_method", method, raising=False)
        runtime.begin(1)
        runtime.advance(latent_cfhw=lambda: torch.zeros(16, 3, 4, 5))
        last.append(shown[-1])  # newer cores leave out updates on the way, never the end
    none, (kind, image, _) = last
    assert none is None
    assert kind == "JPEG" and image.size == (5, 4)


@torch.inference_mode()
def test_a_full_device_says_what_to_lower_and_is_still_comfyuis_own_error(accelerator: Accelerator) -> None:
    import comfy.model_management as management

    if accelerator.is_real:
        pytest.skip("a real GPU's capacity is only told, not enforced")
    model = managed()
    memory = bridge("memory")
    with (
        pytest.raises(management.OOM_EXCEPTION, match="lower the number of frames or the size and run again"),
        memory.loaded(model),
        memory.explained_out_of_memory("the number of frames or the size"),
    ):
        accelerator.set_capacity(accelerator.allocated() + 1000)
        COGVIDEOX.run(model.module, torch.float32, accelerator.device)


def test_the_plan_names_what_stays_and_what_is_streamed(accelerator: Accelerator) -> None:
    model = managed()
    memory = bridge("memory")
    everything = memory.plan([model], 1 << 20)
    assert everything.streamed == 0 and everything.resident == everything.weights == model.weight_bytes
    accelerator.set_capacity((1 << 20) + model.weight_bytes // 2)
    half = memory.plan([model], 1 << 20)
    assert half.resident + half.streamed == half.weights
    assert abs(half.resident - model.weight_bytes // 2) < 0.05 * model.weight_bytes
    assert "streamed" in half.sentence() and "streamed" not in everything.sentence()
    with torch.inference_mode(), memory.loaded(model, activations=1 << 20):
        assert accelerator.allocated() <= model.weight_bytes // 2


def test_our_model_folders_stand_beside_what_others_registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import folder_paths

    folders = bridge("folders")
    known = dict(folder_paths.folder_names_and_paths)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    known["sam2"] = ([str(tmp_path / "from_yaml")], {".pt"})
    known.pop("vivid", None)
    folders.register_folders()
    folders.register_folders()
    assert known["sam2"][0][0] == str(tmp_path / "from_yaml") and known["sam2"][1] == {".pt"}
    assert len(known["sam2"][0]) == 2
    assert len(known["vivid"][0]) == 1 and known["vivid"][1] == {".safetensors"}


def test_a_model_that_is_not_there_any_more_is_named(tmp_path: Any) -> None:
    bridge("folders").register_folders()
    with pytest.raises(ValueError, match=r"gone\.safetensors is not in .*vivid"):
        bridge("engine_files").path_of("gone.safetensors", "vivid")
