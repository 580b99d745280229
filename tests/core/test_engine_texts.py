"""Texts become what the families' own pipelines make of them: numbers, embeddings, and the words for each task."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from harness import tiny
from harness.tokenizers import PIECES, pieces, save_tokenizer
from torch import nn

from vivid_core.editors.adapters.cogvideox import DELETION, fun, vivid
from vivid_core.editors.adapters.wan_vace import wan_vace
from vivid_core.editors.contract import Place, Traits
from vivid_core.editors.texts import EmbeddedText, T5Text, Umt5Text, prompt_for
from vivid_core.models.embedded import TEXT_TOKENS, build
from vivid_core.models.text_tokens import cleaned, folder_tokenizer, of_pieces, of_transformers
from vivid_core.training.world.words import DELETION_CAPTION, vocabulary

TEXTS = ["a red ring", "", "an  empty road\nbetween fields &amp; two boats", "a small blue square " * 200]
FUN = {"use_rotary_positional_embeddings": True, "sample_frames": 49, "sample_height": 60, "sample_width": 90}
CONFIG: dict[str, Any] = {**FUN, "patch_size": 2, "in_channels": 33, "max_text_seq_length": 226, "patch_size_t": None}
VACE: dict[str, Any] = {"num_layers": 30, "patch_size": (1, 2, 2), "in_channels": 16}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(save_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def encoder(name: str) -> nn.Module:
    assert tiny.BY_NAME[name].make().config.vocab_size >= PIECES
    return tiny.BY_NAME[name].make()


def test_t5_gets_226_tokens_without_a_mask_as_in_cogvideox_own_pipeline(tokenizer: Any) -> None:
    from diffusers import CogVideoXPipeline

    module = encoder("t5")
    pipeline = SimpleNamespace(tokenizer=tokenizer, text_encoder=module)
    with torch.no_grad():
        theirs = CogVideoXPipeline._get_t5_prompt_embeds(
            pipeline, list(TEXTS), max_sequence_length=226, device=torch.device("cpu"), dtype=torch.float32
        )
    ours = T5Text(module, of_transformers(tokenizer), 226).encode(TEXTS, Place())
    assert ours.shape == (len(TEXTS), 226, 64) and torch.equal(ours, theirs)


def test_umt5_gets_512_tokens_with_zeros_behind_the_text_as_in_wans_own_pipeline(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers.pipelines.wan import pipeline_wan_vace

    monkeypatch.setattr(pipeline_wan_vace, "ftfy", SimpleNamespace(fix_text=lambda text: text), raising=False)
    module = encoder("umt5")
    pipeline = SimpleNamespace(tokenizer=tokenizer, text_encoder=module)
    with torch.no_grad():
        theirs = pipeline_wan_vace.WanVACEPipeline._get_t5_prompt_embeds(
            pipeline, list(TEXTS), max_sequence_length=512, device=torch.device("cpu"), dtype=torch.float32
        )
    ours = Umt5Text(module, of_transformers(tokenizer)).encode(TEXTS, Place())
    assert ours.shape == (len(TEXTS), 512, 64) and torch.equal(ours, theirs)
    assert not ours[0, 40:].any() and ours[0, 0].any()


def test_the_embedded_models_words_are_its_own_and_it_says_which_it_does_not_know() -> None:
    model = build(vocabulary(), seed=0)
    text = EmbeddedText(model.text_encoder, model.tokenizer)
    with torch.no_grad():
        assert torch.equal(text.encode(["a red ring", ""], Place()), model.encode(["a red ring", ""]))
    assert text.unknown("a red zeppelin") == ["zeppelin"]
    assert T5Text(nn.Identity(), of_pieces(pieces()), 226).unknown("zeppelin") == []


def test_an_encoder_says_how_much_of_a_text_it_leaves_out() -> None:
    tokenize, text = of_pieces(pieces()), "a red ring " * 200
    long = int((tokenize([text], 10_000) != 0).sum())
    assert 512 < long < 10_000
    assert T5Text(nn.Identity(), tokenize, 226).excess(text) == long - 226
    assert Umt5Text(nn.Identity(), tokenize).excess(text) == long - 512
    words = build(vocabulary(), seed=0)
    assert EmbeddedText(words.text_encoder, words.tokenizer).excess("red " * (TEXT_TOKENS + 3)) == 3
    for short in ("a red ring", ""):
        assert T5Text(nn.Identity(), tokenize, 226).excess(short) == 0


def test_a_tokenizer_inside_a_file_and_one_in_a_folder_give_the_same_numbers(tmp_path: Path) -> None:
    folder = folder_tokenizer(save_tokenizer(tmp_path / "tokenizer"))
    inside = of_pieces(pieces())
    texts = [cleaned(text) for text in TEXTS]
    for length in (8, 226):
        assert torch.equal(folder(texts, length), inside(texts, length))
    numbers = inside(["a red ring", ""], 12)
    assert numbers.dtype == torch.int64 and numbers[1].tolist() == [1] + [0] * 11


def test_a_folder_without_a_tokenizer_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(ValueError, match=r"^tokenizer holds no tokenizer that can be read .*\.$"):
        folder_tokenizer(tmp_path / "tokenizer")


def test_a_damaged_tokenizer_inside_a_file_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match="is damaged: download the file again"):
        of_pieces(b"no pieces at all")


def traits(name: str) -> Traits:
    return {"vivid": vivid(CONFIG), "fun": fun(CONFIG), "wan": wan_vace(VACE)}[name].traits


def test_a_text_is_what_must_be_seen_inside_the_mask() -> None:
    for task in ("modify", "add"):
        assert prompt_for(traits("vivid"), task, " a red ring\n") == "a red ring"
        with pytest.raises(ValueError, match=f"to {task} something, write what must be seen inside the mask"):
            prompt_for(traits("wan"), task, "  ")


def test_vivid_removes_with_the_sentence_it_was_trained_with() -> None:
    assert DELETION == DELETION_CAPTION
    notes: list[str] = []
    assert prompt_for(traits("vivid"), "remove", "", notes) == DELETION and not notes
    assert prompt_for(traits("vivid"), "remove", "a wall", notes) == DELETION and "not used" in notes[0]


@pytest.mark.parametrize("name", ["fun", "wan"])
def test_other_families_remove_with_a_description_of_the_background(name: str) -> None:
    assert prompt_for(traits(name), "remove", "a wall") == "a wall"
    with pytest.raises(ValueError, match="describe what is behind the object"):
        prompt_for(traits(name), "remove", "")


def test_an_unknown_task_gets_one_sentence() -> None:
    with pytest.raises(ValueError, match="got 'paint'; choose one of modify, add, remove"):
        prompt_for(traits("vivid"), "paint", "a red ring")
