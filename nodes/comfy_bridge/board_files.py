"""The candidates of keyframe boards as PNG files in ComfyUI's output folder.

Each board has a folder of its own. Nothing outside of it is read or written, whatever a workflow, the page or a link
inside the folder says.
"""

from __future__ import annotations

import os
import re
import stat
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from ...vivid_core.editors import candidates
from ...vivid_core.editors.candidates import Candidate
from ...vivid_core.editors.origin import Origin

BOARDS = "vivid_boards"
METADATA = "vivid_board"
DELETED = ".deleted"
UNFINISHED_NAME = re.compile(r"(before_)?f[0-9]{6}_[0-9a-f]{16}\.png\.[0-9a-f]{8}\.part")
ABANDONED = 3600.0  # seconds after which an unfinished file belongs to nobody
COMPRESSION = 4  # of 9: a third of the time of the usual 6, for a few percent more bytes
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises on damaged files


class Board:
    """The files of one board; none and no folder until something is added. Other files in the folder are left alone."""

    def __init__(self, board_id: str) -> None:
        """Raises ValueError on a wrong id, and when the board's folder is a link to somewhere else."""
        self.id = candidates.checked_id(board_id)
        output = Path(folder_paths.get_output_directory())
        self._folder = output / BOARDS / self.id
        if self._folder.resolve() != output.resolve() / BOARDS / self.id:
            raise ValueError(
                f"Keyframe Board: {self._folder} is a link to another place, where no candidates are kept; replace it "
                "by a folder."
            )

    def exists(self) -> bool:
        """Whether it has a folder already."""
        return self._folder.is_dir()

    def candidates(self) -> list[Candidate]:
        """All of them, the newest first. Raises ValueError when the folder can't be read."""
        found = []
        for name in self._names():
            if candidates.NAME.fullmatch(name) and (one := self._read(name)) is not None:
                found.append(one)
        return candidates.newest_first(found)

    def shown(self) -> dict[str, Any]:
        """The board as the page is told of it; the clip is that of the newest candidate."""
        found = self.candidates()
        newest = found[0] if found else Candidate("")
        listed = [
            {"name": one.name, "frame": one.frame, "prompt": one.prompt, "seed": one.seed, "time": one.time}
            | {"width": one.width, "height": one.height, "before": one.before or None}
            for one in found
        ]
        size = {"width": newest.width, "height": newest.height}
        return {"id": self.id, "frames": newest.frames, **size, "candidates": listed}

    def picture(self, name: str) -> Tensor | None:
        """The image_hwc in 0..1 of a candidate, to the bit; None when it is not there or can't be read.

        Raises ValueError when the name is no candidate's.
        """
        path = self._folder / candidates.checked_name(name)
        if not _is_file(path):
            return None
        try:
            with Image.open(path, formats=["PNG"]) as picture:
                return torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255
        except UNREADABLE:
            return None

    def add(self, frame: int, image_hwc: Tensor, clip_fhwc: Tensor, origin: Origin) -> tuple[str, bool]:
        """Keep a try for a frame of this clip, and the frame as it was; its name, and whether it is new here.

        What was deleted from the board is not added again, until another try came in between.
        Raises ValueError when the folder can't be written.
        """
        pixels, before = candidates.eight_bits(image_hwc), candidates.eight_bits(clip_fhwc[frame])
        name, before_name = candidates.candidate_name(frame, pixels), candidates.before_name(frame, before)
        if self.is_deleted(name) or self.picture(name) is not None:
            return name, False
        now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        text = origin.prompt[: candidates.MOST_TEXT]
        size = {"width": pixels.shape[1], "height": pixels.shape[0], "frames": len(clip_fhwc)}
        self._write(pixels, Candidate(name, text, origin.seed, now, **size, before=before_name))
        if not _is_file(self._folder / before_name):
            self._write(before, Candidate(before_name))
        return name, True

    def forget_deleted(self, but: set[str]) -> None:
        """Let everything deleted be added again, but these."""
        for name in self._names():
            candidate = name.removesuffix(DELETED)
            if candidate != name and candidates.NAME.fullmatch(candidate) and candidate not in but:
                _remove(self._folder / name)

    def is_deleted(self, name: str) -> bool:
        """Whether a candidate was taken from the board by hand."""
        return _is_file(self._folder / f"{name}{DELETED}")

    def delete(self, name: str) -> bool:
        """Take a candidate away because the user says so; False when there is none.

        Raises ValueError when the name is no candidate's, and when the folder can't be written.
        """
        path = self._folder / candidates.checked_name(name)
        if not _is_file(path):
            return False
        try:
            path.unlink()
            marker = self._folder / f"{name}{DELETED}"
            _remove(marker)  # it may be a link, which would be followed
            marker.touch(exist_ok=False)
        except FileNotFoundError:
            return False  # a run made room at this moment
        except OSError as fault:
            raise self._unwritable(fault) from fault
        self._tidy()
        return True

    def make_room(self, spared: set[str]) -> list[Candidate]:
        """Take away the oldest candidates, but for the spared ones, until few enough are left; those that went."""
        befores = {name: self._bytes(name) for name in self._names() if candidates.is_before(name)}
        gone = candidates.to_drop(self.candidates(), befores, spared, candidates.MOST, candidates.MOST_BYTES)
        for one in gone:
            _remove(self._folder / one.name)
        self._tidy()
        return gone

    def state_of(self, name: str) -> tuple[int, int] | None:
        """What changes when a candidate's file changes; None when it is not there."""
        status = _status(self._folder / candidates.checked_name(name))
        return None if status is None else (status.st_size, status.st_mtime_ns)

    def _read(self, name: str) -> Candidate | None:
        path = self._folder / name
        if not _is_file(path):
            return None
        try:
            with Image.open(path, formats=["PNG"]) as picture:
                found = candidates.read_candidate(name, picture.info.get(METADATA), *picture.size, self._bytes(name))
        except UNREADABLE:
            return None
        return found if _is_file(self._folder / found.before) else replace(found, before="")

    def _write(self, pixels_hwc: np.ndarray, one: Candidate) -> None:
        unfinished = self._folder / f"{one.name}.{uuid.uuid4().hex[:8]}.part"
        about = PngImagePlugin.PngInfo()
        if candidates.NAME.fullmatch(one.name):
            about.add_itxt(METADATA, one.metadata())
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels_hwc).save(unfinished, "PNG", pnginfo=about, compress_level=COMPRESSION)
            os.replace(unfinished, self._folder / one.name)
        except OSError as fault:
            _remove(unfinished)
            raise self._unwritable(fault) from fault

    def _tidy(self) -> None:
        names = self._names()  # first: a candidate is written before its picture from before, maybe meanwhile
        needed = {one.before for one in self.candidates()}
        for name in names:
            status = _status(self._folder / name)
            unneeded = candidates.is_before(name) and name not in needed
            unfinished = UNFINISHED_NAME.fullmatch(name) and status is not None
            if unneeded or (unfinished and time.time() - status.st_mtime > ABANDONED):
                _remove(self._folder / name)

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        except OSError as fault:
            raise ValueError(
                f"Keyframe Board: the candidates can't be read from {self._folder} ({fault.strerror or fault}); make "
                "it a folder that ComfyUI can read."
            ) from fault

    def _bytes(self, name: str) -> int:
        status = _status(self._folder / name)
        return 0 if status is None else status.st_size

    def _unwritable(self, fault: OSError) -> ValueError:
        return ValueError(
            f"Keyframe Board: candidates can't be written to {self._folder} ({fault.strerror or fault}); let ComfyUI "
            "write there, or start it with another output folder."
        )


def _status(path: Path) -> os.stat_result | None:
    """Of a file itself, None for everything else: a link may lead anywhere."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _is_file(path: Path) -> bool:
    return _status(path) is not None


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
