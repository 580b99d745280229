"""What a segmenter holds of its claim: objects followed from one click through held-out clips, beside optical flow."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..masks.prompts import Prompt, Prompts
from ..masks.sam2_session import Sam2Segmenter
from ..masks.track import track_by_flow
from ..masks.track_sam2 import track_by_segmenter
from ..masks.tracks import Track
from ..models.families import empty, fill, open_family
from ..models.files import read_tensors
from ..models.sam2 import FAMILY
from .segmenter_clips import SIDE, held_out

GOAL = 0.8
FAILED = 0.5  # mean IoU below which a clip counts as lost

Follow = Callable[[Tensor, Prompts], Track]


@dataclass(frozen=True)
class Score:
    """Over `clips` held-out clips: the mean IoU of all frames that show the object, of the clicked frame alone, of the
    last one that shows it, the median of the clips, and the share of clips that were lost."""

    who: str
    mean_iou: float
    first_iou: float
    last_iou: float
    median_iou: float
    lost: float
    clips: int
    frames: int

    def line(self) -> dict[str, object]:
        """For a line of JSON."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def load_segmenter(path: str | Path) -> Sam2Segmenter:
    """A SAM 2 in a file, in fp32 on the CPU.

    Raises ValueError as `open_family` does, ModuleNotFoundError without sam2.
    """
    files, family = open_family(path, {FAMILY.name})
    module = empty(family, family.config(files))
    fill(module, {name: one.float() for name, one in read_tensors(files).items()}, files.path.name)
    return Sam2Segmenter(module, files.path.name)


def scores(segmenter: Sam2Segmenter, clips: int, frames: int, side: int = SIDE) -> list[Score]:
    """The segmenter's score, and that of the flow tracker on the same clips and clicks."""
    followers: dict[str, Follow] = {
        "segmenter": lambda shown, marks: track_by_segmenter(shown, marks, segmenter),
        "optical flow": track_by_flow,
    }
    return [score(who, follow, clips, frames, side) for who, follow in followers.items()]


def score(who: str, follow: Follow, clips: int, frames: int, side: int = SIDE) -> Score:
    """How well `follow` keeps to the truth from one click on the first frame."""
    seen: list[list[float]] = []
    for shown, truth, (x, y) in held_out(clips, frames, side):
        track = follow(shown, Prompts([Prompt(0, points=((x, y, 1),))]))
        visible = truth.flatten(1).any(1)
        seen.append([_overlap(*pair) for pair in zip(track.masks()[visible] > 0.5, truth[visible] > 0.5)])
    means = [statistics.mean(one) for one in seen]
    return Score(
        who,
        statistics.mean(means),
        statistics.mean(one[0] for one in seen),
        statistics.mean(one[-1] for one in seen),
        statistics.median(means),
        statistics.mean(mean < FAILED for mean in means),
        clips,
        frames,
    )


def _overlap(first: Tensor, second: Tensor) -> float:
    return float((first & second).sum() / torch.clamp((first | second).sum(), min=1))
