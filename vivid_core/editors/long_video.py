"""A video of any length, edited from file to file: windows are read, edited and written one at a time.

What is written is what `propagate` and `edit_video` give for the same frames, to the bit before encoding. Windows that
run back in time are made last frame first, so what they give waits on disk until its turn comes.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from ..runtime import Runtime
from ..video.reading import PathLike
from ..video.writing import write_video
from .contract import Traits
from .footage import Footage
from .kive_run import KiveRun, MadeWindow
from .window_store import FolderStore

NO_LIMIT = 2**62  # bytes
KEPT_BYTES = 3 * 2  # of a pixel, as a store keeps it
ROUNDED_UP = 2.0  # sizes are rounded to multiples, and joined windows share frames


def room_for_windows(footage: Footage, traits: Traits) -> int:
    """Bytes that surely hold all finished windows of a video, so that a run that is stopped late still goes on."""
    return int(ROUNDED_UP * KEPT_BYTES * traits.pixels * len(footage.frames_fhwc))


def write_edited(run: KiveRun, footage: Footage, path: PathLike, runtime: Runtime, notes: list[str]) -> str:
    """Make the edit `run`, which `kive.prepared` gave for the frames of `footage`, into a new file; returns a report.

    The file has the footage's timing, rotation and sound, and appears when it is complete. Memory holds one window and
    what the footage keeps. Begins `runtime`, and counts the steps of all windows and one for each frame.

    Raises ValueError as `write_video` and `run_window` do, and when the disk has no room for windows that must wait.
    """
    waiting = Path(path).with_name(f".{uuid.uuid4().hex}")
    runtime.begin(run.steps + len(run.edited))
    try:
        frames = map(footage.written, in_order(run, waiting, runtime, notes))
        write_video(path, frames, footage.rate, audio_from=footage.sound, showing=footage.showing, notes=notes)
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    if footage.lost:
        notes.append(f"Not kept of the video: {', '.join(footage.lost)}.")
    return run.report()


def in_order(run: KiveRun, waiting: Path, runtime: Runtime, notes: list[str]) -> Iterator[Tensor]:
    """Every frame of an edited clip from the first to the last, image_hwc, as soon as it can be given.

    Windows whose frames can't be given yet are kept in the folder `waiting`.
    """
    queue = _Queue(run, waiting)
    yield from queue.ready(runtime)
    for made in run.made(runtime, notes):
        queue.take(made)
        yield from queue.ready(runtime)


class _Queue:
    """Which frame comes next, and the windows that have been made but not given."""

    def __init__(self, run: KiveRun, waiting: Path) -> None:
        self._run, self._waiting, self._store = run, waiting, FolderStore(waiting, NO_LIMIT)
        self._maker = {at: number for number, window in enumerate(run.windows) for at in window.new}
        self._done: set[int] = set()
        self._current: MadeWindow | None = None
        self._next = 0

    def take(self, made: MadeWindow) -> None:
        """A window that was made just now."""
        self._done.add(made.number)
        if self._maker.get(self._next) == made.number:
            self._current = made
        else:
            self._store.put(_key(made.number), made.frames_fhwc)

    def ready(self, runtime: Runtime) -> Iterator[Tensor]:
        """All frames up to the first one that is still to be made."""
        while self._next < len(self._run.edited):
            number = self._maker.get(self._next)
            if number is None:
                image_hwc = self._run.unmade(self._next)
            elif number in self._done:
                image_hwc = self._run.finished(self._window(number), self._next)
            else:
                return
            runtime.advance(preview=lambda shown=image_hwc: shown)  # type: ignore[misc]
            yield image_hwc
            self._next += 1

    def _window(self, number: int) -> MadeWindow:
        if self._current is None or self._current.number != number:
            frames = self._store.get(_key(number))
            if frames is None:
                raise ValueError(
                    f"{self._waiting.parent}: windows that run back from a keyframe wait here for their turn, but they "
                    "can't be kept; free some space, or set a keyframe on an earlier frame."
                )
            self._current = MadeWindow(number, self._run.windows[number], frames)
        return self._current


def _key(number: int) -> str:
    return f"{number:064x}"
