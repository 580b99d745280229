"""Load Optical Flow and the nodes that take it, with random weights of torchvision's small RAFT."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scene
import torch
from harness.engines import returned
from harness.inprocess import Result
from safetensors.torch import save_file
from torch import nn
from torchvision.models.optical_flow import raft_small

from vivid_core.editors.removal import remove_by_flow
from vivid_core.metrics.report import measure_edit
from vivid_core.models.raft_flow import RaftFlow
from vivid_core.runtime import Runtime

Call = Callable[..., Result]
FILE = "raft_small.pth"
CHOICES = {"model": FILE, "longest_side": 480, "updates": 2}


def made() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return raft_small().eval().requires_grad_(False)


@pytest.fixture
def folder(comfy_base: Path) -> Iterator[Path]:
    """ComfyUI's folder optical_flow; what a test puts there is gone afterwards."""
    import folder_paths

    found = Path(folder_paths.models_dir) / "optical_flow"
    found.mkdir(exist_ok=True)
    before = set(found.iterdir())
    yield found
    for path in set(found.iterdir()) - before:
        path.unlink()
    folder_paths.filename_list_cache.clear()


def listed() -> None:
    import folder_paths

    folder_paths.filename_list_cache.clear()


@pytest.fixture
def load(call: Call, folder: Path) -> Callable[..., Any]:
    """What Load Optical Flow gives."""
    torch.save(made().state_dict(), folder / FILE)
    listed()
    return lambda **choices: returned(call("VividLoadFlow", **{**CHOICES, **choices}))


def refused(call: Call, node: str, **inputs: Any) -> str:
    kind, text = call(node, **inputs).exception
    assert kind == "ValueError" and text.endswith(".") and "\n" not in text, f"{kind}: {text}"
    return text


def test_a_file_of_the_folder_is_loaded_and_described(load: Callable[..., Any]) -> None:
    flow, report = load()
    assert f"RAFT small ({FILE}): 2 updates, pictures of at most 480 pixels" in report and "Memory: " in report
    assert [patcher.model.role for patcher in flow.get_models()] == ["flow"]
    state = flow.model.module.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in made().state_dict().items())


def test_safetensors_do_as_well_and_files_are_shared(call: Call, load: Callable[..., Any], folder: Path) -> None:
    save_file({name: one.contiguous() for name, one in made().state_dict().items()}, folder / "raft.safetensors")
    listed()
    (first, _), (again, _) = load(model="raft.safetensors"), load(model="raft.safetensors", updates=3)
    assert first.model.module is again.model.module and (first.updates, again.updates) == (2, 3)


@pytest.mark.parametrize("mode", ["remove", "propagate"])
def test_a_preview_follows_the_model_and_stays_exact(call: Call, load: Callable[..., Any], mode: str) -> None:
    inputs = {**scene.good_inputs()["VividPreviewPropagation"], "mode": mode}
    if mode == "propagate":
        key = returned(call("VividKeyframes", images=scene.key_image(), at_frames="0", strength=1.0))[0]
        inputs["keyframes"] = key
    plain = returned(call("VividPreviewPropagation", **inputs))
    frames, blend, report = returned(call("VividPreviewPropagation", flow=load()[0], **inputs))
    outside = blend == 0
    assert torch.equal(frames[outside], scene.clip()[outside]) and report
    assert not torch.equal(frames, plain[0]), "the model was not asked"


def test_the_node_gives_what_the_core_gives(call: Call, load: Callable[..., Any]) -> None:
    inputs = scene.good_inputs()["VividPreviewPropagation"]
    frames = returned(call("VividPreviewPropagation", flow=load()[0], **inputs))[0]
    estimator = RaftFlow(made(), Runtime(), updates=2)
    expected = remove_by_flow(inputs["frames"], inputs["mask"], feather=inputs["feather"], flow=estimator)
    assert float((frames - expected.frames_fhwc).abs().max()) < 2 / 255


def test_an_object_is_tracked_by_the_model(call: Call, load: Callable[..., Any]) -> None:
    inputs = scene.good_inputs()["VividTrackMask"]
    plain = returned(call("VividTrackMask", **inputs))
    tracked = returned(call("VividTrackMask", flow=load()[0], **inputs))
    assert torch.equal(tracked[0][0], plain[0][0]), "the marked frame needs no motion"
    assert not torch.equal(tracked[1].scores, plain[1].scores), "the model was not asked"


def test_the_motion_of_an_edit_is_measured_by_the_model(call: Call, load: Callable[..., Any]) -> None:
    inputs = {name: value[:3] for name, value in scene.good_inputs()["VividMeasureEdit"].items()}
    found = json.loads(returned(call("VividMeasureEdit", flow=load()[0], **inputs))[1])["per_frame"]
    original, edited, mask = inputs["original"], inputs["edited"], inputs["edit_mask"]
    expected = measure_edit(original, edited, mask, flow=RaftFlow(made(), Runtime(), updates=2))
    plain = measure_edit(original, edited, mask).as_dict()["per_frame"]
    for key in ("warp_inside", "motion_fidelity"):
        values = [math.nan if value is None else value for value in found[key]]
        assert values == pytest.approx(expected.series(key), abs=0.02, nan_ok=True)
    assert found["warp_inside"] != plain["warp_inside"], "the model was not asked"


def test_a_cancel_stops_it(call: Call, load: Callable[..., Any]) -> None:
    import comfy.model_management

    def cancel(done: int, total: int) -> None:
        if done >= 2:
            comfy.model_management.interrupt_current_processing()

    inputs = scene.good_inputs()["VividPreviewPropagation"]
    assert not call("VividPreviewPropagation", on_progress=cancel, flow=load()[0], **inputs).ok


def test_an_empty_folder_says_what_to_put_there(call: Call, folder: Path) -> None:
    assert not list(folder.iterdir())
    listed()
    text = refused(call, "VividLoadFlow", **{**CHOICES, "model": "none found"})
    assert "raft_large_C_T_SKHT_V2-ff5fadd5.pth" in text and str(folder) in text


def test_wrong_files_are_named(call: Call, load: Callable[..., Any], folder: Path) -> None:
    save_file({"own.weight": torch.zeros(2)}, folder / "own.safetensors")
    torch.save({"feature_encoder.convnormrelu.0.weight": print}, folder / "code.pth")
    state = made().state_dict()
    del state["update_block.motion_encoder.conv.0.bias"]
    torch.save(state, folder / "half.pth")
    save_file({"a": torch.zeros(64)}, folder / "cut.safetensors")
    cut = (folder / "cut.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(cut[:-9])
    listed()
    said = {
        "own.safetensors": "belong to no model known here",
        "code.pth": "code that would run",
        "half.pth": "1 missing (update_block.motion_encoder.conv.0.bias)",
        "cut.safetensors": "is cut off",
    }
    for name, words in said.items():
        text = refused(call, "VividLoadFlow", **{**CHOICES, "model": name})
        assert name in text and words in text


def test_it_is_loaded_again_when_its_file_changes(load: Callable[..., Any], folder: Path) -> None:
    from harness.engines import of_pack

    load()
    node = of_pack("nodes.flow").LoadFlow
    before = node.fingerprint_inputs(**CHOICES)
    os.utime(folder / FILE, (1, 1))
    assert before == before and node.fingerprint_inputs(**CHOICES) != before
    assert node.fingerprint_inputs(**{**CHOICES, "model": None}) is None, "ComfyUI asks before linked nodes have run"
