"""Removing an object: the hole is filled with what other frames show there, the rest is invented once and carried.

Every hole pixel follows the background's motion into the past and the future until it is seen; it is then copied from
that frame, in one step and in that frame's own sharpness, with the two frames' exposure evened out. What no frame
shows is filled by patches on one frame of the shot and carried from there to all others, so that it doesn't flicker.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..checks import check_not_empty, checked_frames, checked_mask_for
from ..masks.fields import Box
from ..masks.flow import INVERSE_SEARCH, FlowEstimator
from ..optional import opencv
from ..runtime import Runtime
from ..video.composite import composite, feather_outside
from .background import Background
from .camera import PURPOSE
from .hole_filling import fill_hole
from .propagation import Propagation
from .sources import NOWHERE, Sources, colours, next_sources

GROWN = 1 / 360  # of the frame's height: how far the hole goes beyond the mask, for the object's soft edge
NEARLY_MOST = 0.9  # a frame that misses this share of what the worst one misses may be filled instead of it
CANDIDATES = 16  # frames that are compared for it
NEARBY = 40  # pixels around a hole whose look decides what is put into it
MOST_INVENTED = 6  # frames of one shot that may be filled by patches before what is left is filled frame by frame


def remove_by_flow(
    frames_fhwc: Tensor,
    mask_fhw: Tensor,
    feather: float = 8.0,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
    flow: FlowEstimator = INVERSE_SEARCH,
) -> Propagation:
    """Remove what the mask marks from a clip.

    `frames_fhwc` float32 [F, H, W, 3], `mask_fhw` [F, H, W] (above 0.5 = remove), `feather` in pixels: the soft rim
    outside the mask over which the filled hole fades into the frame. Frames with an empty mask stay bit-exact, as
    does everything where the returned blend mask is 0.
    `flow` finds the motion from frame to frame.
    Raises ValueError when the mask is empty on all frames, covers everything, or doesn't fit the frames.
    """
    runtime = runtime or Runtime()
    frames = checked_frames(frames_fhwc, "Remove", notes)
    mask = checked_mask_for(mask_fhw, frames, "Remove, mask", notes)
    check_not_empty(mask, "Remove, mask")
    runtime.begin(5 * len(frames))
    blend = _holes(mask, feather, runtime)
    background = Background(frames, blend, flow)
    for _ in frames:
        background.look()
        runtime.advance()
    work = _Removal(frames, background, runtime)
    work.copy_from_other_frames()
    work.invent_the_rest()
    confidence = torch.ones(len(frames))
    for index in range(len(frames)):
        _composite(frames, work.result, blend, index)
        confidence[index] = work.confidence(index)
        runtime.advance(preview=work.preview(index))
    return Propagation(work.result, blend, confidence, work.report())


def _holes(mask: Tensor, feather: float, runtime: Runtime) -> Tensor:
    """The blend mask: the mask grown by the object's soft edge, and the feather around it."""
    cv2 = opencv(PURPOSE)
    radius = max(1, round(mask.shape[1] * GROWN))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    blend = torch.empty(mask.shape, dtype=torch.float32)
    for index, mask_hw in enumerate(mask):
        grown = cv2.dilate((mask_hw > 0.5).numpy().astype(np.uint8), kernel)
        blend[index] = feather_outside(torch.from_numpy(grown)[None].float(), feather)[0]
        runtime.advance()
    if bool((blend > 0).all()):
        raise ValueError(
            "Remove, mask: it covers every pixel of every frame, so nothing is left to fill it with; mark only the "
            "object, or check that the mask is not inverted."
        )
    return blend


def _composite(frames: Tensor, result: Tensor, blend: Tensor, index: int) -> None:
    one = slice(index, index + 1)
    result[one] = composite(frames[one], result[one], blend[one])


class _Removal:
    """The passes over a clip. `result` holds the frames with their holes as far as they are filled."""

    def __init__(self, frames: Tensor, background: Background, runtime: Runtime) -> None:
        self._frames, self._background, self._runtime = frames, background, runtime
        self.result = frames.clone()
        self._unknown: list[_Flags | None] = [None] * len(frames)
        self._hole_pixels = np.zeros(len(frames), np.int64)
        self._copied = np.zeros(len(frames), np.int64)
        self._invented_on: list[int] = []
        self._left = 0
        self._revealed: dict[int, bool] = {}

    def preview(self, index: int) -> Callable[[], Tensor]:
        """Shows frame `index` as it is by then."""
        return lambda: self.result[index]

    def copy_from_other_frames(self) -> None:
        """Fill what other frames show: once from the past, then from the future, whichever is nearer in time."""
        ages: list[bytes] = []
        sources: Sources | None = None
        for index in range(len(self._frames)):
            sources = self._next(index, index - 1, sources)
            ages.append(b"" if sources is None else self._fill_from_the_past(sources))
            self._runtime.advance(preview=self.preview(index))
        sources = None
        for index in reversed(range(len(self._frames))):
            sources = self._next(index, index + 1, sources)
            if sources is not None:
                self._fill_from_the_future(sources, ages[index])
            self._runtime.advance(preview=self.preview(index))

    def _next(self, index: int, other: int, before: Sources | None) -> Sources | None:
        """Sources for a frame; none on a shot in which the object stays on the background."""
        shot = self._background.views[index].shot
        if shot not in self._revealed:
            self._revealed[shot] = self._background.is_revealed(shot)
        return next_sources(self._background, index, other if self._revealed[shot] else NOWHERE, before)

    def _fill_from_the_past(self, sources: Sources) -> bytes:
        """Returns the ages, compressed: they are large patches of equal numbers."""
        hidden = self._background.hidden(sources.index)[sources.box.slices]
        self._hole_pixels[sources.index] = int(hidden.sum())
        self._paint(sources, self._shown(sources, ~hidden), hidden & sources.known)
        return zlib.compress(sources.age.astype(np.int16).tobytes(), 1)

    def _fill_from_the_future(self, sources: Sources, past: bytes) -> None:
        index, box = sources.index, sources.box
        hidden = self._background.hidden(index)[box.slices]
        ages = np.frombuffer(zlib.decompress(past), np.int16).reshape(sources.frame.shape).astype(np.int32)
        share = _share_of_the_past(ages, sources.age)[..., None]
        shown = self._shown(sources, ~hidden)
        mixed = shown + (self.result[index].numpy()[box.slices] - shown) * share
        self._paint(sources, mixed, hidden & sources.known)
        unknown = hidden & (ages == NOWHERE) & ~sources.known
        self._copied[index] = self._hole_pixels[index] - int(unknown.sum())
        self._unknown[index] = _Flags.pack(unknown, box)

    def _shown(self, sources: Sources, valid: NDArray[np.bool_], invented: bool = False) -> NDArray[np.float32]:
        target = self.result[sources.index].numpy()[sources.box.slices]
        pictures = self.result if invented else self._frames
        return colours(self._background, pictures, sources, target, valid)

    def _paint(self, sources: Sources, colour: NDArray[np.float32], where: NDArray[np.bool_]) -> None:
        self.result[sources.index].numpy()[sources.box.slices][where] = colour[where]

    def invent_the_rest(self) -> None:
        """Fill what no frame shows by patches, on the frame that misses most, and carry it through its shot."""
        shots = np.array([view.shot for view in self._background.views])
        for shot in np.unique(shots):
            members = np.flatnonzero(shots == shot)
            for _ in range(MOST_INVENTED):
                index = self._most_unknown(members)
                if index is None:
                    break
                self._invent(index)
                for order in (members[members > index], members[members < index][::-1]):
                    self._carry(index, order)
            for index in members:
                self._invent_alone(int(index))
            self._runtime.advance(len(members))

    def _most_unknown(self, members: NDArray[np.int64]) -> int | None:
        """Of the frames that miss most, the one with the least going on around the hole, then the middle one."""
        missing = np.array([0 if (flags := self._unknown[i]) is None else flags.count for i in members])
        if not missing.any():
            return None
        worst = [int(index) for index in members[missing >= NEARLY_MOST * missing.max()]]
        middle = sum(worst) / len(worst)
        candidates = worst[:: -(-len(worst) // CANDIDATES)]
        return min(candidates, key=lambda index: (self._unrest(index), abs(index - middle)))

    def _unrest(self, index: int) -> int:
        """How many pixels around what frame `index` misses show something that moves in front of the background."""
        cv2 = opencv(PURPOSE)
        flags = self._unknown[index]
        assert flags is not None
        around = np.zeros(self._frames.shape[1:3], np.uint8)
        around[flags.box.slices] = flags.unpack()
        return int(
            (cv2.dilate(around, np.ones((2 * NEARBY + 1,) * 2, np.uint8)) & self._background.moving(index)).sum()
        )

    def _invent(self, index: int) -> None:
        flags = self._unknown[index]
        assert flags is not None
        missing = np.zeros(self._frames.shape[1:3], bool)
        missing[flags.box.slices] = flags.unpack()
        image = self.result[index].numpy()
        image[:] = fill_hole(image, missing, ~missing & ~self._background.moving(index), self._runtime)
        self._unknown[index] = None
        self._invented_on.append(index)

    def _carry(self, source: int, order: NDArray[np.int64]) -> None:
        sources: Sources | None = None
        last = source
        for index in (int(number) for number in order):
            self._runtime.advance(0)
            sources = next_sources(self._background, index, last, sources, only=source)
            last = index
            flags = self._unknown[index]
            if sources is None or flags is None:
                continue
            missing = flags.unpack()
            where = missing & sources.known
            if where.any():
                self._paint(sources, self._shown(sources, ~missing, invented=True), where)
                self._unknown[index] = _Flags.pack(missing & ~where, flags.box)

    def _invent_alone(self, index: int) -> None:
        flags = self._unknown[index]
        if flags is not None and flags.count:
            self._left += 1
            self._invent(index)
            self._invented_on.pop()

    def confidence(self, index: int) -> float:
        """The share of the hole that other frames show; what was invented counts a quarter."""
        if not self._hole_pixels[index]:
            return 1.0
        share = self._copied[index] / self._hole_pixels[index]
        return float(share + 0.25 * (1 - share))

    def report(self) -> str:
        """Where the filling comes from, in percent."""
        copied = 100 * self._copied.sum() / max(1, self._hole_pixels.sum())
        lines = [f"{copied:.1f} % of the hole comes from other frames, {100 - copied:.1f} % was inpainted."]
        if self._invented_on:
            frames = ", ".join(str(index) for index in sorted(self._invented_on))
            lines.append(f"Inpainted on frame {frames} and carried from there.")
        if self._left:
            lines.append(f"On {self._left} frames a rest was inpainted frame by frame and may flicker.")
        if not any(self._revealed.values()):
            lines.append("It stays in its place on the background, so no other frame shows what is behind it.")
        shots = self._background.views[-1].shot + 1
        if shots > 1:
            lines.append(f"The clip has {shots} shots; nothing is copied from one to another.")
        return "\n".join(lines)


class _Flags:
    """A bool [h, w] on a box, kept small."""

    def __init__(self, data: bytes, box: Box, count: int) -> None:
        self._data, self.box, self.count = data, box, count

    @classmethod
    def pack(cls, flags: NDArray[np.bool_], box: Box) -> _Flags | None:
        """None when nothing is set."""
        count = int(flags.sum())
        return cls(zlib.compress(np.packbits(flags).tobytes(), 1), box, count) if count else None

    def unpack(self) -> NDArray[np.bool_]:
        bits = np.frombuffer(zlib.decompress(self._data), np.uint8)
        return (
            np.unpackbits(bits, count=self.box.height * self.box.width)
            .astype(bool)
            .reshape(self.box.height, self.box.width)
        )


def _share_of_the_past(past: NDArray[np.int32], future: NDArray[np.int32]) -> NDArray[np.float32]:
    """The nearer source wins; between almost equal ones the picture crosses over, so that nothing pops in time."""
    total = np.maximum(past + future, 1)
    share = np.clip(0.5 + 2.0 * (future - past) / total, 0, 1)
    share = np.where(past == NOWHERE, 0.0, np.where(future == NOWHERE, 1.0, share))
    return share.astype(np.float32)
