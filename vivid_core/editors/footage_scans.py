"""What one pass through a video found, kept so that the next run of the same file doesn't go through it again."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
from contextlib import suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..json_text import parsed_object
from ..video.frame_reader import FrameTable
from ..video.reading import Media

FORM = 1  # to be raised when a pass finds something else in the same file
MOST = 32  # a scan of an hour is about 2 MB
NAME = re.compile(r"scan_[0-9a-f]{64}\.json$")

logger = logging.getLogger("vivid")


class FootageScans:
    """Scans as JSON files in a folder, the `most` that were asked for last; other files there are left alone.

    A file is there whole or not at all. Videos are told apart by path, size and time of the last change; one in memory
    is never kept.
    """

    def __init__(self, folder: str | Path, most: int = MOST) -> None:
        self._folder, self._most = Path(folder), most

    def get(self, media: Media, span: tuple[float, float], upright: bool) -> tuple[FrameTable, tuple[int, ...]] | None:
        """The table and the first frames of new shots, as they were put; None if there are none."""
        path = self._path(media, span, upright)
        if path is None or not path.exists():
            return None
        try:
            found = _read(parsed_object(path.read_text(encoding="utf-8")))
            os.utime(path)
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            logger.warning("The kept scan %s is damaged (%s); the video is gone through again.", path.name, error)
            _remove(path)
            return None
        return found

    def put(self, media: Media, upright: bool, table: FrameTable, cuts: tuple[int, ...]) -> None:
        """Keep what a pass found. Never fails: what can't be kept is found again."""
        path = self._path(media, table.span, upright)
        if path is None:
            return
        written = {**asdict(table), "time_base": str(table.time_base), "cuts": cuts}
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(written), encoding="utf-8")
            os.replace(unfinished, path)
            ours = [one for one in self._folder.glob("scan_*") if NAME.match(one.name)]
            for old in sorted(ours, key=lambda one: one.stat().st_mtime_ns)[: -self._most]:
                _remove(old)
        except OSError as error:
            logger.warning("A scan could not be kept in %s: %s.", self._folder, error)
            _remove(unfinished)

    def _path(self, media: Media, span: tuple[float, float], upright: bool) -> Path | None:
        if isinstance(media, io.BytesIO):
            return None
        import av

        with suppress(OSError):
            status = os.stat(media)
            known = (FORM, os.path.realpath(media), status.st_size, status.st_mtime_ns, *span, upright, av.__version__)
            return self._folder / f"scan_{hashlib.sha256(repr(known).encode()).hexdigest()}.json"
        return None


def _read(written: dict[str, Any]) -> tuple[FrameTable, tuple[int, ...]]:
    cuts = tuple(int(cut) for cut in written.pop("cuts"))
    written["time_base"], written["span"] = Fraction(written["time_base"]), tuple(written["span"])
    table = FrameTable(**written)
    maybe = [one for one in (*table.pts, table.end) if one is not None]
    if not all(type(one) is int for one in (*table.checks, *table.starts, table.skipped, *maybe)):
        raise ValueError("not all of its entries are whole numbers")
    if not len(table) or len(table.pts) != len(table):
        raise ValueError("its lists don't have one entry for each frame")
    return table, cuts


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
