"""What the user marks: points, boxes and masks on frames of a clip, and the texts they come from.

Coordinates are normalised to 0..1 of the frame's width and height, so that prompts survive a resize of the clip. A
pixel `x` of a frame `width` wide becomes `x / width`: the left edge of that pixel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..checks import checked_mask
from .prompt_text import BOX_EXAMPLE, is_number, read_box, read_json, read_points

Point = tuple[float, float, int]
Box = tuple[float, float, float, float]

BOX_SLACK = 1.0  # pixels: detectors round their boxes outwards


@dataclass(frozen=True)
class Prompt:
    """What is marked of one object on one frame.

    `points` are (x, y, label) with label 1 on the object and 0 on the background; `box` is (x0, y0, x1, y1); both
    normalised to 0..1. `mask_hw` (float32 [H, W]) is a finished mask, and may be empty: "the object is not here".
    """

    frame: int
    object_id: int = 1
    points: tuple[Point, ...] = ()
    box: Box | None = None
    mask_hw: Tensor | None = None

    @property
    def name(self) -> str:
        return f"object {self.object_id} on frame {self.frame}"

    @property
    def shows(self) -> bool:
        """Whether anything is marked as the object: an empty mask says that it is not here."""
        return self.box is not None or bool(self.points) or (self.mask_hw is not None and bool(self.mask_hw.any()))


class Prompts:
    """Prompts in the order of frame and object, at most one for each pair of them.

    Several prompts of one object on one frame become one: their points add up, but they may not bring two different
    boxes or two different masks.
    """

    def __init__(self, prompts: Iterable[Prompt] = ()) -> None:
        """Raises ValueError when a prompt marks nothing, lies outside the frame, or contradicts another one."""
        merged: dict[tuple[int, int], Prompt] = {}
        for prompt in prompts:
            key = (prompt.frame, prompt.object_id)
            checked = _checked(prompt)
            merged[key] = _together(merged[key], checked) if key in merged else checked
        self._prompts = tuple(merged[key] for key in sorted(merged))

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self._prompts)

    def __len__(self) -> int:
        return len(self._prompts)

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted({prompt.object_id for prompt in self._prompts}))

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that carry at least one prompt, in order."""
        return tuple(sorted({prompt.frame for prompt in self._prompts}))

    def of_object(self, object_id: int) -> tuple[Prompt, ...]:
        """The prompts of one object, in the order of their frames."""
        return tuple(prompt for prompt in self._prompts if prompt.object_id == object_id)

    def merged(self, others: Iterable[Prompt]) -> Prompts:
        """This collection and `others` together. Raises ValueError when they contradict each other."""
        return Prompts([*self._prompts, *others])

    def fitted(self, frames_fhwc: Tensor) -> Prompts:
        """These prompts for this clip: frames counted from the end (negative) become positive.

        Raises ValueError when a frame is outside the clip or a mask has another size than the frames.
        """
        count, height, width = frames_fhwc.shape[:3]
        return Prompts(_fitted(prompt, count, height, width) for prompt in self._prompts)


def parse_points(text: str | Sequence[Any] | Mapping[str, Any], width: int, height: int, frame: int = 0) -> Prompts:
    """Read points in pixels of a `width` x `height` frame; an empty text gives no prompts.

    Understood: a JSON list of {"x", "y"} with optional "label" (1 object, 0 background), "frame" (else `frame`) and
    "object" (else 1); such a list where the items are JSON texts themselves (KJNodes); pairs [x, y]; and
    {"positive": [...], "negative": [...]}.
    Raises ValueError on malformed JSON (with the place), on other content, and on points outside the frame.
    """
    content = read_json(text) if isinstance(text, str) else text
    if content is None:
        return Prompts()
    return Prompts(
        Prompt(at, object_id, points=((x / width, y / height, label),))
        for x, y, label, at, object_id in read_points(content, None, frame)
        if _inside(x, y, width, height)
    )


def parse_box(
    boxes: str | Mapping[str, Any] | Sequence[Any] | None, width: int, height: int, frame: int = 0
) -> Prompts:
    """Read a box in pixels: "x, y, width, height", or ComfyUI's BOUNDING_BOX (a mapping), or a list of those.

    A single box is object 1; the boxes of a list are objects 1, 2, 3 ... An empty text or list gives no prompts. Of a
    list of lists, one for each frame as detectors give them, the one of `frame` is read, or the only one.
    A box may leave the frame by rounding (1 pixel) and is cut there; one with a score, which a detector guessed, may
    leave it anywhere.
    Raises ValueError when it is no box, has no area, or lies outside the frame.
    """
    if boxes is None or (isinstance(boxes, str) and not boxes.strip()):
        return Prompts()
    if isinstance(boxes, Sequence) and not isinstance(boxes, str):
        numbers_only = len(boxes) == 4 and all(is_number(value) for value in boxes)
        items: Sequence[Any] = [boxes] if numbers_only else _of_frame(boxes, frame)
    else:
        items = [boxes]
    return Prompts(
        Prompt(frame, number, box=_box(read_box(item), width, height, _slack(item)))
        for number, item in enumerate(items, start=1)
    )


def parse_indices(text: str, count: int | None = None) -> tuple[int, ...]:
    """Read frame numbers such as "0, 24, -1", in the order given; negative ones count from the end of `count` frames.

    Without `count` (the clip is not known yet) negative ones are kept as they are.
    Raises ValueError when an entry is no whole number or lies outside the clip.
    """
    indices = []
    for entry in re.split(r"[\s,;]+", text.strip().strip("[]").strip()):
        if not entry:
            continue
        if not re.fullmatch(r"[+-]?\d{1,9}", entry):
            raise ValueError(
                f'Frame numbers: got "{entry}", but each entry must be a whole number; write them like "0, 24, -1".'
            )
        indices.append(int(entry) if count is None else frame_index(int(entry), count, "Frame numbers"))
    return tuple(indices)


def parse_ids(text: str) -> tuple[int, ...] | None:
    """Read object numbers such as "1, 3"; None for "all" or an empty text. Raises ValueError on anything else."""
    entries = [entry for entry in re.split(r"[\s,;]+", text.strip().strip("[]").strip()) if entry]
    if not entries or entries == ["all"]:
        return None
    wrong = next((entry for entry in entries if not re.fullmatch(r"\d{1,9}", entry)), None)
    if wrong is not None:
        raise ValueError(
            f'Objects: got "{wrong}", but each entry must be the number of an object; write them like "1, 3", or "all".'
        )
    return tuple(dict.fromkeys(int(entry) for entry in entries))


def mask_prompts(
    masks_fhw: Tensor, frames: Sequence[int] | None = None, first: int = 0, object_id: int = 1
) -> list[Prompt]:
    """A prompt for each mask of [F, H, W]: on `frames`, or one after the other from frame `first`.

    Raises ValueError unless there is one frame for each mask.
    """
    masks_fhw = checked_mask(masks_fhw, "Masks")
    count = masks_fhw.shape[0]
    frames = range(first, first + count) if frames is None else frames
    if len(frames) != count:
        raise ValueError(
            f"Masks: got {count} masks and {len(frames)} frame numbers; write one frame number for each mask, such as "
            '"0, 40".'
        )
    return [Prompt(frame, object_id, mask_hw=mask_hw) for frame, mask_hw in zip(frames, masks_fhw)]


def frame_index(index: int, count: int, what: str) -> int:
    """`index` in a clip of `count` frames, counted from the end if negative. Raises ValueError when outside."""
    found = index + count if index < 0 else index
    if not 0 <= found < count:
        raise ValueError(
            f"{what}: got frame {index}, but the clip has {count} frames, so frame numbers must lie in "
            f"0..{count - 1} (or -{count}..-1, counted from the end)."
        )
    return found


def _checked(prompt: Prompt) -> Prompt:
    if not prompt.points and prompt.box is None and prompt.mask_hw is None:
        raise ValueError(f"Prompt: {prompt.name} has no point, box or mask; give at least one of them.")
    for x, y, label in prompt.points:
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(
                f"Prompt: {prompt.name} has a point at ({x:g}, {y:g}), but points must lie in 0..1 of the frame; "
                "divide pixels by the frame's width and height."
            )
        if label not in (0, 1):
            raise ValueError(
                f"Prompt: {prompt.name} has a point with label {label}; use 1 for the object, 0 for the background."
            )
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ValueError(
                f"Prompt: {prompt.name} has the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}), but a box is left, top, right, "
                "bottom within 0..1 of the frame and needs an area; divide pixels by the frame's width and height."
            )
    if prompt.mask_hw is None:
        return prompt
    mask_fhw = checked_mask(prompt.mask_hw, f"Prompt, mask of {prompt.name}")
    if mask_fhw.shape[0] != 1:
        raise ValueError(
            f"Prompt: {prompt.name} has {mask_fhw.shape[0]} masks, but a prompt takes one; give the others their own "
            "frames."
        )
    return replace(prompt, mask_hw=mask_fhw[0])


def _together(first: Prompt, second: Prompt) -> Prompt:
    if first.box is not None and second.box is not None and first.box != second.box:
        raise ValueError(f"Prompt: two boxes are given for {first.name}; keep one, or make them different objects.")
    mask_hw = second.mask_hw if first.mask_hw is None else first.mask_hw
    if first.mask_hw is not None and second.mask_hw is not None and not torch.equal(first.mask_hw, second.mask_hw):
        raise ValueError(f"Prompt: two masks are given for {first.name}; keep one, or move one to another frame.")
    points = tuple(dict.fromkeys([*first.points, *second.points]))
    return replace(first, points=points, box=first.box or second.box, mask_hw=mask_hw)


def _fitted(prompt: Prompt, count: int, height: int, width: int) -> Prompt:
    if prompt.mask_hw is not None and tuple(prompt.mask_hw.shape) != (height, width):
        raise ValueError(
            f"Prompt: the mask of {prompt.name} is {prompt.mask_hw.shape[1]}x{prompt.mask_hw.shape[0]}, but the "
            f"frames are {width}x{height}; resize the mask to the frames."
        )
    return replace(prompt, frame=frame_index(prompt.frame, count, "Prompt"))


def _of_frame(boxes: Sequence[Any], frame: int) -> Sequence[Any]:
    """The boxes of one frame, if they are given by frame: nothing in them says which of two frames are one object."""
    by_frame = all(isinstance(item, Sequence) and not isinstance(item, str) for item in boxes)
    if not boxes or not by_frame or any(is_number(value) for item in boxes for value in item):
        return boxes
    if len(boxes) == 1:
        return list(boxes[0])
    return list(boxes[frame_index(frame, len(boxes), "Boxes")])


def _inside(x: float, y: float, width: int, height: int) -> bool:
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(
            f"Points: the point ({x:g}, {y:g}) is outside the {width}x{height} frame; x must lie in 0..{width - 1} and "
            f"y in 0..{height - 1}."
        )
    return True


def _slack(item: Any) -> float:
    """By how many pixels a box may leave the frame."""
    return math.inf if isinstance(item, Mapping) and "score" in item else BOX_SLACK


def _box(values: tuple[float, float, float, float], width: int, height: int, slack: float) -> Box:
    x, y, box_width, box_height = values
    shown = f"{x:g}, {y:g}, {box_width:g}, {box_height:g}"
    if box_width <= 0 or box_height <= 0:
        raise ValueError(f"Box: {shown} has no area; width and height must be above 0, so {BOX_EXAMPLE}.")
    right, bottom = x + box_width, y + box_height
    if min(x, y) < -slack or right > width + slack or bottom > height + slack:
        raise ValueError(
            f"Box: {shown} (x, y, width, height) leaves the {width}x{height} frame; it must end at x <= {width} and "
            f"y <= {height} and begin at 0 or later, so make it smaller or move it."
        )
    if x >= width or y >= height or right <= 0 or bottom <= 0:
        raise ValueError(f"Box: {shown} (x, y, width, height) lies outside the {width}x{height} frame; move it inside.")
    return max(x, 0.0) / width, max(y, 0.0) / height, min(right / width, 1.0), min(bottom / height, 1.0)
