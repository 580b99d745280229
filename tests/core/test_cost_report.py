"""The estimate says what the cost functions say, for the very windows and crops that an edit will take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from vivid_core import cost_report
from vivid_core.cost import Rates, run_flops
from vivid_core.diffusion.guidance import Guidance
from vivid_core.editors.engine import Engine, Footprint, embedded_engine
from vivid_core.editors.footprints import footprint
from vivid_core.editors.kive_plan import plan
from vivid_core.editors.local_crop import plan_local_crop
from vivid_core.models import embedded
from vivid_core.training.world.words import vocabulary


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    path = tmp_path_factory.mktemp("engine") / "random.safetensors"
    embedded.save(embedded.build(vocabulary(), 0), path, {})
    made = embedded_engine(path)
    config: Any = made.transformer.config
    return replace(made, footprint=footprint("embedded", config, made.vae, (4, 4)))


def mask(frames: int = 20, height: int = 120, width: int = 180) -> torch.Tensor:
    mask_fhw = torch.zeros(frames, height, width)
    mask_fhw[:, 30:70, 40:90] = 1
    return mask_fhw


def test_each_crop_mode_costs_its_windows_at_the_size_that_the_model_sees(engine: Engine) -> None:
    found = cost_report.estimate(engine, mask(), tries=4, steps=7, guidance=Guidance(3.0))
    config, traits = engine.transformer.config, engine.adapter.traits
    assert set(found.modes) == {"off", "fine", "fast"} and found.auto == plan_local_crop(mask(), traits).mode
    for mode, (seen, tries) in found.modes.items():
        assert seen == plan_local_crop(mask(), traits, mode).size
        lengths = [one.length for one in plan(20, traits)]
        assert tries.clip == run_flops(engine.adapter, config, lengths, seen, 7, True)
        assert tries.direct == tries.clip * 4
    assert found.modes["fast"][1].clip.total < found.modes["off"][1].clip.total
    assert found.petaflops == pytest.approx(found.chosen.kive.total / 1e15)


def test_windows_in_which_nothing_is_edited_cost_nothing(engine: Engine) -> None:
    at_the_end = mask(33)
    at_the_end[:20] = 0
    assert cost_report.estimate(engine, mask(33)).windows == 4
    assert cost_report.estimate(engine, at_the_end).windows == 2


def test_without_a_mask_only_the_whole_frame_is_known(engine: Engine) -> None:
    found = cost_report.estimate(engine, (9, 48, 48))
    assert list(found.modes) == ["off"] and found.windows == 1 and found.steps == engine.adapter.traits.steps
    with_mask = cost_report.estimate(engine, mask(9, 48, 48))
    assert found.modes["off"] == with_mask.modes["off"]


def test_guidance_doubles_the_work_and_the_room(engine: Engine) -> None:
    with_it, without = (cost_report.estimate(engine, (9, 48, 48), guidance=Guidance(scale)) for scale in (3.0, 1.0))
    assert with_it.chosen.clip == without.chosen.clip * 2
    assert with_it.room["transformer"] > 1.5 * without.room["transformer"]


def test_the_engines_own_footprint_is_believed(engine: Engine) -> None:
    asked: list[tuple[int, ...]] = []

    def denoise(*sizes: int) -> int:
        asked.append(sizes)
        return 10**9

    told = replace(engine, footprint=Footprint(denoise, lambda *_: 5, lambda *_: 7))
    found = cost_report.estimate(told, (9, 48, 48), guidance=Guidance(3.0))
    assert found.room == {"transformer": 10**9, "VAE": 7} and asked == [(2, 9, 48, 48)]
    assert found.most_bytes == 10**9 + found.weights["transformer"]
    assert "1.0 GB" in found.text()


def test_the_text_says_the_work_the_windows_and_from_when_kive_pays(engine: Engine) -> None:
    estimated = cost_report.estimate(engine, mask(), tries=3, steps=4, guidance=Guidance(1.5))
    text = estimated.text(Rates(1e9, 1e9), "on this device")
    for part in ("20 frames of 180x120", "3 windows", "4 steps with guidance", "3 tries", "x less", "from 2 tries on"):
        assert part in text, part
    assert "on this device" in text and "chosen by auto" in text and "VAE" in text


def test_a_single_frame_is_advised_to_be_edited_directly(engine: Engine) -> None:
    assert "edit directly" in cost_report.estimate(engine, (1, 48, 48)).text()


@pytest.mark.parametrize("clip", [(0, 48, 48), (9, 0, 48), torch.zeros(3, 48, 48)])
def test_nothing_to_edit_is_one_sentence(engine: Engine, clip: torch.Tensor | tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"^Cost"):
        cost_report.estimate(engine, clip)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.24, "0.24 s"), (12.3, "12 s"), (600, "10 min"), (9000, "2.5 h"), (99, "99 s")]
)
def test_durations_are_said_in_a_unit_that_suits_them(seconds: float, said: str) -> None:
    assert cost_report.duration(seconds) == said
