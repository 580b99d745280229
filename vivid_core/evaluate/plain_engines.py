"""Engines without weights: removal, and what any edit should beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..editors.hole_filling import fill_hole
from ..editors.removal import remove_by_flow
from ..runtime import Runtime
from .cases import LoadedCase
from .engine import Made, Make


def unchanged(_: Mapping[str, Any]) -> Make:
    """The clip as it is: nothing is better outside the mask, and nothing worse inside it."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        return Made(case.frames_fhwc.clone())

    return make


def mean_fill(_: Mapping[str, Any]) -> Make:
    """Each frame with its mean colour outside the mask inside it; its own mean where the mask covers all."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        frames = case.frames_fhwc.clone()
        runtime.begin(len(frames))
        for frame_hwc, mask_hw in zip(frames, case.edit_mask_fhw):
            inside = mask_hw > 0.5
            known = frame_hwc[~inside] if bool((~inside).any()) else frame_hwc.reshape(-1, 3)
            frame_hwc[inside] = known.double().mean(0).float()
            runtime.advance()
        return Made(frames)

    return make


def background(settings: Mapping[str, Any]) -> Make:
    """Remove: the hole shows what other frames show there, the rest by patches; `editors.removal`."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        removed = remove_by_flow(case.frames_fhwc, case.edit_mask_fhw, settings["feather"], runtime)
        return Made(removed.frames_fhwc)

    return make


def patch(_: Mapping[str, Any]) -> Make:
    """Remove: each frame by itself, with patches out of its own surroundings."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        frames = case.frames_fhwc.clone()
        runtime.begin(len(frames))
        for frame_hwc, mask_hw in zip(frames, case.edit_mask_fhw):
            hole = (mask_hw > 0.5).numpy()
            if hole.all():
                raise ValueError("patch: the mask covers the whole frame, so there is nothing to copy from.")
            frame_hwc.copy_(torch.from_numpy(fill_hole(frame_hwc.numpy(), hole, ~hole, Runtime())))
            runtime.advance()
        return Made(frames)

    return make
