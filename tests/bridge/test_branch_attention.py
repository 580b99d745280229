"""Attention under rules, too, goes to the backend that the user chose, and gives the same there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from harness import sd
from harness.engines import of_pack
from harness.inprocess import bridge
from torch import Tensor

pytestmark = pytest.mark.usefixtures("comfy_base")

FRAMES, SIDE, STEPS = 3, 8, 2
BACKENDS = ("attention_pytorch", "attention_sub_quad", "attention_split", "attention_basic")


def latents(seed: int) -> Tensor:
    return torch.randn(1, 4, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def every_kind_of_rule() -> tuple[Any, ...]:
    rules = of_pack("vivid_core.diffusion.attention_rules")
    half = torch.zeros(FRAMES, SIDE, SIDE)
    half[:, :, : SIDE // 2] = 1
    looks, both = frozenset({"q", "k"}), frozenset({"k", "v"})
    return (
        rules.Rule("spatial", looks, "source", ("edit",), (0, 1, 2), region=rules.Region(half)),
        rules.Rule("spatial", both, "source", ("edit",), (3, 4), region=rules.Region(half), joins=True),
        rules.SplitRule("spatial", ("edit",), half, half, (5, 6)),
        rules.FrameRule(rules.FramePlan.make(FRAMES), ("edit",)),
    )


def made() -> Tensor:
    branches, ddim, roles = (of_pack(f"vivid_core.diffusion.{name}") for name in ("branches", "ddim", "roles"))
    unet, words = sd.unet(), torch.randn(2, 1, 7, 64, generator=torch.Generator().manual_seed(5))

    def ask(seen: Tensor, timestep: int, texts: Any, frames: slice = slice(None)) -> Tensor:
        text = torch.cat([text.expand(seen.shape[2], -1, -1) for text in texts])
        said = unet(seen.transpose(1, 2).flatten(0, 1), timestep, text, return_dict=False)[0]
        return said.unflatten(0, (len(seen), seen.shape[2])).transpose(1, 2)

    run = [
        roles.Role("edit", words[0], words[1], 4.0, latents(1)),
        roles.Role("source", words[1], start=latents(2), wanted=False),
    ]
    times = ddim.Times.make(ddim.NoiseSchedule(), STEPS)
    return branches.run_branches(unet, ask, times, run, every_kind_of_rule())["edit"]


@pytest.mark.parametrize("name", BACKENDS)
def test_rules_give_the_same_with_each_of_comfyuis_backends(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from comfy.ldm.modules import attention

    wanted = made()
    monkeypatch.setattr(attention, "optimized_attention", getattr(attention, name))
    with bridge("attention").routed() as router:
        found = made()
    # Every self-attention and every attention to the text of both steps.
    assert router.routed_calls >= 2 * 2 * 16
    assert (found - wanted).abs().max() <= 1e-3 * wanted.abs().max()
