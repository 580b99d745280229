"""Every engine, cancelled at its first, a middle and its last step, and while it decodes.

ComfyUI takes it for a cancel, memory is given back, and the next run gives what one gives that was never cancelled.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from harness import engines
from harness.engines import of_pack
from harness.inprocess import Executor

from torture import cancels
from torture.cancel_works import DECODING, NAMES, Extent, work
from torture.canceller import Canceller
from torture.cancels import Work, differ, was_interrupted
from vivid_core.models import embedded_sd
from vivid_core.training.sd_world.words import vocabulary


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random weights of both embedded models: what is shipped takes no less time, and may not be there yet."""
    folder = tmp_path_factory.mktemp("cancelled")
    with torch.inference_mode(False):
        model = embedded_sd.build(vocabulary(), 0)
        motion = embedded_sd.new_motion(0)
        embedded_sd.save(replace(model, motion=motion), folder / "sd.safetensors", {})
    return engines.save_embedded(folder / "vivid.safetensors"), folder / "sd.safetensors"


@pytest.fixture
def make(
    comfy_base: Path, weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Executor, str], Work]:
    """A node with all that it needs."""
    for name, path in zip(("embedded", "embedded_sd"), weights):
        monkeypatch.setattr(of_pack(f"vivid_core.models.{name}"), "WEIGHTS", path)
    return lambda executor, name: work(executor, name, tmp_path, Extent())


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_cancelled_anywhere_ends_as_cancelled_and_the_next_is_whole(
    executor: Executor, make: Callable[[Executor, str], Work], name: str
) -> None:
    one = make(executor, name)
    whole = one.whole(executor)
    assert one.steps[-1] >= 2, "there is nothing to cancel"
    for step in one.moments():
        result = one.cancelled_at(executor, step)
        assert was_interrupted(result), (step, result.exception)
    if name in DECODING:
        result, calls = one.cancelled_in_decoding(executor)
        assert calls > 0, "nothing was decoded"
        assert was_interrupted(result), result.exception
    assert differ(one.whole(executor), whole) == []


@pytest.mark.parametrize("name", ("VividEditVideo", "VividUniEdit"))
def test_a_cancelled_run_leaves_no_model_in_memory(make: Callable[[Executor, str], Work], name: str) -> None:
    shelf = of_pack("nodes.comfy_bridge.shared").SHELF
    gc.collect()
    before, executor = shelf.live(), Executor()
    one = make(executor, name)
    assert shelf.live() > before
    assert was_interrupted(one.cancelled_at(executor, 1))
    del one, executor
    gc.collect()
    assert shelf.live() == before


def test_the_long_form_finds_a_cancel_that_nobody_noticed(
    comfy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed, runs = NAMES.index("VividPreviewPropagation"), Canceller(tmp_path, limit=120.0)
    told = runs.run(seed)
    assert (told["work"], told["kind"], told["faults"]) == (NAMES[seed], "first", [])
    monkeypatch.setattr(cancels, "interrupt", lambda: None)
    assert any("did not end as cancelled" in fault for fault in runs.run(seed)["faults"])
