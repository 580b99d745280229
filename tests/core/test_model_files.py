"""Weight files: headers tell what is in them, tensors come back as views of the file, damage gets one sentence."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vivid_core.models.files import TensorInfo, open_weights, read_tensors

MEGABYTE = 1024**2
LINUX = Path("/proc/self/status")


def some_tensors(count: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {f"layer.{index}.weight": torch.randn(4, index + 1, generator=generator) for index in range(count)}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert second[name].dtype == tensor.dtype and torch.equal(second[name], tensor), name


def shards(folder: Path, tensors: dict[str, torch.Tensor], stem: str = "model", index: bool = True) -> Path:
    """One file for each tensor, as transformers and diffusers write them; returns the index's path."""
    folder.mkdir(exist_ok=True)
    places = {}
    for number, (name, tensor) in enumerate(tensors.items(), 1):
        places[name] = f"{stem}-{number:05}-of-{len(tensors):05}.safetensors"
        save_file({name: tensor}, folder / places[name])
    path = folder / f"{stem}.safetensors.index.json"
    if index:
        path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def refusal(path: Path) -> str:
    """The one sentence with which a file is refused; it must name the file, and say what to do."""
    with pytest.raises(ValueError) as caught:
        open_weights(path)
    text = str(caught.value)
    assert path.name in text and text.endswith(".") and "\n" not in text
    assert re.search(r"(download|choose|check|use) ", text), text
    return text


def raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def anonymous_memory() -> int:
    kilobytes = re.search(r"RssAnon:\s+(\d+) kB", LINUX.read_text())
    assert kilobytes
    return int(kilobytes[1]) * 1024


# ---------------------------------------------------------------------------------------------------- whole files


def test_a_header_tells_everything_about_the_tensors(tmp_path):
    tensors = {
        "a": torch.zeros(2, 3),
        "b": torch.zeros(40, dtype=torch.bfloat16),
        "c": torch.zeros((), dtype=torch.int64),
        "d": torch.zeros(5, dtype=torch.float8_e4m3fn),
    }
    save_file(tensors, tmp_path / "own.safetensors", metadata={"format": "pt"})
    files = open_weights(str(tmp_path / "own.safetensors"))
    assert files.path == tmp_path / "own.safetensors" and files.parts == (files.path,)
    assert files.tensors == {name: TensorInfo(one.dtype, tuple(one.shape), one.nbytes) for name, one in tensors.items()}
    assert files.metadata == {"format": "pt"} and files.config is None
    assert files.nbytes == sum(one.nbytes for one in tensors.values())
    assert files.dtype == torch.bfloat16  # the dtype of most values


def test_tensors_come_back_as_they_were_saved(tmp_path):
    save_file(some_tensors(), tmp_path / "own.safetensors")
    assert_same(some_tensors(), read_tensors(open_weights(tmp_path / "own.safetensors")))


def test_a_file_without_floating_tensors_has_the_default_dtype(tmp_path):
    save_file({"a": torch.zeros(3, dtype=torch.int32)}, tmp_path / "own.safetensors")
    assert open_weights(tmp_path / "own.safetensors").dtype == torch.float32


@pytest.mark.skipif(not LINUX.exists(), reason="reads the memory of the process from Linux")
@pytest.mark.parametrize("name", ["own.safetensors", "own.pt"])
def test_reading_maps_the_file_instead_of_copying_it(tmp_path, name):
    big = {f"part.{index}": torch.rand(4 * MEGABYTE) for index in range(4)}  # 64 MB
    torch.save(big, tmp_path / name) if name.endswith(".pt") else save_file(big, tmp_path / name)
    total = sum(float(one.sum()) for one in big.values())
    del big
    before = anonymous_memory()
    tensors = read_tensors(open_weights(tmp_path / name))
    assert sum(float(one.sum()) for one in tensors.values()) == total  # every page was read
    assert anonymous_memory() - before < 8 * MEGABYTE


def test_tensors_can_be_trained_though_they_were_read_in_inference_mode(tmp_path):
    save_file(some_tensors(), tmp_path / "own.safetensors")
    with torch.inference_mode():
        tensors = read_tensors(open_weights(tmp_path / "own.safetensors"))
    assert not any(one.is_inference() for one in tensors.values())


# ------------------------------------------------------------------------------------------------ folders, shards


@pytest.mark.parametrize("chosen", ["", "model.safetensors.index.json", "model-00002-of-00003.safetensors"])
def test_shards_are_one_model_however_they_are_chosen(tmp_path, chosen):
    shards(tmp_path / "own", some_tensors())
    files = open_weights(tmp_path / "own" / chosen)
    assert [part.name for part in files.parts] == [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
    assert files.nbytes == sum(one.nbytes for one in some_tensors().values())
    assert_same(some_tensors(), read_tensors(files))


def test_shards_need_no_index(tmp_path):
    shards(tmp_path / "own", some_tensors(), stem="anything", index=False)
    assert_same(some_tensors(), read_tensors(open_weights(tmp_path / "own")))


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "model.safetensors", "anything.safetensors"])
def test_a_folder_is_its_weights_and_its_config(tmp_path, name):
    save_file(some_tensors(), tmp_path / name)
    (tmp_path / "config.json").write_text('{"num_layers": 3}')
    files = open_weights(tmp_path)
    assert files.path == tmp_path and files.parts == (tmp_path / name,) and files.config == {"num_layers": 3}


def test_a_folder_prefers_the_whole_model_to_a_variant_and_safetensors_to_pickles(tmp_path):
    save_file(some_tensors(), tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    torch.save(some_tensors(), tmp_path / "diffusion_pytorch_model.bin")
    assert open_weights(tmp_path).parts[0].name == "diffusion_pytorch_model.bin"  # a variant isn't the model
    save_file(some_tensors(), tmp_path / "diffusion_pytorch_model.safetensors")
    assert open_weights(tmp_path).parts[0].name == "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    "name, belongs",
    [
        ("diffusion_pytorch_model.safetensors", True),
        ("diffusion_pytorch_model.fp16.safetensors", True),
        ("model.safetensors", True),
        ("models_of_mine.safetensors", False),
        ("sd15.safetensors", False),
    ],
)
def test_a_config_beside_a_file_is_believed_only_for_the_names_that_go_with_one(tmp_path, name, belongs):
    save_file(some_tensors(), tmp_path / name)
    (tmp_path / "config.json").write_text('{"num_layers": 3}')
    assert (open_weights(tmp_path / name).config is not None) == belongs


# -------------------------------------------------------------------------------------------------------- pickles


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_are_read_in_all_their_forms(tmp_path, ending, wrapper, zipped):
    content = {wrapper: some_tensors(), "epoch": 3} if wrapper else some_tensors()
    torch.save(content, tmp_path / f"own{ending}", _use_new_zipfile_serialization=zipped)
    files = open_weights(tmp_path / f"own{ending}")
    assert {name: one.shape for name, one in files.tensors.items()} == {
        name: tuple(one.shape) for name, one in some_tensors().items()
    }
    assert_same(some_tensors(), read_tensors(files))


class Runs:
    """A pickle that makes a file when it is loaded carelessly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


class Held:
    """An object that isn't a tensor, as careless training scripts save them."""


def test_a_pickle_with_code_is_refused_and_never_run(tmp_path):
    trace = tmp_path / "trace"
    torch.save({**some_tensors(), "x": Runs(trace)}, tmp_path / "new.pt")
    torch.save({**some_tensors(), "x": Runs(trace)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({**some_tensors(), "x": Held()}, tmp_path / "held.pth")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps({"x": Runs(trace)}))
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "compiled.pt")
    for name in ("new.pt", "old.pt", "held.pth", "plain.ckpt", "compiled.pt"):
        assert "code that would run" in refusal(tmp_path / name)
        assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.98])
def test_a_cut_off_pytorch_file_is_refused(tmp_path, zipped, kept):
    torch.save({"a": torch.zeros(3000)}, tmp_path / "own.pt", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "own.pt").read_bytes()
    (tmp_path / "own.pt").write_bytes(content[: int(len(content) * kept)])
    assert "is cut off, or no PyTorch file" in refusal(tmp_path / "own.pt")


def test_a_pytorch_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "noise.pt").write_bytes(bytes(range(256)) * 20)
    assert "no PyTorch file" in refusal(tmp_path / "noise.pt")
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    assert "holds no tensors under names" in refusal(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    assert "holds no tensors under names" in refusal(tmp_path / "epoch.pt")


# ----------------------------------------------------------------------------------------------- what is refused


def test_a_missing_file_is_named_with_its_whole_path(tmp_path):
    assert str(tmp_path / "gone.safetensors") in refusal(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("name", ["own.safetensors", "own.pt"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["own.gguf", "own.onnx", "own"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"GGUF" * 10)
    assert "no weights file that can be read here" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "content, guess",
    [
        (b"<!DOCTYPE html><html>access denied</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"PK\x03\x04" + bytes(40), "a PyTorch pickle"),
        (bytes(100), ""),
        (b"abc", ""),
    ],
)
def test_what_is_no_safetensors_file_is_refused_and_guessed(tmp_path, content, guess):
    (tmp_path / "own.safetensors").write_bytes(content)
    text = refusal(tmp_path / "own.safetensors")
    assert "is no safetensors file" in text and guess in text


def test_a_cut_off_file_is_refused_with_both_sizes(tmp_path):
    path = tmp_path / "own.safetensors"
    save_file(some_tensors(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    text = refusal(path)
    assert f"its header says {len(whole)} bytes, and the file has {len(whole) - 7}" in text and "download" in text
    path.write_bytes(whole[:40])
    assert "is cut off: its header alone" in refusal(path)
    path.write_bytes(whole + b"x")
    assert f"is damaged: its header says {len(whole)} bytes, and the file has {len(whole) + 1}" in refusal(path)


def entry(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    "header",
    [
        b'{"a": ',
        entry(shape=[3]),
        entry(data_offsets=[0]),
        entry(data_offsets=None),
        entry(shape="wide"),
        {"a": {"dtype": "F32"}},
        {"a": 7},
    ],
)
def test_a_damaged_header_is_refused(tmp_path, header):
    assert "damaged header" in refusal(raw(tmp_path / "own.safetensors", header, bytes(8)))


def test_a_file_without_tensors_is_refused(tmp_path):
    assert "holds no tensors" in refusal(raw(tmp_path / "own.safetensors", {"__metadata__": {"a": "b"}}))


def test_a_dtype_that_pytorch_lacks_is_refused(tmp_path):
    assert "is stored as F4" in refusal(raw(tmp_path / "own.safetensors", entry(dtype="F4"), bytes(8)))


@pytest.mark.parametrize("chosen", ["", "model.safetensors.index.json", "model-00001-of-00003.safetensors"])
def test_a_missing_shard_is_named(tmp_path, chosen):
    shards(tmp_path / "own", some_tensors())
    (tmp_path / "own" / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ValueError, match=r"needs 3 files, and 1 of them, model-00002-of-00003\.safetensors, is not"):
        open_weights(tmp_path / "own" / chosen)


def test_shards_that_lack_tensors_of_their_index_are_refused(tmp_path):
    index = shards(tmp_path / "own", some_tensors())
    content = json.loads(index.read_text())
    content["weight_map"]["layer.9.weight"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    assert "layer.9.weight" in refusal(index)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../x.safetensors"}}']
)
def test_a_broken_index_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    refusal(tmp_path / "model.safetensors.index.json")


def test_a_cut_off_shard_is_named(tmp_path):
    index = shards(tmp_path / "own", some_tensors())
    shard = tmp_path / "own" / "model-00003-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model-00003-of-00003\.safetensors is cut off"):
        open_weights(index)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "is a folder without weights" in refusal(tmp_path)


def test_a_whole_pipeline_is_refused_and_its_parts_are_recommended(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    save_file(some_tensors(), tmp_path / "sd15.safetensors")
    assert "choose one of its folders" in refusal(tmp_path)


def test_a_folder_of_several_models_is_refused(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        save_file(some_tensors(), tmp_path / name)
    text = refusal(tmp_path)
    assert "2 models" in text and "a.safetensors, b.safetensors" in text


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_broken_config_is_named(tmp_path, content):
    save_file(some_tensors(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="^config.json in .*: download it again"):
        open_weights(tmp_path)


def test_a_file_that_changed_after_it_was_opened_is_refused(tmp_path):
    path = tmp_path / "own.safetensors"
    save_file(some_tensors(), path)
    files = open_weights(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"own\.safetensors can't be read"):
        read_tensors(files)
