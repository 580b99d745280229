"""Estimate Cost in the real executor: the figures of vivid_core, from a clip or from numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scene
import torch
from harness import inprocess
from harness.engines import save_embedded
from harness.inprocess import Result

from vivid_core.cost_report import estimate

NUMBERS: dict[str, Any] = {
    "tries": 4, "steps": 0, "guidance": 0.0, "frame_count": 20, "width": 180, "height": 120, "measure_speed": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(comfy_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = save_embedded(tmp_path_factory.mktemp("engine") / "random.safetensors")
    loading = inprocess.bridge("engine_loading")
    return loading.load_engine(loading.EngineFiles(model=path))


def test_from_numbers_it_says_what_the_core_says(call: Callable[..., Result], engine: Any) -> None:
    result = call("VividEstimateCost", engine=engine, **NUMBERS)
    assert result.ok, result.exception
    report, petaflops = result.outputs["node"]
    found = estimate(engine.engine(), (20, 120, 180), 4)
    assert petaflops == pytest.approx(found.petaflops) and report == found.text()


def test_a_clip_and_its_mask_count_instead_of_the_numbers(call: Callable[..., Result], engine: Any) -> None:
    clip = {"frames": scene.clip(), "mask": scene.mask()}
    report, petaflops = call("VividEstimateCost", engine=engine, **NUMBERS, **clip).outputs["node"]
    assert petaflops == pytest.approx(estimate(engine.engine(), scene.mask(), 4).petaflops)
    assert f"{scene.COUNT} frames of {scene.WIDTH}x{scene.HEIGHT}" in report and 'Crop "fast"' in report
    one = call("VividEstimateCost", engine=engine, **NUMBERS, **{**clip, "mask": scene.mask()[:1]}).outputs["node"][0]
    assert "is used for all of them.\nThe embedded model" in one
    by_mask = call("VividEstimateCost", engine=engine, **NUMBERS, mask=scene.mask()).outputs["node"]
    assert by_mask == [report, petaflops]


def test_time_is_said_when_the_speed_is_measured(call: Callable[..., Result], engine: Any) -> None:
    report = call("VividEstimateCost", engine=engine, **{**NUMBERS, "measure_speed": True}).outputs["node"][0]
    assert "at the least" in report and "on cpu in float32" in report


@pytest.mark.parametrize(
    "wrong",
    [
        {"mask": torch.zeros(scene.COUNT, scene.HEIGHT, scene.WIDTH)},
        {"frames": scene.clip(), "mask": scene.mask()[:-2]},
        {"frames": scene.clip(), "mask": scene.mask()[:, ::2]},
        {"frames": scene.clip()[..., :2]},
        {"frames": scene.clip()[:0]},
        {"mask": scene.mask() * float("nan")},
    ],
    ids=["empty mask", "other length", "other size", "two channels", "no frames", "NaN"],
)
def test_wrong_inputs_get_one_sentence(call: Callable[..., Result], engine: Any, wrong: dict[str, Any]) -> None:
    result = call("VividEstimateCost", engine=engine, **NUMBERS, **wrong)
    kind, text = result.exception
    assert not result.ok and kind == "ValueError", text
    assert len(text) > 40 and text.rstrip().endswith("."), text
