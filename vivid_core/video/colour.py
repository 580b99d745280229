"""Colour match: bring an edited clip to the original's colours, judged where both should show the same thing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_same_clip, checked_frames, checked_mask_for
from ..runtime import Runtime
from .feather import box_of, distance_outside
from .lab import lab_to_srgb, srgb_to_lab

MODES = ("none", "mean_std", "lab")
RING_PX = 16.0
GAIN_LIMIT = 2.0  # a larger change of contrast says that the ring doesn't show the same thing
FLAT_STD = {"mean_std": 2 / 255, "lab": 0.5}  # below this the spread is noise, and its ratio means nothing

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ColourTransform:
    """`value * scale + shift` for each channel, in RGB ("mean_std") or L*a*b* ("lab"); "none" changes nothing."""

    mode: str = "none"
    scale: Triple = (1.0, 1.0, 1.0)
    shift: Triple = (0.0, 0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        return self.mode == "none" or (self.scale == (1.0, 1.0, 1.0) and self.shift == (0.0, 0.0, 0.0))

    def apply(self, image_hwc: Tensor) -> Tensor:
        """The image (any [..., 3], 0..1) with its colours changed, clamped to 0..1; the input itself if identity."""
        if self.is_identity:
            return image_hwc
        values = srgb_to_lab(image_hwc) if self.mode == "lab" else image_hwc
        values = values * values.new_tensor(self.scale) + values.new_tensor(self.shift)
        return (lab_to_srgb(values) if self.mode == "lab" else values).clamp_(0, 1)


class ColourFit:
    """Collects the rings of frame after frame, and makes the one transform of them; see `fit_colour`."""

    def __init__(self, mode: str, ring_px: float = RING_PX) -> None:
        """Raises ValueError on an unknown mode or a ring of no width."""
        if mode not in MODES:
            raise ValueError(f"Colour match: got the mode {mode!r}; use one of {', '.join(MODES)}.")
        if not 0 < ring_px < math.inf:
            raise ValueError(f"Colour match: got a ring of {ring_px} pixels; it must be wider than 0.")
        self.mode, self.ring_px = mode, ring_px
        self._edited, self._original = _Moments(), _Moments()

    def add(self, edited_hwc: Tensor, original_hwc: Tensor, edit_mask_hw: Tensor) -> None:
        """Count one frame's ring."""
        if self.mode == "none":
            return
        pixels = _ring_pixels(edited_hwc, original_hwc, edit_mask_hw > 0.5, self.ring_px)
        if pixels is not None:
            edited, original = (srgb_to_lab(part) if self.mode == "lab" else part for part in pixels)
            self._edited.add(edited)
            self._original.add(original)

    def transform(self, notes: list[str] | None = None) -> ColourTransform:
        """The transform of all frames that were added; the identity, and a note, when there was no ring at all."""
        if self.mode == "none":
            return ColourTransform()
        return _transform(self.mode, self._edited, self._original, [] if notes is None else notes)


def fit_colour(
    edited_fhwc: Tensor,
    original_fhwc: Tensor,
    edit_mask_fhw: Tensor,
    mode: str,
    *,
    ring_px: float = RING_PX,
    keys: Iterable[int] = (),
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> ColourTransform:
    """The one transform for the whole clip that gives the edited ring the original's mean and spread.

    The ring is what lies outside the edit mask by at most `ring_px`: there both clips should show the same thing.
    One transform for all frames, so it can't flicker. Frames in `keys` are not counted, since they are composited on
    their own. Steps: one for each frame. An empty ring gives the identity and a note.

    Raises ValueError when clips or mask don't fit, and on an unknown mode.
    """
    edited = checked_frames(edited_fhwc, "Colour match, edited", notes)
    original = checked_frames(original_fhwc, "Colour match, original", notes)
    check_same_clip(original, edited, "Colour match: the original", "the edited clip")
    mask = checked_mask_for(edit_mask_fhw, original, "Colour match, edit mask", notes)
    runtime, fit = runtime or Runtime(), ColourFit(mode, ring_px)
    skipped = {index % edited.shape[0] for index in keys}
    for index, (edited_hwc, original_hwc, mask_hw) in enumerate(zip(edited, original, mask)):
        if index not in skipped:
            fit.add(edited_hwc, original_hwc, mask_hw)
        runtime.advance()
    return fit.transform(notes)


def match_colour(
    edited_fhwc: Tensor,
    original_fhwc: Tensor,
    edit_mask_fhw: Tensor,
    mode: str,
    ring_px: float = RING_PX,
    keys: Iterable[int] = (),
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> Tensor:
    """The edited clip in the original's colours: frames_fhwc, a new tensor (`edited_fhwc` itself if nothing changes).

    `fit_colour` and then `ColourTransform.apply` on every frame except `keys`, which stay as they are. Whoever
    composites afterwards should pass the transform to `composite` instead, and save this copy of the clip.
    """
    keys = tuple(keys)
    runtime = runtime or Runtime()
    transform = fit_colour(
        edited_fhwc, original_fhwc, edit_mask_fhw, mode, ring_px=ring_px, keys=keys, runtime=runtime, notes=notes
    )
    edited = edited_fhwc[..., :3]
    if transform.is_identity:
        return edited
    matched = torch.empty(edited.shape, dtype=edited.dtype)
    left_alone = {index % edited.shape[0] for index in keys}
    for index, (edited_hwc, matched_hwc) in enumerate(zip(edited, matched)):
        matched_hwc.copy_(edited_hwc if index in left_alone else transform.apply(edited_hwc))
        runtime.advance()
    return matched


class _Moments:
    """Count, mean and spread of RGB or L*a*b* pixels that arrive in parts."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = torch.zeros(3, dtype=torch.float64)
        self._squares = torch.zeros(3, dtype=torch.float64)

    def add(self, pixels_nc: Tensor) -> None:
        pixels = pixels_nc.double()
        self.count += pixels.shape[0]
        self._sum += pixels.sum(0)
        self._squares += pixels.square().sum(0)

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        mean = self._sum / self.count
        return mean.tolist(), (self._squares / self.count - mean.square()).clamp_min(0).sqrt().tolist()


def _ring_pixels(
    edited_hwc: Tensor, original_hwc: Tensor, inside_hw: Tensor, ring_px: float
) -> tuple[Tensor, Tensor] | None:
    box = box_of(inside_hw, margin=math.ceil(ring_px))
    if box is None:
        return None
    distance_hw = distance_outside(inside_hw[box])
    ring_hw = (distance_hw > 0) & (distance_hw <= ring_px)
    return edited_hwc[box][ring_hw], original_hwc[box][ring_hw]


def _transform(mode: str, edited: _Moments, original: _Moments, notes: list[str]) -> ColourTransform:
    if edited.count == 0:
        notes.append(
            "Colour match: there is nothing outside the edit mask to compare (it is empty or covers every frame), so "
            "the colours were left as they are."
        )
        return ColourTransform()
    scales, shifts = [], []
    for edited_mean, edited_std, original_mean, original_std in zip(*edited.mean_and_std(), *original.mean_and_std()):
        flat = min(edited_std, original_std) < FLAT_STD[mode]
        gain = 1.0 if flat else original_std / edited_std
        limited = min(max(gain, 1 / GAIN_LIMIT), GAIN_LIMIT)
        if limited != gain and not any("contrast" in note for note in notes):
            notes.append(
                "Colour match: around the edit mask the two clips differ by more than "
                f"{GAIN_LIMIT:g} times in contrast, so the contrast was changed by that much only."
            )
        scales.append(limited)
        shifts.append(original_mean - edited_mean * limited)
    return ColourTransform(mode, (scales[0], scales[1], scales[2]), (shifts[0], shifts[1], shifts[2]))
