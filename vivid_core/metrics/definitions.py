"""The measures of an edit: what each one is called, its unit, and which values are good."""

from __future__ import annotations

import math
from dataclasses import dataclass

NOT_VISIBLE = 0.5 / 255  # less than half a step of an 8-bit video


@dataclass(frozen=True)
class Measure:
    """What a person must know to read one series: its name, its unit and which values are good.

    `good` and `fair` are limits: of the mean over the clip if `judge_mean`, else of the worst frame. They are upper
    limits where lower is better, else lower ones; without them no value is good or bad by itself. `needs` says what a
    measure is made from that not everybody has: it is left out of text and chart where that is missing.
    """

    key: str
    label: str
    unit: str
    good: float | None
    fair: float | None
    judge_mean: bool
    meaning: str
    higher_is_better: bool = False
    needs: str = ""

    def verdict(self, value: float) -> str:
        """The grade of a value in a word; for the outside difference what it means."""
        if math.isnan(value):
            return "not measured"
        if self.good is None or self.fair is None:
            return "measured"
        sign = -1 if self.higher_is_better else 1
        grade = 0 if sign * value <= sign * self.good else 1 if sign * value <= sign * self.fair else 2
        if self.key == "outside_difference":
            return ("bit-exact", "too small to see", "changed")[grade]
        return ("good", "fair", "poor")[grade]


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
        meaning="colour step across the mask border where the original has no edge",
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
    Measure(
        key="warp_inside",
        label="Warp error inside",
        unit="0..255",
        good=2.0,
        fair=6.0,
        judge_mean=True,
        meaning="change along the motion inside the mask, beyond the original's",
        needs="motion",
    ),
    Measure(
        key="warp_outside",
        label="Warp error outside",
        unit="0..255",
        good=0.5,
        fair=2.0,
        judge_mean=True,
        meaning="change along the motion outside the mask, beyond the original's",
        needs="motion",
    ),
    Measure(
        key="motion_fidelity",
        label="Motion fidelity",
        unit="0..1",
        good=0.9,
        fair=0.7,
        judge_mean=True,
        meaning="how much of the mask's path the edited object keeps; higher is better",
        higher_is_better=True,
        needs="motion",
    ),
    Measure(
        key="text_alignment",
        label="Text alignment (TA)",
        unit="0..100",
        good=None,
        fair=None,
        judge_mean=True,
        meaning="CLIP score of the edited region and the caption; higher is better",
        higher_is_better=True,
        needs="text",
    ),
    Measure(
        key="temporal_consistency",
        label="Temporal consistency (TC)",
        unit="cosine",
        good=None,
        fair=None,
        judge_mean=True,
        meaning="CLIP cosine with the frame before; higher is better",
        higher_is_better=True,
        needs="pictures",
    ),
)
