"""The keyframe board in the real executor: tries collect, nothing goes on without a pick, and the pick is kept."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene
import torch
from harness.inprocess import Executor, Result, bridge
from harness.probes import GIVE, TAKE, Shelf
from harness.probes import call as call_node
from PIL import Image

from vivid_core.editors.origin import Origin

ID, OTHER_ID = "0123456789abcdef", "fedcba9876543210"
GONE = f"f000003_{'0' * 16}.png"


class MakesATry:
    """Stands for any image editor: another seed gives another picture."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": ("IMAGE",), "text": ("STRING", {}), "seed": ("INT", {})}}

    def make(self, image: torch.Tensor, text: str, seed: int) -> tuple[torch.Tensor]:
        return ((image + seed * 8 / 255) % 1.0,)


class CountsRuns:
    """Stands for the long run behind a board, and counts how often it ran."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "count"
    CATEGORY = "tests"
    taken: list[tuple[Any, Any]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"keyframes": ("VIVID_KEYFRAMES",), "images": ("IMAGE",)}}

    def count(self, keyframes: Any, images: Any) -> dict[str, Any]:
        self.taken.append((keyframes, images))
        return {}


@pytest.fixture
def boards(comfy_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of all boards, empty at first."""
    import folder_paths

    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "MakesATry", MakesATry)
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "CountsRuns", CountsRuns)
    CountsRuns.taken.clear()
    folder = Path(folder_paths.get_output_directory()) / "vivid_boards"
    shutil.rmtree(folder, ignore_errors=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Story:
    """One graph run again and again, as from the page: clip -> a try -> board -> what counts its runs."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.frame, self.seed, self.hold, self.board_id = 3, 1, False, ID
        self.picks: dict[str, str] = {}
        self.pins: list[str] = []
        self.more: dict[str, Any] = {}

    def board(self) -> str:
        return json.dumps({"version": 1, "id": self.board_id, "picks": self.picks, "pins": self.pins, **self.more})

    def graph(self) -> dict[str, Any]:
        Shelf.given |= {"story clip": scene.clip(), "story image": scene.key_image()}
        told = {"board": self.board(), "hold": self.hold, "candidate_frame": self.frame}
        return {
            "clip": {"class_type": GIVE, "inputs": {"key": "story clip"}},
            "image": {"class_type": GIVE, "inputs": {"key": "story image"}},
            "try": {
                "class_type": "MakesATry",
                "inputs": {"image": ["image", 0], "text": "a blue square", "seed": self.seed},
            },
            "board": {
                "class_type": "VividKeyframeBoard",
                "inputs": {"frames": ["clip", 0], "candidate": ["try", 0], **told},
            },
            "after": {"class_type": "CountsRuns", "inputs": {"keyframes": ["board", 0], "images": ["board", 1]}},
            "report": {"class_type": TAKE, "inputs": {"value": ["board", 2], "key": "story report"}},
        }

    def run(self, **changes: Any) -> dict[str, Any]:
        """What the page is told by one run, which must end well."""
        for name, value in changes.items():
            assert hasattr(self, name)
            setattr(self, name, value)
        return self.run_graph(self.graph())["board"]

    def run_graph(self, graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
        Shelf.taken.clear()
        result = self.executor.run(graph)
        assert result.ok, result.exception
        assert any(name == "execution_success" for name, _ in result.messages)
        told = {name: output["vivid_board"][0] for name, output in result.ui.items() if "vivid_board" in output}
        assert json.loads(json.dumps(told)) == told, "it travels as JSON"
        return told

    @property
    def runs(self) -> int:
        """How often what follows the board has run."""
        return len(CountsRuns.taken)


@pytest.fixture
def story(executor: Executor, boards: Path) -> Iterator[Story]:
    yield Story(executor)
    Shelf.given.clear()
    Shelf.taken.clear()


def in_file(path: Path) -> torch.Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture)).float() / 255


def sentence(result: Result) -> str:
    kind, text = result.exception
    assert not result.ok and kind == "ValueError", (kind, text)
    assert text.endswith(".") and "\n" not in text
    return text


def inputs(**changes: Any) -> dict[str, Any]:
    return {"frames": scene.clip(), "board": "", "hold": False, "candidate": scene.key_image(), **changes}


def state(**content: Any) -> str:
    return json.dumps({"version": 1, "id": ID, "picks": {}, "pins": [], **content})


def test_until_something_is_picked_nothing_that_follows_runs(story: Story) -> None:
    told = story.run()
    assert story.runs == 0
    assert told["added"] and told["picks"] == {} and "Nothing is picked yet" in told["said"]
    assert Shelf.taken["story report"].replace("\n", " ") == told["said"], "the report is given all the same"


def test_the_pick_goes_on_exactly_as_its_file_at_its_frame(story: Story, boards: Path) -> None:
    name = story.run()["added"]
    told = story.run(picks={"3": name})
    assert told["picks"] == {"3": name} and told["said"].endswith("Picked: frame 3.")
    ((keys, images),) = CountsRuns.taken
    assert keys.indices == (3,)
    (key,) = keys
    assert torch.equal(key.image_hwc, in_file(boards / ID / name)) and torch.equal(images[0], key.image_hwc)
    made = (scene.key_image()[0] + 8 / 255) % 1.0
    assert float((key.image_hwc - made).abs().max()) <= 0.5 / 255 + 1e-6
    assert (key.strength, key.mask_hw, images.shape[0]) == (1.0, None, 1)


def test_of_three_tries_any_can_be_picked_and_changed(story: Story, boards: Path) -> None:
    names = [story.run(seed=seed)["added"] for seed in (1, 2, 3)]
    assert len(set(names)) == 3 and story.runs == 0
    for turn, name in enumerate((names[1], names[0]), start=1):
        told = story.run(picks={"3": name})
        assert [one["name"] for one in told["candidates"]] == names[::-1], "the newest first"
        assert story.runs == turn
        assert torch.equal(CountsRuns.taken[-1][1][0], in_file(boards / ID / name))


def test_several_frames_each_have_their_pick(story: Story, boards: Path) -> None:
    third = story.run(frame=3)["added"]
    last = story.run(frame=-1)["added"]
    assert last.startswith("f000007_")
    story.run(picks={"7": last, "3": third})
    ((keys, images),) = CountsRuns.taken
    assert keys.indices == (3, 7)
    assert all(torch.equal(image, in_file(boards / ID / name)) for image, name in zip(images, (third, last)))


def test_the_same_run_again_runs_nothing_again(story: Story) -> None:
    name = story.run()["added"]
    first = story.run(picks={"3": name})
    assert story.run() == first and story.runs == 1


def test_the_same_pixels_for_the_same_frame_are_one_candidate(story: Story) -> None:
    name = story.run()["added"]
    told = story.run(pins=[name])
    assert told["added"] is None and len(told["candidates"]) == 1 and "On the board already" in told["said"]
    told = story.run(frame=4)
    assert told["added"] and len(told["candidates"]) == 2


def test_a_candidate_has_its_text_seed_time_and_picture_from_before(story: Story, boards: Path) -> None:
    (one,) = story.run(seed=7)["candidates"]
    assert (one["frame"], one["prompt"], one["seed"]) == (3, "a blue square", 7)
    assert (one["width"], one["height"]) == (scene.WIDTH, scene.HEIGHT)
    assert one["time"].endswith("+00:00")
    assert torch.equal(in_file(boards / ID / one["before"]), scene.clip()[3].mul(255).round() / 255)
    with Image.open(boards / ID / one["name"]) as picture:
        kept = json.loads(picture.info["vivid_board"])
        assert (picture.format, picture.mode) == ("PNG", "RGB")
    for name in ("frame", "prompt", "seed", "time", "width", "height"):
        assert kept[name] == one[name]


def test_a_note_is_shown_in_place_of_the_prompt(story: Story) -> None:
    graph = story.graph()
    graph["board"]["inputs"]["note"] = "by hand, 球"
    (one,) = story.run_graph(graph)["board"]["candidates"]
    assert (one["prompt"], one["seed"]) == ("by hand, 球", 1)


def test_a_keyframe_brings_its_own_frame(call: Callable[..., Result], boards: Path) -> None:
    made = call("VividKeyframes", images=scene.edited()[[0, 5]], at_frames="0, -3", strength=0.5)
    result = call("VividKeyframeBoard", **inputs(keyframe=made.outputs["node"][0], candidate_frame=2))
    assert result.ok, result.exception
    (told,) = result.ui["node"]["vivid_board"]
    assert [one["frame"] for one in told["candidates"]] == [5, 0]
    assert "candidate is not used" in told["said"] and "strength" in told["said"]


def test_several_pictures_are_several_tries_of_one_frame(call: Callable[..., Result], boards: Path) -> None:
    result = call("VividKeyframeBoard", **inputs(candidate=scene.edited()[:3], candidate_frame=6))
    (told,) = result.ui["node"]["vivid_board"]
    assert [one["frame"] for one in told["candidates"]] == [6, 6, 6] and "3 candidates for frame 6" in told["said"]
    assert told["added"] == told["candidates"][0]["name"]
    assert len({one["before"] for one in told["candidates"]}) == 1


def test_a_board_without_a_try_says_what_to_connect(call: Callable[..., Result], boards: Path) -> None:
    result = call("VividKeyframeBoard", **{**inputs(), "candidate": None})
    assert result.ok, result.exception
    (told,) = result.ui["node"]["vivid_board"]
    assert told["candidates"] == [] and "The board is empty" in told["said"] and not boards.exists()


def test_hold_lets_nothing_on_and_still_collects(story: Story) -> None:
    name = story.run()["added"]
    told = story.run(picks={"3": name}, hold=True, seed=2)
    assert story.runs == 0 and told["hold"] is True and told["added"] and told["picks"] == {"3": name}
    assert "hold is on" in told["said"] and "Picked: frame 3." in told["said"]
    story.run(hold=False)
    assert story.runs == 1


def test_a_missing_pick_is_said_and_waits(story: Story, boards: Path) -> None:
    name = story.run()["added"]
    told = story.run(picks={"3": GONE})
    assert story.runs == 0 and told["missing"] == [GONE] and GONE in told["said"]
    assert "nothing after the board runs" in told["said"]
    told = story.run(picks={"3": GONE, "7": name.replace("f000003", "f000007")}, frame=-1)
    assert told["missing"] == [GONE] and told["picks"] == {"7": told["added"]} and story.runs == 1


def test_a_picked_file_that_is_deleted_between_runs_is_noticed(story: Story, boards: Path) -> None:
    """Nothing in the graph has changed, so ComfyUI would give what it gave before."""
    name = story.run()["added"]
    story.run(picks={"3": name})
    assert bridge("board_files").Board(ID).delete(name)
    told = story.run()
    assert story.runs == 1 and told["missing"] == [name] and told["picks"] == {} and told["candidates"] == []


def test_a_picked_file_that_was_painted_over_goes_on_as_it_is_now(story: Story, boards: Path) -> None:
    name = story.run()["added"]
    story.run(picks={"3": name})
    Image.new("RGBA", (scene.WIDTH, scene.HEIGHT), (10, 20, 30, 40)).save(boards / ID / name)
    told = story.run()
    assert story.runs == 2 and told["picks"] == {"3": name}
    assert torch.equal(CountsRuns.taken[-1][1][0, 0, 0] * 255, torch.tensor([10.0, 20.0, 30.0]))


@pytest.mark.parametrize("damage", ["cut off", "no picture", "empty", "a folder", "another format"])
def test_a_damaged_pick_is_said_and_not_a_crash(story: Story, boards: Path, damage: str) -> None:
    name = story.run()["added"]
    path = boards / ID / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage == "another format":
        Image.new("RGB", (8, 8)).save(path, "JPEG")
    else:
        path.write_bytes({"cut off": whole[:-2000], "no picture": b"hello", "empty": b""}[damage])
    told = story.run(picks={"3": name}, seed=2)
    assert story.runs == 0 and told["missing"] == [name] and told["added"]


def test_a_damaged_candidate_is_made_whole_by_the_run_that_makes_it_again(story: Story, boards: Path) -> None:
    name = story.run()["added"]
    (boards / ID / name).write_bytes(b"hello")
    told = story.run(picks={"3": name})
    assert told["added"] == name and told["picks"] == {"3": name} and story.runs == 1


def test_a_deleted_candidate_comes_back_only_after_another_try(story: Story, boards: Path) -> None:
    """The graph still holds the picture that the user just threw away, and gives it to the board in every run."""
    keep, throw = story.run(seed=1)["added"], story.run(seed=2)["added"]
    assert bridge("board_files").Board(ID).delete(throw)
    told = story.run(picks={"3": keep})
    assert [one["name"] for one in told["candidates"]] == [keep] and "Not added again" in told["said"]
    assert story.runs == 1
    story.run(seed=3)
    assert throw in [one["name"] for one in story.run(seed=2)["candidates"]]


def test_a_deleted_folder_starts_anew(story: Story, boards: Path) -> None:
    first = story.run()
    shutil.rmtree(boards)
    told = story.run()
    assert told["added"] == first["added"] and len(told["candidates"]) == 1
    shutil.rmtree(boards / ID)
    assert story.run(picks={"3": GONE})["added"] == first["added"]


def many(count: int, start: int = 0) -> torch.Tensor:
    """Small pictures, no two alike."""
    return (torch.arange(start, start + count).float() / 255).reshape(-1, 1, 1, 1).expand(-1, 4, 6, 3).contiguous()


def small_board(call: Callable[..., Result], start: int, count: int, **content: Any) -> dict[str, Any]:
    result = call(
        "VividKeyframeBoard",
        frames=torch.zeros(2, 4, 6, 3),
        board=state(**content),
        hold=False,
        candidate=many(count, start),
    )
    assert result.ok, result.exception
    return result.ui["node"]["vivid_board"][0]


def test_a_full_board_drops_the_oldest_that_is_neither_picked_nor_pinned(
    call: Callable[..., Result], boards: Path
) -> None:
    told = small_board(call, 0, 64)
    oldest = [one["name"] for one in told["candidates"]][::-1]
    assert len(oldest) == 64
    told = small_board(call, 64, 3, picks={"0": oldest[0]}, pins=[oldest[2]])
    names = {one["name"] for one in told["candidates"]}
    assert len(names) == 64 and set(oldest) - names == {oldest[1], oldest[3], oldest[4]}
    assert "The 3 oldest candidates were removed" in told["said"] and "64 candidates and 512 MB" in told["said"]
    assert len(list((boards / ID).iterdir())) == 65, "and the one picture from before"


def test_a_full_board_keeps_what_is_pinned_in_the_saved_workflow(
    call: Callable[..., Result], executor: Executor, boards: Path
) -> None:
    oldest = [one["name"] for one in small_board(call, 0, 64)["candidates"]][::-1]
    saved = {"id": 3, "type": "VividKeyframeBoard", "widgets_values": [state(pins=[oldest[0]]), False]}
    executor.extra_data = {"extra_pnginfo": {"workflow": {"nodes": [saved]}}}
    told = small_board(call, 64, 2)
    assert set(oldest) - {one["name"] for one in told["candidates"]} == {oldest[1], oldest[2]}


def test_a_board_full_of_pins_says_that_the_new_try_is_not_kept(call: Callable[..., Result], boards: Path) -> None:
    names = [one["name"] for one in small_board(call, 0, 64)["candidates"]]
    told = small_board(call, 64, 1, pins=names)
    assert {one["name"] for one in told["candidates"]} == set(names)
    assert told["added"] is None and "unpin or delete some" in told["said"]


def test_a_board_is_bounded_in_bytes_with_its_pictures_from_before(
    story: Story, boards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.run()
    most = 4 * sum(file.stat().st_size for file in (boards / ID).iterdir())  # of the eleven files that are made
    shutil.rmtree(boards)
    monkeypatch.setattr(bridge("board_files").candidates, "MOST_BYTES", most)
    for seed in range(8):
        told = story.run(seed=seed, frame=seed // 3)
        files = list((boards / ID).iterdir())
        assert sum(file.stat().st_size for file in files) <= most
        assert {file.name for file in files} == {
            one[kind] for one in told["candidates"] for kind in ("name", "before")
        }, "no picture from before outlives its candidates"
    assert 1 < len(told["candidates"]) < 8 and told["added"] == told["candidates"][0]["name"]


def test_too_many_pictures_at_once_are_one_sentence(call: Callable[..., Result], boards: Path) -> None:
    frames = torch.zeros(2, 4, 6, 3)
    text = sentence(call("VividKeyframeBoard", frames=frames, board="", hold=False, candidate=many(65)))
    assert "65 pictures" in text and "holds 64" in text and not boards.exists()


def test_another_aspect_is_one_sentence_with_both_sizes(call: Callable[..., Result], boards: Path) -> None:
    text = sentence(call("VividKeyframeBoard", **inputs(candidate=scene.key_image()[:, :, ::2])))
    assert "96x128" in text and "192x128" in text and not boards.exists()


def test_another_size_of_the_same_aspect_is_resized_and_said(call: Callable[..., Result], boards: Path) -> None:
    result = call("VividKeyframeBoard", **inputs(candidate=scene.key_image()[:, ::2, ::2]))
    (told,) = result.ui["node"]["vivid_board"]
    assert "resized from 96x64 to 192x128" in told["said"]
    assert (told["candidates"][0]["width"], told["candidates"][0]["height"]) == (192, 128)


@pytest.mark.parametrize("frame", [8, -9, 99999])
def test_a_frame_outside_of_the_clip_is_one_sentence(call: Callable[..., Result], boards: Path, frame: int) -> None:
    assert "8 frames" in sentence(call("VividKeyframeBoard", **inputs(candidate_frame=frame)))


def test_picks_that_do_not_fit_the_clip_any_more_are_said_and_not_used(
    call: Callable[..., Result], boards: Path
) -> None:
    names = []
    for frame in (1, 6):
        told = call("VividKeyframeBoard", **inputs(board=state(), candidate_frame=frame)).ui["node"]["vivid_board"][0]
        names.append(told["added"])
    picked = state(picks={"1": names[0], "6": names[1]})
    shorter = call("VividKeyframeBoard", **inputs(board=picked, frames=scene.clip()[:4]))
    assert shorter.ok, shorter.exception
    (told,) = shorter.ui["node"]["vivid_board"]
    assert told["picks"] == {"1": names[0]} and "Keyframe 6" in told["said"] and "4 frames" in told["said"]
    narrow = inputs(board=picked, frames=scene.clip()[:, :, ::2], candidate=scene.key_image()[:, :, ::2])
    (told,) = call("VividKeyframeBoard", **narrow).ui["node"]["vivid_board"]
    assert told["picks"] == {} and "aspect" in told["said"] and told["missing"] == []


def test_two_boards_on_one_clip_keep_their_tries_apart(story: Story, boards: Path) -> None:
    graph = story.graph()
    graph["board too"] = json.loads(json.dumps(graph["board"]))
    graph["board too"]["inputs"] |= {"board": state(id=OTHER_ID), "candidate_frame": 5}
    told = story.run_graph(graph)
    assert [told[name]["id"] for name in ("board", "board too")] == [ID, OTHER_ID]
    assert [[one["frame"] for one in told[name]["candidates"]] for name in ("board", "board too")] == [[3], [5]]
    graph["board too"]["inputs"]["board"] = state(id=OTHER_ID, picks={"5": told["board too"]["added"]})
    told = story.run_graph(graph)
    assert story.runs == 0 and told["board too"]["picks"] and not told["board"]["picks"]


def test_boards_without_an_id_of_their_own_are_told_one_for_each_node(story: Story, boards: Path) -> None:
    graph = story.graph()
    graph["board"]["inputs"]["board"] = ""
    graph["board too"] = json.loads(json.dumps(graph["board"]))
    told = story.run_graph(graph)
    ids = {one["id"] for one in told.values()}
    assert len(ids) == 2 and {folder.name for folder in boards.iterdir()} == ids
    graph["board"]["inputs"]["board"] = json.dumps({"version": 1, "picks": {"3": told["board"]["added"]}})
    again = story.run_graph(graph)
    assert again["board"]["id"] == told["board"]["id"] and story.runs == 1


def test_a_copied_board_shows_the_same_tries_and_has_picks_of_its_own(
    story: Story, boards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (story.run(seed=seed)["added"] for seed in (1, 2))
    graph = story.graph()
    graph["copy"] = json.loads(json.dumps(graph["board"]))
    graph["copy"]["inputs"]["board"] = state(picks={"3": second})
    told = story.run_graph(graph)
    assert told["copy"]["candidates"] == told["board"]["candidates"]
    assert told["copy"]["picks"] == {"3": second} and told["board"]["picks"] == {} and story.runs == 0
    graph["board"]["inputs"]["board"] = state(picks={"3": first})
    monkeypatch.setattr(bridge("board_files").candidates, "MOST", 3)
    for seed in (3, 4, 5):
        graph["try"]["inputs"]["seed"] = seed
        told = story.run_graph(graph)
        assert told["copy"]["picks"] == {"3": second} and told["board"]["picks"] == {"3": first}, (
            "neither loses its own"
        )
    assert len(told["board"]["candidates"]) == 3


def test_a_workflow_with_keys_of_a_newer_pack_runs(story: Story) -> None:
    name = story.run()["added"]
    told = story.run(picks={"3": name}, more={"view": {"frame": 3}, "stars": [1, None]})
    assert told["picks"] == {"3": name} and story.runs == 1


def secret(folder: Path) -> bytes:
    """A picture outside of every board, named as a candidate is."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (scene.WIDTH, scene.HEIGHT), (1, 2, 3)).save(folder / GONE)
    return (folder / GONE).read_bytes()


@pytest.mark.parametrize("place", ["picks", "pins"])
@pytest.mark.parametrize(
    "name",
    [
        f"../{GONE}",
        f"..\\{GONE}",
        f"{{outside}}/{GONE}",
        f"C:\\{GONE}",
        f"C:{GONE}",
        f"{GONE}\0.png",
        f"./{GONE}",
        "..",
    ],
)
def test_a_state_that_names_files_elsewhere_is_refused(
    call: Callable[..., Result], boards: Path, place: str, name: str
) -> None:
    whole = secret(boards)
    name = name.format(outside=boards)
    text = state(picks={"3": name}) if place == "picks" else state(pins=[name])
    assert "for a candidate" in sentence(call("VividKeyframeBoard", **inputs(board=text)))
    assert [path.name for path in boards.iterdir()] == [GONE] and (boards / GONE).read_bytes() == whole


@pytest.mark.parametrize(
    "board_id", ["..", "../..", "../../../../outside.", "/absolute/paths", f"{ID}/..", f"{ID[:-1]}\0"]
)
def test_a_board_elsewhere_is_refused(call: Callable[..., Result], boards: Path, board_id: str) -> None:
    secret(boards)
    assert "16 hex digits" in sentence(call("VividKeyframeBoard", **inputs(board=state(id=board_id))))
    assert [path.name for path in boards.iterdir()] == [GONE]


def link(source: Path, target: Path) -> None:
    try:
        source.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("this system makes no links")


def test_links_inside_a_board_are_not_followed(story: Story, boards: Path, tmp_path: Path) -> None:
    """Neither read as a pick, nor listed, nor written or deleted through."""
    whole = secret(tmp_path)
    seen = story.run()
    folder = boards / ID
    link(folder / GONE, tmp_path / GONE)
    (folder / seen["candidates"][0]["before"]).unlink()
    link(folder / seen["candidates"][0]["before"], tmp_path / GONE)
    link(folder / f"{seen['added']}.deleted", tmp_path / "made by us")
    told = story.run(picks={"3": GONE})
    assert story.runs == 0 and told["missing"] == [GONE]
    assert [(one["name"], one["before"]) for one in told["candidates"]] == [(seen["added"], None)]
    board = bridge("board_files").Board(ID)
    assert board.picture(GONE) is None and not board.delete(GONE) and board.delete(seen["added"])
    story.run(seed=2)
    assert (tmp_path / GONE).read_bytes() == whole and [path.name for path in tmp_path.iterdir()] == [GONE]


@pytest.mark.parametrize("linked", ["the board", "all boards"])
def test_a_folder_that_is_a_link_is_one_sentence(
    call: Callable[..., Result], boards: Path, tmp_path: Path, linked: str
) -> None:
    if linked == "the board":
        boards.mkdir()
    link(boards / ID if linked == "the board" else boards, tmp_path)
    try:
        assert "is a link" in sentence(call("VividKeyframeBoard", **inputs(board=state())))
        assert list(tmp_path.iterdir()) == []
    finally:
        (boards / ID if linked == "the board" else boards).unlink()


@pytest.mark.parametrize("place", ["all boards", "the board"])
def test_a_folder_that_cannot_be_written_is_one_sentence(call: Callable[..., Result], boards: Path, place: str) -> None:
    (boards if place == "all boards" else boards / ID).parent.mkdir(exist_ok=True, parents=True)
    in_the_way = boards if place == "all boards" else boards / ID
    in_the_way.write_text("in the way")
    try:
        assert "let ComfyUI write there" in sentence(call("VividKeyframeBoard", **inputs(board=state())))
    finally:
        in_the_way.unlink()


@contextmanager
def as_a_plain_user() -> Iterator[None]:
    """Nothing is read-only for root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions there")
def test_a_read_only_board_gives_its_picks_and_refuses_a_new_try_in_one_sentence(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    import folder_paths

    with tempfile.TemporaryDirectory() as output:  # pytest's own folders are closed to other users
        os.chmod(output, 0o755)
        monkeypatch.setattr(folder_paths, "output_directory", output)
        name = story.run()["added"]
        wrong = story.graph()
        wrong["board"]["inputs"]["board"] = "{"
        sentence(story.executor.run(wrong))  # so that all modules are loaded which a plain user might not read
        folder = Path(output) / "vivid_boards" / ID
        os.chmod(folder, 0o555)
        try:
            with as_a_plain_user():
                assert story.run(picks={"3": name})["picks"] == {"3": name} and story.runs == 1
                story.seed = 2
                text = sentence(story.executor.run(story.graph()))
        finally:
            os.chmod(folder, 0o755)
        assert "can't be written" in text and str(folder) in text
        assert story.run()["added"] and story.runs == 2, "and when it can be written again, nothing is lost"


def test_a_cancel_between_two_tries_keeps_whole_files_only(executor: Executor, boards: Path) -> None:
    import comfy.model_management

    stop = comfy.model_management.interrupt_current_processing
    given = inputs(candidate=scene.edited(), board=state())
    result = call_node(
        executor, "VividKeyframeBoard", lambda *_: stop(len(list(boards.glob("*/f*.png"))) >= 3), **given
    )
    assert any(name == "execution_interrupted" for name, _ in result.messages), result.exception
    files = list((boards / ID).iterdir())
    assert 3 <= len([file for file in files if file.name.startswith("f")]) < scene.COUNT
    assert all(in_file(file).shape == (scene.HEIGHT, scene.WIDTH, 3) for file in files)


def test_what_an_unfinished_write_left_goes_after_a_while(story: Story, boards: Path) -> None:
    story.run()
    old, new = boards / ID / f"{GONE}.{'0' * 8}.part", boards / ID / f"{GONE}.{'1' * 8}.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    told = story.run(seed=2)
    assert not old.exists() and new.exists() and len(told["candidates"]) == 2


def test_no_damage_to_a_file_is_a_crash(story: Story, boards: Path) -> None:
    """Every kind of damage that a few changed or missing bytes make: the file is read, or it is not there."""
    import random

    small = story.run()
    path, board, draw = boards / ID / small["added"], bridge("board_files").Board(ID), random.Random(0)
    Image.new("RGB", (6, 4), (1, 2, 3)).save(path)
    whole = path.read_bytes()
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(draw.randrange(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(bytes(damaged[: draw.randrange(1, len(whole) + 1)]) if draw.random() < 0.5 else bytes(damaged))
        picture = board.picture(path.name)
        assert picture is None or (picture.ndim == 3 and picture.shape[-1] == 3)
        assert {one.name for one in board.candidates()} <= {path.name}


def test_the_page_may_delete_while_a_run_adds(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers the page in other threads than the one that runs the graph."""
    files = bridge("board_files")
    monkeypatch.setattr(files.candidates, "MOST", 5)
    running, deleted = threading.Event(), []
    running.set()

    def page() -> None:
        board = files.Board(ID)
        while running.is_set():
            for one in board.shown()["candidates"][1:]:
                deleted.append(board.delete(one["name"]))

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(page)
        try:
            board, clip = files.Board(ID), many(3)
            for index, image in enumerate(many(100)):
                board.add(index % 3, image, clip, Origin())
                board.make_room(set())
        finally:
            running.clear()
        asking.result()
    assert any(deleted) and 1 <= len(board.candidates()) <= 5
    board.make_room(set())
    left = {path.name for path in (boards / ID).iterdir() if path.suffix == ".png"}
    assert left == {name for one in board.candidates() for name in (one.name, one.before) if name}


def test_deleting_what_a_run_just_dropped_deletes_nothing(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file goes between the look and the deletion: no candidate, no fault, and no marker that would bar it."""
    story.run()
    files = bridge("board_files")
    board = files.Board(ID)
    name, look = board.candidates()[0].name, files._is_file

    def drop_after(path: Path) -> bool:
        there = look(path)
        path.unlink(missing_ok=True)
        return there

    with monkeypatch.context() as patch:
        patch.setattr(files, "_is_file", drop_after)
        assert not board.delete(name)
    assert not board.is_deleted(name)


def test_other_files_in_the_folder_are_left_alone(story: Story, boards: Path) -> None:
    story.run()
    others = ["notes.txt", "notes.part", f"{GONE}.0000.part", "notes.deleted", f"x{GONE}", "before_notes.png", "sub"]
    for name in others[:-1]:
        (boards / ID / name).write_text("mine")
        os.utime(boards / ID / name, (1, 1))
    (boards / ID / "sub").mkdir()
    told = story.run(seed=2)
    assert len(told["candidates"]) == 2 and all((boards / ID / name).exists() for name in others)


def test_a_wrong_state_loses_nothing(story: Story) -> None:
    name = story.run()["added"]
    graph = story.graph()
    graph["board"]["inputs"]["board"] = '{"version": 2}'
    assert "version 2" in sentence(story.executor.run(graph))
    assert story.run(picks={"3": name})["picks"] == {"3": name}


def test_a_state_that_comes_over_a_link_is_read_too(story: Story) -> None:
    name = story.run()["added"]
    graph = story.graph()
    Shelf.given["story state"] = state(picks={"3": name})
    graph["state"] = {"class_type": GIVE, "inputs": {"key": "story state"}}
    graph["board"]["inputs"]["board"] = ["state", 0]
    assert story.run_graph(graph)["board"]["picks"] == {"3": name} and story.runs == 1
