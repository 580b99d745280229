"""One run of a keyframe board: its try is kept, what is picked is read, and every step is said."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...vivid_core.checks import checked_frames
from ...vivid_core.editors.candidates import MOST, MOST_BYTES, frame_of, read_board
from ...vivid_core.editors.origin import Origin
from ...vivid_core.video.keyframes import Keyframe, Keyframes
from .board_files import Board
from .progress import ComfyRuntime
from .tensors import to_core

WHAT = "Keyframe Board, candidate"


@dataclass(frozen=True)
class BoardRun:
    """What is picked (empty: nothing goes on), what the page is told, and the same in words."""

    keyframes: Keyframes
    ui: dict[str, Any]
    report: str


def run_board(
    board: Board,
    picks: Mapping[int, str],
    hold: bool,
    frames_fhwc: Tensor,
    tries: list[Keyframe],
    origin: Origin,
    spared: set[str],
    notes: list[str],
) -> BoardRun:
    """Keep `tries`, which came from `origin`, and read `picks`; `spared` stays on a full board.

    Raises ValueError when the board's folder can't be read or written.
    """
    lines = list(dict.fromkeys(notes))
    added = _collect(board, tries, frames_fhwc, origin, spared, lines)
    keys, missing = _picked(board, picks, frames_fhwc, lines)
    shown = board.shown()
    lines.append(_what_follows(keys, picks, hold, bool(shown["candidates"])))
    count, height, width = frames_fhwc.shape[:3]
    told = {
        **shown,
        "frames": count,
        "width": width,
        "height": height,
        "hold": hold,
        "picks": {str(key.index): picks[key.index] for key in keys},
        "missing": missing,
        "added": added,
        "said": " ".join(lines),
    }
    return BoardRun(Keyframes([]) if hold else keys, {"vivid_board": [told]}, "\n".join(lines))


def tries_in(
    candidate: Tensor | None, frame: int, keyframe: Keyframes | None, frames_fhwc: Tensor, notes: list[str]
) -> list[Keyframe]:
    """The tries at a board's inputs, fitted to its clip.

    Raises ValueError on wrong pictures, too many at once, another aspect than the clip's, and a frame outside of it.
    """
    if keyframe is not None:
        if candidate is not None:
            notes.append("candidate is not used while keyframe is connected.")
        fitted = list(keyframe.fitted(frames_fhwc, notes))
        if any(key.mask_hw is not None or key.strength != 1 for key in fitted):
            notes.append("The mask and the strength of a keyframe are not kept on a board, only its picture.")
        return fitted
    if candidate is None:
        return []
    images = checked_frames(to_core(candidate), WHAT, notes)
    if len(images) > MOST:
        raise ValueError(
            f"{WHAT}: got {len(images)} pictures for frame {frame}, but a board holds {MOST}; connect the one picture "
            "of that frame, or fewer tries at once."
        )
    return [key for image in images for key in Keyframes([Keyframe(frame, image)]).fitted(frames_fhwc, notes)]


def state_of_picks(text: Any) -> str:
    """What changes when a picked file comes, goes or changes; another text each time as long as there are no files.

    It is empty for a board without an id.
    """
    try:
        state = read_board(text or "")
        board = Board(state.board_id) if state.board_id else None
    except (ValueError, AttributeError):
        return ""  # the run itself says what is wrong
    if board is None:
        return ""
    if not board.exists():
        return uuid.uuid4().hex  # it was deleted: what ComfyUI has kept of it is no longer true
    return repr([(name, board.state_of(name)) for _, name in sorted(state.picks.items())])


def _collect(
    board: Board, tries: list[Keyframe], frames_fhwc: Tensor, origin: Origin, spared: set[str], lines: list[str]
) -> str | None:
    """Keep the tries and say so; the name of the newest one that is new and stays."""
    runtime = ComfyRuntime()
    runtime.begin(len(tries))
    new, known = [], []
    for key in tries:
        name, is_new = board.add(key.index, key.image_hwc, frames_fhwc, origin)
        (new if is_new else known).append(name)
        runtime.advance()
    if tries:
        board.forget_deleted(but=set(known))
    gone = {one.name for one in board.make_room(spared)}
    kept = [name for name in new if name not in gone]
    deleted = [name for name in known if board.is_deleted(name)]
    if kept:
        lines.append(f"Added: {_counted(kept)}.")
    if deleted:
        lines.append(
            f"Not added again: {_counted(deleted)}, deleted from the board; change the prompt or the seed for another."
        )
    elif known and not new:
        lines.append(f"On the board already: {_counted(known)}.")
    lines += _dropped(len(gone - set(new)), len(gone & set(new)))
    return kept[-1] if kept else None


def _picked(
    board: Board, picks: Mapping[int, str], frames_fhwc: Tensor, lines: list[str]
) -> tuple[Keyframes, list[str]]:
    """The picked pictures at their frames, and the names of those that can't be read."""
    keys: list[Keyframe] = []
    missing = []
    for frame, name in sorted(picks.items()):
        image = board.picture(name)
        if image is None:
            missing.append(name)
            lines.append(f"The candidate picked for frame {frame} is missing or damaged ({name}); pick another one.")
            continue
        try:
            keys += Keyframes([Keyframe(frame, image)]).fitted(frames_fhwc, lines)
        except ValueError as unfit:
            lines.append(f"{unfit} This pick is not used.")
    return Keyframes(keys), missing


def _what_follows(keys: Keyframes, picks: Mapping[int, str], hold: bool, has_candidates: bool) -> str:
    picked = f"Picked: {_frames(keys.indices)}." if keys else ""
    if hold:
        return f"{picked} hold is on, so nothing after the board runs.".strip()
    if keys:
        return picked
    if picks:
        return "No pick can be used, so nothing after the board runs."
    if has_candidates:
        return "Nothing is picked yet, so nothing after the board runs; pick a candidate and run again."
    return "The board is empty, so nothing after it runs; connect Edit Keyframe or an edited picture and run again."


def _dropped(old: int, new: int) -> list[str]:
    room = f"{MOST} candidates and {MOST_BYTES // 1_000_000} MB"
    said = []
    if old:
        what = "The oldest candidate was" if old == 1 else f"The {old} oldest candidates were"
        said.append(f"{what} removed: a board holds {room}; pin what you want to keep.")
    if new:
        what = "the new candidate was" if new == 1 else f"{new} new candidates were"
        said.append(f"A board holds {room}, all pinned or picked by now, so {what} not kept; unpin or delete some.")
    return said


def _counted(names: list[str]) -> str:
    frames = _frames(sorted({frame_of(name) for name in names}))
    return f"{len(names)} candidate{'s' if len(names) > 1 else ''} for {frames}"


def _frames(indices: Iterable[int]) -> str:
    shown = [str(index) for index in indices]
    return f"frame{'s' if len(shown) > 1 else ''} {', '.join(shown)}"
