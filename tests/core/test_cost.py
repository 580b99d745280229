"""Costs are those that torch counts on the real configurations, and those that the paper published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vivid_core import cost
from vivid_core.diffusion.guidance import Guidance
from vivid_core.editors.adapters.cogvideox import fun, vivid
from vivid_core.editors.adapters.wan_vace import wan_vace
from vivid_core.editors.contract import Place
from vivid_core.models import embedded
from vivid_core.models.families import FAMILIES, empty

TEXT = 226
COGVIDEOX: dict[str, Any] = {
    "attention_head_dim": 64,
    "in_channels": 33,
    "out_channels": 16,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
    "patch_size": 2,
    "patch_size_t": None,
    "max_text_seq_length": TEXT,
    "use_rotary_positional_embeddings": True,
}
FIVE_B = {**COGVIDEOX, "num_attention_heads": 48, "num_layers": 42}
TWO_B = {**COGVIDEOX, "num_attention_heads": 30, "num_layers": 30, "use_rotary_positional_embeddings": False}
LATER = {**FIVE_B, "patch_size_t": 2, "patch_bias": False, "sample_width": 300, "sample_height": 300}
WAN = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "vace_layers": list(range(0, 30, 2)),
    "vace_in_channels": 96,
}


def counted(config: Mapping[str, Any], frames: int, height: int, width: int, text: int) -> int:
    """What torch counts in one prediction of diffusers' own class, without weights and without computing anything."""
    import diffusers

    wan = "vace_layers" in config
    name = "WanVACETransformer3DModel" if wan else "CogVideoXTransformer3DModel"
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        module = getattr(diffusers, name)(**config).eval()
        said = torch.empty(1, text, config.get("text_dim", config.get("text_embed_dim")))
        shape = (1, 16, frames, height, width) if wan else (1, frames, config["in_channels"], height, width)
        if wan:
            control = torch.empty(1, 96, frames, height, width)
            module(torch.empty(shape), torch.zeros(1), said, control_hidden_states=control)
        else:
            tokens = frames // (config.get("patch_size_t") or 1) * (height // 2) * (width // 2)
            still = (torch.empty(tokens, 64),) * 2 if config["use_rotary_positional_embeddings"] else None
            module(torch.empty(shape), said, torch.zeros(1), image_rotary_emb=still)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("config", "frames", "height", "width", "text"),
    [
        (FIVE_B, 13, 60, 90, TEXT),
        (FIVE_B, 1, 60, 90, TEXT),
        (TWO_B, 13, 60, 90, TEXT),
        (LATER, 22, 96, 168, TEXT),
        (embedded.TRANSFORMER, 3, 12, 12, embedded.TEXT_TOKENS),
        (WAN, 21, 60, 104, 512),
        ({**WAN, "num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40, "vace_layers": list(range(0, 40, 5))},
         21, 90, 160, 512),
    ],
    ids=["5B, 49 frames", "5B, one frame", "2B", "1.5", "embedded", "VACE 1.3B", "VACE 14B"],
)  # fmt: skip
def test_a_prediction_costs_what_torch_counts_on_the_real_configuration(
    config: Mapping[str, Any], frames: int, height: int, width: int, text: int
) -> None:
    ours = cost.forward_flops(config, frames, height, width, text)
    assert ours.total == pytest.approx(counted(config, frames, height, width, text), rel=1e-4)


def test_the_papers_figures_are_those_of_the_linear_layers() -> None:
    tries = cost.tries_flops(vivid(FIVE_B), FIVE_B, [49], (480, 720), tries=2)
    assert tries.clip.linear == pytest.approx(17.1e15, rel=0.015)
    assert tries.keyframe.linear == pytest.approx(1.5e15, rel=0.015)
    assert tries.kive.linear == pytest.approx(20.1e15, rel=0.015)
    assert tries.direct.linear == pytest.approx(34.2e15, rel=0.015)


def test_attention_doubles_a_clip_and_hardly_counts_in_a_frame() -> None:
    tries = cost.tries_flops(vivid(FIVE_B), FIVE_B, [49], (480, 720), tries=1)
    assert tries.clip.total == pytest.approx(33.2e15, rel=0.01)
    assert tries.keyframe.total == pytest.approx(1.63e15, rel=0.01)


@pytest.mark.parametrize("tries", range(1, 12))
def test_kive_costs_less_from_the_number_of_tries_on_that_is_named(tries: int) -> None:
    for size in ((480, 720), (256, 384), (16, 16)):
        one = cost.tries_flops(vivid(FIVE_B), FIVE_B, [49], size, tries)
        assert one.worth_it_from is not None
        assert (one.kive.total < one.direct.total) == (tries >= one.worth_it_from)


def test_for_a_single_frame_a_keyframe_saves_nothing() -> None:
    assert cost.tries_flops(vivid(FIVE_B), FIVE_B, [1], (480, 720), 3).worth_it_from is None


def test_costs_add_up_over_windows_steps_and_guidance() -> None:
    adapter, size = fun(FIVE_B), (480, 720)
    one = cost.run_flops(adapter, FIVE_B, [49], size, 1, False)
    assert cost.run_flops(adapter, FIVE_B, [49, 49, 49], size, 10, True) == one * 60
    assert cost.run_flops(adapter, FIVE_B, [46], size, 1, False) == one, "a window is padded to the frame rule"
    without = cost.tries_flops(adapter, FIVE_B, [49], size, 1, steps=4, guidance=Guidance(1.0))
    assert without.clip == one * 4


def test_frames_taken_by_twos_cost_their_padding_too() -> None:
    single = cost.forward_flops(LATER, 2, 60, 90, TEXT)
    assert cost.run_flops(vivid(LATER), LATER, [1], (480, 720), 1, False) == single


@pytest.mark.parametrize(("tries", "steps"), [(0, 10), (1, 0)])
def test_no_tries_or_no_steps_are_refused(tries: int, steps: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        cost.tries_flops(vivid(FIVE_B), FIVE_B, [49], (480, 720), tries, steps)
    with pytest.raises(ValueError, match="CogVideoX or Wan VACE"):
        cost.forward_flops({"block_out_channels": [320]}, 1, 8, 8, TEXT)


def test_weights_are_weighed_without_being_there() -> None:
    family = next(family for family in FAMILIES if family.name == "cogvideox")
    there = family.build(embedded.TRANSFORMER)
    numbers = sum(parameter.numel() for parameter in there.parameters())
    assert cost.weight_bytes(empty(family, embedded.TRANSFORMER), torch.bfloat16) == 2 * numbers
    assert cost.weight_bytes(there) == 4 * numbers


class Clock:
    """Time that passes only while somebody looks at it: each look is a tenth of a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


def test_rates_are_operations_over_the_time_they_took() -> None:
    config = embedded.TRANSFORMER
    rates = cost.measured_rates(config, Place(), Clock(), seconds=0.15)
    width, tokens = 3 * 64, cost.RATE_TOKENS
    # One call counts: time is up at the third look at the clock, 0.2 s after the first.
    assert rates.linear == pytest.approx(2 * tokens * 4 * width * width / 0.2)
    assert rates.attention == pytest.approx(4 * tokens**2 * width / 0.2)
    assert rates.seconds(cost.Flops(rates.linear, 2 * rates.attention)) == pytest.approx(3)


def test_wan_costs_its_control_and_its_text_beside_the_clip() -> None:
    adapter = wan_vace(WAN)
    without = {**WAN, "vace_layers": []}
    plain = cost.run_flops(adapter, without, [81], (480, 832), 1, False)
    both = cost.run_flops(adapter, WAN, [81], (480, 832), 1, False)
    assert both.attention == pytest.approx(1.5 * plain.attention)
    assert 1.4 * plain.linear < both.linear < 1.6 * plain.linear
