"""A whole edit, from the text to the frames, is the same whatever memory is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from harness import engines
from harness.pretend.accelerator import Accelerator
from torch import Tensor

from vivid_core.models import trained_parts

pytestmark = pytest.mark.gpu
ROOM = 64 << 20


@pytest.fixture(autouse=True)
def nothing_from_before(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that other tests loaded may still live, on a device of theirs."""
    monkeypatch.setattr(bridge.loading, "SHELF", bridge.shared.Shelf())


@pytest.fixture
def embedded(bridge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = engines.save_embedded(tmp_path / "embedded_vivid.safetensors")
    monkeypatch.setattr(engines.of_pack("vivid_core.models.embedded"), "WEIGHTS", path)
    return bridge.engine_loading.load_engine(bridge.engine_loading.EngineFiles())


@pytest.fixture
def vivid(bridge: Any, tmp_path: Path) -> Any:
    """CogVideoX with trained parts of VIVID, whose patch projection is a weight patch."""
    parts = {"transformer": engines.cogvideox(), "vae": engines.cogvideox_vae(), "text_encoder": engines.t5()}
    folder = engines.save_pipeline(tmp_path / "base", **parts)
    trained_parts.save(engines.random_parts(engines.cogvideox()), tmp_path / "trained.safetensors")
    chosen = bridge.engine_loading.EngineFiles(model=folder, lora=tmp_path / "trained.safetensors", precision="fp32")
    return bridge.engine_loading.load_engine(chosen)


def edited(made: Any, height: int, width: int) -> Tensor:
    """A clip of five frames, edited by text alone."""
    contract, kive = (engines.of_pack(f"vivid_core.editors.{name}") for name in ("contract", "kive"))
    frames = torch.rand(5, height, width, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(5, height, width)
    mask[:, 8:24, 8:32] = 1
    with torch.inference_mode(), made.running() as (core, runtime):
        texts = [core.encoded(text, runtime) for text in ("a red ring", "")]
        request = contract.EditRequest(frames, mask, *texts, seed=1, steps=2)
        return kive.edit_video(core, request, kive.EditOptions(crop="off"), runtime).frames_fhwc


@pytest.mark.parametrize(("name", "size"), [("embedded", (48, 48)), ("vivid", (64, 96))])
def test_an_edit_is_the_same_at_every_memory_budget(
    request: pytest.FixtureRequest, accelerator: Accelerator, name: str, size: tuple[int, int]
) -> None:
    made = request.getfixturevalue(name)
    assert made.engine().place.device == made.engine().vae_place.device == accelerator.device
    results = []
    for share in (1.2, 0.5, 0.0):
        accelerator.set_capacity(int(made.transformer.weight_bytes * share) + ROOM)
        results.append(edited(made, *size))
    assert bool(torch.isfinite(results[0]).all())
    for result in results[1:]:
        assert float((result - results[0]).abs().max()) <= 1e-5
