"""Checks of frames and masks: one sentence for every wrong input, before any work.

Each check returns the input in the house's form. What had to be corrected on the way is added to `notes`, a list of
sentences that the caller shows to the user.
"""

from __future__ import annotations

from torch import Tensor

from .clips import AnyClip, Clip, repeated

RANGE_SLACK = 1e-3  # resizing and colour nodes overshoot by less than this; nobody can see it


def checked_frames(frames: Tensor, what: str, notes: list[str] | None = None) -> Tensor:
    """Return `frames` as frames_fhwc [F, H, W, 3]: no copy; an alpha channel is dropped and noted.

    Raises ValueError on another rank, no frames, another channel count, NaN, or values outside 0..1.
    """
    if frames.ndim != 4:
        raise ValueError(
            f"{what}: got a tensor of shape {tuple(frames.shape)}, but images are [frames, height, width, channels]; "
            "connect an IMAGE output."
        )
    count, height, width, channels = frames.shape
    if count == 0:
        raise ValueError(f"{what}: got no frames at all; check the trim or batch node that feeds it.")
    if height == 0 or width == 0:
        raise ValueError(f"{what}: got frames of {width}x{height}; both sides must be at least 1 pixel.")
    if channels not in (3, 4):
        raise ValueError(
            f"{what}: got {channels} channels, but frames are RGB (3) or RGBA (4); convert them to RGB first."
        )
    _check_range(frames, what)
    if channels == 4:
        if notes is not None:
            notes.append(f"{what}: the alpha channel was dropped; connect it as a MASK if it marks the edit.")
        return frames[..., :3]
    return frames


def checked_mask(mask: Tensor, what: str) -> Tensor:
    """Return `mask` as mask_fhw [F, H, W]; a single [H, W] mask becomes one frame. Empty masks are legal here.

    Raises ValueError on another rank, no frames, NaN, or values outside 0..1.
    """
    if mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3:
        raise ValueError(
            f"{what}: got a tensor of shape {tuple(mask.shape)}, but masks are [frames, height, width]; "
            "connect a MASK output."
        )
    if 0 in mask.shape:
        raise ValueError(f"{what}: got an empty tensor of shape {tuple(mask.shape)}; it needs at least one mask.")
    _check_range(mask, what)
    return mask


def checked_mask_for(mask: AnyClip, frames_fhwc: Clip, what: str, notes: list[str] | None = None) -> AnyClip:
    """Return `mask` as mask_fhw with one mask for each frame; a single mask is used for every frame, and noted.

    Raises ValueError when lengths or sizes differ, and as `checked_mask` does. A clip that is no tensor is in form by
    the way it is made; only its shape is looked at.
    """
    mask = checked_mask(mask, what) if isinstance(mask, Tensor) else mask
    count, height, width = frames_fhwc.shape[:3]
    if tuple(mask.shape[1:]) != (height, width):
        raise ValueError(
            f"{what}: got masks of {mask.shape[2]}x{mask.shape[1]} for frames of {width}x{height}; "
            "resize one of them so that both have the same size."
        )
    if mask.shape[0] == count:
        return mask
    if mask.shape[0] != 1:
        raise ValueError(
            f"{what}: got {mask.shape[0]} masks for {count} frames; each frame needs one mask, so trim both alike "
            "or connect the same frames to tracking and to this node."
        )
    if notes is not None:
        notes.append(f"{what}: one mask was given for {count} frames and is used for all of them.")
    return repeated(mask, count)


def check_not_empty(mask_fhw: Clip, what: str) -> None:
    """Raise ValueError when no frame of the mask marks anything (no value above 0.5)."""
    if not any(float(mask_hw.numpy().max()) > 0.5 for mask_hw in mask_fhw):
        count = mask_fhw.shape[0]
        where = "" if count == 1 else f" on all {count} frames"
        raise ValueError(
            f"{what}: the mask is empty{where}; mark the object first, or check that the mask is not inverted."
        )


def check_same_clip(first: Tensor, second: Tensor, first_name: str, second_name: str) -> None:
    """Raise ValueError unless two clips have the same number of frames and the same size."""
    if first.shape[0] != second.shape[0]:
        raise ValueError(
            f"{second_name} has {second.shape[0]} frames and {first_name} has {first.shape[0]}; "
            "they must be the same clip, so trim both alike."
        )
    if first.shape[1:3] != second.shape[1:3]:
        raise ValueError(
            f"{second_name} is {second.shape[2]}x{second.shape[1]} and {first_name} is "
            f"{first.shape[2]}x{first.shape[1]}; resize one of them so that both have the same size."
        )


def check_number(value: float, least: float, most: float, what: str) -> None:
    """Raise ValueError unless `value` lies in least..most: a widget keeps to its range, but a link brings anything."""
    if not least <= value <= most:
        low, high = (f"{one}" if isinstance(one, int) else f"{one:g}" for one in (least, most))
        raise ValueError(f"{what}: got {value}; use {low} to {high}.")


def _check_range(values: Tensor, what: str) -> None:
    for index, frame in enumerate(values):  # one frame at a time: no second clip in memory
        # NumPy's are plain loops; torch would start its threads for each frame, which takes longer than the work.
        low, high = float(frame.numpy().min()), float(frame.numpy().max())
        if low != low or high != high:
            raise ValueError(
                f"{what}: frame {index} holds NaN (not a number) values; the node that made it failed, often a VAE "
                "in half precision, so run that one in fp32."
            )
        if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
            raise ValueError(
                f"{what}: frame {index} holds values from {low:.3g} to {high:.3g}, but they must lie in 0..1; "
                "clamp or rescale them first."
            )
