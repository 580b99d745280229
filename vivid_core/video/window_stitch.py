"""One window of a clip back in its place: what a model made of some frames, in the order in which it saw them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..checks import checked_frames, checked_mask
from .crop import Stitch
from .keyframes import Keyframes
from .stitch import stitch_back


@dataclass(frozen=True)
class WindowStitch:
    """Where a window belongs: plain integers, safe to pickle and to print.

    `frames` are the frames of the clip that it gives, in the clip's order, `shown` their places among the `length`
    frames that the model makes (it may have seen them backward, and repeats and frames of other windows beside them).
    `crop` says where on each of `frames` the picture lies. The clip has `clip_length` frames. `spare` is how many more
    the decoder may make in front: CogVideoX's takes an even number of latents for four frames each, the first one too.
    """

    frames: tuple[int, ...]
    shown: tuple[int, ...]
    length: int
    clip_length: int
    crop: Stitch
    spare: int = 0


def stitch_window(
    original_fhwc: Tensor,
    edited_fhwc: Tensor,
    edit_mask_fhw: Tensor,
    *,
    stitch: WindowStitch,
    blend_mask_fhw: Tensor | None = None,
    keyframes: Keyframes | None = None,
    notes: list[str] | None = None,
    **options: Any,
) -> tuple[Tensor, float]:
    """`original_fhwc` (the whole clip, with earlier windows in it) with this window put in, and the largest difference
    outside the blend mask, which is 0. Other frames stay as they are, to the bit.

    Masks and `keyframes` are those of the whole clip; `options` are those of `stitch_back`.

    Raises ValueError when the clip or the edited window has another length than was planned, and as `stitch_back` does.
    """
    notes = [] if notes is None else notes
    original = checked_frames(original_fhwc, "Stitch Back, original", notes)
    if len(original) != stitch.clip_length:
        raise ValueError(
            f"Stitch Back: got a clip of {len(original)} frames, but the window was cut from one of "
            f"{stitch.clip_length}; connect the same clip as there, whole."
        )
    in_front = stitch.spare if len(edited_fhwc) == stitch.length + stitch.spare else 0
    if len(edited_fhwc) != stitch.length + in_front:
        raise ValueError(
            f"Stitch Back: the edited window has {len(edited_fhwc)} frames, but {stitch.length} were asked for; give "
            "all that VAE Decode returns, in their order."
        )
    part, difference = stitch_back(
        original[list(stitch.frames)],
        edited_fhwc[[at + in_front for at in stitch.shown]],
        _masks(edit_mask_fhw, stitch, "edit mask"),
        blend_mask_fhw=None if blend_mask_fhw is None else _masks(blend_mask_fhw, stitch, "blend mask"),
        stitch=stitch.crop,
        keyframes=None if keyframes is None else _keys(keyframes, stitch),
        notes=notes,
        **options,
    )
    result = original.clone()
    result[list(stitch.frames)] = part
    return result, difference


def _masks(mask_fhw: Tensor, stitch: WindowStitch, what: str) -> Tensor:
    mask = checked_mask(mask_fhw, f"Stitch Back, {what}")
    if len(mask) == 1:
        return mask
    if len(mask) != stitch.clip_length:
        raise ValueError(
            f"Stitch Back, {what}: got {len(mask)} masks for a clip of {stitch.clip_length} frames; connect those of "
            "the whole clip, not of the window."
        )
    return mask[list(stitch.frames)]


def _keys(keyframes: Keyframes, stitch: WindowStitch) -> Keyframes:
    """Those that this window gives, counted among its frames."""
    found = []
    for key in keyframes:
        at = key.index + stitch.clip_length if key.index < 0 else key.index
        if at in stitch.frames:
            found.append(replace(key, index=stitch.frames.index(at)))
    return Keyframes(found)
