"""Which frames the model makes together, in which order and direction, and what each window is anchored on.

KIVE (VIVID, section 4.3) knows one keyframe on frame 0. Here a keyframe may lie anywhere: windows run forward from
each one up to the next, and from the first one backward in time. So changing a keyframe changes its own windows and
no others. Within a run, the last frames of a window anchor the window after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..video.windows import Window, frame_rule, plan_windows
from .contract import Traits


@dataclass(frozen=True)
class KiveWindow:
    """One window of a plan.

    `window` is counted along its run, which starts on frame `origin` of the clip and goes back in time if `backward`.
    `keys` and `shared` are frames of the clip: those that the user has edited, and those that the window before this
    one in the plan has made.
    """

    window: Window
    origin: int
    backward: bool = False
    keys: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()

    @property
    def frames(self) -> range:
        """Its frames of the clip in the order in which the model sees them, without padding."""
        start, stop = self.window.start, self.window.stop
        if self.backward:
            return range(self.origin - start, self.origin - stop, -1)
        return range(self.origin + start, self.origin + stop)

    @property
    def length(self) -> int:
        """How many frames the model sees, repeated ones included."""
        return self.window.length

    @property
    def new(self) -> tuple[int, ...]:
        """The frames that this window has to make."""
        known = {*self.keys, *self.shared}
        return tuple(frame for frame in self.frames if frame not in known)


def plan(
    frame_count: int,
    traits: Traits,
    keys: Iterable[int] = (),
    window: int | None = None,
    overlap: int = 1,
    cuts: Iterable[int] = (),
) -> list[KiveWindow]:
    """The windows of an edit in the order in which they must run; each is chained to the one right before it, if any.

    In each shot (`cuts`: the first frames of new shots) windows run back from the first of `keys` to the shot's start,
    then forward from each key up to the next one: before it, or onto it with `traits.ends_on_keys`. A shot without a
    key is one run from its first frame. Windows have at most `window_length(traits, window)` frames, of which `overlap`
    are those of the window before; in a run onto a key all are about equally long, so that the last one, which alone
    sees where the run has to arrive, has time to get there. Windows with nothing to make are left out, so a clip of
    keys alone needs none.

    Raises ValueError when `overlap` leaves nothing new in a window, and as `plan_windows` and `window_length` do.
    """
    length = window_length(traits, window)
    if overlap >= length:
        raise ValueError(_too_short(traits, length, overlap))
    at = sorted(set(keys))
    # Checks all numbers at once, and gives the shots.
    plan_windows(frame_count, length, overlap, at, cuts, traits.frame_step)
    found: list[KiveWindow] = []
    for first, end in shots_of(frame_count, cuts):
        for origin, count, backward, ends_on_key in _runs(first, end, at, traits.ends_on_keys):
            keyed = {0} if origin in at else set()
            keyed |= {count - 1} if ends_on_key else set()
            windows = _onto_a_key if ends_on_key else plan_windows
            run = windows(count, length, overlap, keyed, step=traits.frame_step)
            found += [_placed(one, origin, backward, keyed, overlap) for one in run]
    return [one for one in found if one.new]


def shots_of(frame_count: int, cuts: Iterable[int]) -> list[tuple[int, int]]:
    """First and last (excluded) frame of each shot."""
    borders = sorted({0, frame_count, *cuts})
    return list(zip(borders, borders[1:]))


def window_length(traits: Traits, window: int | None, notes: list[str] | None = None) -> int:
    """The length of a window: the family's longest for None, else what was asked for, fitted to its frame rule.

    A length that had to be changed is said in `notes`. Raises ValueError below 1.
    """
    if window is None:
        return traits.longest
    if window < 1:
        raise ValueError(f"Window: got a length of {window} frames; use at least 1, or 0 for the model's own.")
    fitting = min(window, traits.longest)
    fitting -= (fitting - 1) % traits.frame_step
    if fitting != window and notes is not None:
        notes.append(
            f"Window: {window} frames were asked for, but {traits.label} takes {traits.frame_step}k + 1, at most "
            f"{traits.longest}; windows have {fitting} frames."
        )
    return fitting


def describe(windows: Sequence[KiveWindow]) -> str:
    """The plan in words, one line for each window: its frames, its direction and what it is anchored on."""
    return "\n".join(f"Window {number}: {_described(one)}." for number, one in enumerate(windows, start=1))


def _too_short(traits: Traits, length: int, overlap: int) -> str:
    least = frame_rule(overlap + 1, traits.frame_step)
    longer = f"windows of at least {least} frames, or " if least <= traits.longest else ""
    return (
        f"Window: an overlap of {overlap} frames leaves nothing new in windows of {length}; use {longer}a smaller "
        "overlap."
    )


def _runs(first: int, end: int, keys: Sequence[int], ends_on_keys: bool) -> Iterator[tuple[int, int, bool, bool]]:
    """(frame where it starts, number of frames, backward, whether its last frame is a key) of each run of a shot."""
    inside = [key for key in keys if first <= key < end]
    if not inside:
        yield first, end - first, False, False
        return
    yield inside[0], inside[0] - first + 1, True, False
    for key, following in zip(inside, [*inside[1:], None]):
        stop = end if following is None else following + ends_on_keys
        yield key, stop - key, False, ends_on_keys and following is not None


def _onto_a_key(count: int, length: int, overlap: int, keys: Iterable[int], step: int) -> list[Window]:
    """As few windows as `plan_windows` makes, but all about equally long."""
    number = max(1, -(-(count - overlap) // (length - overlap)))
    stops = [overlap + (count - overlap) * part // number for part in range(1, number + 1)]
    windows = []
    for start, stop in zip([0, *(stop - overlap for stop in stops)], stops):
        shared = range(start, start + overlap) if start else range(0)
        anchors = set(keys).intersection(range(start, stop)).union(shared)
        windows.append(Window(start, stop, frame_rule(stop - start, step) - (stop - start), tuple(sorted(anchors))))
    return windows


def _placed(window: Window, origin: int, backward: bool, keyed: set[int], overlap: int) -> KiveWindow:
    sign = -1 if backward else 1
    shared = range(window.start, window.start + overlap) if window.start else range(0)
    keys = [index for index in window.anchors if index in keyed and index not in shared]
    return KiveWindow(
        window,
        origin,
        backward,
        tuple(origin + sign * index for index in keys),
        tuple(origin + sign * index for index in shared),
    )


def _described(window: KiveWindow) -> str:
    parts = [_span(window.frames), "backward" if window.backward else "forward"]
    if window.shared:
        parts.append(f"chained by {_span(window.shared)}")
    words = {window.frames[-1]: "onto", window.frames[0]: "from"}
    parts += [f"{words.get(key, 'with')} keyframe {key}" for key in window.keys]
    if not window.keys and not window.shared:
        parts.append("from the text alone")
    return ", ".join(parts)


def _span(frames: Sequence[int]) -> str:
    return f"frame {frames[0]}" if len(frames) == 1 else f"frames {frames[0]} to {frames[-1]}"
