"""A widened transformer says to the bit what it said before, whatever its new channels hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import editing_models as models
import pytest
import torch
from torch import Tensor

from vivid_core.diffusion.cogvideox_predict import rotary_positions
from vivid_core.models.cogvideox import FAMILY
from vivid_core.models.families import empty, fill
from vivid_core.models.widening import WIDTHS, widen, widened_weight

families = pytest.mark.parametrize("family", models.FAMILIES)
channels = pytest.mark.parametrize("channels", (33, 48))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


def say(transformer: Any, latents: Tensor) -> Tensor:
    frames, height, width = latents.shape[1], latents.shape[3], latents.shape[4]
    with torch.no_grad():
        return transformer(
            hidden_states=latents,
            encoder_hidden_states=models.text(1, batch=len(latents)),
            timestep=torch.tensor([500] * len(latents)),
            image_rotary_emb=rotary_positions(transformer.config, frames, height, width),
            return_dict=False,
        )[0]


@families
@channels
@pytest.mark.parametrize("frames", (2, 4))
def test_step_zero_equals_the_text_to_video_model_with_any_condition(family: str, channels: int, frames: int) -> None:
    latents = torch.randn(2, frames, 16, 8, 12, generator=torch.Generator().manual_seed(1))
    condition = torch.randn(2, frames, channels - 16, 8, 12, generator=torch.Generator().manual_seed(2)) * 10
    before = say(models.text_to_video(family), latents)
    after = say(widen(models.text_to_video(family), channels), torch.cat([latents, condition], dim=2))
    assert torch.equal(before, after)


@families
@channels
def test_old_columns_and_bias_are_kept_and_new_ones_are_zero(family: str, channels: int) -> None:
    plain, wide = models.text_to_video(family), widen(models.text_to_video(family), channels)
    old, new = plain.patch_embed.proj, wide.patch_embed.proj
    assert type(new) is type(old)
    assert torch.equal(new.weight[:, : old.weight.shape[1]], old.weight)
    assert new.weight.shape[1] * 16 == old.weight.shape[1] * channels
    assert not new.weight[:, old.weight.shape[1] :].any()
    assert torch.equal(new.bias, old.bias)
    assert wide.config.in_channels == channels and wide.config.out_channels == 16


@families
def test_a_widened_model_is_the_model_that_its_settings_describe(family: str) -> None:
    wide = models.with_random_new_columns(widen(models.text_to_video(family), 33))
    again: Any = empty(FAMILY, dict(wide.config))
    fill(again, wide.state_dict(), "again")
    latents = torch.randn(1, 2, 33, 8, 12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(say(wide, latents), say(again, latents))


def test_widening_works_before_the_weights_are_there_and_keeps_their_dtype() -> None:
    hollow: Any = empty(FAMILY, dict(models.text_to_video("1.5").config))
    wide = widen(hollow, 48)
    assert wide.patch_embed.proj.weight.is_meta and wide.patch_embed.proj.in_features == 48 * 8
    half = widen(models.text_to_video().to(torch.bfloat16), 33)
    assert half.patch_embed.proj.weight.dtype == torch.bfloat16
    assert not half.patch_embed.proj.weight.requires_grad


def test_widened_weights_can_be_trained_even_if_made_in_inference_mode() -> None:
    transformer = models.text_to_video()
    with torch.inference_mode():
        widen(transformer, 33)
    transformer.patch_embed.proj.weight.requires_grad_(True)
    latents = torch.randn(1, 2, 33, 8, 12)
    out = transformer(
        hidden_states=latents,
        encoder_hidden_states=models.text(1),
        timestep=torch.tensor([1]),
        image_rotary_emb=rotary_positions(transformer.config, 2, 8, 12),
        return_dict=False,
    )[0]
    out.square().mean().backward()
    assert transformer.patch_embed.proj.weight.grad[:, 16:].abs().sum() > 0


def test_a_model_that_is_wide_already_is_left_alone() -> None:
    wide = models.with_random_new_columns(widen(models.text_to_video(), 33))
    layer = wide.patch_embed.proj
    assert widen(wide, 33).patch_embed.proj is layer


def test_what_cannot_be_widened_is_said_in_a_sentence() -> None:
    wide = widen(models.text_to_video(), 33)
    for wrong, sentence in (
        (lambda: widen(wide, 48), "33 input channels"),
        (lambda: widen(models.text_to_video(), 40), "33 or 48"),
        (lambda: widen(torch.nn.Linear(2, 2), 33), "Linear"),
        (lambda: widened_weight(torch.zeros(4, 30), 16, 33), "30 columns"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            wrong()
        assert str(caught.value).endswith(".")


def test_each_way_to_encode_the_mask_has_its_width() -> None:
    assert WIDTHS == {"resize": 33, "pool": 33, "vae": 48}
