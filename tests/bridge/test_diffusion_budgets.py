"""A frozen diffusion model, with motion modules and a ControlNet, says the same whatever memory is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from harness import sd
from harness.pretend.accelerator import Accelerator
from safetensors.torch import save_file
from torch import Tensor

pytestmark = pytest.mark.gpu
ROOM = 64 << 20
FRAMES = 3


@pytest.fixture(autouse=True)
def nothing_from_before(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that other tests loaded may still live, on a device of theirs."""
    monkeypatch.setattr(bridge.loading, "SHELF", bridge.shared.Shelf())


@pytest.fixture
def made(bridge: Any, accelerator: Accelerator, tmp_path: Path) -> Any:
    # The norm of a VAE's attention gets a transposed input, which the pretend accelerator can't take.
    folder = sd.save_folder(tmp_path / "folder", vae=sd.vae(attention=False))
    save_file(sd.original_motion(sd.motion()), tmp_path / "mm.safetensors")
    save_file(sd.original_controlnet(sd.controlnet()), tmp_path / "control.safetensors")
    files = bridge.diffusion_files.DiffusionFiles(
        folder, tmp_path / "mm.safetensors", tmp_path / "control.safetensors", precision="fp32"
    )
    return bridge.diffusion_loading.load_diffusion(files)


def said(made: Any) -> list[Tensor]:
    """Latents of frames, and what the model says of noise as a motion and as an image model."""
    frames, depth = (torch.rand(*shape, generator=torch.Generator().manual_seed(1)) for shape in SHAPES)
    latents = torch.randn(1, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(2))
    found = []
    with torch.inference_mode(), made.running() as (backbone, runtime):
        found.append(backbone.encode(frames, runtime))
        text = backbone.encoded("a red ball", runtime)
        needed = backbone.footprint.denoise(1, FRAMES, 64, 64)
        with runtime.hold(*backbone.modules, activations=needed):
            found.append(backbone.ask(depth, 0.7)(latents, 300, [text]))
        with backbone.still() as still, runtime.hold(*still.modules, activations=needed):
            found.append(still.ask(depth, 0.7)(latents, 300, [text]))
            found.append(still.ask(depth[:1])(latents[:, :, :1].to(backbone.place.device), 300, [text]))
        found.append(backbone.decode(found[0], runtime))
    return [one.cpu() for one in found]


SHAPES = ((FRAMES, 64, 64, 3), (FRAMES, 64, 64))


def test_what_it_says_is_the_same_at_every_memory_budget(made: Any, accelerator: Accelerator) -> None:
    backbone = made.backbone
    assert backbone.place.device == backbone.vae_place.device == accelerator.device
    results = []
    for share in (1.5, 0.5, 0.0):
        accelerator.set_capacity(int(made.unet.weight_bytes * share) + ROOM)
        results.append(said(made))
    assert all(bool(torch.isfinite(one).all()) for one in results[0])
    for result in results[1:]:
        for first, second in zip(results[0], result):
            assert float((first - second).abs().max()) <= 1e-5
    moving, still = results[0][1:3]
    assert float((moving - still).abs().max()) > 0.01
