"""All windows of an edit, one after the other: anchored, run or taken from the store, put back into the clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checks import checked_mask_for
from ..clips import Clip, Computed, part
from ..runtime import Runtime
from ..video.composite import composite, composite_key, feather_outside, outside_change
from ..video.keyframes import Keyframe
from .contract import SettledRequest
from .engine import Engine
from .kive_plan import KiveWindow, describe, shots_of
from .local_crop import LocalCrop, plan_local_crop
from .propagation import Propagation
from .window_run import SeenWindow, content_key, run_window, seen_window
from .window_store import WindowStore

SHOWN = 12  # lines of a list in a report, from its beginning and from its end
CHANGED = 16 / 255  # a keyframe differs visibly there; editors change everything a little


@dataclass(frozen=True)
class EditOptions:
    """How a clip is cut up, and how what the model makes is put back.

    `window` and `overlap` are frames (None: the model's longest window); `cuts` the first frames of new shots. `crop`
    is one of `CROPS`. The blend mask [F, H, W] is by default the edit mask with a soft rim of `feather` pixels outside
    it. `colour_match` undoes what a window does to the colours of its anchors. Windows in `store` are not run again.
    """

    window: int | None = None
    overlap: int = 1
    crop: str = "auto"
    feather: float = 8
    blend_mask_fhw: Clip | None = None
    colour_match: bool = True
    cuts: Iterable[int] = ()
    store: WindowStore | None = None


@dataclass
class _Counts:
    """For the report."""

    run: int = 0
    kept: int = 0
    drifts: list[str] = field(default_factory=list)
    outside: float = 0.0


@dataclass(frozen=True)
class MadeWindow:
    """What a window gave: `frames_fhwc` at the size of the model, in the order of its run, without padding. `number`
    counts the windows of the run from 0."""

    number: int
    window: KiveWindow
    frames_fhwc: Tensor


class KiveRun:
    """One edit: `windows` are those of its plan that have something to edit, in the order in which they are made.

    Nothing here grows with the clip but a few numbers a frame: frames and masks are asked for window by window, and who
    runs it keeps what it gives. `edited` tells of each frame whether its mask marks anything.
    """

    def __init__(
        self,
        engine: Engine,
        request: SettledRequest,
        windows: Sequence[KiveWindow],
        options: EditOptions,
        notes: list[str],
    ) -> None:
        """Raises ValueError when the feather is out of range or the blend mask doesn't fit the clip."""
        self._engine, self.request, self._options = engine, request, options
        self.edited = [bool(mask_hw.any()) for mask_hw in request.edit_mask_fhw]
        self._blend, self._shows = self._blending(notes)
        self._keys = {key.index: key for key in request.keyframes}
        self.windows = [one for one in windows if any(self.edited[at] for at in one.new)]
        self._made: dict[int, Tensor] = {}  # anchors for the next window, at the model's size
        self._crops: dict[int, LocalCrop] = {}
        self._counts = _Counts()
        self._confidence = torch.ones(len(self.edited))

    @property
    def steps(self) -> int:
        """How many steps `made` counts."""
        return len(self.windows) * self.request.steps

    @property
    def new_frames(self) -> int:
        """How many frames the windows make."""
        return sum(len(one.new) for one in self.windows)

    def size_of(self, window: KiveWindow) -> tuple[int, int]:
        """(height, width) at which the model sees a window."""
        return self._crop(min(window.frames), max(window.frames) + 1).size

    def whole(self, runtime: Runtime, notes: list[str]) -> Propagation:
        """The edited clip, all of it at once. Begins `runtime`, and counts one for each frame of a mask and each new
        one beside `steps`."""
        count = len(self.edited)
        runtime.begin(self.steps + self.new_frames + count)
        if self._options.blend_mask_fhw is None:
            self._blend = feather_outside(self.request.edit_mask_fhw[:], self._options.feather, runtime)
        else:
            runtime.advance(count)
        result = self.request.frames_fhwc[:].clone(memory_format=torch.contiguous_format)
        for at in self._keys:
            result[at] = self.unmade(at)
        for made in self.made(runtime, notes):
            new = set(made.window.new)
            for at in made.window.frames:
                if at in new:
                    result[at] = self.finished(made, at)
                    runtime.advance(preview=lambda shown=at: result[shown])  # type: ignore[misc]
        return Propagation(result, self._blend[:], self._confidence, self.report())

    def made(self, runtime: Runtime, notes: list[str]) -> Iterator[MadeWindow]:
        """Each window as soon as it is made, or found in the store."""
        for key in self.request.keyframes:
            self._tell_of_key(key, notes)
        for number, window in enumerate(self.windows):
            if window.shared and not self._anchored(window):
                notes.append(
                    f"Frames {window.frames[0]} to {window.frames[-1]}: nothing is edited on the frames that join this "
                    "window to the one before, so it is edited by the text alone; a keyframe where the object is seen "
                    "again would keep it alike."
                )
            seen = self._seen(window)
            frames = self._frames(number, seen, runtime)
            trust = self._trust(window)
            for at in window.new:
                if self._shows[at]:
                    self._confidence[at] = trust
            self._remember(window, seen, frames)
            yield MadeWindow(number, window, frames)

    def finished(self, made: MadeWindow, at: int) -> Tensor:
        """Frame `at` of the clip with what its window made of it: image_hwc."""
        original_hwc = self.request.frames_fhwc[at]
        if not self._shows[at]:
            return original_hwc
        local = self._crop(at, at + 1)
        edited_hwc = local.placed(made.frames_fhwc[made.window.frames.index(at)], 0, original_hwc)
        blend_mask_hw = self._blend[at]
        image_hwc = composite(original_hwc[None], edited_hwc[None], blend_mask_hw[None])[0]
        change = outside_change(original_hwc, image_hwc, blend_mask_hw)
        self._counts.outside = max(self._counts.outside, change)
        return image_hwc

    def unmade(self, at: int) -> Tensor:
        """A frame that no window makes: the keyframe over it, or the frame itself."""
        original_hwc = self.request.frames_fhwc[at]
        key = self._keys.get(at)
        return original_hwc if key is None else _composed(original_hwc, key, self._blend[at])

    def _blending(self, notes: list[str]) -> tuple[Clip, list[bool]]:
        """The blend mask, feathered when it is asked for if there is none, and on which frames it shows anything."""
        mask, feather, given = self.request.edit_mask_fhw, self._options.feather, self._options.blend_mask_fhw
        if given is None:
            feather_outside(mask[:1], feather)  # refuses now what would be refused late
            return Computed(tuple(mask.shape), lambda at: feather_outside(mask[at][None], feather)[0]), self.edited
        blend = checked_mask_for(given, self.request.frames_fhwc, "Blend mask", notes)
        return blend, [bool(mask_hw.any()) for mask_hw in blend]

    def _tell_of_key(self, key: Keyframe, notes: list[str]) -> None:
        original_hwc, blend_mask_hw = self.request.frames_fhwc[key.index], self._blend[key.index]
        changed = (key.image_hwc - original_hwc).abs().amax(-1) > CHANGED
        shown = int((changed & (blend_mask_hw > 0)).sum())
        if not self.edited[key.index]:
            notes.append(
                f"Keyframe {key.index}: the mask is empty on that frame, so nothing of it is shown or carried; set the "
                "keyframe where the object is seen, or correct the mask there."
            )
        elif shown < int(changed.sum()) - shown:
            notes.append(
                f"Keyframe {key.index}: {100 - 100 * shown / int(changed.sum()):.0f} % of what it changes lies outside "
                "the mask and is left out; edit inside the mask, or make the mask larger."
            )
        elif not shown:
            notes.append(f"Keyframe {key.index}: it looks like its frame of the clip, so there is no edit to carry.")
        if key.strength < 1:
            notes.append(f"Keyframe {key.index}: its strength of {key.strength:g} makes no difference to this engine.")

    def _seen(self, window: KiveWindow) -> SeenWindow:
        """What the model sees of a window, in the order of the run."""
        first, stop = min(window.frames), max(window.frames) + 1
        local = self._crop(first, stop)
        frames = local.shown(part(self.request.frames_fhwc, first, stop))
        hole = local.hole(part(self.request.edit_mask_fhw, first, stop))
        if window.backward:
            frames, hole = frames.flip(0), hole.flip(0)
        anchors = {window.frames.index(at): self._made.get(at, frames[window.frames.index(at)]) for at in window.shared}
        for at in window.keys:
            anchors[window.frames.index(at)] = local.part(at - first, at - first + 1).shown(self.unmade(at)[None])[0]
        pad, offset = window.window.pad, window.window.start
        return seen_window(frames, hole, anchors, pad, repr(window.frames), offset)

    def _crop(self, first: int, stop: int) -> LocalCrop:
        """For frames of one shot. Each shot has a crop of its own, so that none glides over a cut."""
        shots = shots_of(len(self.edited), self._options.cuts)
        shot, end = next((shot, end) for shot, end in shots if shot <= first < end)
        if shot not in self._crops:
            mask = part(self.request.edit_mask_fhw, shot, end)
            self._crops[shot] = plan_local_crop(mask, self._engine.adapter.traits, self._options.crop)
        return self._crops[shot].part(first - shot, stop - shot)

    def _frames(self, number: int, seen: SeenWindow, runtime: Runtime) -> Tensor:
        """What a window gives, made now or before."""
        store, match = self._options.store, self._options.colour_match
        key = "" if store is None else content_key(self._engine, self.request, seen, match)
        kept = None if store is None else store.get(key)
        if kept is not None and kept.shape == seen.frames_fhwc[: seen.count].shape:
            self._counts.kept += 1
            runtime.advance(self.request.steps)
            return kept
        frames, drift = run_window(self._engine, self.request, seen, match, runtime)
        self._counts.run += 1
        if drift is not None and drift.large:
            self._counts.drifts.append(f"Window {number + 1}: {drift.described()}.")
        if store is not None:
            store.put(key, frames)
        return frames

    def _anchored(self, window: KiveWindow) -> bool:
        """Whether a window knows, of one frame at least, how its edit looks."""
        return any(self.edited[at] for at in (*window.keys, *window.shared))

    def _trust(self, window: KiveWindow) -> float:
        """1 / (1 + n) in the n-th window from a keyframe, 0 where no keyframe tells anything."""
        if not self._anchored(window):
            return 0.0
        before = [float(self._confidence[at]) for at in window.shared if self.edited[at]]
        found = 1.0 if any(self.edited[at] for at in window.keys) else min(before)
        return 1 / (1 / found + 1) if found else 0.0

    def _remember(self, window: KiveWindow, seen: SeenWindow, frames: Tensor) -> None:
        """Keep what anchors the next window: the edit over the true background, at the model's size, where nothing is
        lost by scaling it back and forth from window to window."""
        following = self.windows.index(window) + 1
        shared = self.windows[following].shared if following < len(self.windows) else ()
        known = {key.index: key.image_hwc for key in seen.anchors}
        made = {}
        for index, at in enumerate(window.frames):
            if at in shared:
                inside = seen.mask_fhw[index][..., None] > 0.5
                made[at] = known.get(index, torch.where(inside, frames[index], seen.frames_fhwc[index]))
        self._made = made

    def report(self) -> str:
        """What was made, how, and whether anything outside the blend mask has changed, as far as the run has come."""
        traits, counts = self._engine.adapter.traits, self._counts
        made = [f"{_counted(counts.run, 'window')} of {_counted(self.request.steps, 'step')}"] if counts.run else []
        made += [f"{_counted(counts.kept, 'window')} kept from before"] if counts.kept else []
        crops = dict.fromkeys(local.described() for local in self._crops.values())
        lines = [f"{traits.label}: {', '.join([_counted(len(self.edited), 'frame'), *made])}.", *few(list(crops))]
        if self.windows and len(self.edited) > 1:
            lines += few(describe(self.windows).splitlines())
        lines += few(counts.drifts)
        lines.append(f"Largest difference outside the blend mask: {counts.outside:g}.")
        return "\n".join(lines)


def few(lines: list[str]) -> list[str]:
    """The lines of a report, without the middle of a list that nobody would read."""
    left_out = len(lines) - 2 * SHOWN
    return lines if left_out <= 1 else [*lines[:SHOWN], f"... and {left_out} more like these ...", *lines[-SHOWN:]]


def _composed(original_hwc: Tensor, key: Keyframe, blend_mask_hw: Tensor) -> Tensor:
    """The keyframe over its frame, once: one that is the original outside the blend mask was composited before, and a
    second time would make its rim narrower."""
    if key.mask_hw is None and outside_change(original_hwc, key.image_hwc, blend_mask_hw) == 0:
        return key.image_hwc
    return composite_key(original_hwc, key, blend_mask_hw)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
