"""The index of a dataset: which clip, which mask, which captions; read, and written one sample at a time.

`index.jsonl` holds one JSON object a line:

    {"name": "rabbit", "clip": "clips/rabbit.mp4", "mask": "masks/rabbit.mp4", "task": "entity",
     "captions": {"short": "a fox", "medium": "a red fox", "long": "a red fox walking to the left"}}

Paths count from the folder of the index and never lead out of it, so that a dataset from elsewhere reads nothing else
(a link that you put there yourself is followed). `clip` and `mask` are video files, images, folders of images, or a
safetensors file with both. `task` is "entity" (the mask shows something, and the captions say what) or "deletion" (the
mask lies on plain background). Shorter captions may stand for missing longer ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checks import check_not_empty, checked_frames, checked_mask_for
from ..json_text import parsed, parsed_object
from ..video.writing import write_video
from ..whole_files import whole_file
from .latent_cache import made_folder
from .media import FRAMES, MASK
from .tasks import DELETION, ENTITY
from .world.words import CAPTION_LENGTHS

INDEX = "index.jsonl"
SAMPLES, CLIPS, MASKS = "samples", "clips", "masks"  # folders: both in one file, or each in its own
TASKS = (ENTITY, DELETION)
NAME = re.compile(r"[\w][\w .-]{0,99}")
FPS = 24  # nothing depends on it; players need one
LOSSLESS, LOOKS_SO = 0, 17  # x264's quality, of masks and of clips


@dataclass(frozen=True, eq=False)
class Entry:
    """One line of the index. `where` names it in messages; `captions` has all three lengths, or none for deletions."""

    name: str
    clip: Path
    mask: Path
    task: str
    captions: Mapping[str, str]
    where: str


def read_index(folder: Path) -> list[Entry]:
    """The samples of `folder`/index.jsonl.

    Raises ValueError, in one sentence with file and line, for what is no sample.
    """
    file = folder / INDEX
    try:
        lines = index_lines(folder)
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"{file} can't be read ({fault}); save the samples again.") from fault
    entries = [read_entry(folder, line, f"{file}, line {number}") for number, line in lines.items()]
    if not entries:
        raise ValueError(f"{file} names no samples; add some with Save Training Sample.")
    return entries


def write_sample(
    folder: str | Path,
    name: str,
    frames_fhwc: Tensor,
    mask_fhw: Tensor,
    captions: Sequence[str] = ("", "", ""),
    task: str = ENTITY,
    exact: bool = False,
    notes: list[str] | None = None,
) -> Path:
    """Add a sample to the dataset in `folder`, which is made if need be; one of the same name is replaced.

    `captions` are short, medium and long; an empty one is the nearest shorter one, or else the shortest there is. With
    `exact` every pixel is kept (one safetensors file, 8 bits a channel), without it the clip is a small video file.
    Returns the index. Raises ValueError, in one sentence, for anything that can't be trained on.
    """
    told = _told(captions, task)
    if not NAME.fullmatch(name):
        raise ValueError(
            f"Save Training Sample: got the name {name!r}; use up to 100 letters, digits, spaces, points, - and _, "
            "with a letter or digit first."
        )
    frames = checked_frames(frames_fhwc, "Save Training Sample", notes)
    mask = (checked_mask_for(mask_fhw, frames, "Save Training Sample, mask", notes) > 0.5).float()
    check_not_empty(mask, "Save Training Sample")
    folder = made_folder(folder)
    paths = _write_exactly(folder, name, frames, mask) if exact else _write_videos(folder, name, frames, mask, notes)
    _add_line(folder, {"name": name, **paths, "task": task, **({"captions": told} if told else {})})
    for stale in _files(folder, name) - {folder / path for path in paths.values()}:
        stale.unlink(missing_ok=True)
    return folder / INDEX


def index_lines(folder: str | Path) -> dict[int, str]:
    """The lines of an index by their numbers, without empty ones; none where there is no index yet."""
    file = Path(folder) / INDEX
    # No splitlines: JSON leaves some of Unicode's own line breaks in a caption as they are.
    lines = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    return {number: line for number, line in enumerate(lines, start=1) if line.strip()}


def free_name(folder: str | Path) -> str:
    """A name that no sample of a dataset has: "sample 0001" and so on."""
    taken = {_name_of(line) for line in index_lines(folder).values()}
    return next(name for number in count(1) if (name := f"sample {number:04}") not in taken)


def _told(captions: Sequence[str], task: str) -> dict[str, str]:
    """All three captions. Raises ValueError when there is none, though something must appear."""
    if task not in TASKS:
        raise ValueError(f"Training sample: got the task {task!r}; choose {' or '.join(TASKS)}.")
    if task == DELETION:
        return {}
    given = [caption.strip() for caption in captions]
    if not any(given):
        raise ValueError(
            "Training sample: there is no caption; say in a few words what is inside the mask, such as "
            '"a red fox", for it is by this text that it will be made.'
        )
    nearest = next(caption for caption in given if caption)
    told = {}
    for length, caption in zip(CAPTION_LENGTHS, given):
        nearest = caption or nearest
        told[length] = nearest
    return told


def _files(folder: Path, name: str) -> set[Path]:
    """Where a sample of this name lies, in either form."""
    return {folder / SAMPLES / f"{name}.safetensors", *(folder / kind / f"{name}.mp4" for kind in (CLIPS, MASKS))}


def _write_exactly(folder: Path, name: str, frames_fhwc: Tensor, mask_fhw: Tensor) -> dict[str, str]:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = made_folder(folder / SAMPLES) / f"{name}.safetensors"
    levels = (frames_fhwc * 255).round().clamp(0, 255).to(torch.uint8).contiguous()
    with whole_file(path, SafetensorError) as unfinished:
        save_file({FRAMES: levels, MASK: (mask_fhw * 255).to(torch.uint8).contiguous()}, unfinished)
    return dict.fromkeys(("clip", "mask"), path.relative_to(folder).as_posix())


def _write_videos(
    folder: Path, name: str, frames_fhwc: Tensor, mask_fhw: Tensor, notes: list[str] | None
) -> dict[str, str]:
    clip, mask = (made_folder(folder / kind) / f"{name}.mp4" for kind in (CLIPS, MASKS))
    write_video(clip, iter(frames_fhwc), FPS, crf=LOOKS_SO, notes=notes)
    write_video(mask, (mask_hw[..., None].expand(-1, -1, 3) for mask_hw in mask_fhw), FPS, crf=LOSSLESS)
    return {"clip": clip.relative_to(folder).as_posix(), "mask": mask.relative_to(folder).as_posix()}


def _add_line(folder: Path, line: Mapping[str, Any]) -> None:
    """Put a line into the index, in place of one of the same name; never half an index."""
    file = folder / INDEX
    kept = [one for one in index_lines(folder).values() if _name_of(one) != line["name"]]
    with whole_file(file) as unfinished:
        unfinished.write_text("\n".join([*kept, json.dumps(line, ensure_ascii=False)]) + "\n", encoding="utf-8")


def _name_of(line: str) -> str | None:
    try:
        return parsed_object(line).get("name")
    except ValueError:  # somebody's broken line stays, to be named when it is read
        return None


def read_entry(folder: Path, line: str, where: str) -> Entry:
    """The sample of one line of an index; `where` names the line. Raises ValueError for what is no sample."""
    try:
        told = parsed(line)
    except ValueError as fault:
        raise ValueError(f"{where} is no JSON ({fault}); write one JSON object a line.") from fault
    if not isinstance(told, dict) or not isinstance(told.get("clip"), str) or not isinstance(told.get("mask"), str):
        raise ValueError(f'{where} must be an object with "clip" and "mask" as paths; add what is missing.')
    clip, mask = (_inside(folder, told[kind], where) for kind in ("clip", "mask"))
    captions = told.get("captions", told.get("caption", ""))
    if isinstance(captions, str):
        captions = {"short": captions}
    lengths = [captions.get(length, "") for length in CAPTION_LENGTHS] if isinstance(captions, dict) else [None]
    if not all(isinstance(caption, str) for caption in lengths):
        raise ValueError(f'{where}: "captions" must be an object of texts, {", ".join(CAPTION_LENGTHS)}; correct it.')
    task = told.get("task", ENTITY)
    try:
        whole = _told([str(caption) for caption in lengths], task)
    except ValueError as fault:
        raise ValueError(f"{where}: {fault}") from fault
    return Entry(str(told.get("name", told["clip"])), clip, mask, task, whole, where)


def _inside(folder: Path, path: str, where: str) -> Path:
    """Where a path of the index leads. Raises ValueError when that is not below `folder`, on any system."""
    parts = re.split(r"[/\\]", path)
    if ".." in parts or not parts[0] or re.match(r"\w:", path) or "\0" in path:
        raise ValueError(
            f"{where} names {path!r}, which is not in the folder of the dataset; put the files there, and write their "
            "paths from there."
        )
    return folder / path
