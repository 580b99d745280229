"""Kept windows come back to the bit; a folder of them is never trusted blindly and never grows without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vivid_core.editors.window_store import FolderStore, MemoryStore, WindowStore, rounded


def window(seed: int = 0) -> Tensor:
    return rounded(torch.rand(5, 16, 24, 3, generator=torch.Generator().manual_seed(seed)))


def key(number: int) -> str:
    return f"{number:064x}"


BYTES = 2 * window().numel()


def stores(folder: Path, max_bytes: int) -> list[WindowStore]:
    return [MemoryStore(max_bytes), FolderStore(folder, max_bytes)]


def test_rounding_keeps_16_bits_and_is_the_same_the_second_time() -> None:
    frames = torch.rand(2, 8, 8, 3)
    assert torch.equal(rounded(window()), window())
    assert (rounded(frames) - frames).abs().max() <= 0.5 / 65535 + 1e-7
    assert torch.equal(rounded(torch.tensor([[0.0, 1.0, -0.2, 1.2]])), torch.tensor([[0.0, 1.0, 0.0, 1.0]]))
    levels = torch.arange(65536) / 65535
    assert torch.equal(rounded(levels), levels)


@pytest.mark.parametrize("which", (0, 1), ids=("memory", "folder"))
def test_windows_come_back_to_the_bit(tmp_path: Path, which: int) -> None:
    store = stores(tmp_path / "made by the store", 10**6)[which]
    assert store.get(key(1)) is None
    store.put(key(1), window(1))
    store.put(key(2), window(2))
    for number in (1, 2):
        kept = store.get(key(number))
        assert kept is not None and torch.equal(kept, window(number))
    assert store.get(key(3)) is None


@pytest.mark.parametrize("which", (0, 1), ids=("memory", "folder"))
def test_what_was_not_asked_for_longest_goes_first(tmp_path: Path, which: int) -> None:
    store = stores(tmp_path, int(2.5 * BYTES))[which]
    for number in (1, 2):
        store.put(key(number), window(number))
        age(tmp_path, number)
    assert store.get(key(1)) is not None  # so that 2 is the oldest
    store.put(key(3), window(3))
    assert [number for number in (1, 2, 3) if store.get(key(number)) is not None] == [1, 3]
    too_large = stores(tmp_path / "small", BYTES // 2)[which]
    too_large.put(key(1), window(1))
    assert too_large.get(key(1)) is None


def age(folder: Path, number: int) -> None:
    """As if written long ago; later ones less long."""
    path = folder / f"{key(number)}.safetensors"
    if path.exists():
        os.utime(path, (1000.0 + number, 1000.0 + number))


@pytest.mark.parametrize("how", ("cut off", "one bit", "something else", "empty"))
def test_damaged_files_are_ignored_and_removed(tmp_path: Path, how: str) -> None:
    from safetensors.torch import save

    store, path = FolderStore(tmp_path, 10**6), tmp_path / f"{key(1)}.safetensors"
    store.put(key(1), window())
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut off": data[:-100],
            "one bit": data[:-1] + bytes([data[-1] ^ 1]),
            "something else": save({"frames": torch.zeros(3)}),
            "empty": b"",
        }[how]
    )
    assert store.get(key(1)) is None and not path.exists()
    store.put(key(1), window())
    kept = store.get(key(1))
    assert kept is not None and torch.equal(kept, window())


def test_files_of_others_and_of_running_writers_are_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / "notes.txt", tmp_path / "model.safetensors"]
    writing, abandoned = (tmp_path / f"{key(number)}.safetensors.123.part" for number in (7, 8))
    for path in (*others, writing, abandoned):
        path.write_bytes(bytes(100))
    os.utime(abandoned, (1000.0, 1000.0))
    FolderStore(tmp_path, int(1.5 * BYTES)).put(key(1), window())
    assert {path.name for path in tmp_path.iterdir()} == {
        *(path.name for path in others),
        writing.name,
        f"{key(1)}.safetensors",
    }


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    store = FolderStore(in_the_way, 10**6)
    store.put(key(1), window())
    assert store.get(key(1)) is None
    assert "could not be kept" in caplog.text
