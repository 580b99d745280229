"""Folders that are full or can't be written: one helpful sentence or a note, nothing half-written, and all is well once
there is room again."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import engines, probes
from harness.clips import write_film
from harness.engines import CLIP_RUN, of_pack, returned
from harness.inprocess import Executor, Result
from harness.prompts import marks_text

from torture import clips, files, schemas
from torture.judge import judged

SHAPE = clips.Shape(5, 48, 48, 1)
SMALL = 96 * 1024  # bytes of the folder: less than any of the files here, more than its folders
LIBC = ctypes.CDLL(None, use_errno=True)
READ_ONLY, REMOUNT, DETACH = 1, 32, 2  # of mount(2) and umount2(2)
TRAIN = {"rank": 2, "learning_rate": 0.01, "batch": 2, "seed": 0, "resume": True, "frame_count": 0}
SAMPLE = {
    "caption_short": "red ring", "caption_medium": "", "caption_long": "", "dataset": "samples", "name": "one",
    "task": "add or modify",
}  # fmt: skip
Call = Callable[..., Result]


def mount(folder: Path, size: int = SMALL, flags: int = 0) -> None:
    """A tmpfs of so many bytes at `folder`; raises OSError where the system forbids it."""
    options = f"size={size}".encode()
    if LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def disk(tmp_path: Path, comfy_base: Path) -> Iterator[Path]:
    """A tiny disk that is ComfyUI's output and temp folder, and holds models/vivid."""
    import folder_paths

    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount(place)
    except OSError as refused:
        pytest.skip(f"no tmpfs can be mounted here: {refused}")
    output, temp, paths = (
        folder_paths.get_output_directory(),
        folder_paths.get_temp_directory(),
        folder_paths.folder_names_and_paths,
    )
    vivid = paths["vivid"]
    folder_paths.set_output_directory(str(place / "output"))
    folder_paths.set_temp_directory(str(place))  # ComfyUI adds a folder "temp" to it
    paths["vivid"] = ([str(place / "models")], vivid[1])
    (place / "output").mkdir()
    yield place
    folder_paths.set_output_directory(output)
    folder_paths.set_temp_directory(str(Path(temp).parent))
    paths["vivid"] = vivid
    folder_paths.filename_list_cache.pop("vivid", None)
    assert LIBC.umount2(os.fsencode(place), DETACH) == 0


@pytest.fixture
def call(executor: Executor) -> Call:
    return lambda node_id, **inputs: probes.call(executor, node_id, **inputs)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engines.save_embedded(tmp_path_factory.mktemp("full") / "vivid.safetensors")


@pytest.fixture
def engine(call: Call, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(of_pack("vivid_core.models.embedded"), "WEIGHTS", weights)
    return engines.engine(call)


@pytest.fixture
def works(call: Call, engine: Any, tmp_path: Path) -> dict[str, Callable[[], Result]]:
    """Everything that writes files, by a name for it."""
    from comfy_api.input_impl import VideoFromFile

    frames, mask = clips.frames(SHAPE), clips.mask(SHAPE)
    film = VideoFromFile(str(write_film(tmp_path / "film.mp4", SHAPE.count, (48, 48))))
    edit = {"engine": engine, "mask": mask, **engines.texts(call, engine), **CLIP_RUN}
    board = {"frames": frames, "candidate": clips.edited(SHAPE)[:1], "board": "", "hold": False}
    compared = {"original": frames, "edited": clips.edited(SHAPE), "fps": 12.0, "layout": "wipe"}
    marked = {"frames": frames, "marks": marks_text(48, 48, "9, 12, 16, 16")}
    return {
        "sample, exact": lambda: call("VividSaveSample", frames=frames, mask=mask, file_format="exact", **SAMPLE),
        "sample, video": lambda: call("VividSaveSample", frames=frames, mask=mask, file_format="video", **SAMPLE),
        "board": lambda: call("VividKeyframeBoard", **board),
        "compare": lambda: call("VividCompare", **compared),
        "mark": lambda: call("VividPromptEditor", **marked),
        "long video": lambda: call("VividEditLongVideo", **{**edit, "video": film, "plan_only": False}),
        "edit": lambda: call("VividEditVideo", **{**edit, "frames": frames, "resume": True}),
    }


WORKS = ("sample, exact", "sample, video", "board", "compare", "mark", "long video", "edit")
NEEDS_NO_DISK = ("edit",)  # finished windows are kept where that is possible


def fill(disk: Path) -> Path:
    """Take all room that is left on the disk; gives the file that has it."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 1024):
                pass
        except OSError:
            pass
    return ballast


def assert_said_or_done(name: str, result: Result, disk: Path) -> None:
    verdict = judged(result, schemas.our_nodes(), {})
    assert verdict.faults == [], verdict.said
    assert result.ok == (name in NEEDS_NO_DISK), verdict.said
    assert list(files.faults_of(disk)) == []
    hidden = [path.name for path in disk.rglob(".*") if path.is_file()]
    assert hidden == [], "something unfinished was left"


@pytest.mark.parametrize("name", WORKS)
def test_on_a_full_disk_one_sentence_is_said_and_with_room_it_works(
    works: dict[str, Callable[[], Result]], disk: Path, name: str
) -> None:
    ballast = fill(disk)
    assert_said_or_done(name, works[name](), disk)
    ballast.unlink()
    LIBC.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", REMOUNT, b"size=64m")
    result = works[name]()
    assert result.ok, result.exception
    assert list(files.faults_of(disk)) == []


@pytest.mark.parametrize("name", WORKS)
def test_on_a_disk_that_fills_up_meanwhile_nothing_half_written_is_left(
    works: dict[str, Callable[[], Result]], disk: Path, name: str
) -> None:
    LIBC.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", REMOUNT, b"size=12k")
    result = works[name]()
    if not result.ok:
        assert_said_or_done(name, result, disk)
    assert list(files.faults_of(disk)) == []


@pytest.mark.parametrize("name", WORKS)
def test_on_a_disk_that_can_not_be_written_one_sentence_is_said(
    works: dict[str, Callable[[], Result]], disk: Path, name: str
) -> None:
    LIBC.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", REMOUNT | READ_ONLY, None)
    assert_said_or_done(name, works[name](), disk)
    LIBC.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", REMOUNT, b"size=64m")
    result = works[name]()
    assert result.ok, result.exception


def test_a_training_that_can_not_save_says_so_and_goes_on_when_there_is_room(
    call: Call, engine: Any, works: dict[str, Callable[[], Result]], disk: Path
) -> None:
    LIBC.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", REMOUNT, b"size=1m")
    assert works["sample, exact"]().ok
    fill(disk).rename(disk / "output" / "ballast")
    given = {"engine": engine, "dataset": "samples", "name": "ring", "steps": 2, **TRAIN}
    assert_said_or_done("training", call("VividTrainLora", **given), disk)
    (disk / "output" / "ballast").unlink()
    LIBC.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", REMOUNT, b"size=64m")
    report = returned(call("VividTrainLora", **given))[2]
    assert "Trained 2 steps" in report
    assert list(files.faults_of(disk)) == []
