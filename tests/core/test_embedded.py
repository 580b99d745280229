"""The embedded model: its words, its file, and that the editing code treats it like a released one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vivid_core.diffusion import schedulers
from vivid_core.diffusion.denoise import denoise, generator_for, noise
from vivid_core.diffusion.guidance import Guidance
from vivid_core.editors.adapters.cogvideox import vivid
from vivid_core.editors.contract import Place
from vivid_core.models import embedded
from vivid_core.models.embedded_codec import load_codec
from vivid_core.training.world.trials import trial
from vivid_core.training.world.words import DELETION_CAPTION, vocabulary
from vivid_core.video.keyframes import Keyframe, Keyframes


@pytest.fixture(scope="module")
def model() -> embedded.EmbeddedModel:
    return embedded.build(vocabulary(), seed=0)


def test_every_caption_of_the_world_is_made_of_known_words(model: embedded.EmbeddedModel) -> None:
    captions = [trial("modify", "seen", number).caption for number in range(6)] + [DELETION_CAPTION]
    for caption in captions:
        numbers = model.tokenizer([caption])[0]
        assert not model.tokenizer.unknown(caption)
        assert embedded.UNKNOWN not in numbers and int((numbers != embedded.PAD).sum()) == len(
            model.tokenizer.split(caption)
        )


def test_unknown_words_are_named_and_long_texts_are_cut(model: embedded.EmbeddedModel) -> None:
    assert model.tokenizer.unknown("A red Zeppelin!") == ["zeppelin"]
    assert model.tokenizer(["red " * 40]).shape == (1, embedded.TEXT_TOKENS)


def test_the_seed_decides_the_weights(model: embedded.EmbeddedModel) -> None:
    same, other = (embedded.build(vocabulary(), seed).transformer.state_dict() for seed in (0, 1))
    state = model.transformer.state_dict()
    assert all(torch.equal(state[name], same[name]) for name in state)
    assert not all(torch.equal(state[name], other[name]) for name in state)


def test_it_comes_back_from_its_file_as_fp16_weights(model: embedded.EmbeddedModel, tmp_path: Path) -> None:
    path = tmp_path / "embedded.safetensors"
    embedded.save(model, path, {"seed": 0, "step": 12})
    back, notes = embedded.load(path)
    assert notes == {"seed": 0, "step": 12} and back.tokenizer.words == model.tokenizer.words
    assert path.stat().st_size < 16e6 and list(tmp_path.iterdir()) == [path]
    for part, module in model.parts.items():
        for name, tensor in module.state_dict().items():
            assert torch.equal(back.parts[part].state_dict()[name], tensor.half().float())
    assert not any(parameter.requires_grad for parameter in back.transformer.parameters())


@torch.inference_mode()
def test_a_keyframe_edit_of_a_clip_runs_through_adapter_and_loop(model: embedded.EmbeddedModel) -> None:
    chosen = trial("modify", "seen", 0)
    truth, codec, adapter = chosen.truth(), load_codec(), vivid(model.transformer.config, "pool", stride=4)
    source = chosen.source_fhwc()
    keys = Keyframes([Keyframe(0, truth.oracle_fhwc[0])])
    place = Place()
    generator = generator_for(3)
    condition = adapter.condition(source, truth.edit_mask_fhw, keys, codec, place)
    predict = adapter.predictor(model.transformer, condition, model.encode([chosen.caption]), model.encode([""]), place)
    start = noise(adapter.noise_shape(len(source), *source.shape[1:3]), generator)
    scheduler = schedulers.make(adapter.traits.schedule, "ddim")
    latents = denoise(predict, scheduler, start, 3, Guidance(2.5), generator)
    edited = adapter.decode(latents, len(source), codec, place)
    assert edited.shape == source.shape and bool(torch.isfinite(edited).all())


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors is no embedded model"):
        embedded.load(tmp_path / "other.safetensors")


def test_half_a_file_is_refused(model: embedded.EmbeddedModel, tmp_path: Path) -> None:
    from vivid_core.models.files import open_weights, read_tensors

    embedded.save(model, tmp_path / "whole.safetensors", {})
    files = open_weights(tmp_path / "whole.safetensors")
    some = {name: tensor.clone() for name, tensor in read_tensors(files).items() if "transformer_blocks.5" not in name}
    save_file(some, tmp_path / "half.safetensors", dict(files.metadata))
    with pytest.raises(ValueError, match=r"half\.safetensors lacks \d+ tensors of its transformer"):
        embedded.load(tmp_path / "half.safetensors")
