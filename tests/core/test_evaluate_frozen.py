"""The frozen-model engines of an evaluation: with the composite they give what users of the nodes get, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.evaluating import clip, mask
from torch import Tensor

from vivid_core.editors.embedded_backbone import embedded_backbone
from vivid_core.editors.inverted import InversionPlan, invert_clip
from vivid_core.editors.pix2video import Pix2VideoSettings
from vivid_core.editors.pix2video_clip import edit_frames
from vivid_core.editors.uniedit import UniEditSettings
from vivid_core.editors.uniedit_clip import LocalOptions, edit_clip
from vivid_core.evaluate.cases import Cut, LoadedCase, load_case, read_cases
from vivid_core.evaluate.engines import engines_of
from vivid_core.evaluate.model_engines import Models
from vivid_core.models import embedded_sd
from vivid_core.runtime import Runtime
from vivid_core.training.sample_files import write_sample

CAPTION = "a red ball"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frozen") / "sd.safetensors"
    model = embedded_sd.build(["a", "red", "ball"], 0)
    embedded_sd.save(replace(model, motion=embedded_sd.new_motion(0)), path, {})
    return path


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> LoadedCase:
    folder = tmp_path_factory.mktemp("clips")
    write_sample(folder, "one", clip(), mask(), (CAPTION, "", ""), exact=True)
    return load_case(read_cases(folder)[0], Cut())


def pix2video_of_users(path: Path, case: LoadedCase) -> Tensor:
    backbone = embedded_backbone("image", path)
    inverted = invert_clip(backbone, case.frames_fhwc, "", InversionPlan(2, still=True, checked=False)).clip
    masks: dict[str, Any] = {"mask_fhw": case.edit_mask_fhw, "blend_mask_fhw": case.blend_mask_fhw}
    return edit_frames(backbone, inverted, CAPTION, settings=Pix2VideoSettings(7.5), **masks).frames_fhwc


def uniedit_of_users(path: Path, case: LoadedCase) -> Tensor:
    backbone = embedded_backbone("motion", path)
    inverted = invert_clip(backbone, case.frames_fhwc, "", InversionPlan(2, checked=False)).clip
    options = LocalOptions(case.edit_mask_fhw, case.blend_mask_fhw)
    return edit_clip(backbone, inverted, CAPTION, settings=UniEditSettings(), options=options).frames_fhwc


@pytest.mark.parametrize(("name", "of_users"), [("pix2video", pix2video_of_users), ("uniedit", uniedit_of_users)])
def test_a_frozen_model_gives_what_its_node_gives(
    weights: Path, case: LoadedCase, name: str, of_users: Callable[[Path, LoadedCase], Tensor]
) -> None:
    engine = engines_of([f"{name}:model={weights},steps=2"], Models())[0]
    made = engine.make(case, 0, Runtime())
    assert torch.equal(made.composited(case), of_users(weights, case))
    assert not torch.equal(made.frames_fhwc[case.blend_mask_fhw == 0], case.frames_fhwc[case.blend_mask_fhw == 0])


def test_other_weights_are_another_engine(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "sd.safetensors"
    other.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    first, second = (engines_of([f"pix2video:model={path}"], Models())[0] for path in (weights, other))
    assert first.label == second.label and first.identity != second.identity


def test_without_a_model_the_one_of_the_pack_is_taken(case: LoadedCase) -> None:
    told = (f"pix2video:steps=1,model={embedded_sd.WEIGHTS}", "pix2video:steps=1")
    named, own = (engines_of([one], Models())[0] for one in told)
    assert own.identity == named.identity
    assert torch.equal(*(one.make(case, 0, Runtime()).frames_fhwc for one in (named, own)))
