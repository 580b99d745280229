"""safetensors files whose headers lie: about lengths, places, shapes, kinds and what they say of the model."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from attack_files import DEEP, LONG, anonymous_memory, one_sentence, raw_safetensors, with_metadata
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.editors.window_store import CHECKSUM, TENSOR, FolderStore
from vivid_core.models import embedded, embedded_sd, families, sam2, trained_parts
from vivid_core.models.families import FAMILIES, check_family, empty, open_family
from vivid_core.models.family import from_transformers, without_code
from vivid_core.models.files import open_weights, read_tensors
from vivid_core.models.lora_files import DIFFUSERS_METADATA, read_lora

MEGABYTE = 1024**2
KEY = f"{7:064x}"


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def two(first: list[int], second: list[int]) -> dict[str, Any]:
    return {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": first},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": second},
    }


LIES: dict[str, tuple[object, int]] = {
    "past the end": (entry(data_offsets=[8, 16]), 8),
    "far past the end": (entry(data_offsets=[2**62, 2**62 + 8]), 8),
    "before the beginning": (entry(data_offsets=[-8, 0]), 8),
    "backwards": (entry(data_offsets=[8, 0]), 8),
    "three places": (entry(data_offsets=[0, 8, 8]), 8),
    "places as texts": (entry(data_offsets=["0", "8"]), 8),
    "places that are no numbers": (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,NaN]}}', 8),
    "an endless place": (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1e999]}}', 8),
    "one on the other": (two([0, 8], [0, 8]), 8),
    "half on the other": (two([0, 8], [4, 12]), 12),
    "a hole between": (two([0, 8], [16, 24]), 24),
    "a smaller dtype": (entry(dtype="F16"), 8),
    "a larger dtype": (entry(dtype="F64"), 8),
    "a dtype that is none": (entry(dtype=["F32"]), 8),
    "a dtype that is a number": (entry(dtype=3), 8),
    "a negative side": (entry(shape=[-1, -2]), 8),
    "a side that is no whole number": (entry(shape=[2.0]), 8),
    "a side that is true": (entry(shape=[True, 2]), 8),
    "a side that is a text": (entry(shape="2"), 8),
    "a product beyond 64 bits": (entry(shape=[2**33, 2**33, 2**33]), 8),
    "a product that wraps to the right size": (entry(shape=[2**63, 2**2], data_offsets=[0, 0]), 0),
    "a product of nothing": (entry(shape=[2**40, 2**40, 0], data_offsets=[0, 0]), 0),
    "a tensor that is none": ({"a": None}, 8),
    "metadata that are a list": ({**entry(), "__metadata__": [1]}, 8),
    "metadata that are a text": ({**entry(), "__metadata__": "abc"}, 8),
    "metadata with things in it": ({**entry(), "__metadata__": {"format": {"a": 1}}}, 8),
    "brackets without end": (b'{"a":' + b"[" * DEEP, 8),
    "a number without end": (f'{{"a":{LONG}}}'.encode(), 8),
    "bytes that are no text": (b'{"\xff": 3}', 8),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_before_anything_is_loaded(tmp_path: Path, lie: str) -> None:
    header, size = LIES[lie]
    path = raw_safetensors(tmp_path / "model.safetensors", header, bytes(size))
    assert "model.safetensors" in one_sentence(lambda: open_weights(path))


@pytest.mark.parametrize("length", [10**8 + 1, 2**31, 2**62, 2**64 - 1, 0, 1])
def test_a_header_of_any_promised_length_is_refused_without_reading_it(tmp_path: Path, length: int) -> None:
    path = raw_safetensors(tmp_path / "model.safetensors", entry(), bytes(8), length)
    before = anonymous_memory()
    one_sentence(lambda: open_weights(path))
    assert anonymous_memory() - before < 32 * MEGABYTE


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 2**65) | st.floats() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets"]), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=3,
    )
)
def test_any_header_at_all_is_read_or_refused_in_one_sentence(tmp_path_factory: Any, header: dict[str, Any]) -> None:
    path = raw_safetensors(tmp_path_factory.mktemp("any") / "model.safetensors", header, bytes(8))
    try:
        files = open_weights(path)
    except ValueError as refused:
        assert "model.safetensors" in str(refused) and str(refused).endswith(".") and "\n" not in str(refused)
    else:
        assert sum(one.nbytes for one in read_tensors(files).values()) == 8


TEXTS = ["{", "[]", "7", "null", '"text"', "[" * DEEP, f'{{"rank": {LONG}}}', "{}", '{"rank": null}', '{"config": 7}']


@pytest.mark.parametrize("text", TEXTS)
def test_metadata_that_are_anything_else_are_one_sentence(tmp_path: Path, text: str) -> None:
    tensors = {"transformer.a.lora_A.weight": torch.zeros(2, 3), "transformer.a.lora_B.weight": torch.zeros(3, 2)}
    for number, (key, load) in enumerate(
        {
            trained_parts.METADATA: trained_parts.load,
            embedded.METADATA: embedded.load,
            embedded_sd.METADATA: embedded_sd.load,
        }.items()
    ):
        path = with_metadata(tmp_path / f"{number}.safetensors", tensors, **{key: text})
        assert path.name in one_sentence(lambda path=path, load=load: load(path))


@pytest.mark.parametrize("text", TEXTS[:7])
def test_metadata_of_a_lora_that_are_no_object_are_one_sentence(tmp_path: Path, text: str) -> None:
    tensors = {"a.lora_A.weight": torch.zeros(2, 3), "a.lora_B.weight": torch.zeros(3, 2)}
    path = with_metadata(tmp_path / "lora.safetensors", tensors, **{DIFFUSERS_METADATA: text})
    assert "damaged metadata" in one_sentence(lambda: read_lora(path))


@pytest.mark.parametrize("text", [text for text in TEXTS if text != "{}"] + ['{"config": []}'])
def test_settings_of_a_segmenter_that_are_none_are_one_sentence(tmp_path: Path, text: str) -> None:
    tensors = {f"{sam2.TRUNK}patch_embed.proj.weight": torch.zeros(1), "memory_attention.a": torch.zeros(1)}
    path = with_metadata(tmp_path / "sam2.safetensors", tensors, **{sam2.METADATA: text})
    files, family = open_family(path, {sam2.FAMILY.name})
    assert "sam2.safetensors has damaged metadata" in one_sentence(lambda: family.config(files))


@pytest.mark.parametrize("giant", [{"num_layers": 10**9}, {"num_attention_heads": 10**12}])
def test_settings_of_a_giant_make_no_model(giant: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A billion layers would be built one by one; building the real limit's worth takes seconds."""
    monkeypatch.setattr(families, "MOST_PARAMETERS", 500)
    (family,) = (one for one in FAMILIES if one.name == "cogvideox")
    before = anonymous_memory()
    config = {**embedded.TRANSFORMER, "num_attention_heads": 1, "attention_head_dim": 16, **giant}
    assert "The settings make no" in one_sentence(lambda: empty(family, config))
    assert anonymous_memory() - before < 512 * MEGABYTE


@pytest.mark.parametrize("text", ["{", "[]", "[" * DEEP, f'{{"num_layers": {LONG}}}'])
def test_a_config_and_an_index_that_are_bombs_are_named(tmp_path: Path, text: str) -> None:
    with_metadata(tmp_path / "model.safetensors", {"a": torch.zeros(2)})
    (tmp_path / "config.json").write_text(text)
    assert "config.json" in one_sentence(lambda: open_weights(tmp_path))
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert "index.json" in one_sentence(lambda: open_weights(tmp_path / "model.safetensors.index.json"))


@pytest.mark.parametrize(
    "name", ["../a.safetensors", "/etc/a.safetensors", "b/../a.safetensors", "..", "a\0.safetensors", "", 7, None]
)
def test_an_index_names_only_files_beside_it(tmp_path: Path, name: Any) -> None:
    (tmp_path / "down").mkdir()
    with_metadata(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    index = tmp_path / "down" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    one_sentence(lambda: open_weights(index))


def test_a_kept_window_that_is_something_else_is_made_again(tmp_path: Path) -> None:
    """A window of another kind or form, with the right checksum, is no window."""
    import zlib

    for tensor in (
        torch.zeros(3, dtype=torch.int16),
        torch.zeros(2, 4, 4, 3),
        torch.zeros(2, 4, 4, 3, dtype=torch.bfloat16),
        torch.zeros(2, 4, 4, 1, dtype=torch.int16),
    ):
        checksum = str(zlib.crc32(tensor.view(torch.uint8).numpy().data))
        with_metadata(tmp_path / f"{KEY}.safetensors", {TENSOR: tensor}, **{CHECKSUM: checksum})
        assert FolderStore(tmp_path, MEGABYTE).get(KEY) is None
        assert not (tmp_path / f"{KEY}.safetensors").exists()


@pytest.mark.parametrize("lie", LIES)
def test_a_kept_window_with_a_header_that_lies_is_made_again(tmp_path: Path, lie: str) -> None:
    header, size = LIES[lie]
    raw_safetensors(tmp_path / f"{KEY}.safetensors", header, bytes(size))
    assert FolderStore(tmp_path, MEGABYTE).get(KEY) is None


def test_a_family_is_told_without_believing_shapes(tmp_path: Path) -> None:
    """Names of every family on tensors of no size: each is refused, or told apart and then lacks its weights."""
    path = with_metadata(tmp_path / "odd.safetensors", {"patch_embed.proj.weight": torch.zeros(0)})
    one_sentence(lambda: check_family(open_weights(path), {"cogvideox"}))


FETCHING = {
    "_attn_implementation_internal": "evil/kernel",
    "_attn_implementation": "evil/kernel",
    "attn_implementation": {"": "evil/kernel"},
    "auto_map": {"AutoModel": "evil/code--model.Model"},
    "trust_remote_code": True,
}


def test_settings_that_name_code_of_others_are_left_out_at_any_depth() -> None:
    given = {"a": 1, **FETCHING, "backbone_config": {"b": 2, **FETCHING, "deeper": {"c": [3], **FETCHING}}}
    assert without_code(given) == {"a": 1, "backbone_config": {"b": 2, "deeper": {"c": [3]}}}


def test_a_text_encoder_whose_settings_name_a_kernel_of_others_is_built_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some versions of transformers fetch and run what these settings name, also where that was forbidden."""
    called: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *called_with: called.append(called_with))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *called_with, **_: called.append(called_with))
    config = {**embedded.TEXT_ENCODER, "vocab_size": 8, **FETCHING}
    module = from_transformers("T5EncoderModel", "T5Config", config)
    assert called == [] and "evil" not in str(module.config.to_dict())
