"""How good an edit is where its truth is known, what the codec alone would reach, and what trivial answers get."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from .world.words import COLOURS

MATCH = 0.08  # a pixel off the object matches when no channel differs by more: 20 levels of 255
RIM = 1  # pixels around the object that are not judged as background: the outline is judged by the shape's overlap
INSIDE = 0.999  # the weight of a pixel that is all object


@dataclass(frozen=True)
class Truth:
    """What an edit should have made, all of one clip.

    `oracle_fhwc` is the clip as it should be, `backdrop_fhwc` the same without the object; `weight_fhw` is how much
    of a pixel the object is (0..1), `edit_mask_fhw` 1 where the edit was allowed. `colour` is one of
    `words.COLOURS`, None for a deletion, whose oracle and backdrop are the same and whose weight is 0.
    """

    oracle_fhwc: Tensor
    backdrop_fhwc: Tensor
    weight_fhw: Tensor
    edit_mask_fhw: Tensor
    colour: str | None


@dataclass(frozen=True)
class Score:
    """How good an edit is: parts of 1, and decibels. NaN where a measure has no meaning for the task.

    iou: the painted pixels against the oracle's shape, over the whole clip
    colour: of the oracle's object pixels (not its rim), those nearer to the prompted colour than to any other
    background: of the mask's pixels off the oracle's object and its rim, those that match the oracle within `MATCH`
    psnr: in the mask, against the oracle
    """

    iou: float
    colour: float
    background: float
    psnr: float


def score(edited_fhwc: Tensor, truth: Truth, first: int = 0) -> Score:
    """Judge `edited_fhwc` (0..1) from frame `first` on: 1 where the first frame was given as a keyframe.

    Raises ValueError when the clips are not of one size.
    """
    if edited_fhwc.shape != truth.oracle_fhwc.shape:
        raise ValueError(
            f"Measures: got a clip of shape {tuple(edited_fhwc.shape)} for a truth of shape "
            f"{tuple(truth.oracle_fhwc.shape)}; they must be the same clip."
        )
    edited, oracle = edited_fhwc[first:], truth.oracle_fhwc[first:]
    mask, weight = truth.edit_mask_fhw[first:] > 0.5, truth.weight_fhw[first:]
    off = mask & ~_widened(weight > 0)
    matches = (edited - oracle).abs().amax(-1) <= MATCH
    error = float((edited - oracle)[mask].double().square().mean())
    return Score(
        iou=_iou(painted(edited, truth.backdrop_fhwc[first:], truth.colour) & mask, weight > 0.5),
        colour=_colour_accuracy(edited[weight > INSIDE], truth.colour),
        background=float(matches[off].double().mean()),
        psnr=10 * math.log10(1 / max(error, 1e-10)),
    )


def painted(edited_fhwc: Tensor, backdrop_fhwc: Tensor, colour: str | None) -> Tensor:
    """Which pixels are nearer to `colour` than to the true backdrop: bool [F, H, W]; none without a colour."""
    if colour is None:
        return torch.zeros(edited_fhwc.shape[:-1], dtype=torch.bool)
    to_colour = (edited_fhwc - rgb(colour)).square().sum(-1)
    return to_colour < (edited_fhwc - backdrop_fhwc).square().sum(-1)


def rgb(colour: str) -> Tensor:
    """A colour of the world, float32 [3] in 0..1."""
    return torch.tensor(COLOURS[colour], dtype=torch.float32) / 255


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean of each measure over those scores in which it has a meaning."""
    means = []
    for field in fields(Score):
        values = [getattr(one, field.name) for one in scores]
        values = [value for value in values if not math.isnan(value)]
        means.append(sum(values) / len(values) if values else math.nan)
    return Score(*means)


def codec_answer(truth: Truth, there_and_back: Callable[[Tensor], Tensor]) -> Tensor:
    """The oracle as the codec shows it, in the mask: nothing that is made of its latents can be better.

    `there_and_back` encodes and decodes frames_fhwc in 0..1.
    """
    return _composited(there_and_back(truth.oracle_fhwc).clamp(0, 1), truth.oracle_fhwc, truth.edit_mask_fhw)


def references(source_fhwc: Tensor, truth: Truth, there_and_back: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """What stands beside a model's figures, by name: the codec's limit, and the trivial answers.

    A static copy has the oracle's first frame as its keyframe; only a model that got it too may be compared with it.
    """
    mask_fhw = truth.edit_mask_fhw
    answers = {
        "codec limit": codec_answer(truth, there_and_back),
        "nothing done": source_fhwc,
        "mean fill": mean_fill(source_fhwc, mask_fhw),
    }
    if truth.colour is not None:
        answers["whole mask"] = painted_mask(source_fhwc, mask_fhw, truth.colour)
        answers["static copy"] = static_copy(source_fhwc, mask_fhw, truth.oracle_fhwc[0])
    return answers


def mean_fill(source_fhwc: Tensor, edit_mask_fhw: Tensor) -> Tensor:
    """A trivial answer: the mask filled with the mean colour of what is around it, in each frame."""
    keep = 1 - edit_mask_fhw[..., None]
    mean = (source_fhwc * keep).sum((1, 2), keepdim=True) / keep.sum((1, 2), keepdim=True).clamp(min=1)
    return _composited(mean.expand_as(source_fhwc), source_fhwc, edit_mask_fhw)


def painted_mask(source_fhwc: Tensor, edit_mask_fhw: Tensor, colour: str) -> Tensor:
    """A trivial answer: the whole mask in the prompted colour."""
    return _composited(rgb(colour).expand_as(source_fhwc), source_fhwc, edit_mask_fhw)


def static_copy(source_fhwc: Tensor, edit_mask_fhw: Tensor, key_hwc: Tensor) -> Tensor:
    """A trivial answer to a keyframe: what it shows in its mask stays in place, the rest of the masks is mean fill."""
    filled = mean_fill(source_fhwc, edit_mask_fhw)
    return _composited(key_hwc.expand_as(source_fhwc), filled, edit_mask_fhw * edit_mask_fhw[:1])


def _composited(inside_fhwc: Tensor, outside_fhwc: Tensor, mask_fhw: Tensor) -> Tensor:
    return torch.where(mask_fhw[..., None] > 0.5, inside_fhwc, outside_fhwc)


def _widened(object_fhw: Tensor) -> Tensor:
    return F.max_pool2d(object_fhw[:, None].float(), 2 * RIM + 1, 1, RIM)[:, 0] > 0


def _iou(found: Tensor, true: Tensor) -> float:
    if not bool(true.any()):
        return math.nan
    return float((found & true).sum()) / float((found | true).sum())


def _colour_accuracy(pixels: Tensor, colour: str | None) -> float:
    if colour is None or not len(pixels):
        return math.nan
    names = list(COLOURS)
    palette = torch.stack([rgb(name) for name in names])
    nearest = (pixels[:, None] - palette).square().sum(-1).argmin(1)
    return float((nearest == names.index(colour)).double().mean())
