"""The board's state, the names of its files, what a full board drops, and where a picture's text and seed come from."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from vivid_core.editors.candidates import (
    MOST_TEXT,
    Candidate,
    before_name,
    candidate_name,
    checked_name,
    derived_id,
    eight_bits,
    frame_of,
    is_before,
    newest_first,
    read_board,
    read_candidate,
    spared_in,
    spared_in_workflow,
    to_drop,
)
from vivid_core.editors.origin import Origin, origin_of

API_FORMS = Path(__file__).resolve().parents[2] / "workflows" / "api"
ID = "0123456789abcdef"
FIRST, SECOND = f"f000003_{'a' * 16}.png", f"f000012_{'b' * 16}.png"
OUTSIDE = [
    "../f000003_aaaaaaaaaaaaaaaa.png",
    "..\\f000003_aaaaaaaaaaaaaaaa.png",
    "/etc/passwd",
    "C:\\f000003_aaaaaaaaaaaaaaaa.png",
    "C:f000003_aaaaaaaaaaaaaaaa.png",
    "sub/f000003_aaaaaaaaaaaaaaaa.png",
    "f000003_aaaaaaaaaaaaaaaa.png\0",
    "f000003_aaaaaaaaaaaaaaaa.png\n",
    "f000003_aaaaaaaaaaaaaaaa.png/..",
    "f000003_aaaaaaaaaaaaaaaa.PNG",
    "f000003_AAAAAAAAAAAAAAAA.png",
    "f٠٠٠٠٠3_aaaaaaaaaaaaaaaa.png",
    "f000003_aaaaaaaaaaaaaaaa.jpg",
    "before_f000003_aaaaaaaaaaaaaaaa.png",
    "",
    "..",
    "nul",
]


def board(**content: Any) -> str:
    return json.dumps({"version": 1, "id": ID, "picks": {}, "pins": [], **content})


def one_sentence(fault: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(fault.value)
    assert text.startswith("Keyframe Board") and text.endswith(".") and "\n" not in text and "\0" not in text
    return text


def picture(seed: int, height: int = 6, width: int = 8) -> Any:
    return eight_bits(torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_a_new_board(text: str) -> None:
    state = read_board(text)
    assert (state.board_id, dict(state.picks), state.pins) == ("", {}, frozenset())


def test_a_state_is_read_and_what_is_not_known_is_left_alone() -> None:
    state = read_board(board(picks={"3": FIRST, "12": SECOND}, pins=[FIRST], view={"zoom": 2}, future=None))
    assert (state.board_id, dict(state.picks), state.pins) == (ID, {3: FIRST, 12: SECOND}, frozenset([FIRST]))
    assert state.spared == {FIRST, SECOND}


@pytest.mark.parametrize("missing", ["id", "picks", "pins"])
def test_a_state_may_lack_everything_but_its_version(missing: str) -> None:
    content = json.loads(board())
    del content[missing]
    assert read_board(json.dumps(content)).picks == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no valid JSON"),
        ("[]", "no JSON object"),
        ("7", "no JSON object"),
        ("[" * 100_000, "brackets"),
        (board(version=2), "version 2"),
        (board(version="1"), "version '1'"),
        (board(version=True), "version True"),
        (json.dumps({"id": ID}), "version None"),
        (board(id="ABCDEF0123456789"), "16 hex digits"),
        (board(id="../../../outside"), "16 hex digits"),
        (board(id=ID + "\n"), "16 hex digits"),
        (board(id=""), "16 hex digits"),
        (board(id=16), "16 hex digits"),
        (board(picks=[FIRST]), "picks must name"),
        (board(pins={"3": FIRST}), "pins must be a list"),
        (board(picks={"4": FIRST}), "which belongs to frame 3"),
        (board(picks={"-3": FIRST}), "frame '-3'"),
        (board(picks={"03": FIRST}), "frame '03'"),
        (board(picks={"3.0": FIRST}), "frame '3.0'"),
        (board(picks={"3" * 4000: FIRST}), "frames are numbers"),
        (board(picks={"3": None}), "got None for a candidate"),
        (board(picks={"3": [FIRST]}), "for a candidate"),
        (board(pins=[7]), "got 7 for a candidate"),
    ],
)
def test_a_state_that_is_wrong_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError) as fault:
        read_board(text)
    assert says in one_sentence(fault)


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_the_boards_folder(name: str) -> None:
    for text in (board(picks={"3": name}), board(pins=[name])):
        with pytest.raises(ValueError) as fault:
            read_board(text)
        assert "for a candidate" in one_sentence(fault)


def test_a_name_tells_frame_and_pixels() -> None:
    first, again, other = picture(0), picture(0), picture(1)
    name = candidate_name(12, first)
    assert checked_name(name) == name and frame_of(name) == 12
    assert candidate_name(12, again) == name
    flat = first.reshape(8, 6, 3)
    assert len({name, candidate_name(13, first), candidate_name(12, other), candidate_name(12, flat)}) == 4
    before = before_name(12, first)
    assert is_before(before) and not is_before(name) and not is_before(None)
    assert checked_name(candidate_name(999_999, first))


@pytest.mark.parametrize("frame", [-1, 1_000_000])
def test_a_frame_that_a_name_cannot_hold_is_refused(frame: int) -> None:
    with pytest.raises(ValueError) as fault:
        candidate_name(frame, picture(0))
    assert str(frame) in one_sentence(fault)


def test_all_eight_bits_come_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1).expand(-1, -1, 3)
    assert torch.equal(torch.from_numpy(eight_bits(levels.float() / 255)), levels)
    slack = torch.tensor([[[-0.001, 0.5, 1.001]]])  # what the checks let pass
    assert eight_bits(slack).tolist() == [[[0, 128, 255]]]


def test_a_node_without_a_board_always_has_the_same_one() -> None:
    ids = {derived_id(node) for node in ("5", "12:5", "")}
    assert len(ids) == 3 and derived_id("5") == derived_id("5")
    assert all(read_board(board(id=one)).board_id == one for one in ids)


def test_a_candidate_is_read_from_its_own_metadata() -> None:
    made = Candidate(FIRST, 'a "red" 球', 2**63, "2026-01-02T03:04:05+00:00", 8, 6, 48, f"before_{FIRST}", 77)
    assert read_candidate(FIRST, made.metadata(), 8, 6, 77) == made
    assert json.loads(made.metadata())["frame"] == 3


@pytest.mark.parametrize(
    "metadata",
    [None, 5, "", "{", "[]", "[" * 100_000, '{"seed": true, "frames": "x", "prompt": 5, "time": [], "before": 3}'],
)
def test_metadata_of_others_leaves_empty_what_it_says_wrongly(metadata: Any) -> None:
    assert read_candidate(FIRST, metadata, 8, 6, 77) == Candidate(FIRST, width=8, height=6, size_bytes=77)


@pytest.mark.parametrize("name", [name for name in OUTSIDE if not name.startswith("before_")])
def test_metadata_cannot_name_a_file_elsewhere(name: str) -> None:
    for told in (name, f"before_{name}"):
        found = read_candidate(FIRST, json.dumps({"before": told}), 8, 6, 0)
        assert found.before == "" or is_before(found.before)
        assert not set(found.before) & set("/\\\0:\n")


def test_a_long_prompt_is_cut() -> None:
    assert len(read_candidate(FIRST, json.dumps({"prompt": "x" * 10_000}), 8, 6, 0).prompt) == MOST_TEXT


def some_candidates(draw: random.Random) -> tuple[list[Candidate], dict[str, int]]:
    befores = {f"before_f000003_{digit * 16}.png": draw.randrange(1, 50) for digit in "abc"}
    made = [
        Candidate(
            f"f{draw.randrange(3):06d}_{index:016x}.png",
            time=f"{draw.randrange(6)}",  # some at the same moment
            before=draw.choice([*befores, ""]),
            size_bytes=draw.randrange(1, 100),
        )
        for index in range(draw.randrange(1, 12))
    ]
    return made, befores


def fits(left: list[Candidate], befores: dict[str, int], most: int, most_bytes: int) -> bool:
    size = sum(one.size_bytes for one in left) + sum(befores[name] for name in {one.before for one in left} - {""})
    return len(left) <= most and size <= most_bytes


@pytest.mark.parametrize("seed", range(200))
def test_the_fewest_of_the_oldest_go_that_are_not_spared(seed: int) -> None:
    """Against every possible number of the oldest, tried one after another."""
    draw = random.Random(seed)
    made, befores = some_candidates(draw)
    spared = {one.name for one in made if draw.random() < 0.4}
    most, most_bytes = draw.randrange(1, 10), draw.randrange(50, 600)
    may_go = [one for one in sorted(made, key=lambda one: (one.time, one.name)) if one.name not in spared]
    possible = [
        may_go[:count]
        for count in range(len(may_go) + 1)
        if fits([one for one in made if one not in may_go[:count]], befores, most, most_bytes)
    ]
    gone = to_drop(made, befores, spared, most, most_bytes)
    assert gone == (possible[0] if possible else may_go)


def test_candidates_are_shown_newest_first() -> None:
    made, _ = some_candidates(random.Random(1))
    times = [one.time for one in newest_first(made)]
    assert times == sorted(times, reverse=True)


def test_copies_of_a_board_spare_what_each_of_them_uses() -> None:
    graph = {
        "1": {"class_type": "Board", "inputs": {"board": board(picks={"3": FIRST})}},
        "2": {"class_type": "Board", "inputs": {"board": board(pins=[SECOND])}},
        "3": {"class_type": "Board", "inputs": {"board": board(id="f" * 16, pins=[f"f000001_{'c' * 16}.png"])}},
        "4": {"class_type": "Other", "inputs": {"board": board(pins=[f"f000002_{'c' * 16}.png"])}},
        "5": {"class_type": "Board", "inputs": {"board": "{"}},
        "6": {"class_type": "Board", "inputs": {"board": ["1", 0]}},
        "7": {"class_type": "Board"},
        "8": None,
    }
    assert spared_in(graph, "Board", ID) == {FIRST, SECOND}
    alone = {"9": {"class_type": "Board", "inputs": {"board": json.dumps({"version": 1, "picks": {"3": FIRST}})}}}
    assert spared_in(alone, "Board", derived_id("9")) == {FIRST} and spared_in(alone, "Board", ID) == set()


def node(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "Any", "inputs": inputs}


def test_text_and_seed_of_edit_keyframe_are_found() -> None:
    graph = {
        "clip": node(video="clip.mp4"),
        "text": node(text="a red ball", task="modify"),
        "edit": node(frames=["clip", 0], negative=["text", 1], positive=["text", 0], frame=3, seed=7),
        "board": node(frames=["clip", 0], keyframe=["edit", 1]),
    }
    assert origin_of(graph, "board", "keyframe") == Origin("a red ball", 7)
    assert origin_of(graph, "board", "candidate") == Origin()


WITH_EDITS = [path for path in sorted(API_FORMS.glob("*.json")) if "VividEditKeyframe" in path.read_text()]


@pytest.mark.parametrize("path", WITH_EDITS, ids=lambda path: path.stem)
def test_text_and_seed_are_found_in_the_shipped_workflows(path: Path) -> None:
    graph = json.loads(path.read_text())
    for name, one in list(graph.items()):
        if one["class_type"] == "VividEditKeyframe":
            board = {**graph, "board": node(candidate=[name, 0], keyframe=[name, 1])}
            text = graph[one["inputs"]["positive"][0]]["inputs"]["text"]
            for input_name in ("candidate", "keyframe"):
                known = (
                    text.strip() if isinstance(text, str) else ""
                )  # a text that the run computes is not in the graph
                assert origin_of(board, "board", input_name) == Origin(known, one["inputs"]["seed"])


def test_text_and_seed_are_found_in_a_graph_of_the_sampler_kind() -> None:
    graph = {
        "good": node(text="a glass fox", clip=["loader", 1]),
        "bad": node(text="blurry", clip=["loader", 1]),
        "guider": node(negative=["bad", 0], conditioning=["good", 0]),
        "number": node(value=99),
        "noise": node(noise_seed=["number", 0]),
        "sampler": node(guider=["guider", 0], noise=["noise", 0]),
        "decode": node(samples=["sampler", 0], vae=["loader", 2]),
        "board": node(candidate=["decode", 0]),
    }
    assert origin_of(graph, "board", "candidate") == Origin("a glass fox", 99)


def test_the_negative_text_is_never_the_prompt() -> None:
    graph = {
        "bad": node(text="blurry"),
        "sampler": node(negative=["bad", 0], negative_prompt=["bad", 0], seed=True, denoise=1.0),
        "board": node(candidate=["sampler", 0]),
    }
    assert origin_of(graph, "board", "candidate") == Origin()


def test_a_text_from_another_node_is_followed() -> None:
    graph = {
        "held": node(string="a tree"),
        "passed": node(text=["held", 0]),
        "encode": node(text=["passed", 0]),
        "board": node(candidate=["encode", 0]),
    }
    assert origin_of(graph, "board", "candidate").prompt == "a tree"


@pytest.mark.parametrize("seed", range(100))
def test_the_nearest_seed_is_found(seed: int) -> None:
    """Against the lengths of all ways through a random graph, which may hold circles."""
    draw = random.Random(seed)
    names = [str(index) for index in range(draw.randrange(2, 10))]
    links = {name: draw.sample(names, draw.randrange(0, min(4, len(names)))) for name in names}
    seeds = {name: int(name) + 100 for name in names[1:] if draw.random() < 0.4}
    graph = {
        name: node(
            **{f"in{index}": [target, 0] for index, target in enumerate(links[name])},
            **({"seed": seeds[name]} if name in seeds else {}),
        )
        for name in names
    }
    graph["board"] = node(candidate=["0", 0])
    distances = {"0": 0}
    for _ in names:
        for name, targets in links.items():
            for target in targets if name in distances else []:
                distances[target] = min(distances.get(target, 99), distances[name] + 1)
    reached = {name: distances[name] for name in seeds if name in distances}
    found = origin_of(graph, "board", "candidate").seed
    assert (found is None) == (not reached)
    assert found is None or distances[str(found - 100)] == min(reached.values())


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"board": None},
        {"board": {"inputs": 5}},
        {"board": node(candidate=["gone", 0])},
        {"board": node(candidate=["board", 0])},
        {"board": node(candidate=["a", 0]), "a": node(seed=["a", 0], text=["a", 0])},
        {"board": node(candidate=["a", 0]), "a": node(seed="7", text=7, prompt=["b", 0]), "b": node(value=None)},
        {"board": node(candidate=[3, 0])},
        {"board": node(candidate=[])},
    ],
)
def test_a_graph_that_says_nothing_gives_nothing(graph: dict[str, Any]) -> None:
    assert origin_of(graph, "board", "candidate") == Origin()


def test_pins_are_found_in_the_saved_workflow_and_in_its_subgraphs() -> None:
    third = f"f000001_{'c' * 16}.png"

    def node(text: Any, kind: str = "Board", **more: Any) -> dict[str, Any]:
        return {"id": 9, "type": kind, "widgets_values": [text, False, 0, ""], **more}

    inner = {"nodes": [node(board(pins=[SECOND])), node(board(pins=[third]), "Other"), node("{"), None, node(7)]}
    workflow = {"nodes": [node(board(picks={"3": FIRST})), node(board(id="f" * 16, pins=[third]))]}
    assert spared_in_workflow({**workflow, "definitions": {"subgraphs": [inner, 5]}}, "Board", ID) == {FIRST, SECOND}
    assert spared_in_workflow({"nodes": [node("", widgets_values=None)], "definitions": []}, "Board", ID) == set()
    assert spared_in_workflow(None, "Board", ID) == set() and spared_in_workflow({"nodes": 3}, "Board", ID) == set()
    unnamed = node(json.dumps({"version": 1, "pins": [FIRST]}))
    assert spared_in_workflow({"nodes": [unnamed]}, "Board", derived_id("9")) == {FIRST}
