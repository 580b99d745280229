"""The layout of TGVE (LOVEU's competition of text-guided video editing, 2023): a table of captions, folders of frames.

    LOVEU-TGVE-2023_Dataset.csv              "Video name", "Our GT caption", "Style Change Caption", ...
    DAVIS_480p/480p_frames/gold-fish/00000.jpg
    DAVIS_480p/480p_videos/gold-fish.mp4     where there are no frames

Each video has up to four captions: style, object, background, multiple. The dataset has no masks, so the whole frame
is edited; masks of your own may be in DAVIS_480p/480p_masks/gold-fish (a folder of images) or gold-fish.mp4 beside it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..training.media import VIDEOS

NAME = "Video name"
EDITS = re.compile(r"(\w+) changes? caption", re.IGNORECASE)
FOLDERS, MASKS = ("480p_frames", "480p_videos"), "480p_masks"
HEADING = re.compile(r".*:\s*")  # "DAVIS Videos:" stands alone in its line
PLAIN = re.compile(r"[\w][\w .()+-]*")


@dataclass(frozen=True)
class Row:
    """One caption of one video; `fault` says why it can't be used."""

    name: str
    clip: Path
    mask: Path | None
    caption: str
    fault: str


def find_table(folder: Path) -> Path | None:
    """The table of captions in a folder, if there is one."""
    for path in sorted(folder.glob("*.csv")):
        try:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                columns = next(csv.reader(file), [])
        except (OSError, csv.Error):
            continue
        if NAME in columns and any(EDITS.fullmatch(one.strip()) for one in columns):
            return path
    return None


def read_table(path: Path) -> list[Row]:
    """All captions of all videos of a table, in its order. Raises ValueError when the table can't be read."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, csv.Error) as fault:
        raise ValueError(f"{path} can't be read as a table ({fault}); download it again.") from fault
    return [row for line in lines for row in _rows(path.parent, line)]


def _rows(folder: Path, line: Mapping[str, str | None]) -> Iterator[Row]:
    name = (line.get(NAME) or "").strip()
    captions = {
        found[1].lower(): (text or "").strip()
        for column, text in line.items()
        if isinstance(column, str) and (found := EDITS.fullmatch(column.strip()))
    }
    if not name or (HEADING.fullmatch(name) and not any(captions.values())):
        return
    clip, fault = _clip(folder, name)
    mask = None if fault else _mask(clip)
    for edit, caption in captions.items():
        empty = f'"{name}" has no caption for the edit {edit}; fill the cell, or leave the edit out.'
        yield Row(f"{name}/{edit}", clip, mask, caption, fault or ("" if caption else empty))


def _clip(folder: Path, name: str) -> tuple[Path, str]:
    if not PLAIN.fullmatch(name):
        return Path(), f'"{name[:80]}" is no name of a video; use letters, digits, spaces, points, - and _.'
    for place in (folder, *sorted(one for one in folder.iterdir() if one.is_dir())):
        frames, videos = (place / one for one in FOLDERS)
        tried = [frames / name, *(videos / f"{name}{suffix}" for suffix in sorted(VIDEOS))]
        found = next((one for one in tried if one.exists()), None)
        if found is not None:
            return found, ""
    return Path(), f'"{name}" has no frames: put them into a folder such as DAVIS_480p/480p_frames/{name}.'


def _mask(clip: Path) -> Path | None:
    place = clip.parent.parent / MASKS
    tried = [place / clip.stem, place / clip.name, *(place / f"{clip.stem}{suffix}" for suffix in sorted(VIDEOS))]
    return next((one for one in tried if one.exists()), None)
