"""Several edits of one clip compared: one table, and pictures with all of them side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..checks import check_not_empty, check_same_clip, checked_frames, checked_mask_for
from ..metrics import drawing
from ..metrics.definitions import Measure
from ..metrics.measures import EditMeasures
from ..metrics.report import measure_edit
from ..metrics.sheet import sample_indices
from ..runtime import Runtime
from .pages import shown_value
from .tables import escaped

ORIGINAL = "original"
LONGEST_NAME = 40
GAP, PAD = 6, 12
SMALLEST_PANEL, TALLEST = 160, 1200
COLUMNS_OF_SHEET = 5


@dataclass(frozen=True)
class GraphComparison:
    """The edits of a clip by their names, each with its measures."""

    original_fhwc: Tensor
    edit_mask_fhw: Tensor
    edits: Mapping[str, Tensor]
    measures: Mapping[str, EditMeasures]

    def markdown(self) -> str:
        """One row for each edit, the best of each measure in bold."""
        shown = next(iter(self.measures.values())).shown
        values = {name: [_judged(found, one) for one in shown] for name, found in self.measures.items()}
        best = [_best([row[at] for row in values.values()], one) for at, one in enumerate(shown)]
        titles = [f"{one.label} {'↑' if one.higher_is_better else '↓'}" for one in shown]
        lines = ["| edit | " + " | ".join(titles) + " |", "|---|" + "---|" * len(shown)]
        for name, row in values.items():
            cells = [_cell(value, one, best[at]) for at, (value, one) in enumerate(zip(row, shown))]
            lines.append(f"| {escaped(name)} | " + " | ".join(cells) + " |")
        means = [f"- {one.label} ({one.unit}): {one.meaning}." for one in shown]
        return "\n".join([*lines, "", "↓ lower is better, ↑ higher is better; the best of each is bold.", "", *means])

    def json(self) -> str:
        """Every measure of every edit, frame by frame."""
        edits = [{"name": name, **found.as_dict()} for name, found in self.measures.items()]
        return json.dumps({"version": 1, "edits": edits}, ensure_ascii=False, indent=1, allow_nan=False)


def compare_edits(
    original_fhwc: Tensor,
    edit_mask_fhw: Tensor,
    edits: Mapping[str, Tensor],
    blend_mask_fhw: Tensor | None = None,
    encoder: Any = None,
    caption: str = "",
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
    then: int = 0,
) -> GraphComparison:
    """Measure edits [F, H, W, 3] of one clip with the same masks and the same models; see `measure_edit`.

    Begins `runtime` with two steps for each frame of each edit, and `then` more, which the caller counts. Raises
    ValueError without an edit, and as `measure_edit` does.
    """
    if not edits:
        raise ValueError("Compare Engines: there is no edit to compare; connect at least one.")
    original = checked_frames(original_fhwc, "Compare Engines, original", notes)
    mask = checked_mask_for(edit_mask_fhw, original, "Compare Engines, edit_mask", notes)
    check_not_empty(mask, "Compare Engines, edit_mask")
    if blend_mask_fhw is not None:
        blend_mask_fhw = checked_mask_for(blend_mask_fhw, original, "Compare Engines, blend_mask", notes)
        check_not_empty(blend_mask_fhw, "Compare Engines, blend_mask")
    checked = {}
    for name, frames in edits.items():
        checked[name] = checked_frames(frames, f"Compare Engines, {name}", notes)
        check_same_clip(original, checked[name], ORIGINAL, f"Compare Engines, {name}")
    whole = runtime or Runtime()
    each = 2 * len(original)
    whole.begin(each * len(checked) + then)
    found = {}
    for name, frames in checked.items():
        said: list[str] = []
        found[name] = measure_edit(
            original, frames, mask, blend_mask_fhw, None, _Part(whole, each), said, encoder, caption.strip()
        )
        if notes is not None:
            notes.extend(note for note in said if note not in notes)
    return GraphComparison(original, mask, checked, found)


class _Part(Runtime):
    """A part of a longer run, which has so many `steps` of it, whatever it counts itself."""

    def __init__(self, whole: Runtime, steps: int) -> None:
        super().__init__()
        self._whole, self._steps, self._told = whole, steps, 0

    def advance(self, steps: int = 1, *given: Any, **named: Any) -> None:
        """Count `steps` of its own as their share of the whole run."""
        super().advance(steps)
        reached = self._steps * self.done // max(1, self.total)
        self._whole.advance(reached - self._told, *given, **named)
        self._told = reached

    @contextmanager
    def hold(self, *modules: nn.Module, activations: int = 0) -> Iterator[None]:
        """As the whole run."""
        with self._whole.hold(*modules, activations=activations):
            yield


def names_of(text: str, count: int, notes: list[str] | None = None) -> list[str]:
    """Names for `count` edits from the lines of a text: "edit 2" for one that is missing, no name twice."""
    lines = [" ".join(line.split())[:LONGEST_NAME] for line in text.splitlines() if line.strip()]
    if len(lines) > count and notes is not None:
        notes.append(f"Compare Engines: {len(lines)} names were given for {count} edits; the last ones are not used.")
    names: list[str] = []
    for at in range(count):
        name = lines[at] if at < len(lines) else f"edit {at + 1}"
        again = sum(one == name or one.startswith(f"{name} (") for one in names)
        names.append(f"{name} ({again + 1})" if again or name == ORIGINAL else name)
    return names


def _judged(found: EditMeasures, measure: Measure) -> float:
    return found.mean(measure.key) if measure.judge_mean else found.worst(measure.key)[0]


def _best(values: Sequence[float], measure: Measure) -> float:
    known = [value for value in values if math.isfinite(value)]
    return (max if measure.higher_is_better else min)(known, default=math.nan)


def _cell(value: float, measure: Measure, best: float) -> str:
    text = shown_value(value, measure)
    return f"**{text}**" if value == best else text


def grid_frames(found: GraphComparison, max_width: int = 1920, runtime: Runtime | None = None) -> Iterator[Tensor]:
    """The original, with the mask's outline, and all edits beside and below each other: an image_hwc for each frame."""
    count, height, width = found.edit_mask_fhw.shape
    panels = [ORIGINAL, *found.edits]
    columns = _columns(len(panels), width, height)
    panel = _panel_size(width, height, (max_width - GAP * (columns - 1)) // columns)
    text = min(max(round(0.05 * panel[1]), 12), 28)
    labels = [drawing.pill(_fitting(name, panel[0] - 2 * text, text), text) for name in panels]
    rows = math.ceil(len(panels) / columns)
    ground = np.empty(
        (drawing.even(rows * (panel[1] + GAP) - GAP), drawing.even(columns * (panel[0] + GAP) - GAP), 3), np.uint8
    )
    for index in range(count):
        ground[:] = drawing.BACKGROUND
        for place, picture in enumerate(_pictures(found, index, panel)):
            top, left = (step * (side + GAP) for step, side in zip(divmod(place, columns), panel[::-1]))
            ground[top : top + panel[1], left : left + panel[0]] = picture
            drawing.stamp(ground, labels[place], left + text // 2, top + text // 2)
        yield drawing.to_image(ground)
        if runtime is not None:
            runtime.advance()


def grid_sheet(found: GraphComparison, max_width: int = 1600) -> Tensor:
    """One picture [H, W, 3]: a row for the original and each edit, a column for each of a few frames of the clip."""
    count, height, width = found.edit_mask_fhw.shape
    shown = sample_indices(count, (), COLUMNS_OF_SHEET)
    cell = _panel_size(width, height, (max_width - 2 * PAD - GAP * (len(shown) - 1)) // len(shown))
    text = min(max(round(0.06 * cell[1]), 13), 22)
    head, names = round(2 * text), [ORIGINAL, *found.edits]
    row = head + cell[1] + GAP
    total = (drawing.even(2 * PAD + len(names) * row), drawing.even(2 * PAD + len(shown) * (cell[0] + GAP) - GAP))
    sheet = np.empty((*total, 3), np.uint8)
    sheet[:] = drawing.BACKGROUND
    for place, name in enumerate(names):
        drawing.stamp(sheet, drawing.lettering(_fitting(name, total[1] - 2 * PAD, text), text), PAD, PAD + place * row)
    for column, index in enumerate(shown):
        left = PAD + column * (cell[0] + GAP)
        for place, picture in enumerate(_pictures(found, index, cell)):
            top = PAD + place * row + head
            sheet[top : top + cell[1], left : left + cell[0]] = picture
        label = drawing.pill(f"frame {index}", text)
        drawing.stamp(sheet, label, left + GAP, PAD + head + GAP)
    return drawing.to_image(sheet)


def _pictures(found: GraphComparison, index: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """A frame of the original and of each edit, uint8 at (width, height)."""
    original = drawing.resized(drawing.to_bytes(found.original_fhwc[index]), size)
    inside = drawing.resized_mask(found.edit_mask_fhw[index], size)
    yield drawing.outlined(original, inside, drawing.MASK, drawing.line_width(*size))
    for frames in found.edits.values():
        yield drawing.resized(drawing.to_bytes(frames[index]), size)


def _columns(panels: int, width: int, height: int) -> int:
    """So many that the whole is nearest to the aspect of a screen."""

    def off(columns: int) -> float:
        aspect = columns * width / (math.ceil(panels / columns) * height)
        return abs(math.log(aspect / (16 / 9)))

    return min(range(1, panels + 1), key=off)


def _panel_size(width: int, height: int, room: int) -> tuple[int, int]:
    """Shrunk to its room, or magnified a whole number of times if tiny."""
    if width > room or height > TALLEST:
        return drawing.fitted(width, height, room, TALLEST)
    times = max(1, min(math.ceil(SMALLEST_PANEL / width), room // width))
    return times * width, times * height


def _fitting(name: str, room: int, size: int) -> str:
    """A name as far as there is room for it."""
    while len(name) > 1 and drawing.text_width(name, size) > room:
        name = name[:-2] + "…"
    return name
