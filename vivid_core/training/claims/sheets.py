"""Contact sheets for people: of each trial the source, the truth, what the codec could show at most, and the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...metrics import drawing
from ...metrics.pictures import outline
from ...metrics.sheet import sample_indices

FRAMES, TIMES = 3, 2  # frames of each clip, and how large a pixel is
ROWS = 12  # trials on one sheet
TEXT, GAP, PAD = 14, 4, 12
LINE = TEXT + 8


@dataclass(frozen=True)
class Row:
    """One trial: `title` says what was asked for and what came of it; `clips` are frames_fhwc of one length and size,
    by their names. The outline of `mask_fhw` is drawn on the first clip."""

    title: str
    clips: Mapping[str, Tensor]
    mask_fhw: Tensor | None = None


def sheet(rows: Sequence[Row]) -> Tensor:
    """One picture image_hwc: a line of clips for each row, a few frames of each.

    Raises ValueError without rows, or when their clips differ in number or size.
    """
    from PIL import Image

    kinds = {tuple((name, *clip.shape[1:]) for name, clip in row.clips.items()) for row in rows}
    if len(kinds) != 1:
        raise ValueError(f"Sheet: got rows of {len(kinds)} kinds; all must have clips of the same names and size.")
    (_, height, width, _), *_ = next(iter(kinds))
    names = list(rows[0].clips)
    panel = FRAMES * TIMES * width + PAD
    picture = Image.new(
        "RGB", (PAD + len(names) * panel, LINE + len(rows) * (LINE + TIMES * height + GAP) + PAD), drawing.BACKGROUND
    )
    for place, name in enumerate(names):
        drawing.write(picture, (PAD + place * panel, LINE / 2), name, TEXT, drawing.QUIET)
    for line, row in enumerate(rows):
        top = LINE + line * (LINE + TIMES * height + GAP)
        drawing.write(picture, (PAD, top + LINE / 2), row.title, TEXT)
        for place, strip in enumerate(_strips(row)):
            picture.paste(Image.fromarray(strip), (PAD + place * panel, top + LINE))
    return drawing.to_image(np.asarray(picture))


def write_sheets(rows: Sequence[Row], folder: str | Path, name: str) -> list[Path]:
    """The rows as PNG files NAME_1.png, NAME_2.png, ... in `folder`, which is made if it is not there."""
    from PIL import Image

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for first in range(0, len(rows), ROWS):
        path = folder / f"{name}_{first // ROWS + 1}.png"
        Image.fromarray(drawing.to_bytes(sheet(rows[first : first + ROWS]))).save(path)
        written.append(path)
    return written


def _strips(row: Row) -> list[Any]:
    strips = []
    for place, clip in enumerate(row.clips.values()):
        shown = sample_indices(len(clip), (), FRAMES)
        frames = [_enlarged(clip[index]) for index in shown]
        if place == 0 and row.mask_fhw is not None:
            masks = (row.mask_fhw[index].repeat_interleave(TIMES, 0).repeat_interleave(TIMES, 1) for index in shown)
            frames = [outline(frame, mask) for frame, mask in zip(frames, masks)]
        strips.append(drawing.to_bytes(torch.cat(frames, dim=1)))
    return strips


def _enlarged(image_hwc: Tensor) -> Tensor:
    return image_hwc.clamp(0, 1).repeat_interleave(TIMES, 0).repeat_interleave(TIMES, 1)
