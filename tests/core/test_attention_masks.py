"""Masks from cross-attention, against the maps that the layers' own projections give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from uniedit_models import FRAMES, SIDE, ask_of, image_unet, latents, motion_unet, planted_inversion, text

from vivid_core.diffusion.layer_table import LayerTable
from vivid_core.editors.attention_masks import (
    attention_map,
    clearest_layers,
    looked_at,
    mask_of,
    places_of,
    watched,
)
from vivid_core.editors.clip_texts import ClipText
from vivid_core.editors.texts import EmbeddedText
from vivid_core.models.embedded import WordTokenizer

WHOLE = [slice(0, FRAMES)]


@pytest.fixture(scope="module", params=[image_unet, motion_unet], ids=["image", "motion"])
def unet(request: pytest.FixtureRequest) -> nn.Module:
    return request.param()


def looks_at(cross: Any, hidden: Tensor, words: Tensor, tokens: list[int]) -> Tensor:
    """Head by head, as the formula says."""
    query, key = cross.to_q(hidden), cross.to_k(words)
    size = query.shape[-1] // cross.heads
    total = torch.zeros(query.shape[:2])
    for head in range(cross.heads):
        part = slice(head * size, head * size + size)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / size**0.5
        total += scores.softmax(-1)[..., tokens].mean(-1) / cross.heads
    return total


def test_what_is_watched_is_what_the_layers_attend_to(unet: nn.Module) -> None:
    layers = LayerTable.make(unet).spatial[4:6]
    modules: dict[str, Any] = dict(unet.named_modules())
    given: list[tuple[Any, Tensor, Tensor]] = []
    hooks = [
        modules[layer.name.replace("attn1", "attn2")].register_forward_pre_hook(
            lambda cross, args, kwargs: given.append((cross, args[0], kwargs["encoder_hidden_states"])),
            with_kwargs=True,
        )
        for layer in layers
    ]
    with watched(unet, layers, [1, 3]) as maps:
        ask_of(unet)(latents(), 500, [text(1)])
    for hook in hooks:
        hook.remove()
    assert len(maps) == len(given) == 2
    for seen, (cross, hidden, words) in zip(maps, given):
        assert seen.shape == (FRAMES, (SIDE // 4) ** 2)
        assert torch.allclose(seen, looks_at(cross, hidden, words, [1, 3]), atol=1e-6)


def test_to_watch_changes_nothing_to_the_bit(unet: nn.Module) -> None:
    ask = ask_of(unet)
    plain = ask(latents(), 500, [text(1)])
    with watched(unet, LayerTable.make(unet).spatial, [0]):
        assert torch.equal(ask(latents(), 500, [text(1)]), plain)


def test_processors_are_put_back_whatever_happens(unet: nn.Module) -> None:
    before = dict(unet.attn_processors)
    with pytest.raises(RuntimeError, match="cancelled"), watched(unet, LayerTable.make(unet).spatial, [0]):
        assert any(unet.attn_processors[name] is not before[name] for name in before)
        raise RuntimeError("cancelled")
    after = unet.attn_processors
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)


def test_a_map_is_the_mean_over_looks_and_layers(unet: nn.Module) -> None:
    inversion, ask = planted_inversion(5), ask_of(unet)
    layers = clearest_layers(unet, SIDE, SIDE)
    expected = torch.zeros(FRAMES, SIDE, SIDE)
    for k in looked_at(5, 2):
        with watched(unet, layers, [2]) as maps:
            ask(inversion.latents[k], inversion.times.timestep(k), [text(1)])
        for seen in maps:
            expected += seen.view(FRAMES, SIDE, SIDE)  # 16 x 16 tokens: the latents' own size
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    found = attention_map(unet, ask, inversion, text(1), [2], WHOLE, looks=2)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_map_of_an_image_model_does_not_depend_on_how_many_frames_are_asked_at_once() -> None:
    unet = image_unet()
    arguments = (unet, ask_of(unet), planted_inversion(5), text(1), [2])
    parts = [slice(0, 2), slice(2, 3)]
    assert torch.allclose(
        attention_map(*arguments, parts, looks=2), attention_map(*arguments, WHOLE, looks=2), atol=1e-6
    )


def test_a_frame_that_two_windows_share_counts_once() -> None:
    unet = image_unet()
    arguments = (unet, ask_of(unet), planted_inversion(5), text(1), [2])
    shared = [slice(0, 2), slice(1, 3)]
    assert torch.allclose(
        attention_map(*arguments, shared, looks=2), attention_map(*arguments, WHOLE, looks=2), atol=1e-6
    )


@pytest.mark.parametrize(("side", "level"), [(16, 0), (32, 1), (64, 2), (96, 2), (128, 2)])
def test_objects_are_looked_for_where_a_layer_has_about_16_by_16_tokens(side: int, level: int) -> None:
    layers = clearest_layers(image_unet(), side, side)
    assert {layer.level for layer in layers} == {level}
    assert len(layers) == 5  # two on the way down and three on the way up


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
def test_the_times_looked_at_lie_in_the_middle_of_the_way(steps: int) -> None:
    times = looked_at(steps, 8)
    assert 1 <= len(times) <= 8 and times == sorted(set(times))
    assert all(1 <= k <= steps for k in times)
    if steps >= 10:
        assert times[0] >= 0.2 * steps and times[-1] <= 0.8 * steps


def test_a_mask_is_one_where_the_map_reaches_the_threshold() -> None:
    assert torch.equal(mask_of(torch.tensor([[[0.0, 0.39, 0.4, 1.0]]])), torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]))


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, float("nan")])
def test_a_threshold_outside_of_0_to_1_gets_one_sentence(threshold: float) -> None:
    with pytest.raises(ValueError, match="use a number between 0 and 1"):
        mask_of(torch.zeros(1, 2, 2), threshold)


def test_a_map_of_one_value_is_no_division_by_zero() -> None:
    unet = image_unet()
    everything = list(range(text(1).shape[1]))  # all tokens together: the same everywhere
    found = attention_map(unet, ask_of(unet), planted_inversion(3), text(1), everything, WHOLE, looks=1)
    assert torch.isfinite(found).all() and F.relu(-found).sum() == 0


WORDS = ["a", "red", "ball", "on", "grass"]
BEGIN, END = 90, 91


def as_clip(texts: Any, length: int) -> Tensor:
    """As CLIP's tokenizer does: a token that begins, one that ends, and that again for padding; ball has two tokens."""
    numbers = torch.full((len(texts), length), END)
    for row, given in enumerate(texts):
        found = [part for word in given.split() for part in ([50, 51] if word == "ball" else [WORDS.index(word)])]
        numbers[row, : len(found) + 1] = torch.tensor([BEGIN, *found])
    return numbers


@pytest.mark.parametrize(
    ("encoder", "red", "ball", "both"),
    [
        (EmbeddedText(nn.Identity(), WordTokenizer(WORDS)), (1,), (2, 6), (1, 2)),
        (ClipText(nn.Identity(), as_clip, END), (2,), (3, 4, 8, 9), (2, 3, 4)),
    ],
    ids=["embedded", "CLIP"],
)
def test_a_word_is_found_by_its_tokens_wherever_it_stands(
    encoder: Any, red: tuple[int, ...], ball: tuple[int, ...], both: tuple[int, ...]
) -> None:
    prompt = "a red ball on grass a ball"
    assert places_of("red", prompt, encoder) == red
    assert places_of("ball", prompt, encoder) == ball
    assert places_of("red ball", prompt, encoder) == both
    assert places_of("grass ball", prompt, encoder) == places_of("", prompt, encoder) == ()


def test_words_that_the_model_does_not_know_are_nowhere() -> None:
    encoder = EmbeddedText(nn.Identity(), WordTokenizer(WORDS))
    assert places_of("cube", "a cube", encoder) == places_of("cube", "a pyramid", encoder) == ()


def test_a_text_encoder_whose_tokens_can_not_be_told_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match="use the model's own text encoder, or a mask"):
        places_of("ball", "a ball", None)
