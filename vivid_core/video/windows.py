"""Windows: a clip cut into lengths that a video model takes, and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """Frames `start`..`stop` (excluded) of a clip, and how often the last one is repeated behind them.

    `anchors` are the frames (counted in the clip) that the model gets clean: keyframes, and those that an earlier
    window has finished already.
    """

    start: int
    stop: int
    pad: int = 0
    anchors: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """How many frames the model sees, repeated ones included."""
        return self.stop - self.start + self.pad


def frame_rule(count: int, step: int = 4) -> int:
    """The smallest length `step * k + 1` that holds `count` frames: 4k + 1 for a VAE that takes frames by fours.

    Raises ValueError when `count` or `step` is below 1.
    """
    if count < 1 or step < 1:
        raise ValueError(f"Frame rule: got {count} frames and a step of {step}; both must be at least 1.")
    return -(-(count - 1) // step) * step + 1


def plan_windows(
    frame_count: int,
    length: int = 49,
    overlap: int = 1,
    keys: Iterable[int] = (),
    cuts: Iterable[int] = (),
    step: int = 4,
) -> list[Window]:
    """Cover a clip with windows of at most `length` frames; each starts `overlap` frames before the last one ends.

    The last window of a shot is padded to the frame rule by repeating its last frame. No window reaches over a shot
    cut (`cuts`: the first frame of each new shot), and a shot's first window shares nothing with the shot before. A
    clip or shot of one frame is one window of one frame: image mode. The shared frames of a later window and the
    `keys` inside a window are its anchors. With the defaults the hop is 48, as in VIVID, section 4.3 and its demos.

    Raises ValueError when `length` breaks the frame rule, `overlap` leaves no new frame, or a key or cut lies outside.
    """
    _check_plan(frame_count, length, overlap, step)
    key_set = _checked_frames_of(keys, frame_count, "keyframe")
    shots = sorted({0, frame_count} | _checked_frames_of(cuts, frame_count, "shot cut"))
    windows = []
    for first, end in zip(shots, shots[1:]):
        shared = 0
        start = first
        while True:
            stop = min(start + length, end)
            anchors = key_set.intersection(range(start, stop)).union(range(start, start + shared))
            pad = frame_rule(stop - start, step) - (stop - start)
            windows.append(Window(start, stop, pad, tuple(sorted(anchors))))
            if stop == end:
                break
            start, shared = stop - overlap, overlap
    return windows


def take(clip_fxxx: Tensor, window: Window) -> Tensor:
    """The window's part of a clip of frames or masks, the tail padded by repeating its last frame.

    A view when nothing is padded. Raises ValueError when the window reaches outside the clip.
    """
    if not 0 <= window.start < window.stop <= clip_fxxx.shape[0]:
        raise ValueError(
            f"Windows: a window of frames {window.start} to {window.stop} (excluded) doesn't fit a clip of "
            f"{clip_fxxx.shape[0]} frames; plan the windows for this clip."
        )
    part = clip_fxxx[window.start : window.stop]
    if window.pad == 0:
        return part
    return torch.cat([part, part[-1:].expand(window.pad, *part.shape[1:])])


def join(windows: Sequence[Window], pieces: Iterable[Tensor], frame_count: int) -> Tensor:
    """Put one piece [window.length, ...] for each window together to a clip of `frame_count` frames.

    Padding is dropped. A frame in two windows comes from the earlier one: the later window got it as an anchor.
    Pieces are taken one at a time, so they may be made while they are joined; joining what `take` gives for every
    window of a plan is the clip again, to the bit.

    Raises ValueError when a piece is missing, left over or of another length, or a frame is covered by no window.
    """
    joined: Tensor | None = None
    done = used = 0
    for piece, window in zip(_counted(pieces, len(windows)), windows):  # pieces first, so that one too many is seen
        if piece.shape[0] != window.length or (joined is not None and piece.shape[1:] != joined.shape[1:]):
            raise ValueError(
                f"Windows: the piece for frames {window.start} to {window.stop} (excluded) has shape "
                f"{tuple(piece.shape)}, but it must have {window.length} frames, all of one size."
            )
        if window.start > done or not done < window.stop <= frame_count:
            raise ValueError(
                f"Windows: frames {window.start} to {window.stop} (excluded) don't continue the {done} frames that "
                f"are there, for a clip of {frame_count} frames; use the plan of this clip, in its order."
            )
        if joined is None:
            joined = piece.new_empty((frame_count, *piece.shape[1:]))
        joined[done : window.stop] = piece[done - window.start : window.stop - window.start]
        done = window.stop
        used += 1
    if joined is None or done != frame_count or used != len(windows):
        raise ValueError(
            f"Windows: {used} pieces cover {done} of {frame_count} frames; give one piece for each of the "
            f"{len(windows)} windows."
        )
    return joined


def _counted(pieces: Iterable[Tensor], count: int) -> Iterable[Tensor]:
    for number, piece in enumerate(pieces):
        if number >= count:
            raise ValueError(f"Windows: got more than {count} pieces for {count} windows; give one for each window.")
        yield piece


def _check_plan(frame_count: int, length: int, overlap: int, step: int) -> None:
    if frame_count < 1:
        raise ValueError(f"Windows: got a clip of {frame_count} frames; it needs at least one.")
    if length < 1 or step < 1 or frame_rule(length, step) != length:
        raise ValueError(
            f"Windows: a length of {length} frames breaks the rule {step}k + 1 of this model; use "
            f"{frame_rule(max(length, 1), max(step, 1))} instead."
        )
    if not 0 <= overlap < length:
        raise ValueError(
            f"Windows: an overlap of {overlap} frames leaves no new frame in a window of {length}; use 0 to "
            f"{length - 1}."
        )


def _checked_frames_of(indices: Iterable[int], frame_count: int, what: str) -> set[int]:
    found = set(indices)
    for index in sorted(found):
        if not 0 <= index < frame_count:
            raise ValueError(
                f"Windows: a {what} is set on frame {index}, but the clip has {frame_count} frames; use 0 to "
                f"{frame_count - 1}."
            )
    return found
