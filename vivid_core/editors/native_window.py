"""One window of a clip, as one of ComfyUI's own video models is to be shown it, and where its result belongs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..checks import check_not_empty, checked_frames, checked_mask_for
from ..video.composite import composite_key, feather_outside
from ..video.keyframes import Keyframes
from ..video.window_stitch import WindowStitch
from ..video.windows import Window, frame_rule
from .contract import Traits, with_hole, with_keys
from .kive_plan import KiveWindow, describe, plan, shots_of, window_length
from .local_crop import LocalCrop, plan_local_crop
from .native import STEP, NativeFamily
from .window_run import SeenWindow, seen_window

FEATHER = 8  # of a keyframe's rim in what the model is shown; as Stitch Back's


@dataclass(frozen=True)
class NativeOptions:
    """`window` and `overlap` are frames (window None: the family's longest); `size` is one of `native.SIZES`, `crop`
    one of `CROPS`; `cuts` are the first frames of new shots. `from_keys` lets every run start on a keyframe, backward
    and forward in time, even where one window would hold all of a shot."""

    window: int | None = None
    overlap: int = 1
    size: str = "auto"
    crop: str = "auto"
    from_keys: bool = False
    cuts: Iterable[int] = ()


@dataclass(frozen=True)
class NativeWindow:
    """`control_fhwc` [L, H, W, 3] is the window with its hole filled and its known frames clean, `mask_fhw` [L, H, W]
    is 1 where the model must generate, 0 on known frames; `stitch` is for Stitch Back. `count` windows make the clip.
    """

    control_fhwc: Tensor
    mask_fhw: Tensor
    stitch: WindowStitch
    count: int
    report: str


def native_window(
    family: NativeFamily,
    frames_fhwc: Tensor,
    edit_mask_fhw: Tensor,
    keyframes: Keyframes,
    index: int = 0,
    earlier_fhwc: Tensor | None = None,
    options: NativeOptions | None = None,
    notes: list[str] | None = None,
) -> NativeWindow:
    """Window number `index` of an edit of `frames_fhwc` inside `edit_mask_fhw` (above 0.5 = edit).

    `earlier_fhwc` is the whole clip with the windows before this one put back; its frames anchor this one where it
    continues another. A keyframe is shown as its composite with the clip. Windows that have nothing to edit are left
    out. What had to be corrected is added to `notes`.

    Raises ValueError, in one sentence, on an empty mask, a number that no window has, a missing `earlier_fhwc`, and
    as `plan`, `window_length` and `plan_local_crop` do.
    """
    options, notes = options or NativeOptions(), [] if notes is None else notes
    frames = checked_frames(frames_fhwc, "Frames", notes)
    mask = checked_mask_for(edit_mask_fhw, frames, "Mask", notes)
    check_not_empty(mask, "Mask")
    keys = keyframes.fitted(frames, notes)
    traits = family.sized(options.size, *frames.shape[1:3])
    length = _window_length(family, traits, options.window, notes)
    cuts = tuple(options.cuts)
    windows = native_plan(len(frames), traits, keys.indices, length, replace(options, cuts=cuts))
    windows = [one for one in windows if any(bool((mask[at] > 0.5).any()) for at in one.new)]
    window = _chosen(windows, index)
    earlier = _earlier(earlier_fhwc, frames, window, index, notes)
    first, stop = min(window.frames), max(window.frames) + 1
    shot, end = next((shot, end) for shot, end in shots_of(len(frames), cuts) if shot <= first < end)
    local = plan_local_crop(mask[shot:end], traits, options.crop).part(first - shot, stop - shot)
    seen = _seen(family, window, local, frames, mask, keys, earlier)
    shown, hole = with_keys(seen.frames_fhwc, seen.mask_fhw, seen.anchors)
    told = _notes_on_keys(family, window, keys, mask, len(shown))
    lines = [
        f"{family.label}: window {index + 1} of {len(windows)} (window_index {index}), {len(shown)} frames of "
        f"{shown.shape[2]}x{shown.shape[1]}.",
        local.described(),
        describe(windows),
        *told,
    ]
    if index + 1 < len(windows):
        lines.append(
            f"Next: window_index {index + 1}, with the frames of this window's Stitch Back as `earlier` here and as "
            "`original` there."
        )
    stitch = _stitch(windows, index, local, len(shown), len(frames))
    stitch = replace(stitch, spare=STEP - 1 if family.even else 0)
    return NativeWindow(with_hole(shown, hole, traits.fill), hole, stitch, len(windows), "\n".join(lines))


def native_plan(
    frame_count: int, traits: Traits, keys: Iterable[int], length: int, options: NativeOptions
) -> list[KiveWindow]:
    """The windows in the order in which they must run: a shot that one window holds is one window, its keyframes
    wherever they are; other shots, and all with `options.from_keys`, are planned as `kive_plan.plan` does.

    Raises ValueError as `plan` does.
    """
    at = sorted(set(keys))
    shots = shots_of(frame_count, options.cuts)
    planned: list[KiveWindow] = []
    if options.from_keys or any(end - first > length for first, end in shots):
        planned = plan(frame_count, traits, at, length, options.overlap, options.cuts)
    found: list[KiveWindow] = []
    for first, end in shots:
        if end - first > length or options.from_keys:
            found += [one for one in planned if first <= min(one.frames) < end]
        else:
            pad = frame_rule(end - first, traits.frame_step) - (end - first)
            inside = tuple(key for key in at if first <= key < end)
            whole = Window(0, end - first, pad, tuple(key - first for key in inside))
            found.append(KiveWindow(whole, first, keys=inside))
    return [one for one in found if one.new]


def _window_length(family: NativeFamily, traits: Traits, window: int | None, notes: list[str]) -> int:
    """As `window_length`; where only even numbers of latent frames are taken, one that has it."""
    length = window_length(traits, window, notes)
    return length if family.length_for(length) <= traits.longest else length - traits.frame_step


def _chosen(windows: Sequence[KiveWindow], index: int) -> KiveWindow:
    if not windows:
        raise ValueError(
            "Keyframes: every frame with a mask is a keyframe, so there is nothing to generate; use Stitch Back alone."
        )
    if not 0 <= index < len(windows):
        has, use = ("one window", "0") if len(windows) == 1 else (f"{len(windows)} windows", f"0 to {len(windows) - 1}")
        raise ValueError(f"window_index: got {index}, but this clip has {has}; use {use}.")
    return windows[index]


def _earlier(earlier: Tensor | None, frames: Tensor, window: KiveWindow, index: int, notes: list[str]) -> Tensor:
    if earlier is None:
        if window.shared:
            raise ValueError(
                f"earlier: window_index {index} continues the window before it; connect `earlier` to the frames that "
                f"Stitch Back returned for window_index {index - 1}."
            )
        return frames
    earlier = checked_frames(earlier, "earlier", notes)
    if earlier.shape != frames.shape:
        raise ValueError(
            f"earlier: got {earlier.shape[0]} frames of {earlier.shape[2]}x{earlier.shape[1]}, but the clip has "
            f"{frames.shape[0]} of {frames.shape[2]}x{frames.shape[1]}; connect the whole clip that Stitch Back "
            "returned for the window before."
        )
    return earlier


def _seen(
    family: NativeFamily,
    window: KiveWindow,
    local: LocalCrop,
    frames: Tensor,
    mask: Tensor,
    keys: Keyframes,
    earlier: Tensor,
) -> SeenWindow:
    """The window at the model's size, in the order of its run, padded to a length that the family takes."""
    first, stop = min(window.frames), max(window.frames) + 1
    shown, hole = local.shown(frames[first:stop]), local.hole(mask[first:stop])
    if window.backward:
        shown, hole = shown.flip(0), hole.flip(0)
    anchors = {}
    for at in window.shared:
        anchors[window.frames.index(at)] = local.part(at - first, at - first + 1).shown(earlier[at][None])[0]
    for key in keys:
        if key.index in window.keys:
            blend = feather_outside(mask[key.index][None], FEATHER)[0]
            picture = composite_key(frames[key.index], key, blend)
            at = key.index - first
            anchors[window.frames.index(key.index)] = local.part(at, at + 1).shown(picture[None])[0]
    pad = family.length_for(len(shown)) - len(shown)
    return seen_window(shown, hole, anchors, pad, repr(window.frames), window.window.start)


def _stitch(windows: Sequence[KiveWindow], index: int, local: LocalCrop, length: int, clip_length: int) -> WindowStitch:
    """What this window gives: what it makes, and its keyframes, but for those that an earlier window gives."""
    window = windows[index]
    given = {key for one in windows[:index] for key in one.keys}
    frames = sorted({*window.new, *(key for key in window.keys if key not in given)})
    corners = tuple(local.stitch.corners[at - min(window.frames)] for at in frames)
    shown = tuple(window.frames.index(at) for at in frames)
    return WindowStitch(tuple(frames), shown, length, clip_length, replace(local.stitch, corners=corners))


def _notes_on_keys(family: NativeFamily, window: KiveWindow, keys: Keyframes, mask: Tensor, length: int) -> list[str]:
    """What the user must know of keyframes that the family can't be told of as firmly as of others."""
    held, notes = family.held(length), []
    most = max(held)
    firm = [at for at, share in zip(window.frames, held) if share == most]
    for key in keys:
        if key.index not in window.keys:
            continue
        if not bool((mask[key.index] > 0.5).any()):
            notes.append(
                f"Keyframe {key.index}: the mask is empty on that frame, so nothing of it is shown or carried."
            )
        share = held[window.frames.index(key.index)]
        if share < most:
            nearest = min(firm, key=lambda at: abs(at - key.index))
            said = "can't say" if share == 0 else f"says only {share / most:.0%}"
            notes.append(
                f"Keyframe {key.index}: its picture is shown clean, but the mask of {family.label} {said} that this "
                f"frame is known, so it holds less firmly than on frame {nearest}; Stitch Back with the keyframes puts "
                "it back exactly."
            )
        if key.strength < 1:
            notes.append(f"Keyframe {key.index}: its strength of {key.strength:g} makes no difference to these models.")
    return notes
