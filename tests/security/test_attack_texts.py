"""JSON as an attack: what is deep, huge or no number, in every text that the pack reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from attack_files import DEEP, LONG, one_sentence, with_metadata

from vivid_core.editors.candidates import NAME, read_board, read_candidate
from vivid_core.editors.footage_scans import FootageScans
from vivid_core.masks.marks_text import read_marks
from vivid_core.masks.prompts import parse_box, parse_points
from vivid_core.models.lora_files import PEFT_CONFIGURATION, PEFT_WEIGHTS, read_lora
from vivid_core.training.sample_files import INDEX, free_name, read_index
from vivid_core.video.frame_reader import FrameTable

PICTURE = f"f000003_{'a' * 16}.png"
assert NAME.fullmatch(PICTURE)


def index_reader(tmp_path: Path) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        (tmp_path / INDEX).write_text(text.replace("\n", " ") + "\n")
        return read_index(tmp_path)

    return read


READERS: dict[str, Callable[[str], Any]] = {
    "board": read_board,
    "marks": read_marks,
    "points": lambda text: parse_points(text, 640, 360),
}
BOMBS = {
    "lists without end": "[" * DEEP,
    "objects without end": '{"version":1,"a":' * DEEP,
    "lists that end": "[" * DEEP + "]" * DEEP,
    "a number without end": f'{{"version": {LONG}}}',
    "a list of such a number": f'[{{"x": {LONG}, "y": 3}}]',
    "a negative one": f'{{"version": 1, "id": -{LONG}}}',
    "no number": '[{"x": NaN, "y": 3}]',
    "an endless number": '{"version": 1, "marks": [{"frame": Infinity, "object": 1}], "picks": {"Infinity": "a"}}',
    "an exponent without end": '[{"x": 1e999999, "y": 3}]',
    "half a character": '{"version": 1, "id": "\\ud800", "objects": [{"id": "\\ud800"}], "x": 1}',
    "a zero": '{"version": 1, "id": "\\u0000", "objects": 1}',
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("reader", [*READERS, "index of a dataset"])
def test_a_text_that_is_a_bomb_is_one_sentence(tmp_path: Path, reader: str, bomb: str) -> None:
    read = READERS.get(reader) or index_reader(tmp_path)
    one_sentence(lambda: read(BOMBS[bomb]))


@pytest.mark.parametrize("text", ["1e999, 2, 3, 4", "nan, 1, 2, 3", f"{LONG}, 1, 2, 3", "1, 2, inf, 4", "[[[[1]]]]"])
def test_a_box_of_such_numbers_is_one_sentence(text: str) -> None:
    one_sentence(lambda: parse_box(text, 640, 360))


@pytest.mark.parametrize("text", [BOMBS["lists without end"], f'{{"name": {LONG}}}', "7", "[]", '{"name": 7}'])
def test_saving_beside_a_line_that_is_a_bomb_keeps_that_line(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text + "\n")
    assert free_name(tmp_path) == "sample 0001"


def test_a_mask_in_the_marks_is_never_larger_than_its_text_allows() -> None:
    def painted(width: int, height: int, runs: list[int]) -> str:
        base = {"width": width, "height": height, "runs": runs}
        return json.dumps({"version": 1, "marks": [{"frame": 0, "object": 1, "painted": True, "base": base}]})

    lies = [(2**30, 2**30, [2**60]), (2**31 - 1, 1, [2**31 - 1]), (4, 4, [2**62, 16]), (4, 4, [-1])]
    for width, height, runs in lies:
        text = painted(width, height, runs)
        assert "is damaged" in one_sentence(lambda text=text: read_marks(text))


@pytest.mark.parametrize("key, nothing", [("seed", None), ("frames", 0)])
@pytest.mark.parametrize("value", [-1, 10**30, True, 1.5, "7", None, [1], {"a": 1}])
def test_a_picture_on_the_board_says_of_itself_only_what_can_be(key: str, nothing: Any, value: Any) -> None:
    assert getattr(read_candidate(PICTURE, json.dumps({key: value}), 8, 8, 1), key) == nothing


@pytest.mark.parametrize("text", ["[" * DEEP, f'{{"seed": {LONG}}}', "{", "[]", "7", '{"seed": NaN}', "\x00"])
def test_a_picture_on_the_board_with_a_bomb_in_it_says_nothing_of_itself(text: str) -> None:
    found = read_candidate(PICTURE, text, 8, 8, 1)
    assert (found.prompt, found.seed, found.time, found.frames, found.before) == ("", None, "", 0, "")


# ----------------------------------------------------------------------------------------------------- footage scans


@pytest.fixture
def scans(tmp_path: Path) -> tuple[FootageScans, Path, Path]:
    """A store with one scan in it, the video that it is of, and its file."""
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"video")
    store = FootageScans(tmp_path / "kept")
    store.put(video, True, FrameTable(pts=[0, 1], checks=[5, 6], starts=[0]), (0,))
    (file,) = (tmp_path / "kept").iterdir()
    return store, video, file


def test_a_kept_scan_is_read_again(scans: tuple[FootageScans, Path, Path]) -> None:
    store, video, _ = scans
    found = store.get(video, (0.0, 0.0), True)
    assert found is not None and found[0].checks == [5, 6] and found[1] == (0,)


@pytest.mark.parametrize(
    "text", [*BOMBS.values(), "[]", "7", '"text"', "null", '{"cuts": 3}', '{"cuts": [], "__class__": 1}']
)
def test_a_kept_scan_that_is_a_bomb_is_found_again(scans: tuple[FootageScans, Path, Path], text: str) -> None:
    store, video, file = scans
    file.write_text(text)
    assert store.get(video, (0.0, 0.0), True) is None and not file.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"pts": ["0", "1"]}, {"pts": [0]}, {"pts": None}, {"checks": [5, 6.5]}, {"checks": [[], {}]},
        {"starts": [None]}, {"starts": 7}, {"skipped": "many"}, {"end": "never"}, {"time_base": "1/0"},
        {"time_base": []}, {"span": 3},
        {"cuts": ["a"]}, {"cuts": None}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_kept_scan_with_other_things_in_it_is_found_again(
    scans: tuple[FootageScans, Path, Path], change: dict[str, Any]
) -> None:
    store, video, file = scans
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert store.get(video, (0.0, 0.0), True) is None and not file.exists()


# ---------------------------------------------------------------------------------------------------- settings of LoRAs


def lora(folder: Path, settings: object, layer: str = "transformer_blocks.3.attn1.to_q") -> Path:
    """A peft adapter's folder with these settings, a text or what makes one."""
    tensors = {f"{layer}.lora_A.weight": torch.zeros(2, 3), f"{layer}.lora_B.weight": torch.zeros(3, 2)}
    with_metadata(folder / PEFT_WEIGHTS, tensors)
    (folder / PEFT_CONFIGURATION).write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        "{", "[]", "7", BOMBS["lists without end"], f'{{"lora_alpha": {LONG}}}', {"lora_alpha": "much"},
        {"lora_alpha": [1]}, '{"lora_alpha": NaN}', '{"lora_alpha": 1e999}', {"alpha_pattern": [1]},
        {"alpha_pattern": "to_q"}, {"alpha_pattern": {"(": 1}}, {"alpha_pattern": {"[": 1}},
        {"alpha_pattern": {"*": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_a_lora_that_are_none_are_one_sentence(tmp_path: Path, settings: object) -> None:
    one_sentence(lambda: read_lora(lora(tmp_path, settings)))


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "(.*)*x", "(a*)*$", "a{1,99}{1,99}b", ".*.*.*.*.*x", "((a))+"]
)
def test_a_pattern_that_searches_for_hours_is_refused_at_once(tmp_path: Path, pattern: str) -> None:
    path = lora(tmp_path, {"alpha_pattern": {pattern: 8}}, "a" * 40)
    assert "is no pattern of layer names" in one_sentence(lambda: read_lora(path))


@pytest.mark.parametrize(
    "pattern", ["to_q", "attn1.to_q", r"attn1\.to_q", r".*\.attn1\.to_q", r"transformer_blocks\.\d+\.attn1\.to_(q|k)"]
)
def test_patterns_that_occur_are_still_understood(tmp_path: Path, pattern: str) -> None:
    read = read_lora(lora(tmp_path, {"lora_alpha": 4, "alpha_pattern": {pattern: 16}}))
    assert float(read["transformer_blocks.3.attn1.to_q.alpha"]) == 16


def test_a_lora_whose_matrices_are_none_is_one_sentence(tmp_path: Path) -> None:
    tensors = {"a.lora_A.weight": torch.zeros(3), "a.lora_B.weight": torch.zeros(3)}
    path = with_metadata(tmp_path / "lora.safetensors", tensors)
    assert "holds no LoRA" in one_sentence(lambda: read_lora(path))
