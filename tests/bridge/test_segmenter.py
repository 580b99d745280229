"""Tracking with SAM 2 while ComfyUI's memory manager moves its weights about."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from harness.pretend.accelerator import Accelerator
from harness.tiny import BY_NAME
from situations import ROOM, SHARES, Managed, Situation, each_situation

from vivid_core.masks.prompts import Prompt, Prompts
from vivid_core.masks.sam2_session import Sam2Segmenter
from vivid_core.masks.track_sam2 import track_by_segmenter
from vivid_core.masks.tracks import Track
from vivid_core.runtime import Runtime

pytestmark = pytest.mark.gpu
SAM2 = BY_NAME["sam2"]
CLOSE = 1e-5  # the attention that ComfyUI's user chose sums in another order


@pytest.fixture(autouse=True)
def as_in_a_prompt() -> Any:
    """ComfyUI executes nodes in inference mode."""
    with torch.inference_mode():
        yield


def tracked(segmenter: Sam2Segmenter, runtime: Runtime, previous: Track | None = None) -> Track:
    frames = torch.rand(6, 40, 56, 3, generator=torch.Generator().manual_seed(0))
    marks = [Prompt(2, points=((0.3, 0.4, 1),)), Prompt(1, 2, box=(0.1, 0.2, 0.6, 0.8))]
    if previous is not None:
        marks.append(Prompt(4, points=((0.7, 0.6, 1),)))
    return track_by_segmenter(frames, Prompts(marks), segmenter, runtime=runtime, previous=previous)


def there(module: Any) -> Any:
    """With these random weights no object is seen; now it is."""
    module.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.fill_(4.0)
    return module


@functools.cache
def untouched_tracks(device: torch.device) -> tuple[Track, Track]:
    """The track, and the one after another click, of a module that no bridge has seen, wholly on the device."""
    segmenter = Sam2Segmenter(there(SAM2.make(torch.float32)).to(device), "tiny", device)
    first = tracked(segmenter, Runtime())
    return first, tracked(segmenter, Runtime(), first)


@each_situation
def test_a_track_is_that_of_the_untouched_module_wherever_its_weights_are(
    bridge: Any, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, situation: Situation
) -> None:
    expected, expected_again = untouched_tracks(accelerator.device)
    assert all(bool(mask.any()) for mask in expected.masks())
    managed = Managed(bridge, accelerator, SAM2, there(SAM2.make(torch.float32)), torch.float32)
    situation(managed, monkeypatch)
    runtime = bridge.progress.ComfyRuntime(managed.managed)
    segmenter = Sam2Segmenter(managed.module, "tiny", accelerator.device, activations=ROOM)
    track = tracked(segmenter, runtime)
    least, most = SHARES[situation]
    assert least <= managed.on_device() <= most, "the situation did not come about"
    again = tracked(segmenter, runtime, track)
    for ours, theirs in ((track, expected), (again, expected_again)):
        assert torch.allclose(ours.scores, theirs.scores, atol=CLOSE, rtol=0)
        assert float((ours.masks() != theirs.masks()).float().mean()) <= 1e-3
    kept = [memory for each in track.memory.objects.values() for memory in each.marked.values()]
    assert kept and all(memory.pointer.device.type == "cpu" for memory in kept)
    assert runtime.done == runtime.total
