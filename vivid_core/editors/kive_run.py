"""All windows of an edit, one after the other: anchored, run or taken from the store, put back into the clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..runtime import Runtime
from ..video.composite import composite, composite_key, outside_change
from ..video.keyframes import Keyframe
from .contract import SettledRequest
from .engine import Engine
from .kive_plan import KiveWindow, describe, shots_of
from .local_crop import LocalCrop, plan_local_crop
from .propagation import Propagation
from .window_run import SeenWindow, content_key, run_window, seen_window
from .window_store import WindowStore

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
    blend_mask_fhw: Tensor | None = None
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


class KiveRun:
    """One edit: `windows` are its plan. `result` holds the clip as far as it is edited."""

    def __init__(
        self, engine: Engine, request: SettledRequest, windows: Sequence[KiveWindow], options: EditOptions
    ) -> None:
        self._engine, self._request, self._options = engine, request, options
        self.windows = [one for one in windows if any(bool(request.edit_mask_fhw[at].any()) for at in one.new)]
        self.result = request.frames_fhwc.clone(memory_format=torch.contiguous_format)
        self._made: dict[int, Tensor] = {}  # anchors for the next window, at the model's size
        self._crops: dict[int, LocalCrop] = {}
        self._counts = _Counts()
        self._confidence = torch.ones(len(self.result))

    @property
    def steps(self) -> int:
        """How many steps `run` counts."""
        return len(self.windows) * self._request.steps + sum(len(one.new) for one in self.windows)

    def run(self, blend_mask_fhw: Tensor, runtime: Runtime, notes: list[str]) -> Propagation:
        """The edited clip. The blend mask has one frame for each of the clip's."""
        for key in self._request.keyframes:
            self._put_key(key, blend_mask_fhw[key.index], notes)
        for number, window in enumerate(self.windows, start=1):
            if window.shared and not self._anchored(window):
                notes.append(
                    f"Frames {window.frames[0]} to {window.frames[-1]}: nothing is edited on the frames that join this "
                    "window to the one before, so it is edited by the text alone; a keyframe where the object is seen "
                    "again would keep it alike."
                )
            local, seen = self._seen(window)
            frames = self._frames(number, seen, runtime)
            self._put(window, local, frames, blend_mask_fhw, runtime)
            self._remember(window, seen, frames)
        return Propagation(self.result, blend_mask_fhw, self._confidence, self._report())

    def _put_key(self, key: Keyframe, blend_mask_hw: Tensor, notes: list[str]) -> None:
        original_hwc = self._request.frames_fhwc[key.index]
        changed = (key.image_hwc - original_hwc).abs().amax(-1) > CHANGED
        shown = int((changed & (blend_mask_hw > 0)).sum())
        if not bool(self._request.edit_mask_fhw[key.index].any()):
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
        self.result[key.index] = _composed(original_hwc, key, blend_mask_hw)

    def _seen(self, window: KiveWindow) -> tuple[LocalCrop, SeenWindow]:
        """Where the model looks in a window (frames in the clip's order), and what it sees there (in the run's)."""
        first, stop = min(window.frames), max(window.frames) + 1
        local, part = self._crop(first, stop), slice(first, stop)
        frames, hole = local.shown(self._request.frames_fhwc[part]), local.hole(self._request.edit_mask_fhw[part])
        if window.backward:
            frames, hole = frames.flip(0), hole.flip(0)
        anchors = {window.frames.index(at): self._made.get(at, frames[window.frames.index(at)]) for at in window.shared}
        for at in window.keys:
            anchors[window.frames.index(at)] = local.part(at - first, at - first + 1).shown(self.result[at][None])[0]
        pad, offset = window.window.pad, window.window.start
        return local, seen_window(frames, hole, anchors, pad, repr(window.frames), offset)

    def _crop(self, first: int, stop: int) -> LocalCrop:
        """For frames of one shot. Each shot has a crop of its own, so that none glides over a cut."""
        shots = shots_of(len(self.result), self._options.cuts)
        shot, end = next((shot, end) for shot, end in shots if shot <= first < end)
        if shot not in self._crops:
            mask = self._request.edit_mask_fhw[shot:end]
            self._crops[shot] = plan_local_crop(mask, self._engine.adapter.traits, self._options.crop)
        return self._crops[shot].part(first - shot, stop - shot)

    def _frames(self, number: int, seen: SeenWindow, runtime: Runtime) -> Tensor:
        """What a window gives, made now or before."""
        store, match = self._options.store, self._options.colour_match
        key = "" if store is None else content_key(self._engine, self._request, seen, match)
        kept = None if store is None else store.get(key)
        if kept is not None and kept.shape == seen.frames_fhwc[: seen.count].shape:
            self._counts.kept += 1
            runtime.advance(self._request.steps)
            return kept
        frames, drift = run_window(self._engine, self._request, seen, match, runtime)
        self._counts.run += 1
        if drift is not None and drift.large:
            self._counts.drifts.append(f"Window {number}: {drift.described()}.")
        if store is not None:
            store.put(key, frames)
        return frames

    def _put(
        self, window: KiveWindow, local: LocalCrop, frames: Tensor, blend_mask_fhw: Tensor, runtime: Runtime
    ) -> None:
        """What a window has made, into the clip. What it was anchored on is there already."""
        first, new = min(window.frames), set(window.new)
        trust = self._trust(window)
        for at, shown_hwc in zip(window.frames, frames):
            if at not in new:
                continue
            original_hwc, blend_mask_hw = self._request.frames_fhwc[at], blend_mask_fhw[at]
            if bool(blend_mask_hw.any()):
                edited_hwc = local.placed(shown_hwc, at - first, original_hwc)
                self.result[at] = composite(original_hwc[None], edited_hwc[None], blend_mask_hw[None])[0]
                self._confidence[at] = trust
                change = outside_change(original_hwc, self.result[at], blend_mask_hw)
                self._counts.outside = max(self._counts.outside, change)
            runtime.advance(preview=lambda shown=at: self.result[shown])  # type: ignore[misc]

    def _anchored(self, window: KiveWindow) -> bool:
        """Whether a window knows, of one frame at least, how its edit looks."""
        return any(bool(self._request.edit_mask_fhw[at].any()) for at in (*window.keys, *window.shared))

    def _trust(self, window: KiveWindow) -> float:
        """1 / (1 + n) in the n-th window from a keyframe, 0 where no keyframe tells anything."""
        if not self._anchored(window):
            return 0.0
        before = [float(self._confidence[at]) for at in window.shared if bool(self._request.edit_mask_fhw[at].any())]
        found = 1.0 if window.keys else min(before)
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

    def _report(self) -> str:
        traits, counts = self._engine.adapter.traits, self._counts
        made = [f"{_counted(counts.run, 'window')} of {_counted(self._request.steps, 'step')}"] if counts.run else []
        made += [f"{_counted(counts.kept, 'window')} kept from before"] if counts.kept else []
        crops = dict.fromkeys(local.described() for local in self._crops.values())
        lines = [f"{traits.label}: {', '.join([_counted(len(self.result), 'frame'), *made])}.", *crops]
        if self.windows and len(self.result) > 1:
            lines.append(describe(self.windows))
        lines += counts.drifts
        lines.append(f"Largest difference outside the blend mask: {counts.outside:g}.")
        return "\n".join(lines)


def _composed(original_hwc: Tensor, key: Keyframe, blend_mask_hw: Tensor) -> Tensor:
    """The keyframe over its frame, once: one that is the original outside the blend mask was composited before, and a
    second time would make its rim narrower."""
    if key.mask_hw is None and outside_change(original_hwc, key.image_hwc, blend_mask_hw) == 0:
        return key.image_hwc
    return composite_key(original_hwc, key, blend_mask_hw)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
