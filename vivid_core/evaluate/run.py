"""Every engine on every clip: what is kept is taken, what is missing is made, and what fails says why."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checks import checked_frames
from ..metrics import drawing
from ..metrics.definitions import MEASURES
from ..metrics.report import measure_edit
from ..runtime import Runtime
from ..video.writing import write_video
from .cases import Case, Cut, LoadedCase, load_case
from .edits import KeptEdits
from .engine import Engine, Made
from .store import COMPOSITES, OFF, ON, Outcome, ResultStore, key_of

LOOKS_SO = 17  # x264's quality
OUTLINED_FROM = 480  # pixels of width: a clip of half as many is magnified for the outline

log = logging.getLogger("vivid")


@dataclass(frozen=True)
class Plan:
    """What a run compares: engines on cases with seeds, all on the same frames. `encoder` (metrics.encoders) gives TA
    and TC; without one these are left out. `edits` keeps what engines make; an edit that is there is not made again."""

    cases: Sequence[Case]
    engines: Sequence[Engine]
    seeds: Sequence[int] = (0,)
    cut: Cut = field(default_factory=Cut)
    encoder: Any = None
    edits: KeptEdits | None = None

    @property
    def judge(self) -> str:
        """Which model measures TA and TC; empty for none."""
        return "" if self.encoder is None else str(self.encoder.identity)


@dataclass(frozen=True)
class Shown:
    """A case as the pages show it: its clip with the mask's outline, or why there is none."""

    case: Case
    original: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Comparison:
    """What a run found. `made` counts the results that this call made, the others were there."""

    plan: Plan
    shown: Sequence[Shown]
    outcomes: Sequence[Outcome]
    made: int

    @property
    def failed(self) -> list[Outcome]:
        """The outcomes that have a fault."""
        return [one for one in self.outcomes if one.fault]


def compare(plan: Plan, store: ResultStore) -> Comparison:
    """Make what is missing, clip by clip. A fault of one clip or engine stays in its row and stops nothing else.

    Raises ValueError when nothing can be written to the store's folder.
    """
    outcomes: list[Outcome] = []
    shown: list[Shown] = []
    made = 0
    for number, case in enumerate(plan.cases, start=1):
        log.info("%d of %d: %s", number, len(plan.cases), case.name)
        try:
            loaded = load_case(case, plan.cut)
        except (ValueError, OSError) as fault:
            log.info("  %s", fault)
            shown.append(Shown(case, fault=str(fault)))
            outcomes += [replace(_row(case, engine, seed), fault=str(fault)) for engine, seed in _jobs(plan)]
            continue
        shown.append(_shown(loaded, store))
        for engine, seed in _jobs(plan):
            key = key_of(loaded, engine, seed, plan.judge)
            kept = store.get(key)
            if kept is None:
                kept = _tried(loaded, engine, seed, plan, store, key)
                made += not kept.fault
                loaded = _untouched(loaded, plan.cut)
            outcomes.append(replace(kept, case=case.name, engine=engine.label, seed=seed))
    return Comparison(plan, shown, outcomes, made)


def _jobs(plan: Plan) -> Iterator[tuple[Engine, int]]:
    for engine in plan.engines:
        for seed in plan.seeds if engine.seeded else plan.seeds[:1]:
            yield engine, seed


def _row(case: Case, engine: Engine, seed: int) -> Outcome:
    return Outcome(case.name, engine.label, seed, case.task, case.caption)


def _tried(case: LoadedCase, engine: Engine, seed: int, plan: Plan, store: ResultStore, key: str) -> Outcome:
    """One edit, measured and kept; or a row that says why there is none."""
    row = replace(_row(case.case, engine, seed), inputs=case.identity)
    try:
        made, seconds = _made(case, engine, seed, plan.edits)
        frames = {OFF: made.frames_fhwc, ON: made.composited(case)}
        measures = {OFF: _measured(case, frames[OFF], made, plan)}
        alike = torch.equal(frames[OFF], frames[ON])
        measures[ON] = measures[OFF] if alike else _measured(case, frames[ON], made, plan)
    except ValueError as fault:
        log.info("  %s: %s", engine.label, fault)
        return replace(row, fault=str(fault))
    except Exception as fault:  # an engine may fail in any way; only its row suffers
        log.warning("  %s failed", engine.label, exc_info=True)
        said = str(fault).strip().splitlines()
        return replace(
            row, fault=f"{engine.label} failed with {type(fault).__name__}: {said[0] if said else 'no text'}"
        )
    log.info("  %s, seed %d: %.1f s", engine.label, seed, seconds)
    clips = {how: _write(store, f"{key[:24]}_{how}.mp4", one, case.fps) for how, one in frames.items()}
    done = replace(row, measures=measures, clips=clips, seconds=seconds)
    store.put(key, done)
    return done


def _made(case: LoadedCase, engine: Engine, seed: int, edits: KeptEdits | None) -> tuple[Made, float]:
    """An edit and how many seconds it took; a kept one, if there is one."""
    kept = None if edits is None else edits.get(case, engine, seed)
    if kept is not None:
        return _checked(kept[0], case, engine), kept[1]
    began = time.monotonic()
    made = _checked(engine.make(case, seed, Runtime()), case, engine)
    seconds = time.monotonic() - began
    if edits is not None:
        edits.put(case, engine, seed, made, seconds)
    return made, seconds


def _checked(made: Made, case: LoadedCase, engine: Engine) -> Made:
    if made.frames_fhwc.shape != case.frames_fhwc.shape:
        raise ValueError(
            f"{engine.label} gave a clip of shape {tuple(made.frames_fhwc.shape)} for one of "
            f"{tuple(case.frames_fhwc.shape)}; an engine must keep length and size."
        )
    checked_frames(made.frames_fhwc, engine.label)
    if case.current_identity() != case.identity:
        raise ValueError(f"{engine.label} wrote into its input, which other engines get too; make it copy first.")
    return made


def _untouched(case: LoadedCase, cut: Cut) -> LoadedCase:
    """The case; read again if an engine wrote into it."""
    return case if case.current_identity() == case.identity else load_case(case.case, cut)


def _measured(case: LoadedCase, frames: Tensor, made: Made, plan: Plan) -> dict[str, float]:
    """One number for each measure: the mean or the worst frame, by which it is judged."""
    asked: dict[str, Any] = {}
    if plan.encoder is not None:
        asked = {"encoder": plan.encoder, "caption": "" if case.removes else case.case.caption}
    keys = made.keyframes if len(made.keyframes) else None
    found = measure_edit(case.frames_fhwc, frames, case.edit_mask_fhw, case.blend_mask_fhw, keys, **asked)
    values = {one.key: found.mean(one.key) if one.judge_mean else found.worst(one.key)[0] for one in MEASURES}
    if case.case.mask is None:
        values["outside_difference"] = math.nan  # there is nothing outside
    return values


def _shown(case: LoadedCase, store: ResultStore) -> Shown:
    """The clip that is edited, with the outline of its mask, as a file."""
    name = f"{case.identity[:24]}_original.mp4"
    count, height, width = case.edit_mask_fhw.shape
    if not (store.clips / name).is_file():
        _write(store, name, case.frames_fhwc if case.case.mask is None else _outlined(case), case.fps)
    return Shown(case.case, f"{store.clips.name}/{name}", width, height, count)


def _outlined(case: LoadedCase) -> Iterator[Tensor]:
    """The clip with a line around its mask; a tiny one magnified, so that the line hides nothing of it."""
    height, width = case.edit_mask_fhw.shape[1:]
    times = max(1, OUTLINED_FROM // width)
    size = (times * width, times * height)
    line = drawing.line_width(*size) * (2 if times > 1 else 1)
    for frame_hwc, mask_hw in zip(case.frames_fhwc, case.edit_mask_fhw):
        picture, inside = drawing.resized(drawing.to_bytes(frame_hwc), size), drawing.resized_mask(mask_hw, size)
        yield drawing.to_image(drawing.outlined(picture, inside, drawing.MASK, line))


def _write(store: ResultStore, name: str, frames: Any, fps: float) -> str:
    path = store.clips / name
    write_video(path, iter(frames), fps, crf=LOOKS_SO)
    return Path(store.clips.name, path.name).as_posix()


__all__ = ["COMPOSITES", "Comparison", "Plan", "Shown", "compare"]
