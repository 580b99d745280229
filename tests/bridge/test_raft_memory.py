"""Optical flow by RAFT while ComfyUI's memory manager moves its weights about."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from harness.pretend.accelerator import Accelerator
from harness.tiny import TinyModel
from situations import ROOM, SHARES, Managed, Situation, each_situation
from torch import Tensor, nn

from vivid_core.masks.flow import Floats
from vivid_core.models import raft
from vivid_core.models.raft_flow import RaftFlow
from vivid_core.runtime import Runtime

pytestmark = pytest.mark.gpu
CLOSE = 1e-3  # pixels
HEIGHT, WIDTH = 184, 192  # for which the model asks about as much room as the situations leave


@pytest.fixture(autouse=True)
def as_in_a_prompt() -> Any:
    """ComfyUI executes nodes in inference mode."""
    with torch.inference_mode():
        yield


def _small() -> nn.Module:
    from torchvision.models.optical_flow import raft_small

    return raft_small()


def _run(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).to(device)
    return module(image, image.flip(3), num_flow_updates=1)[-1]


RAFT = TinyModel("raft", "flow", _small, _run, (torch.float32,))


def flows(module: nn.Module, runtime: Runtime, device: torch.device) -> tuple[Floats, Floats]:
    pictures = np.random.default_rng(0).integers(0, 255, (2, HEIGHT, WIDTH, 3), np.uint8)
    return RaftFlow(module, runtime, device, updates=2).both_ways(*pictures)


@functools.cache
def untouched(device: torch.device) -> tuple[Floats, Floats]:
    """By a module that no bridge has seen, wholly on the device."""
    return flows(RAFT.make().to(device), Runtime(), device)


@each_situation
def test_flow_is_that_of_the_untouched_module_wherever_its_weights_are(
    bridge: Any, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, situation: Situation
) -> None:
    assert 0.97 * ROOM < raft.activation_bytes("small", 2, HEIGHT, WIDTH) <= ROOM
    expected = untouched(accelerator.device)
    managed = Managed(bridge, accelerator, RAFT, RAFT.make(), torch.float32)
    situation(managed, monkeypatch)
    runtime = bridge.progress.ComfyRuntime(managed.managed)
    found = flows(managed.module, runtime, accelerator.device)
    least, most = SHARES[situation]
    assert least <= managed.on_device() <= most, "the situation did not come about"
    assert np.abs(expected[0]).max() > 1e-2
    for ours, theirs in zip(found, expected):
        assert np.abs(ours - theirs).max() < CLOSE
    assert not managed.module.corr_block.corr_pyramid, "nothing of the pair stays on the device"
