"""A tiny disk that is full, fills up or can't be written, and everything of ours that writes files."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import engines, probes
from harness.clips import write_film
from harness.engines import CLIP_RUN
from harness.inprocess import Executor, Result
from harness.prompts import marks_text

from . import clips, files
from .clips import Shape
from .judge import judged
from .schemas import Node

SMALL = 96 * 1024  # bytes of the disk: less than any of the files here, more than its folders
AMPLE = 64 * 2**20
LIBC = ctypes.CDLL(None, use_errno=True)
READ_ONLY, REMOUNT, DETACH = 1, 32, 2  # of mount(2) and umount2(2)
TRAIN = {
    "name": "ring", "steps": 2, "rank": 2, "learning_rate": 0.01, "batch": 2, "seed": 0, "resume": True,
    "frame_count": 0,
}  # fmt: skip
SAMPLE = {
    "caption_short": "red ring", "caption_medium": "", "caption_long": "", "dataset": "samples", "name": "one",
    "task": "add or modify",
}  # fmt: skip
WORKS = ("sample, exact", "sample, video", "board", "compare", "mark", "long video", "edit")
TRAINING = "training"  # of a sample that is there
NEEDS_NO_DISK = ("edit",)  # finished windows are kept where that is possible
Works = dict[str, Callable[[], Result]]


class Disk:
    """The disk at a folder, while it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ballast = folder / "output" / "ballast"

    def resize(self, size: int) -> None:
        """From now on it has so many bytes, and can be written."""
        _mount(self.folder, REMOUNT, f"size={size}")

    def lock(self) -> None:
        """From now on it can't be written."""
        _mount(self.folder, REMOUNT | READ_ONLY)

    def used(self) -> int:
        """Bytes that are taken."""
        room = os.statvfs(self.folder)
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    def fill(self) -> None:
        """Take all room that is left."""
        with open(self.ballast, "wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 1024):
                    pass
            except OSError:
                pass

    def free(self) -> None:
        """Give that room back, and much more."""
        self.resize(AMPLE)
        self.ballast.unlink(missing_ok=True)

    def faults(self, name: str, result: Result, known: dict[str, Node]) -> Iterator[str]:
        """What is wrong after the work `name` found no room: one sentence was to be said, and nothing left behind."""
        verdict = judged(result, known, {})
        yield from verdict.faults
        if result.ok != (name in NEEDS_NO_DISK):
            yield f"it ended with {verdict.kind} {verdict.said}"
        yield from self.damaged()
        hidden = [path.name for path in self.folder.rglob(".*") if path.is_file()]
        if hidden:
            yield f"unfinished: {hidden}"

    def damaged(self) -> list[str]:
        """Each file on it that can't be opened."""
        return list(files.faults_of(self.folder))


@contextmanager
def disk(place: Path) -> Iterator[Disk]:
    """A tiny disk at `place` that is ComfyUI's output and temp folder, and holds models/vivid.

    Raises OSError where the system forbids it."""
    import folder_paths

    place.mkdir()
    _mount(place, 0, f"size={SMALL}")
    output, temp = folder_paths.get_output_directory(), folder_paths.get_temp_directory()
    paths = folder_paths.folder_names_and_paths
    vivid = paths["vivid"]
    folder_paths.set_output_directory(str(place / "output"))
    folder_paths.set_temp_directory(str(place))  # ComfyUI adds a folder "temp" to it
    paths["vivid"] = ([str(place / "models")], vivid[1])
    (place / "output").mkdir()
    try:
        yield Disk(place)
    finally:
        folder_paths.set_output_directory(output)
        folder_paths.set_temp_directory(str(Path(temp).parent))
        paths["vivid"] = vivid
        folder_paths.filename_list_cache.pop("vivid", None)
        LIBC.umount2(os.fsencode(place), DETACH)


def _mount(folder: Path, flags: int, options: str = "") -> None:
    if LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options.encode() or None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def works(executor: Executor, engine: Any, folder: Path, shape: Shape) -> Works:
    """Everything that writes files, by a name for it, for a clip of this shape; `folder` takes what it reads."""
    from comfy_api.input_impl import VideoFromFile

    call = functools.partial(probes.call, executor)
    frames, mask = clips.frames(shape), clips.mask(shape)
    film = write_film(folder / "film.mp4", shape.count, (shape.width, shape.height))
    edit = {"engine": engine, "mask": mask, **engines.texts(call, engine), **CLIP_RUN}
    board = {"frames": frames, "candidate": clips.edited(shape)[:1], "board": "", "hold": False}
    compared = {"original": frames, "edited": clips.edited(shape), "fps": 12.0, "layout": "wipe"}
    marked = {"frames": frames, "marks": marks_text(shape.width, shape.height, "9, 12, 16, 16")}
    sampled = {"frames": frames, "mask": mask, **SAMPLE}
    return {
        "sample, exact": lambda: call("VividSaveSample", file_format="exact", **sampled),
        "sample, video": lambda: call("VividSaveSample", file_format="video", **sampled),
        "board": lambda: call("VividKeyframeBoard", **board),
        "compare": lambda: call("VividCompare", **compared),
        "mark": lambda: call("VividPromptEditor", **marked),
        "long video": lambda: call(
            "VividEditLongVideo", **{**edit, "video": VideoFromFile(str(film)), "plan_only": False}
        ),
        "edit": lambda: call("VividEditVideo", **{**edit, "frames": frames, "resume": True}),
        TRAINING: lambda: call("VividTrainLora", engine=engine, dataset="samples", **TRAIN),
    }
