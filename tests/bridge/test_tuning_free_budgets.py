"""Edits by a frozen model are the same whatever memory is free, and give back what they took, also when they fail."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import sd
from harness.engines import of_pack
from harness.pretend.accelerator import Accelerator
from safetensors.torch import save_file
from torch import Tensor

pytestmark = pytest.mark.gpu
ROOM = 64 << 20
FRAMES, SIDE, STEPS = 3, 64, 2


@pytest.fixture(autouse=True)
def nothing_from_before(bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that other tests loaded may still live, on a device of theirs."""
    monkeypatch.setattr(bridge.loading, "SHELF", bridge.shared.Shelf())


@pytest.fixture
def made(bridge: Any, accelerator: Accelerator, tmp_path: Path) -> Any:
    # The norm of a VAE's attention gets a transposed input, which the pretend accelerator can't take.
    folder = sd.save_folder(tmp_path / "folder", vae=sd.vae(attention=False))
    save_file(sd.original_motion(sd.motion()), tmp_path / "mm.safetensors")
    files = bridge.diffusion_files.DiffusionFiles(folder, tmp_path / "mm.safetensors", precision="fp32")
    return bridge.diffusion_loading.load_diffusion(files)


def scene() -> tuple[Tensor, Tensor]:
    frames = torch.rand(FRAMES, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(FRAMES, SIDE, SIDE)
    mask[:, 16:48, 8:40] = 1
    return frames, mask


def inverted(made: Any, still: bool) -> Any:
    inversion = of_pack("vivid_core.editors.inverted")
    plan = inversion.InversionPlan(STEPS, still=still, chunk=2, checked=False)
    with torch.inference_mode(), made.running() as (backbone, runtime):
        return inversion.invert_clip(backbone, scene()[0], "a red ball", plan, runtime).clip


def latents_of(made: Any, clip: Any, together: bool) -> Tensor:
    """What UniEdit makes in motion mode; a VAE with random weights would blow up the last bits."""
    editor = of_pack("vivid_core.editors.uniedit")
    settings = editor.UniEditSettings("motion", side_by_side=together)
    masks = editor.UniEditMasks(scene()[1])
    with torch.inference_mode(), made.running() as (backbone, runtime):
        return editor.uniedit(backbone, clip, "a blue ball", "", settings, masks, runtime).latents["edit"]


def by_uniedit(made: Any, clip: Any) -> Tensor:
    """Motion mode, whose attention finds the object by a word."""
    uniedit, editing = (of_pack(f"vivid_core.editors.{name}") for name in ("uniedit", "uniedit_clip"))
    options = editing.LocalOptions(scene()[1], steer="word", word="ball")
    with torch.inference_mode(), made.running() as (backbone, runtime):
        chosen = uniedit.UniEditSettings("motion")
        return editing.edit_clip(backbone, clip, "a blue ball", "", chosen, options, runtime).frames_fhwc


def by_pix2video(made: Any, clip: Any) -> Tensor:
    editing, keyframes = of_pack("vivid_core.editors.pix2video_clip"), of_pack("vivid_core.video.keyframes")
    frames, mask = scene()
    keys = keyframes.Keyframes([keyframes.Keyframe(1, frames[1] * 0.5)])
    with torch.inference_mode(), made.running() as (backbone, runtime):
        done = editing.edit_frames(backbone, clip, "a blue ball", "", keyframes=keys, mask_fhw=mask, runtime=runtime)
        return done.frames_fhwc


@pytest.mark.parametrize("editor", [by_uniedit, by_pix2video])
def test_an_edit_is_the_same_at_every_memory_budget(made: Any, accelerator: Accelerator, editor: Any) -> None:
    assert made.backbone.place.device == accelerator.device
    results = []
    for share in (1.5, 0.5, 0.0):
        accelerator.set_capacity(int(made.unet.weight_bytes * share) + ROOM)
        results.append(editor(made, inverted(made, still=editor is by_pix2video)))
    assert not torch.allclose(results[0], scene()[0], atol=1e-2)
    for result in results[1:]:
        assert float((result - results[0]).abs().max()) <= 1e-4


def test_roles_one_by_one_give_the_same_in_less_memory(made: Any, accelerator: Accelerator) -> None:
    clip, peaks, results = inverted(made, still=False), [], []
    for together in (True, False):
        latents_of(made, clip, together)  # so that both find the models loaded
        accelerator.reset_peak()
        before = accelerator.allocated()
        results.append(latents_of(made, clip, together))
        peaks.append(accelerator.peak() - before)
    assert float((results[0] - results[1]).abs().max()) <= 1e-5 * float(results[0].abs().max())
    assert peaks[1] < 0.8 * peaks[0]


def test_a_run_that_fails_gives_its_memory_back(made: Any, accelerator: Accelerator) -> None:
    clip = inverted(made, still=False)
    by_uniedit(made, clip)
    gc.collect()
    before, processors = accelerator.allocated(), dict(made.backbone.unet.attn_processors)

    class Stopped(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stopped

    hook = made.backbone.unet.conv_out.register_forward_hook(stop)
    try:
        with pytest.raises(Stopped):
            by_uniedit(made, clip)
    finally:
        hook.remove()
    gc.collect()
    assert accelerator.allocated() <= before
    after = made.backbone.unet.attn_processors
    assert all(after[name] is processor for name, processor in processors.items())
