"""Names and paths that lead elsewhere: in datasets, output folders and LoRA names, written for every system."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attack_files import one_sentence
from harness.inprocess import bridge

from vivid_core.training.published import is_published, read_published
from vivid_core.training.sample_files import INDEX, read_index, write_sample

ELSEWHERE = [
    "..",
    "../secret",
    "../../etc/passwd",
    "a/../../secret",
    "/etc/passwd",
    "//server/share/a.mp4",
    "..\\secret",
    "a\\..\\..\\secret",
    "\\secret",
    "\\\\server\\share",
    "C:\\secret",
    "C:secret",
    "c:/secret",
    "file\0.mp4",
    "\0",
]
# Characters that are written alike, and that no system takes for a separator or for two points.
ALIKE = ["\uff0e\uff0e\uff0fsecret", "\u2024\u2024\u2215secret", "%2e%2e%2fsecret", "..%2fsecret", "\u202e../x"]


@pytest.fixture
def folders(comfy_base: Path) -> Iterator[Any]:
    """The functions that name output folders and LoRA files, of the pack in a ComfyUI in this process."""
    yield bridge("training")


def dataset(folder: Path, **line: Any) -> Path:
    """A dataset with one line in its index, beside a secret."""
    folder.mkdir(exist_ok=True)
    (folder.parent / "secret").write_text("secret")
    (folder / INDEX).write_text(json.dumps({"clip": "a.mp4", "mask": "a.mp4", "captions": "a fox", **line}) + "\n")
    return folder


@pytest.mark.parametrize("kind", ["clip", "mask"])
@pytest.mark.parametrize("path", [*ELSEWHERE, "", "./../secret", "a/.."])
def test_an_index_names_nothing_outside_of_its_folder(tmp_path: Path, kind: str, path: str) -> None:
    text = one_sentence(lambda: read_index(dataset(tmp_path / "data", **{kind: path})))
    assert f"{INDEX}, line 1" in text and "not in the folder of the dataset" in text


@pytest.mark.parametrize("path", ["clips/a.mp4", "./a.mp4", "a folder/\u00e4.mp4", "..a.mp4", "a..mp4", *ALIKE[:3]])
def test_names_that_only_look_so_stay_inside(tmp_path: Path, path: str) -> None:
    (entry,) = read_index(dataset(tmp_path / "data", clip=path))
    assert entry.clip.resolve().is_relative_to((tmp_path / "data").resolve())


def test_a_folder_that_is_named_for_its_caption_is_no_path() -> None:
    """Nothing is normalised on the way, so what looks like two points stays what it is."""
    assert all(".." not in Path(path).parts for path in ALIKE[:2])
    assert unicodedata.normalize("NFKC", ALIKE[0]) == "../secret"


@pytest.mark.parametrize("name", [*ELSEWHERE, *ALIKE[:2], "a/b", "", " ", ".", "-a", "a\n", "x" * 101, "<b>", "a:b"])
def test_a_sample_has_a_plain_name(tmp_path: Path, name: str) -> None:
    clip, mask = torch.zeros(2, 16, 16, 3), torch.ones(2, 16, 16)
    text = one_sentence(lambda: write_sample(tmp_path / "data", name, clip, mask, ("a fox", "", "")))
    assert "got the name" in text and not (tmp_path / "data").exists()


def test_a_link_in_place_of_a_sample_is_replaced_and_not_followed(tmp_path: Path) -> None:
    clip, mask = torch.zeros(2, 16, 16, 3), torch.zeros(2, 16, 16)
    mask[:, 4:12, 4:12] = 1
    folder, secret = tmp_path / "data", tmp_path / "secret"
    secret.write_text("secret")
    (folder / "samples").mkdir(parents=True)
    for link in (folder / "samples" / "a.safetensors", folder / INDEX):
        link.symlink_to(secret)
    secret.write_text("")
    write_sample(folder, "a", clip, mask, ("a fox", "", ""), exact=True)
    assert secret.read_text() == "" and not (folder / INDEX).is_symlink()
    assert len(read_index(folder)) == 1 and not (folder / "samples" / "a.safetensors").is_symlink()


def test_a_published_data_set_is_known_by_names_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "00000001").mkdir()
    (tmp_path / "00000001" / "source_video.mp4").write_bytes(b"x")
    (tmp_path / "00000001" / "mask_clip0000_instance0001_..mp4").write_bytes(b"x")
    assert is_published(tmp_path)
    assert "holds videos but no masks" in one_sentence(lambda: read_published(tmp_path))


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/../..", "", " ", ".", "a\0b", "\0", "x/../../../y"])
def test_an_output_folder_is_inside_of_comfyuis_own(folders: Any, name: str) -> None:
    assert "inside ComfyUI's output folder" in one_sentence(lambda: folders.output_folder(name, "Test"))


@pytest.mark.parametrize("name", ["a" * 201, "a/" + "\u00fc" * 101, '{"a":' * 3000, "a/" * 3000, "\ud800", "a/\udfff"])
def test_a_name_that_no_file_system_takes_is_refused_in_short(folders: Any, name: str) -> None:
    for refuse in (folders.output_folder, folders.lora_file):
        said = one_sentence(lambda refuse=refuse: refuse(name, "Test"))
        assert len(said) < 200 and any(why in said for why in ("too long", "too deep", "half a character")), said
    assert folders.output_folder("a" * 200 + "/" + "b" * 200, "Test") and folders.lora_file("a" * 200, "Test")


def test_an_output_folder_that_is_a_link_to_another_place_is_refused(folders: Any, comfy_base: Path) -> None:
    link = comfy_base / "output" / "a_link"
    link.symlink_to(comfy_base / "models", target_is_directory=True)
    try:
        one_sentence(lambda: folders.output_folder("a_link", "Test"))
        one_sentence(lambda: folders.output_folder("a_link/deeper", "Test"))
    finally:
        link.unlink()


@pytest.mark.parametrize("name", [*ALIKE[:2], "..\\x", "C:\\x", "a folder", "deep/er", "\u00fc"])
def test_an_odd_output_folder_still_lies_inside(folders: Any, comfy_base: Path, name: str) -> None:
    found = folders.output_folder(name, "Test")
    assert found.is_relative_to((comfy_base / "output").resolve()) and found != comfy_base / "output"


NO_NAMES = ["a/b", "a\\b", "", ".", " a", "a ", "a:b", "a\nb", "a*", 'a"', "<a>", "a|b"]


@pytest.mark.parametrize("name", [*ELSEWHERE, *NO_NAMES])
def test_a_lora_has_a_plain_name(folders: Any, name: str) -> None:
    assert "must be a plain file name" in one_sentence(lambda: folders.lora_file(name, "Test"))


@pytest.mark.parametrize("name", ["my_lora", "..a", "\u00fc \u4e2d", "v1.2", *ALIKE[:2]])
def test_a_lora_of_any_other_name_lies_in_its_folder(folders: Any, comfy_base: Path, name: str) -> None:
    assert folders.lora_file(name, "Test").parent.resolve() == (comfy_base / "models" / "vivid").resolve()
