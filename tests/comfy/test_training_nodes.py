"""Save Training Sample and Train VIVID LoRA on the embedded model's architecture, through the real executor."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import engines
from harness.engines import clip, mask, of_pack, returned
from harness.inprocess import Executor, Result
from harness.probes import call as call_node

from vivid_core.models import embedded
from vivid_core.models.trained_parts import load

SAMPLE = {
    "caption_short": "red heart",
    "caption_medium": "a small red heart",
    "caption_long": "",
    "name": "",
    "task": "add or modify",
    "file_format": "exact",
}
TRAIN = {
    "steps": 2, "rank": 2, "learning_rate": 0.01, "batch": 2, "seed": 0, "resume": True, "frame_count": 0,
}  # fmt: skip


QUERY = "transformer_blocks.0.attn1.to_q.weight"


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engines.save_embedded(tmp_path_factory.mktemp("embedded") / "embedded_vivid.safetensors")


@pytest.fixture
def made(call: Callable[..., Result], random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(of_pack("vivid_core.models.embedded"), "WEIGHTS", random_weights)
    return engines.engine(call)


@pytest.fixture
def places(tmp_path: Path, comfy_base: Path) -> Iterator[Path]:
    """ComfyUI's output and models/vivid in a folder of this test."""
    import folder_paths

    output, paths = folder_paths.get_output_directory(), folder_paths.folder_names_and_paths
    vivid = paths["vivid"]
    folder_paths.set_output_directory(str(tmp_path / "output"))
    paths["vivid"] = ([str(tmp_path / "models")], vivid[1])
    folder_paths.filename_list_cache.pop("vivid", None)
    yield tmp_path
    folder_paths.set_output_directory(output)
    paths["vivid"] = vivid
    folder_paths.filename_list_cache.pop("vivid", None)


def save_two(call: Callable[..., Result], dataset: str = "hearts") -> None:
    for count in (1, 2):
        given = {**SAMPLE, "frames": clip() * count / 2, "mask": mask(), "dataset": dataset}
        returned(call("VividSaveSample", **given))


def test_samples_are_numbered_and_make_a_dataset(call: Callable[..., Result], places: Path) -> None:
    save_two(call)
    lines = (places / "output" / "hearts" / "index.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [one["name"] for one in told] == ["sample 0001", "sample 0002"]
    assert told[0]["captions"] == {
        "short": "red heart", "medium": "a small red heart", "long": "a small red heart",
    }  # fmt: skip


def test_a_lora_is_trained_saved_and_loads_into_the_engine_again(
    call: Callable[..., Result], made: Any, places: Path
) -> None:
    save_two(call)
    name, curve, report = returned(call("VividTrainLora", engine=made, dataset="hearts", name="heart", **TRAIN))
    parts = load(places / "models" / name)
    assert (name, parts.rank, parts.mask_encoding) == ("heart.safetensors", 2, "pool")
    assert curve.shape[0] == 1 and curve.shape[3] == 3
    assert "Trained 2 steps on 2 samples of 9 frames at 48x48" in report
    taught = engines.engine(call, lora=name)
    assert taught.identity != made.identity
    given = {**engines.texts(call, made, "a red heart"), **engines.CLIP_RUN, "frames": clip(), "mask": mask()}
    before, after = (returned(call("VividEditVideo", engine=one, **given))[0] for one in (made, taught))
    assert not torch.equal(before, after)


def test_training_leaves_the_engine_as_it_was(
    call: Callable[..., Result], made: Any, places: Path, random_weights: Path
) -> None:
    save_two(call)
    before = embedded.load(random_weights)[0].transformer.state_dict()
    returned(call("VividTrainLora", engine=made, dataset="hearts", name="heart", **TRAIN))
    after = made.transformer.module.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert not any(one.requires_grad for one in made.transformer.module.parameters())


def test_a_lora_on_the_engine_takes_no_part(call: Callable[..., Result], made: Any, places: Path) -> None:
    save_two(call)
    first = returned(call("VividTrainLora", engine=made, dataset="hearts", name="first", **TRAIN))[0]
    taught = engines.engine(call, lora=first)
    given = {**engines.texts(call, made), **engines.CLIP_RUN, "frames": clip(), "mask": mask()}
    returned(call("VividEditVideo", engine=taught, **given))  # its LoRA is in the weights now
    _, _, report = returned(call("VividTrainLora", engine=taught, dataset="hearts", name="second", **TRAIN))
    assert "took no part" in report
    one, other = (load(places / "models" / f"{name}.safetensors") for name in ("first", "second"))
    assert all(torch.equal(one.lora[key], other.lora[key]) for key in one.lora)
    assert torch.equal(one.projection["weight"], other.projection["weight"])


def test_a_lora_that_was_left_in_the_weights_is_not_trained_on(
    call: Callable[..., Result], made: Any, places: Path, random_weights: Path
) -> None:
    save_two(call)
    name = returned(call("VividTrainLora", engine=made, dataset="hearts", name="first", **TRAIN))[0]
    loading, training = (of_pack(f"nodes.comfy_bridge.{one}") for one in ("engine_loading", "training"))
    taught = loading.load_engine(loading.EngineFiles(lora=places / "models" / name))
    with taught.runtime().hold(taught.transformer.module):
        pass  # its LoRA is merged now
    base, merged = (one.transformer.module.get_parameter(QUERY).clone() for one in (made, taught))
    del taught
    gc.collect()  # nobody is left to take it out again
    with training.gradients():
        copy = training.trainable_copy(made.transformer)
    kept = embedded.load(random_weights)[0].transformer.get_parameter(QUERY)
    assert torch.equal(base, merged) and not torch.equal(merged, kept), "both have the same weights, with the LoRA"
    assert torch.equal(copy.get_parameter(QUERY), kept)


def test_a_run_goes_on_though_its_own_lora_was_put_on_the_engine(
    call: Callable[..., Result], made: Any, places: Path
) -> None:
    save_two(call)
    given = {**TRAIN, "dataset": "hearts", "name": "heart"}
    name = returned(call("VividTrainLora", engine=made, **given))[0]
    taught = engines.engine(call, lora=name)
    report = returned(call("VividTrainLora", engine=taught, **{**given, "steps": 3}))[2]
    assert "Trained 3 steps" in report and "took no part" in report


def test_a_lora_that_models_vivid_cant_take_is_kept_elsewhere_and_it_is_said(
    call: Callable[..., Result], made: Any, places: Path
) -> None:
    save_two(call)
    (places / "models").write_text("no folder")
    name, _, report = returned(call("VividTrainLora", engine=made, dataset="hearts", name="heart", **TRAIN))
    assert (places / "output" / name).is_file()
    assert "can't be written, so move it there" in report and "choose it as the LoRA" not in report


def test_a_dataset_from_another_node_leaves_the_run_to_what_that_node_gives(places: Path) -> None:
    train = of_pack("nodes.training").TrainLora
    assert train.fingerprint_inputs(dataset=None, name="heart") is None  # ComfyUI asks before the other node has run


def test_a_run_goes_on_where_it_stopped_and_starts_anew_when_told(
    call: Callable[..., Result], made: Any, places: Path
) -> None:
    save_two(call)

    def train(name: str, **changes: Any) -> Any:
        given = {**TRAIN, **changes}
        name, _, report = returned(call("VividTrainLora", engine=made, dataset="hearts", name=name, **given))
        return load(places / "models" / name), report

    whole, _ = train("whole", steps=4)
    train("parts", steps=2)  # short of where the rate falls, so that the longer run begins with the same steps
    resumed, report = train("parts", steps=4)
    assert "Trained 4 steps" in report
    assert all(torch.equal(resumed.lora[key], tensor) for key, tensor in whole.lora.items())
    again = {**TRAIN, "engine": made, "dataset": "hearts", "name": "parts", "steps": 1, "resume": False}
    kind, text = call("VividTrainLora", **again).exception
    assert kind == "ValueError" and "parts.safetensors is there already" in text and text.endswith(".")
    kept = load(places / "models" / "parts.safetensors")
    assert all(torch.equal(kept.lora[key], tensor) for key, tensor in resumed.lora.items())
    (places / "models" / "parts.safetensors").unlink()
    assert "Trained 1 steps" in train("parts", steps=1, resume=False)[1]


def test_a_cancelled_run_leaves_its_checkpoint(
    executor: Executor, call: Callable[..., Result], made: Any, places: Path
) -> None:
    import comfy.model_management

    save_two(call)

    def stop(value: int, total: int) -> None:
        if value == 2:
            comfy.model_management.interrupt_current_processing()

    given = {**TRAIN, "steps": 50, "engine": made, "dataset": "hearts", "name": "heart"}
    result = call_node(executor, "VividTrainLora", stop, **given)
    assert any(name == "execution_interrupted" for name, _ in result.messages), result.exception
    state = torch.load(places / "output" / "vivid_training" / "heart" / "checkpoint.pt", weights_only=True)
    assert 2 <= state["step"] < 50
    assert not (places / "models").exists() or not list((places / "models").iterdir())


@pytest.mark.parametrize(
    ("change", "sentence"),
    (
        ({"caption_short": "", "caption_medium": " "}, "there is no caption"),
        ({"dataset": ""}, "must be a name of a folder inside ComfyUI's output folder"),
        ({"dataset": "../elsewhere"}, "must be a name of a folder inside ComfyUI's output folder"),
        ({"name": "a/b"}, "got the name 'a/b'"),
        ({"mask": 0 * mask()}, "the mask is empty"),
        ({"mask": mask()[:3]}, "got 3 masks for 9 frames"),
        ({"frames": clip() * 255}, "must lie in 0..1"),
    ),
)
def test_a_wrong_sample_gets_one_sentence_and_nothing_is_written(
    call: Callable[..., Result], places: Path, change: dict[str, Any], sentence: str
) -> None:
    given = {**SAMPLE, "frames": clip(), "mask": mask(), "dataset": "hearts", **change}
    kind, text = call("VividSaveSample", **given).exception
    assert kind == "ValueError" and sentence in text and text.endswith(".")
    assert not (places / "output" / "hearts").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    (
        ({"dataset": "nothing"}, "is no dataset"),
        ({"dataset": "../.."}, "must be a name of a folder inside ComfyUI's output folder"),
        ({"name": "a/b"}, "must be a plain file name"),
        ({"name": ""}, "must be a plain file name"),
        ({"name": "heart.safetensors"}, "must be a plain file name"),
    ),
)
def test_a_run_that_cant_start_says_why(
    call: Callable[..., Result], made: Any, places: Path, change: dict[str, Any], sentence: str
) -> None:
    save_two(call)
    kind, text = call(
        "VividTrainLora", **{"engine": made, "dataset": "hearts", "name": "heart", **TRAIN, **change}
    ).exception
    assert kind == "ValueError" and sentence in text and text.endswith(".")


def of_files(**chosen: Any) -> Any:
    """What Load Edit Engine gives for files anywhere."""
    loading = of_pack("nodes.comfy_bridge.engine_loading")
    return loading.load_engine(loading.EngineFiles(**chosen))


@pytest.fixture(scope="session")
def text_to_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text-to-video model in a diffusers folder, as CogVideoX-5b is one."""
    parts = {"transformer": engines.cogvideox(), "vae": engines.cogvideox_vae(), "text_encoder": engines.t5()}
    return engines.save_pipeline(tmp_path_factory.mktemp("base") / "tiny-t2v", **parts)


def test_a_text_to_video_model_learns_to_edit(call: Callable[..., Result], places: Path, text_to_video: Path) -> None:
    save_two(call)
    base = of_files(model=text_to_video)
    assert base.untrained
    given = {**TRAIN, "engine": base, "dataset": "hearts", "name": "vivid"}
    name, _, report = returned(call("VividTrainLora", **given))
    assert "samples of 9 frames at 80x80" in report  # square clips at the number of pixels of 96x64
    taught = of_files(model=text_to_video, lora=places / "models" / name)
    assert not taught.untrained and taught.adapter.mask_encoding == "resize"
    run = {**engines.CLIP_RUN, "frames": clip(), "mask": mask(), **engines.texts(call, taught, "a red heart")}
    assert returned(call("VividEditVideo", engine=taught, **run))[0].shape == clip().shape


def test_engines_that_cant_be_trained_are_refused_before_anything_is_done(
    call: Callable[..., Result], places: Path, text_to_video: Path, tmp_path: Path
) -> None:
    save_two(call)
    from diffusers import AutoencoderKLWan

    vae = engines.made(lambda: AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1))
    wan = engines.save_pipeline(tmp_path / "wan", transformer=engines.wan_vace(), vae=vae)
    mute = of_files(model=text_to_video, without_text=True)
    for engine, sentence in ((of_files(model=wan), "training is for the CogVideoX family"), (mute, "text encoder")):
        kind, text = call("VividTrainLora", **{**TRAIN, "engine": engine, "dataset": "hearts", "name": "x"}).exception
        assert kind == "ValueError" and sentence in text and text.endswith(".")
    assert not (places / "models").exists() or not list((places / "models").iterdir())
