"""The board's routes over real HTTP: what the page asks between runs, and what nobody may ask."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.server import Server
from PIL import Image

ID = "00000000000000b0"
NAME = f"f000000_{'0' * 16}.png"
ROUTES = pytest.mark.parametrize("prefix", ["", "/api"])


def asked(server: Server, method: str, path: str) -> tuple[int, Any]:
    """Status and answer; the path goes over the line as it is, nothing is tidied up on this side."""
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        line.putrequest(method, path, skip_accept_encoding=True)
        line.endheaders()
        answer = line.getresponse()
        body = answer.read()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return answer.status, json.loads(body) if is_json else body
    finally:
        line.close()


def one_sentence(answer: Any) -> str:
    assert set(answer) == {"error"}
    text = answer["error"]
    assert text.startswith("Keyframe Board") and text.endswith(".") and "\n" not in text
    return text


@pytest.fixture
def boards(server: Server) -> Iterator[Path]:
    folder = server.base / "output" / "vivid_boards"
    shutil.rmtree(folder, ignore_errors=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def prompt(color: int, **content: Any) -> dict[str, Any]:
    """ComfyUI's own nodes only: a grey clip, and a picture in one colour as the try."""
    state = json.dumps({"version": 1, "id": ID, "picks": {}, "pins": [], **content})
    size = {"width": 24, "height": 16}
    told = {"board": state, "hold": False, "candidate_frame": 2}
    return {
        "clip": {"class_type": "EmptyImage", "inputs": {**size, "batch_size": 4, "color": 0x808080}},
        "try": {"class_type": "EmptyImage", "inputs": {**size, "batch_size": 1, "color": color}},
        "board": {
            "class_type": "VividKeyframeBoard",
            "inputs": {"frames": ["clip", 0], "candidate": ["try", 0], **told},
        },
        "save": {"class_type": "PreviewImage", "inputs": {"images": ["board", 1]}},
    }


def ran(server: Server, color: int, **content: Any) -> dict[str, Any]:
    run = server.run(prompt(color, **content))
    assert run.ending == "execution_success", run.error
    assert bool(content.get("picks")) == ("save" in run.outputs), "what follows waits for a pick"
    return run.outputs["board"]["vivid_board"][0]


def outside(server: Server) -> dict[Path, bytes]:
    """Pictures beside and above the boards, named as candidates are, with what is in them."""
    places = [server.base, server.base / "output", server.base / "output" / "vivid_boards", server.base / "input"]
    for place in places:
        place.mkdir(exist_ok=True)
        Image.new("RGB", (24, 16), (9, 9, 9)).save(place / NAME)
    return {place / NAME: (place / NAME).read_bytes() for place in places}


@ROUTES
def test_the_page_finds_its_board_again(server: Server, boards: Path, prefix: str) -> None:
    for color in (0x102030, 0x405060):
        told = ran(server, color)
    status, answer = asked(server, "GET", f"{prefix}/vivid/boards/{ID}")
    assert status == 200
    assert answer == {name: told[name] for name in ("id", "frames", "width", "height", "candidates")}
    assert (answer["frames"], answer["width"], answer["height"], len(answer["candidates"])) == (4, 24, 16, 2)


def test_the_page_is_given_every_picture(server: Server, boards: Path) -> None:
    (one,) = ran(server, 0x102030)["candidates"]
    for name in (one["name"], one["before"]):
        path = f"/api/view?filename={name}&subfolder=vivid_boards/{ID}&type=output"
        assert asked(server, "GET", path) == (200, (boards / ID / name).read_bytes())


def test_a_board_that_is_not_there_yet_has_no_candidates(server: Server, boards: Path) -> None:
    status, answer = asked(server, "GET", f"/vivid/boards/{ID}")
    assert (status, answer) == (200, {"id": ID, "frames": 0, "width": 0, "height": 0, "candidates": []})
    assert not boards.exists(), "asking makes no folder"


@ROUTES
def test_a_candidate_is_deleted_and_stays_deleted(server: Server, boards: Path, prefix: str) -> None:
    keep, throw = ran(server, 0x102030)["added"], ran(server, 0x405060)["added"]
    assert asked(server, "DELETE", f"{prefix}/vivid/boards/{ID}/{throw}") == (200, {"deleted": throw})
    assert not (boards / ID / throw).exists() and (boards / ID / keep).exists()
    status, answer = asked(server, "DELETE", f"{prefix}/vivid/boards/{ID}/{throw}")
    assert status == 404 and throw in one_sentence(answer)
    told = ran(server, 0x405060, picks={"2": keep})
    assert [one["name"] for one in told["candidates"]] == [keep]


def test_a_picked_file_may_be_deleted_and_the_next_run_says_so(server: Server, boards: Path) -> None:
    name = ran(server, 0x102030)["added"]
    ran(server, 0x102030, picks={"2": name})
    assert asked(server, "DELETE", f"/vivid/boards/{ID}/{name}")[0] == 200
    run = server.run(prompt(0x102030, picks={"2": name}))
    assert run.ending == "execution_success" and "save" not in run.outputs
    (told,) = run.outputs["board"]["vivid_board"]
    assert told["missing"] == [name] and told["candidates"] == [] and name in told["said"]


def test_a_deleted_folder_starts_anew_over_http_too(server: Server, boards: Path) -> None:
    name = ran(server, 0x102030)["added"]
    shutil.rmtree(boards)
    assert asked(server, "GET", f"/vivid/boards/{ID}")[1]["candidates"] == []
    assert asked(server, "DELETE", f"/vivid/boards/{ID}/{name}")[0] == 404
    assert ran(server, 0x102030)["added"] == name


@pytest.mark.parametrize(
    "board_id",
    [
        "..",
        "%2e%2e",
        "%2e%2e%2f%2e%2e",
        "..%2finput",
        "..%5cinput",
        "%2fetc",
        "C:%5cWindows",
        f"{ID}%00",
        f"{ID}%0a",
        f"%2e%2f{ID}",
        f"{ID}%2f..",
        f"{ID}0",
        ID.upper(),
        "%30%30%30%30%30%30%30%30%30%30%30%30%30%30%62%zz",
        "x" * 5000,
    ],
)
def test_a_board_elsewhere_is_never_told(server: Server, boards: Path, board_id: str) -> None:
    told = outside(server)
    for method, path in (("GET", f"/vivid/boards/{board_id}"), ("DELETE", f"/vivid/boards/{board_id}/{NAME}")):
        status, answer = asked(server, method, path)
        assert status in (400, 404), (method, status, answer)
        assert not isinstance(answer, dict) or "16 hex digits" in one_sentence(answer)
    assert {path: path.read_bytes() for path in told} == told


@pytest.mark.parametrize(
    "name",
    [
        f"..%2f{NAME}",
        f"%2e%2e%2f{NAME}",
        f"..%5c{NAME}",
        f"%2e%2e/{NAME}",
        f"../{NAME}",
        f"..%2f..%2f{NAME}",
        f"%252e%252e%252f{NAME}",
        f"{NAME}%00",
        f"{NAME}%00.png",
        f"{NAME}%0a",
        f"C:%5c{NAME}",
        f"C:{NAME}",
        f".%2f{NAME}",
        f"{NAME}%2f..%2f{NAME}",
        f"before_{NAME}",
        f"{NAME}.deleted",
        NAME.upper(),
        "%2e%2e",
        "..",
        "*",
        "x" * 5000,
    ],
)
def test_a_file_elsewhere_is_never_deleted(server: Server, boards: Path, name: str) -> None:
    told = outside(server)
    ran(server, 0x102030)
    kept = sorted(path.name for path in (boards / ID).iterdir())
    status, answer = asked(server, "DELETE", f"/vivid/boards/{ID}/{name}")
    assert status in (400, 404, 405), (status, answer)
    assert not isinstance(answer, dict) or one_sentence(answer)
    assert {path: path.read_bytes() for path in told} == told
    assert sorted(path.name for path in (boards / ID).iterdir()) == kept


def test_absolute_paths_are_never_deleted(server: Server, boards: Path) -> None:
    for path in outside(server):
        for written in (str(path), str(path).replace("/", "%2f"), f"%2f{path}"):
            assert asked(server, "DELETE", f"/vivid/boards/{ID}/{written}")[0] in (400, 404, 405)
        assert path.exists()


def test_a_link_in_a_board_is_neither_told_nor_followed(server: Server, boards: Path) -> None:
    told = outside(server)
    (one,) = ran(server, 0x102030)["candidates"]
    link = boards / ID / NAME
    try:
        link.symlink_to(server.base / NAME)
    except OSError:
        pytest.skip("this system makes no links")
    assert asked(server, "GET", f"/vivid/boards/{ID}")[1]["candidates"] == [one]
    assert asked(server, "DELETE", f"/vivid/boards/{ID}/{NAME}")[0] == 404
    assert link.is_symlink() and {path: path.read_bytes() for path in told} == told


def test_a_board_that_is_a_link_is_one_sentence_over_http_too(server: Server, boards: Path) -> None:
    told = outside(server)
    try:
        (boards / ID).symlink_to(server.base, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    for method, path in (("GET", ""), ("DELETE", f"/{NAME}")):
        status, answer = asked(server, method, f"/vivid/boards/{ID}{path}")
        assert status == 500 and "is a link" in one_sentence(answer)
    assert {path: path.read_bytes() for path in told} == told


def test_other_methods_do_nothing(server: Server, boards: Path) -> None:
    name = ran(server, 0x102030)["added"]
    for method in ("POST", "PUT", "PATCH"):
        assert asked(server, method, f"/vivid/boards/{ID}/{name}")[0] in (404, 405)
    assert asked(server, "DELETE", f"/vivid/boards/{ID}")[0] in (404, 405)
    assert (boards / ID / name).exists()


def test_a_page_of_another_site_deletes_nothing(server: Server, boards: Path) -> None:
    """ComfyUI itself refuses requests that come from other sites; the board's routes are behind that too."""
    name = ran(server, 0x102030)["added"]
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    line.request("DELETE", f"/vivid/boards/{ID}/{name}", headers={"Origin": "http://evil.example"})
    assert line.getresponse().status == 403
    line.close()
    assert (boards / ID / name).exists()
