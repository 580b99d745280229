"""Adapter mode: a LoRA and the patch projection learn on a frozen base, and one file gives the model back."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import editing_models as models
import pytest
import torch
from cancelling import CancelAfter, CancelledError
from test_widening import say
from torch import Tensor, nn

from vivid_core.editors.adapters import cogvideox
from vivid_core.editors.engine import Engine
from vivid_core.editors.texts import EmbeddedText
from vivid_core.models import embedded
from vivid_core.models.embedded_codec import load_codec
from vivid_core.models.trained_parts import load, merge_lora, put_projection
from vivid_core.models.widening import WIDTHS
from vivid_core.runtime import Runtime
from vivid_core.training import new_shape
from vivid_core.training.adapter_training import (
    LATENTS,
    RECIPE,
    SETTINGS,
    adapted,
    adapter_trainer,
    check_trainable,
    save_trained,
)
from vivid_core.training.bases import load_base
from vivid_core.training.dataset import open_dataset
from vivid_core.training.latent_cache import UNFINISHED, LatentCache
from vivid_core.training.new_shape import write_new_shape
from vivid_core.training.objective import Batch, Objective
from vivid_core.training.settings import TrainSettings
from vivid_core.training.tasks import Recipe, Sample, SamplePlan
from vivid_core.training.trainer import Trainer
from vivid_core.training.workers import AcceleratedWorkers, Workers
from vivid_core.training.world.samples import world_sample
from vivid_core.training.world.words import vocabulary

SIDE = 32
SMALL = Recipe(images_per_video=1, image_batch=2, video_batch=2, clips=4)
FAST = replace(SETTINGS, total_steps=20, learning_rate=1e-2, warmup=1, ema=0.5, bf16=False, checkpointing=False)
CAPTIONS = ("a", "b")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


def engine() -> Engine:
    model = embedded.build(vocabulary(), seed=0)
    for module in model.parts.values():
        module.requires_grad_(False)
    config: Any = model.transformer.config
    return Engine(
        cogvideox.embedded(config),
        model.transformer,
        load_codec(),
        EmbeddedText(model.text_encoder, model.tokenizer),
        "random",
    )


def source(plan: SamplePlan) -> Sample:
    return replace(world_sample(plan, SIDE), caption=CAPTIONS[plan.clip % 2])


def trainer(folder: Path, base: Engine | None = None, **given: Any) -> Trainer[Any]:
    base = base or engine()
    given = {"recipe": SMALL, "settings": FAST, "rank": 2, **given}
    return adapter_trainer(base, copy.deepcopy(base.transformer), source, CAPTIONS, folder, **given)


def learned(one: Trainer[Any]) -> list[Tensor]:
    return [
        tensor
        for model in (one.model, one.averaged)
        for tensor in model.transformer.parameters()
        if tensor.requires_grad
    ]


def test_only_the_lora_and_the_projection_learn(tmp_path: Path) -> None:
    base = engine()
    one = trainer(tmp_path, base)
    before = {name: tensor.clone() for name, tensor in one.model.transformer.state_dict().items()}
    one.train(2)
    moved = {
        name for name, tensor in one.model.transformer.state_dict().items() if not torch.equal(tensor, before[name])
    }
    blocks = embedded.TRANSFORMER["num_layers"]
    assert {name for name in moved if "lora_" not in name} == {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert sum("lora_B" in name for name in moved) == 4 * blocks
    frozen = {name: id(one) for name, one in one.model.transformer.named_parameters() if not one.requires_grad}
    assert all(
        frozen[name] == id(tensor) for name, tensor in one.averaged.transformer.named_parameters() if name in frozen
    )


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("mask_encoding", ("resize", "vae"))
def test_at_first_an_adapted_model_says_what_its_base_says(family: str, mask_encoding: str) -> None:
    base, other = models.text_to_video(family), models.text_to_video(family)
    adapted(other, 4, 4.0, mask_encoding)
    given = torch.randn(1, 2, WIDTHS[mask_encoding], 8, 12, generator=torch.Generator().manual_seed(1))
    assert (say(base, given[:, :, :16]) - say(other, given)).abs().max() <= 1e-5


def test_an_interrupted_run_ends_with_the_same_weights_whatever_was_cached(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train(4)
    with pytest.raises(CancelledError):
        trainer(tmp_path / "parts").train(4, CancelAfter(1))
    shutil.rmtree(tmp_path / "parts" / LATENTS)
    resumed = trainer(tmp_path / "parts")
    assert resumed.step == 2
    resumed.train(2)
    assert all(torch.equal(one, other) for one, other in zip(learned(whole), learned(resumed), strict=True))
    assert whole.losses == resumed.losses


def test_what_was_learned_is_one_file_that_gives_the_model_back(tmp_path: Path) -> None:
    base = engine()
    one = trainer(tmp_path, base)
    one.train(3)
    save_trained(one, tmp_path / "shape.safetensors")
    parts = load(tmp_path / "shape.safetensors")
    again = copy.deepcopy(base.transformer)
    put_projection(parts, again)
    merge_lora(parts, again)
    given = torch.randn(1, 3, 33, 12, 12, generator=torch.Generator().manual_seed(2))

    def ask(transformer: nn.Module) -> Tensor:
        predict = cogvideox.predictor(transformer, base.encoded("a", Runtime()), None, given[:, :, 16:])
        with torch.no_grad():
            return predict(given[:, :, :16], torch.tensor([500]), (True,))

    assert (ask(again) - ask(one.averaged.transformer)).abs().max() <= 1e-5
    assert (ask(again) - ask(base.transformer)).abs().max() > 1e-3
    assert (parts.rank, parts.mask_encoding) == (2, "pool")


@pytest.mark.parametrize("change", ({"rank": 3}, {"recipe": replace(SMALL, keyframe_share=0.0)}))
def test_another_run_may_not_go_on_with_the_checkpoint(tmp_path: Path, change: dict[str, Any]) -> None:
    trainer(tmp_path).train(1)
    with pytest.raises(ValueError, match="was trained with another recipe or other settings"):
        trainer(tmp_path, **change)
    trainer(tmp_path, settings=replace(FAST, total_steps=50, learning_rate=1e-3))  # a longer and calmer run may


class Tiny:
    """A tiny CogVideoX of a family with random text, as `trainer.Learner`."""

    def __init__(self, family: str, mask_encoding: str) -> None:
        self.transformer = adapted(models.text_to_video(family), 2, 2.0, mask_encoding)
        self.parts = {"transformer": self.transformer}
        config: Any = self.transformer.config
        self.adapter = replace(cogvideox.vivid(config, mask_encoding), stride=8)

    def encode(self, texts: tuple[str, ...]) -> Tensor:
        return models.text(0, len(texts))


def random_batch(model: Tiny, folder: Path) -> Batch:
    samples = [
        world_sample(SamplePlan(n, "entity", False, "box", "short", False, False, "foreground", 0, n), 64)
        for n in (0, 1)
    ]
    encode = LatentCache(
        model.adapter, models.MeanCodec(), SimpleNamespace(device="cpu", dtype=torch.float32), "", folder
    )
    objective = Objective(model.adapter, encode, outside=0.1, last_time_share=0.0)
    return objective.batch(samples, torch.Generator().manual_seed(0), 2, slice(None), torch.device("cpu"))


@pytest.mark.parametrize("family", models.FAMILIES)
@pytest.mark.parametrize("mask_encoding", ("resize", "vae"))
def test_the_loss_is_the_weighted_error_of_the_velocity_in_every_family(
    tmp_path: Path, family: str, mask_encoding: str
) -> None:
    model = Tiny(family, mask_encoding)
    batch = random_batch(model, tmp_path)
    assert batch.condition.shape[2] == WIDTHS[mask_encoding] - 16
    assert batch.clean.shape[1] == (4 if family == "1.5" else 3)  # 1.5 takes an even number
    objective = Objective(model.adapter, None, 0.1, 0.0)  # type: ignore[arg-type]  # nothing is encoded any more
    with torch.no_grad():
        loss = objective.loss(model.transformer, model.encode(batch.captions), batch)
        kept = objective._schedule.alphas_cumprod[batch.times].view(-1, 1, 1, 1, 1)
        noisy = kept.sqrt() * batch.clean + (1 - kept).sqrt() * batch.noise
        velocity = kept.sqrt() * batch.noise - (1 - kept).sqrt() * batch.clean
        expected = 0.0
        for index in range(2):
            one, text = slice(index, index + 1), models.text(0, 2)[index : index + 1]
            predict = cogvideox.predictor(model.transformer, text, None, batch.condition[one])
            said = predict(noisy[one], batch.times[one], (True,))
            expected += float(((said - velocity[index]) ** 2 * batch.weight[index]).sum())
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("changed", ({"checkpointing": True}, {"at_once": 1}, {"at_once": 1, "checkpointing": True}))
def test_saving_memory_changes_nothing_but_rounding(tmp_path: Path, changed: dict[str, Any]) -> None:
    plain = trainer(tmp_path / "plain", settings=replace(FAST, at_once=0))
    careful = trainer(tmp_path / "careful", settings=replace(FAST, **{"at_once": 0, **changed}))
    assert plain.train(1) == pytest.approx(careful.train(1), rel=1e-5)
    for one, other in zip(learned(plain), learned(careful), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_a_base_in_half_precision_learns_in_fp32(tmp_path: Path) -> None:
    base = engine()
    base.transformer.to(torch.bfloat16)
    one = trainer(tmp_path, base, settings=replace(FAST, bf16=True))
    one.train(2)
    assert {tensor.dtype for tensor in learned(one)} == {torch.float32}
    assert all(torch.isfinite(tensor).all() for tensor in learned(one))
    assert {tensor.dtype for tensor in one.model.transformer.parameters() if not tensor.requires_grad} == {
        torch.bfloat16
    }


def test_one_process_of_accelerate_trains_what_one_alone_trains(tmp_path: Path) -> None:
    alone, among = (
        trainer(tmp_path / "alone", workers=Workers()),
        trainer(tmp_path / "among", workers=AcceleratedWorkers(on_the_cpu=True)),
    )
    assert alone.train(2) == among.train(2)
    assert all(torch.equal(one, other) for one, other in zip(learned(alone), learned(among), strict=True))


def test_more_processes_than_samples_are_refused(tmp_path: Path) -> None:
    workers = Workers()
    workers.count = 3
    with pytest.raises(ValueError, match="3 processes train together, but a step has only 2 samples"):
        trainer(tmp_path, workers=workers)


def test_the_cache_encodes_each_clip_once_and_mends_what_is_damaged(tmp_path: Path) -> None:
    base = engine()
    adapter: Any = base.adapter
    clips = torch.rand(2, 9, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))

    def cache(identity: str = "vae", most: int = 10**9) -> LatentCache:
        return LatentCache(adapter, base.vae, base.vae_place, identity, tmp_path, most)

    first = cache()
    made = first(clips)
    assert first.encoded == 2 and torch.allclose(made, adapter.encode(clips, base.vae, base.vae_place), atol=5e-3)
    again = cache()
    assert torch.equal(again(clips), made) and again.encoded == 0
    next(tmp_path.iterdir()).write_bytes(b"half")
    mended, other = cache(), cache("another vae", 0)
    assert torch.equal(mended(clips), made) and mended.encoded == 1
    assert torch.equal(other(clips), made) and other.encoded == 2
    assert len(list(tmp_path.iterdir())) == 2  # no room was given to the other


def test_several_processes_together_keep_no_more_than_the_cache_may_hold(tmp_path: Path) -> None:
    base = engine()
    adapter: Any = base.adapter
    clips = torch.rand(4, 1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))

    def cache(folder: Path, most: int, processes: int) -> LatentCache:
        return LatentCache(adapter, base.vae, base.vae_place, "vae", folder, most, processes=processes)

    cache(tmp_path / "one", 10**9, 1)(clips[:1])
    each = sum(file.stat().st_size for file in (tmp_path / "one").iterdir())
    together = [cache(tmp_path / "shared", 2 * each, 2) for _ in range(2)]
    for one, part in zip(together, clips.split(2)):
        one(part)
    assert len(list((tmp_path / "shared").iterdir())) == 2


def test_what_killed_runs_left_in_the_cache_goes_and_what_others_are_writing_stays(tmp_path: Path) -> None:
    base = engine()
    left, written, other = (tmp_path / name for name in (f"{UNFINISHED}left", f"{UNFINISHED}written", "kept"))
    for file in (left, written, other):
        file.write_bytes(b"half")
    for file in (left, other):
        os.utime(file, (1, 1))
    adapter: Any = base.adapter
    LatentCache(adapter, base.vae, base.vae_place, "vae", tmp_path)
    assert not left.exists() and written.exists() and other.exists()


def test_latents_that_are_no_numbers_are_not_kept(tmp_path: Path) -> None:
    base = engine()
    adapter: Any = base.adapter
    cache = LatentCache(adapter, base.vae, base.vae_place, "vae", tmp_path)
    clip = torch.full((1, 1, SIDE, SIDE, 3), float("nan"))
    assert cache(clip).isnan().any() and not list(tmp_path.iterdir())


def test_a_base_is_asked_where_it_is_trained(tmp_path: Path) -> None:
    file, folder = tmp_path / "embedded.safetensors", diffusers_folder(tmp_path / "CogVideoX-tiny")
    embedded.save(embedded.build(vocabulary(), 0), file, {})
    gpu = torch.device("cuda", 0)
    for model in (file, folder):
        base = load_base(model, gpu)
        assert [place.device for place in (base.place, base.vae_place, base.text_place)] == [gpu] * 3
    resized, encoded = (load_base(folder, gpu, mask).identity for mask in ("resize", "vae"))
    assert resized != encoded, "their checkpoints don't fit each other"


def test_engines_and_settings_that_cant_be_trained_get_one_sentence(tmp_path: Path) -> None:
    wan = SimpleNamespace(adapter=SimpleNamespace(traits=SimpleNamespace(label="Wan VACE")))
    with pytest.raises(ValueError, match="got the engine Wan VACE, but training is for the CogVideoX family"):
        check_trainable(wan)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got a rank of 0"):
        trainer(tmp_path, rank=0)
    with pytest.raises(ValueError, match="got a Linear"):
        adapted(nn.Linear(1, 1), 4, 4.0, "resize")
    with pytest.raises(ValueError, match="the caption 'c' was not encoded before"):
        trainer(tmp_path).model.encode(("c",))
    with pytest.raises(ValueError, match="no weight of the model wants a gradient"):
        frozen = embedded.build(vocabulary(), 0)
        for module in frozen.parts.values():
            module.requires_grad_(False)
        Trainer(frozen, load_codec(), source, tmp_path / "frozen")


def test_the_heart_is_saved_as_a_dataset_learned_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(new_shape, "EMBEDDED_RECIPE", SMALL)
    file, out = tmp_path / "embedded.safetensors", tmp_path / "out"
    embedded.save(embedded.build(vocabulary(), 0), file, {})
    given = [out, "--model", file, "--steps", "1", "--samples", "3", "--trials", "1", "--edit-steps", "1"]
    assert new_shape.main([*map(str, given)]) == 0
    before, after = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (before["when"], after["when"]) == ("before", "after")
    assert before["codec limit"] == after["codec limit"] and before["codec limit"]["iou"] > 0.9
    assert before["model"] != after["model"]
    assert load(out / new_shape.LORA).mask_encoding == "pool"
    data = open_dataset(out / new_shape.DATA, engine().adapter.traits)
    assert (data.height, data.width, data.frames) == (48, 48, 9)
    learned, judged = ([new_shape.new_shape_trial("modify", n) for n in range(3)], new_shape.new_shape_trials(3))
    assert all(new_shape.SHAPE in one.caption for one in (*learned, *judged))
    assert not {one.target for one in learned} & {one.target for one in judged}


def test_the_usual_settings_are_those_of_the_paper_where_it_gives_any() -> None:
    assert RECIPE.images_per_video == 10 and RECIPE.keyframe_share == 0.5 and RECIPE.entities_per_deletion == 3
    assert isinstance(SETTINGS, TrainSettings) and SETTINGS.matrix_rate == 0


def diffusers_folder(folder: Path) -> Path:
    """A tiny text-to-video model as diffusers saves it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    models.text_to_video("1.0").save_pretrained(folder / "transformer")
    models.vae().save_pretrained(folder / "vae")
    encoder = T5Config(vocab_size=20, d_model=models.TEXT_WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(encoder).save_pretrained(folder / "text_encoder")
    words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "heart": 2, "<unk>": 3}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")
    return folder


def test_the_command_trains_a_lora_on_a_text_to_video_folder_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from vivid_core.training import __main__ as command

    base = diffusers_folder(tmp_path / "CogVideoX-tiny")
    write_new_shape(tmp_path / "data", 2, side=64)
    monkeypatch.setattr(command, "STEPS_AT_ONCE", 1)
    out, batch = tmp_path / "out", ["--image-batch", "1", "--video-batch", "1", "--rank", "2", "--cpu"]
    given = [command.ADAPTER, "--data", str(tmp_path / "data"), "--out", str(out), "--model", str(base), *batch]
    for steps in (1, 2):
        command.main([*given, "--steps", str(steps)])
    parts = load(out / command.LORA)
    assert (parts.rank, parts.channels, parts.mask_encoding) == (2, 33, "resize")
    plain = models.text_to_video("1.0")
    put_projection(parts, plain)
    merge_lora(parts, plain)
    assert torch.isfinite(say(plain, torch.zeros(1, 2, 33, 8, 12))).all()
    shutil.rmtree(base / "text_encoder")
    assert command.main(given) == 2 and "has no folder text_encoder" in caplog.text


def test_the_command_trains_a_lora_on_the_embedded_model(tmp_path: Path) -> None:
    from vivid_core.training import __main__ as command

    file = tmp_path / "embedded.safetensors"
    embedded.save(embedded.build(vocabulary(), 0), file, {})
    write_new_shape(tmp_path / "data", 2)
    out = tmp_path / "out"
    given = ["--data", tmp_path / "data", "--out", out, "--model", file, "--steps", "1", "--image-batch", "2", "--cpu"]
    assert command.main([command.ADAPTER, *map(str, given)]) == 0
    assert load(out / command.LORA).mask_encoding == "pool"
