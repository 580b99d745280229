"""Folders named as VIVID-10M was published: a number for each video, with its masks and captions in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .sample_files import Entry
from .tasks import DELETION, ENTITY
from .world.words import CAPTION_LENGTHS

VIDEO = re.compile(r"\d{8}")
SOURCE = "source_video.mp4"
MASK = re.compile(r"mask_(clip\d{4})_(instance|remove)(\d{4})_(\w+)\.mp4")
KINDS = ("ori_mask", "ori_mask_dilated", "convexHull_mask", "rectangle_mask")  # the most exact is widened as we like


def is_published(folder: Path) -> bool:
    """Whether a folder looks like that."""
    return folder.is_dir() and any(VIDEO.fullmatch(one.name) and (one / SOURCE).is_file() for one in folder.iterdir())


def read_published(folder: Path) -> list[Entry]:
    """All entities that have a caption, and all places for deletions, in the order of their names.

    Raises ValueError when there is none, and for an entity without its caption.
    """
    entries = [published_entry(*found) for found in published_masks(folder)]
    if not entries:
        raise ValueError(
            f"{folder} holds videos but no masks; they must be named like mask_clip0000_instance0002_ori_mask.mp4."
        )
    return entries


def published_masks(folder: Path) -> Iterator[tuple[Path, tuple[str, ...], dict[str, Path]]]:
    """The folder of a video, what the names of its masks say (clip, kind, number), and these masks by their shape."""
    for video in sorted(one for one in folder.iterdir() if VIDEO.fullmatch(one.name) and (one / SOURCE).is_file()):
        masks: dict[tuple[str, ...], dict[str, Path]] = {}
        for file in sorted(video.iterdir()):
            found = MASK.fullmatch(file.name)
            if found:
                masks.setdefault(found.groups()[:3], {})[found[4]] = file
        for named, kinds in masks.items():
            yield video, named, kinds


def published_entry(video: Path, named: tuple[str, ...], kinds: dict[str, Path]) -> Entry:
    """The sample of one of `published_masks`. Raises ValueError for an entity without its caption."""
    clip, kind, number = named
    mask = next((kinds[one] for one in KINDS if one in kinds), next(iter(kinds.values())))
    name = f"{video.name}/{clip}/{kind}{number}"
    if kind == "remove":
        return Entry(name, video / SOURCE, mask, DELETION, {}, str(mask))
    file = video / "local_caption" / "v2" / f"local_caption_{clip}_instance{number}.txt"
    if not file.is_file():
        raise ValueError(f"{mask} has no caption: {file} is not there; add it, or take the mask away.")
    caption = " ".join(file.read_text(encoding="utf-8").split())
    return Entry(name, video / SOURCE, mask, ENTITY, dict.fromkeys(CAPTION_LENGTHS, caption), str(mask))
