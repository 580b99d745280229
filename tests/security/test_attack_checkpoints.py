"""Checkpoints as attacks: code, bombs and terabytes out of a few bytes, through every function that loads one."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attack_files import (
    anonymous_memory,
    one_sentence,
    plain_with_code,
    repacked,
    trace_of,
    weights,
    with_code,
    zip_bomb,
)

from vivid_core.models import embedded, embedded_codec, embedded_sd, trained_parts
from vivid_core.models.families import FAMILIES, open_family
from vivid_core.models.files import open_weights, read_tensors
from vivid_core.models.lora_files import read_lora
from vivid_core.training.bases import load_base
from vivid_core.training.checkpoints import CHECKPOINT, read_checkpoint
from vivid_core.training.segmenter_trials import load_segmenter

Load = Callable[[Path], Any]
MEGABYTE = 1024**2

LOADERS: dict[str, Load] = {
    "weights": lambda path: read_tensors(open_weights(path)),
    "lora": read_lora,
    "trained parts": trained_parts.load,
    "embedded model": embedded.load,
    "embedded codec": embedded_codec.load_codec,
    "embedded Stable Diffusion": embedded_sd.load,
    "segmenter": load_segmenter,
    "base for training": lambda path: load_base(path, torch.device("cpu")),
    **{family.name: lambda path, name=family.name: open_family(path, {name}) for family in FAMILIES},
}
MAKERS: dict[str, Callable[[Path], Path]] = {
    "zipped": with_code,
    "old": lambda path: with_code(path, zipped=False),
    "bare": plain_with_code,
}


@pytest.mark.parametrize("made", MAKERS)
@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_runs_the_code_in_a_checkpoint(tmp_path: Path, loader: str, made: str) -> None:
    for ending in (".pt", ".pth", ".ckpt", ".bin"):
        path = MAKERS[made](tmp_path / f"model{ending}")
        one_sentence(lambda path=path: LOADERS[loader](path))
        assert not trace_of(path).exists()


@pytest.mark.parametrize("made", MAKERS)
def test_a_sentence_says_that_there_is_code(tmp_path: Path, made: str) -> None:
    text = one_sentence(lambda: open_weights(MAKERS[made](tmp_path / "model.pt")))
    assert "model.pt holds more than tensors, code that would run" in text


@pytest.mark.parametrize("made", [*MAKERS, "bomb"])
def test_going_on_with_a_training_runs_no_code_and_unpacks_no_bomb(tmp_path: Path, made: str) -> None:
    path = ({**MAKERS, "bomb": zip_bomb}[made])(tmp_path / CHECKPOINT)
    assert "no checkpoint of this training" in one_sentence(lambda: read_checkpoint(tmp_path, "{}"))
    assert not trace_of(path).exists()


OTHER_STATES = [[], {}, torch.zeros(3), *({"made_with": text} for text in (7, "{", "[]", '{"a": 3}'))]


@pytest.mark.parametrize("state", OTHER_STATES)
def test_a_checkpoint_of_something_else_is_one_sentence(tmp_path: Path, state: Any) -> None:
    torch.save(state, tmp_path / CHECKPOINT)
    assert "no checkpoint of this training" in one_sentence(lambda: read_checkpoint(tmp_path, "{}"))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = zip_bomb(tmp_path / "model.pt", megabytes=96)
    assert path.stat().st_size < MEGABYTE
    before = anonymous_memory()
    text = one_sentence(lambda: open_weights(path))
    assert anonymous_memory() - before < 32 * MEGABYTE
    assert f"has {path.stat().st_size} bytes and says that it unpacks to 100" in text


def test_tensors_that_are_packed_are_refused_with_both_sizes(tmp_path: Path) -> None:
    path = repacked(tmp_path / "model.pt", {"a": torch.zeros(1000, 1000)})
    assert "says that it unpacks to 4000" in one_sentence(lambda: read_tensors(open_weights(path)))


def test_a_part_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """The list at the end of a zip file says one size, the part itself another."""
    path = tmp_path / "model.pt"
    torch.save({"a": torch.arange(4000.0)}, path)
    content = bytearray(path.read_bytes())
    found = content.rfind(b"PK\x01\x02", 0, content.rfind(b"data/0"))
    assert struct.unpack_from("<II", content, found + 20) == (16000, 16000)
    for sizes in ((16000, 1 << 31), (1 << 31, 1 << 31), (16000, 16)):
        struct.pack_into("<II", content, found + 20, *sizes)
        path.write_bytes(content)
        one_sentence(lambda: read_tensors(open_weights(path)))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(2**20, 2**20),
        torch.zeros(3).expand(2**40, 3),
        torch.empty(10**6, 10**6, device="meta"),
        torch.zeros(4, 4).to_sparse(),
        torch.zeros(4, 4).to_sparse_csr(),
        torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.quint8),
        torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    ],
    ids=["terabytes of four bytes", "of twelve", "no values at all", "sparse", "sparse rows", "quantised", "nested"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_whose_values_are_not_in_the_file_is_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"a": tensor}, tmp_path / "model.pt")
    text = one_sentence(lambda: read_tensors(open_weights(tmp_path / "model.pt")))
    assert "the values of a are not all in the file" in text


def test_tied_and_turned_tensors_are_still_read(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    torch.save({"table": table, "again": table, "turned": table.T, "row": table[1]}, tmp_path / "model.pt")
    read = read_tensors(open_weights(tmp_path / "model.pt"))
    assert torch.equal(read["again"], table) and torch.equal(read["turned"], table.T)
    assert torch.equal(read["row"], table[1])


def test_an_old_file_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    """Old files say how many values follow; this one says 2**33."""
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(300)}, path, _use_new_zipfile_serialization=False)
    for promised in (1 << 33, 301, 1 << 62):
        content = path.read_bytes()
        at = content.rfind(struct.pack("<q", 300))
        assert at > 0
        (tmp_path / "other.pt").write_bytes(content[:at] + struct.pack("<q", promised) + content[at + 8 :])
        one_sentence(lambda: open_weights(tmp_path / "other.pt"))


def test_a_tar_file_is_never_unpacked(tmp_path: Path) -> None:
    """The oldest PyTorch files are tar files; a link in one would be followed."""
    (tmp_path / "secret").write_text("secret")
    with tarfile.open(tmp_path / "model.pt", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
            archive.addfile(link)
    assert "is cut off, or no PyTorch file" in one_sentence(lambda: open_weights(tmp_path / "model.pt"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_any_byte_changed_is_read_or_refused_in_one_sentence(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save(weights(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    start = content.index(b"\x80\x02")
    generator = torch.Generator().manual_seed(3)
    outcomes = {"read": 0, "refused": 0}
    for at in range(start, start + 120):
        changed = bytearray(content)
        changed[at] = int(torch.randint(256, (), generator=generator))
        path.write_bytes(changed)
        try:
            read_tensors(open_weights(path))
            outcomes["read"] += 1
        except ValueError as refused:
            assert "model.pt" in str(refused) and str(refused).endswith(".") and "\n" not in str(refused)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 15 and sum(outcomes.values()) == 120


@pytest.mark.parametrize("content", [b"\x80", b"\x80\x02", b"\x80\x05", b"PK", b"PK\x05\x06" + bytes(18), b"\x00"])
def test_the_first_bytes_alone_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert "model.pt" in one_sentence(lambda: open_weights(tmp_path / "model.pt"))
