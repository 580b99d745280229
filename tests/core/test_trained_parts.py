"""A LoRA and a patch projection go into one file and come back to give the same model, or a sentence says why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import editing_models as models
import pytest
import torch
from safetensors.torch import save_file
from test_widening import say
from torch import Tensor

from vivid_core.models.cogvideox import FAMILY
from vivid_core.models.families import empty
from vivid_core.models.lora_files import read_lora
from vivid_core.models.trained_parts import TrainedParts, collect, load, merge_lora, put_projection, save
from vivid_core.models.widening import WIDTHS, widen

RANK, ALPHA = 4, 6.0
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
families = pytest.mark.parametrize("family", models.FAMILIES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


def trained(family: str = "1.0", mask_encoding: str = "resize") -> Any:
    """As after training with peft: nothing in it is what it was at the start."""
    from peft import LoraConfig

    transformer = widen(models.text_to_video(family), WIDTHS[mask_encoding])
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS))  # type: ignore[operator]
    drawing = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if "lora_" in name or "patch_embed.proj" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=drawing) * 0.2)
    return transformer


def latents(channels: int) -> Tensor:
    return torch.randn(1, 2, channels, 8, 12, generator=torch.Generator().manual_seed(1))


@families
@pytest.mark.parametrize("mask_encoding", ("resize", "vae"))
def test_a_saved_model_put_on_its_base_again_says_the_same(tmp_path: Path, family: str, mask_encoding: str) -> None:
    model = trained(family, mask_encoding)
    save(collect(model, ALPHA, mask_encoding), tmp_path / "lora.safetensors")
    parts = load(tmp_path / "lora.safetensors")
    base = models.text_to_video(family)
    put_projection(parts, base)
    merge_lora(parts, base)
    given = latents(WIDTHS[mask_encoding])
    assert (say(base, given) - say(model, given)).abs().max() <= 1e-5
    assert (parts.rank, parts.alpha, parts.mask_encoding) == (RANK, ALPHA, mask_encoding)
    assert len(parts.layers) == 2 * len(TARGETS)


def test_it_is_read_as_a_plain_lora_too_with_its_scale(tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    parts = collect(trained(), ALPHA)
    save(parts, file)
    plain, ours = read_lora(file), parts.with_scales()
    assert set(ours) < set(plain)
    assert all(torch.equal(plain[key], ours[key]) for key in ours)


def test_half_precision_halves_the_file_and_strength_scales_the_lora(tmp_path: Path) -> None:
    parts = collect(trained(), ALPHA)
    for name, dtype in (("full", torch.float32), ("half", torch.float16)):
        save(parts, tmp_path / name, dtype)
    assert (tmp_path / "half").stat().st_size < 0.7 * (tmp_path / "full").stat().st_size
    twice, at_two = models.text_to_video(), models.text_to_video()
    merge_lora(parts, twice)
    merge_lora(parts, twice)
    merge_lora(parts, at_two, strength=2.0)
    assert (say(twice, latents(16)) - say(at_two, latents(16))).abs().max() <= 1e-5


def test_the_projection_can_be_put_before_the_weights_are_there() -> None:
    parts = collect(trained("1.5"), ALPHA)
    hollow: Any = empty(FAMILY, dict(models.text_to_video("1.5").config))
    put_projection(parts, hollow)
    assert torch.equal(hollow.patch_embed.proj.weight, parts.projection["weight"])
    assert hollow.proj_out.weight.is_meta and hollow.config.in_channels == 33


def changed(parts: TrainedParts, **changes: Any) -> TrainedParts:
    return replace(parts, **changes)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    (
        (lambda parts: changed(parts, lora=dict(list(parts.lora.items())[1:])), "lacks a matrix of rank 4"),
        (lambda parts: changed(parts, projection={}), "no whole set"),
        (lambda parts: changed(parts, mask_encoding="vae"), "33 channels with the mask encoding 'vae'"),
        (
            lambda parts: changed(parts, lora={key: tensor * float("nan") for key, tensor in parts.lora.items()}),
            "NaN",
        ),
    ),
)
def test_half_a_set_of_parts_is_neither_written_nor_used(
    tmp_path: Path, spoil: Callable[[TrainedParts], TrainedParts], sentence: str
) -> None:
    file = tmp_path / "lora.safetensors"
    parts = collect(trained(), ALPHA)
    save(parts, file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=sentence):
        save(spoil(parts), file)
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("family", ("1.5", "2B"))
def test_parts_of_another_base_are_refused_in_a_sentence(family: str) -> None:
    parts, base = collect(trained("1.0"), ALPHA), models.text_to_video(family)
    if family == "2B":  # the same layers, so told apart by nothing but another width
        parts = changed(parts, projection={"weight": torch.zeros(128, 33, 2, 2)})
    before = base.state_dict()
    for use in (put_projection, merge_lora):
        with pytest.raises(ValueError, match=r"^mine\.safetensors .*trained on another size.*patch_embed\.proj is"):
            use(parts, base, what="mine.safetensors")
    assert base.config.in_channels == 16
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    with pytest.raises(ValueError, match="belongs to a CogVideoX transformer, but this is a Linear"):
        put_projection(parts, torch.nn.Linear(1, 1))


def test_files_that_are_something_else_are_named_in_a_sentence(tmp_path: Path) -> None:
    save_file({"transformer.a.lora_A.weight": torch.zeros(1, 1)}, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match=r"^plain\.safetensors holds no trained parts.*plain LoRA\.$"):
        load(tmp_path / "plain.safetensors")
    parts = collect(trained(), ALPHA)
    save(parts, tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.safetensors"):
        load(tmp_path / "cut.safetensors")
    newer = {"vivid_trained_parts": json.dumps({"version": 9})}
    save_file({"transformer.patch_embed.proj.weight": torch.zeros(1)}, tmp_path / "newer.safetensors", newer)
    with pytest.raises(ValueError, match=r"^newer\.safetensors was written by another version"):
        load(tmp_path / "newer.safetensors")
