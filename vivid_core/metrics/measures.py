"""The result of measuring an edit: a series for each measure, lines for people, JSON for programs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

NOT_VISIBLE = 0.5 / 255  # less than half a step of an 8-bit video


@dataclass(frozen=True)
class Measure:
    """What a person must know to read one series: its name, its unit and which values are good. Lower is better.

    `good` and `fair` are upper limits: of the mean over the clip if `judge_mean`, else of the worst frame.
    """

    key: str
    label: str
    unit: str
    good: float
    fair: float
    judge_mean: bool
    meaning: str


MEASURES = (
    Measure(
        key="outside_difference",
        label="Outside difference",
        unit="0..1",
        good=0.0,
        fair=NOT_VISIBLE,
        judge_mean=False,
        meaning="largest change of any pixel outside the mask",
    ),
    Measure(
        key="background",
        label="Background (BP)",
        unit="0..255",
        good=1.0,
        fair=5.0,
        judge_mean=True,
        meaning="mean change outside the edit mask, feather included",
    ),
    Measure(
        key="seam",
        label="Seam",
        unit="dE",
        good=3.0,
        fair=8.0,
        judge_mean=False,
        meaning="colour step across the mask border, beyond the original's",
    ),
    Measure(
        key="flicker",
        label="Ring flicker",
        unit="0..255",
        good=2.0,
        fair=6.0,
        judge_mean=False,
        meaning="change per frame around the border, beyond the original's",
    ),
    Measure(
        key="drift",
        label="Keyframe drift",
        unit="dE",
        good=5.0,
        fair=12.0,
        judge_mean=False,
        meaning="colours of the edited region against its nearest keyframe",
    ),
)


@dataclass(frozen=True)
class EditMeasures:
    """Every measure of an edit, frame by frame; NaN where a frame has none (no mask, no previous frame).

    `background_preservation` is BP over the whole clip. `drift_from` are the frames that drift was measured against:
    the keyframes, or the first masked frame when there are none (`key_indices` is empty then).
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

    @property
    def frame_count(self) -> int:
        return len(self.outside_difference)

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
        """The highest value and its first frame; (NaN, None) when no frame has a value."""
        values = [(value, -index) for index, value in enumerate(self.series(key)) if not math.isnan(value)]
        if not values:
            return math.nan, None
        value, index = max(values)
        return value, -index

    def text(self) -> str:
        """One line for each measure: a verdict, the mean, the worst frame. It reads well in any font and any width."""
        return "\n".join([self._headline(), "", *map(self._line, MEASURES), "", *self._remarks()])

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
        }

    def verdict(self, measure: Measure) -> str:
        """The measure's grade in a word; for the outside difference what it means."""
        value = self.mean(measure.key) if measure.judge_mean else self.worst(measure.key)[0]
        if math.isnan(value):
            return "not measured"
        grade = 0 if value <= measure.good else 1 if value <= measure.fair else 2
        if measure.key == "outside_difference":
            return ("bit-exact", "too small to see", "changed")[grade]
        return ("good", "fair", "poor")[grade]

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
        style = ".3g" if measure.key == "outside_difference" else ".2f"
        where = "" if worst == 0 else f" at frame {at_frame}"
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
        return remarks


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")


def _cell(value: float, style: str) -> str:
    return "0" if value == 0 else f"{value:{style}}"
