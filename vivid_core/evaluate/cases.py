"""What a folder asks for: clips, each with a mask and a caption, read from three layouts; and one of them in memory.

What can't be used becomes a case that says why, so that the others can go on without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_not_empty, checked_frames
from ..training.media import FRAMES, MASK, VIDEOS, media_info, read_media
from ..training.published import SOURCE, VIDEO, is_published, published_entry, published_masks
from ..training.sample_files import FPS, INDEX, Entry, index_lines, read_entry
from ..training.tasks import DELETION, ENTITY
from ..training.world.words import CAPTION_LENGTHS, DELETION_CAPTION
from ..video.composite import feather_outside
from ..video.reading import read_info
from .tgve import find_table, read_table

LONGEST_NAME = 160  # of a case, in tables and pages


@dataclass(frozen=True)
class Case:
    """One edit that is asked for: a clip, where, and what must be seen there.

    `mask` is None where the whole frame is edited. `task` is "entity" (the caption says what) or "deletion". `fault` is
    the one sentence that says why the case can't be used; then nothing else of it counts.
    """

    name: str
    clip: Path = field(default_factory=Path)
    mask: Path | None = None
    caption: str = ""
    task: str = ENTITY
    fault: str = ""


@dataclass(frozen=True)
class Cut:
    """Which frames of a clip every engine gets: each `every`-th one, at most `frames` of them (0: all), the longer side
    at most `side` pixels (0: as it is). The soft rim of the blend mask is `feather` pixels wide.

    Raises ValueError for what is no such number.
    """

    frames: int = 0
    every: int = 1
    side: int = 0
    feather: float = 8.0

    def __post_init__(self) -> None:
        if self.frames < 0 or self.every < 1 or self.side < 0 or self.feather < 0:
            raise ValueError(
                f"Evaluate: got {self.frames} frames, every {self.every}, side {self.side} and feather "
                f"{self.feather:g}; use 0 or more, and 1 or more for every."
            )


@dataclass(frozen=True)
class LoadedCase:
    """A case in memory: `frames_fhwc` float32 in 0..1, `edit_mask_fhw` 0 or 1, `blend_mask_fhw` soft, and `fps`.

    `identity` is the SHA-256 of all that an engine is given but the seed: pixels, masks, caption and task.
    """

    case: Case
    frames_fhwc: Tensor
    edit_mask_fhw: Tensor
    blend_mask_fhw: Tensor
    fps: float
    identity: str = ""

    @property
    def removes(self) -> bool:
        """Whether something is to be taken away, not put there."""
        return self.case.task == DELETION

    def current_identity(self) -> str:
        """`identity`, from the tensors as they are now: another one if an engine wrote into its input."""
        digest = hashlib.sha256(f"{self.case.task}\n{self.case.caption}\n{tuple(self.frames_fhwc.shape)}".encode())
        for clip in (self.frames_fhwc, self.edit_mask_fhw, self.blend_mask_fhw):
            for one in clip:
                digest.update(one.contiguous().numpy().data)
        return digest.hexdigest()


def read_cases(folder: str | Path, caption_length: str = CAPTION_LENGTHS[1]) -> list[Case]:
    """All that a folder asks for: an index.jsonl, VIVID-10M's folders, or TGVE's table with its folders of frames.

    Raises ValueError when it is none of these, or names nothing, and for another caption length.
    """
    folder = Path(folder)
    if caption_length not in CAPTION_LENGTHS:
        raise ValueError(f"Captions: got the length {caption_length!r}; choose one of {', '.join(CAPTION_LENGTHS)}.")
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the one that holds the clips.")
    table = find_table(folder)
    if (folder / INDEX).is_file():
        cases = _indexed(folder, caption_length)
    elif is_published(folder):
        cases = _published(folder, caption_length)
    elif table is not None:
        cases = [Case(_short(row.name), row.clip, row.mask, row.caption, fault=row.fault) for row in read_table(table)]
    else:
        raise ValueError(
            f"{folder} holds no clips to edit: it needs an {INDEX}, VIVID-10M's folders of eight digits with "
            'source_video.mp4, or TGVE\'s table (a .csv with a column "Video name").'
        )
    if not cases:
        raise ValueError(f"{folder} names no clips; add some, for instance with Save Training Sample.")
    return _told_apart(cases)


def _indexed(folder: Path, length: str) -> list[Case]:
    file = folder / INDEX
    try:
        lines = index_lines(folder)
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"{file} can't be read ({fault}); save the samples again.") from fault
    places = {number: f"{file}, line {number}" for number in lines}
    return [
        _tried(f"line {number}", partial(read_entry, folder, text, places[number]), length)
        for number, text in lines.items()
    ]


def _published(folder: Path, length: str) -> list[Case]:
    found = list(published_masks(folder))
    cases = []
    for video, (clip, kind, number), kinds in found:
        read = partial(published_entry, video, (clip, kind, number), kinds)
        cases.append(_tried(f"{video.name}/{clip}/{kind}{number}", read, length))
    with_masks = {video for video, _, _ in found}
    for video in sorted(folder.iterdir()):
        if VIDEO.fullmatch(video.name) and (video / SOURCE).is_file() and video not in with_masks:
            named = "mask_clip0000_instance0002_ori_mask.mp4"
            cases.append(Case(video.name, fault=f"{video} has no mask; add one that is named like {named}."))
    return cases


def _tried(name: str, read: Callable[[], Entry], length: str) -> Case:
    try:
        entry = read()
    except (ValueError, OSError) as fault:
        return Case(name, fault=str(fault))
    caption = DELETION_CAPTION if entry.task == DELETION else entry.captions[length]
    return Case(_short(entry.name), entry.clip, entry.mask, caption, entry.task)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _told_apart(cases: Iterable[Case]) -> list[Case]:
    """The cases, each with a name of its own."""
    seen: dict[str, int] = {}
    told = []
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
        number = seen[case.name]
        told.append(case if number == 1 else replace(case, name=f"{case.name} ({number})"))
    return told


def load_case(case: Case, cut: Cut) -> LoadedCase:
    """A case in memory, as every engine gets it.

    Raises ValueError, in one sentence, for a clip or a mask that can't be read, that don't fit each other, and for a
    mask that marks nothing in the frames that are taken.
    """
    if case.fault:
        raise ValueError(case.fault)
    _check_pair(case)
    frames = checked_frames(_taken(case.clip, FRAMES, cut), f"{case.clip}")
    if case.mask is None:
        mask = torch.ones(frames.shape[:3])
    else:
        mask = _taken(case.mask, MASK, cut)
        if len(mask) != len(frames):
            raise ValueError(
                f"{case.mask} ends after {len(mask)} frames, but the clip has {len(frames)}; export it again."
            )
        check_not_empty(mask, f"{case.mask}")
    loaded = LoadedCase(case, frames, mask, feather_outside(mask, cut.feather), _rate(case.clip) / cut.every)
    return replace(loaded, identity=loaded.current_identity())


def _check_pair(case: Case) -> None:
    clip = media_info(case.clip)
    if case.mask is None:
        return
    mask = media_info(case.mask, MASK)
    if clip != mask:
        raise ValueError(
            f"{case.mask}: the clip has {clip.frames} frames of {clip.width}x{clip.height}, but its mask has "
            f"{mask.frames} of {mask.width}x{mask.height}; they must agree, so save it again."
        )


def _taken(path: Path, tensor: str, cut: Cut) -> Tensor:
    """The frames that are taken, at their size: float32 in 0..1, masks 0 or 1."""
    taken: list[Tensor] = []
    for index, frame in enumerate(read_media(path, tensor)):
        if cut.frames and len(taken) == cut.frames:
            break
        if index % cut.every == 0:
            taken.append(_sized(frame, tensor, cut.side))
    if not taken:
        raise ValueError(f"{path} holds no frames; export it again.")
    return torch.stack(taken)


def _sized(frame: Tensor, tensor: str, side: int) -> Tensor:
    image = (frame.permute(2, 0, 1) if frame.ndim == 3 else frame[None])[:3].float() / 255
    if tensor == MASK:
        image = (image.amax(0, keepdim=True) > 0.5).float()
    height, width = image.shape[1:]
    scale = side / max(height, width)
    if side and scale < 1:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)
    if tensor == MASK:
        return (image[0] > 0.5).float()
    return torch.from_numpy(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))


def _rate(path: Path) -> float:
    return float(read_info(path).fps) if path.suffix.lower() in VIDEOS and path.is_file() else float(FPS)
