"""The result of measuring an edit: a series for each measure, lines for people, JSON for programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from .definitions import MEASURES, Measure

__all__ = ["MEASURES", "SCORES", "EditMeasures", "Measure"]

SCORES = (  # one number for the clip, always all of them in JSON
    "text_alignment_original",
    "temporal_consistency_original",
    "clip_frame",
    "clip_frame_original",
    "preference",
    "video_text",
    "video_direction",
)
MODELS = ("encoder", "preference", "video_encoder")


@dataclass(frozen=True)
class EditMeasures:
    """Every measure of an edit, frame by frame; NaN where a frame has none (no mask, no previous frame).

    `background_preservation` is BP over the whole clip. `drift_from` are the frames that drift was measured against:
    the keyframes, or the first masked frame when there are none (`key_indices` is empty then). `made_from` names what
    was at hand beyond the clips: "motion", "pictures", "text" (see `Measure.needs`). `models` are the identities of
    the models that judged, by MODELS; `scores` the numbers of SCORES that were measured.
    """

    width: int
    height: int
    key_indices: tuple[int, ...]
    drift_from: tuple[int, ...]
    blend_mask_given: bool
    masked_frames: int
    mask_share: float
    background_preservation: float
    outside_difference: tuple[float, ...]
    background: tuple[float, ...]
    seam: tuple[float, ...]
    flicker: tuple[float, ...]
    drift: tuple[float, ...]
    warp_inside: tuple[float, ...]
    warp_outside: tuple[float, ...]
    motion_fidelity: tuple[float, ...]
    text_alignment: tuple[float, ...]
    temporal_consistency: tuple[float, ...]
    made_from: Set[str] = frozenset()
    caption: str = ""
    source_caption: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def frame_count(self) -> int:
        return len(self.outside_difference)

    @property
    def shown(self) -> tuple[Measure, ...]:
        """The measures for which everything was at hand."""
        return tuple(measure for measure in MEASURES if not measure.needs or measure.needs in self.made_from)

    @property
    def outside_maximum(self) -> float:
        """The largest change of any value outside the mask, in any frame, in 0..1."""
        return max(self.outside_difference)

    @property
    def bit_exact(self) -> bool:
        """Whether not one value changed outside the mask, in any frame."""
        return self.outside_maximum == 0

    def series(self, key: str) -> tuple[float, ...]:
        """The per-frame values of the measure `key`, one of `MEASURES`."""
        values: tuple[float, ...] = getattr(self, key)
        return values

    def mean(self, key: str) -> float:
        """Mean over the frames that have a value; BP is weighted by pixels, as its definition says."""
        if key == "background":
            return self.background_preservation
        values = [value for value in self.series(key) if not math.isnan(value)]
        return sum(values) / len(values) if values else math.nan

    def worst(self, key: str) -> tuple[float, int | None]:
        """The worst value (the lowest where higher is better) and its first frame; (NaN, None) when there is none."""
        sign = next(-1 if measure.higher_is_better else 1 for measure in MEASURES if measure.key == key)
        values = [(sign * value, -index) for index, value in enumerate(self.series(key)) if not math.isnan(value)]
        if not values:
            return math.nan, None
        value, index = max(values)
        return sign * value, -index

    def worst_frames(self) -> dict[int, str]:
        """The frames to look at, in order: the worst one of each measure that is not good, and of which it is."""
        named: dict[int, list[str]] = {}
        for measure in self.shown:
            at_frame = self.worst(measure.key)[1]
            if at_frame is not None and self.verdict(measure) in ("fair", "poor", "changed"):
                named.setdefault(at_frame, []).append(measure.label.split(" (")[0].lower())
        return {index: "worst " + ", ".join(named[index]) for index in sorted(named)}

    def verdict(self, measure: Measure) -> str:
        """The measure's grade in a word; for the outside difference what it means."""
        return measure.verdict(self.mean(measure.key) if measure.judge_mean else self.worst(measure.key)[0])

    def text(self) -> str:
        """One line for each measure: a verdict, the mean, the worst frame. It reads well in any font and any width."""
        return "\n".join([self._headline(), "", *map(self._line, self.shown), "", *self._remarks()])

    def json(self) -> str:
        """The same as JSON with stable keys; values that are not defined are null."""
        text = json.dumps(self.as_dict(), indent=2)
        return re.sub(r"\[[^\[\]{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)  # a series is one line

    def as_dict(self) -> dict[str, Any]:
        """What `json` writes, as plain Python values."""
        return {
            "frames": self.frame_count,
            "width": self.width,
            "height": self.height,
            "masked_frames": self.masked_frames,
            "mask_share": round(self.mask_share, 6),
            "keyframes": list(self.key_indices),
            "drift_from": list(self.drift_from),
            "blend_mask": self.blend_mask_given,
            "bit_exact_outside": self.bit_exact,
            "summary": {measure.key: self._summary(measure) for measure in MEASURES},
            "per_frame": {measure.key: [_number(v) for v in self.series(measure.key)] for measure in MEASURES},
            "caption": self.caption,
            "source_caption": self.source_caption,
            "models": {role: self.models.get(role) for role in MODELS},
            "scores": {key: _number(self.scores.get(key, math.nan)) for key in SCORES},
        }

    def _summary(self, measure: Measure) -> dict[str, Any]:
        worst, at_frame = self.worst(measure.key)
        return {
            "mean": _number(self.mean(measure.key)),
            "worst": _number(worst),
            "worst_frame": at_frame,
            "unit": measure.unit,
            "verdict": self.verdict(measure),
        }

    def _line(self, measure: Measure) -> str:
        worst, at_frame = self.worst(measure.key)
        start = f"{measure.label}: {self.verdict(measure)}"
        if math.isnan(worst):
            return f"{start} ({measure.meaning})."
        style = {"0..1": ".3g", "cosine": ".4f"}.get(measure.unit, ".2f")
        where = "" if worst == 0 and not measure.higher_is_better else f" at frame {at_frame}"
        mean = _cell(self.mean(measure.key), style)
        return f"{start}. Mean {mean}, worst {_cell(worst, style)}{where} ({measure.unit}): {measure.meaning}."

    def _headline(self) -> str:
        clip = (
            f"{self.frame_count} frames of {self.width}x{self.height}; the mask is on {self.masked_frames} of them and"
        )
        if self.frame_count == 1:
            clip = f"1 frame of {self.width}x{self.height}; the mask"
        keys = ", ".join(map(str, self.key_indices))
        keys = f"keyframe{'s' if len(self.key_indices) > 1 else ''} {keys}" if keys else "no keyframes"
        return f"{clip} covers {100 * self.mask_share:.1f} % of the picture; {keys}."

    def _remarks(self) -> list[str]:
        mask = "blend mask" if self.blend_mask_given else "edit mask"
        if self.bit_exact:
            remarks = [f"Outside the {mask} the edit is bit-exact: the largest difference is 0."]
        else:
            worst, at_frame = self.worst("outside_difference")
            remarks = [f"Outside the {mask} the edit differs by up to {255 * worst:.2f} of 255 (frame {at_frame})."]
            if not self.blend_mask_given:
                remarks.append("Connect the blend mask to leave the feather out of this.")
        if not self.key_indices and self.drift_from:
            remarks.append(f"No keyframes were given: drift is measured against frame {self.drift_from[0]}.")
        return [*remarks, *self._judged()]

    def _judged(self) -> list[str]:
        """What models said of the whole clip, and which models these were."""
        said = {
            "text_alignment_original": "TA of the original, same caption: {:.2f}.",
            "temporal_consistency_original": "TC of the original: {:.4f}.",
            "clip_frame": "CLIPFrame: {:.4f} (a clip that stands still scores best).",
            "clip_frame_original": "CLIPFrame of the original: {:.4f}.",
            "preference": "Preference score: {:.3f}.",
            "video_text": "Clip and caption: {:.4f}.",
            "video_direction": "Change of the clip and change of the caption: {:.4f}.",
        }
        lines = [said[key].format(self.scores[key]) for key in SCORES if not math.isnan(self.scores.get(key, math.nan))]
        names = {"encoder": "Judged by", "preference": "Preference by", "video_encoder": "Clips by"}
        lines += [f"{names[role]} {self.models[role]}." for role in MODELS if role in self.models]
        if "text" not in self.made_from and "encoder" in self.models:
            lines.append("TA was not measured: it needs a caption of the edited region and the text half of CLIP.")
        return lines


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")


def _cell(value: float, style: str) -> str:
    return "0" if value == 0 else f"{value:{style}}"
