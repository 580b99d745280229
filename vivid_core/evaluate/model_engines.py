"""Engines with weights: the VIVID model directly or by KIVE, and a frozen Stable Diffusion by Pix2Video or UniEdit.

All of them show what the model made on the whole of what it saw, which a run in the graph never does; the composite
comes afterwards. For frames inside the blend mask this is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..diffusion.guidance import Guidance
from ..editors.backbone import Backbone
from ..editors.contract import EditRequest
from ..editors.embedded_backbone import embedded_backbone
from ..editors.engine import Engine as Model
from ..editors.flow_warp import propagate_by_flow
from ..editors.inverted import InversionPlan, invert_clip
from ..editors.kive import EditOptions, edit_keyframe, edit_video, propagate
from ..editors.pix2video import Pix2VideoSettings
from ..editors.pix2video_clip import edit_frames
from ..editors.texts import prompt_for
from ..editors.uniedit import UniEditSettings
from ..editors.uniedit_clip import edit_clip
from ..models import embedded_sd
from ..runtime import Runtime
from ..training.bases import DeviceRuntime, load_base
from ..video.keyframes import Keyframe, Keyframes
from .cases import LoadedCase
from .engine import Made, Make

Settings = Mapping[str, Any]


class Models:
    """The models of a run, each loaded when it is first asked for, on one `device`."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self._models: dict[str, Model] = {}
        self._backbones: dict[tuple[str, str], Backbone] = {}

    def editing(self, path: str) -> Model:
        """The model that edits by a mask: "" is the embedded one. Raises ValueError as `load_base` does."""
        if path not in self._models:
            self._models[path] = load_base(Path(path) if path else None, self.device)
        return self._models[path]

    def frozen(self, path: str, kind: str) -> Backbone:
        """The embedded Stable Diffusion in a file, without one the pack's, on the CPU.

        Raises ValueError as `embedded_backbone` does.
        """
        if (path, kind) not in self._backbones:
            file = path or embedded_sd.WEIGHTS
            self._backbones[path, kind] = embedded_backbone(kind, file)  # type: ignore[arg-type]
        return self._backbones[path, kind]


def direct(settings: Settings, models: Models) -> Make:
    """The clip from the text alone: `kive.edit_video`."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        request = _request(case, models, settings, seed)
        return Made(
            edit_video(models.editing(settings["model"]), request, _shown(case, settings), _held(models)).frames_fhwc
        )

    return make


def kive(settings: Settings, models: Models) -> Make:
    """One frame by the model, then carried through the clip by the model: `kive.propagate`."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        keys = _keyframe(case, models, settings, seed)
        request = _request(case, models, settings, seed, keys)
        done = propagate(models.editing(settings["model"]), request, _shown(case, settings), _held(models))
        return Made(done.frames_fhwc, keys)

    return make


def flow(settings: Settings, models: Models) -> Make:
    """One frame by the model, then carried through the clip by optical flow: `flow_warp.propagate_by_flow`."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        keys = _keyframe(case, models, settings, seed)
        done = propagate_by_flow(case.frames_fhwc, case.edit_mask_fhw, keys, case.blend_mask_fhw)
        return Made(done.frames_fhwc, keys)

    return make


def pix2video(settings: Settings, models: Models) -> Make:
    """Pix2Video with an image model, from the caption; without a source prompt, as for real clips."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        backbone = models.frozen(settings["model"], "image")
        plan = InversionPlan(settings["steps"], still=True, checked=False)
        clip = invert_clip(backbone, case.frames_fhwc, "", plan).clip
        asked = Pix2VideoSettings(settings["guidance"])
        return Made(edit_frames(backbone, clip, _caption(case), settings=asked).frames_fhwc)

    return make


def uniedit(settings: Settings, models: Models) -> Make:
    """UniEdit's change of appearance with a motion model, from the caption; without a source prompt."""

    def make(case: LoadedCase, seed: int, runtime: Runtime) -> Made:
        backbone = models.frozen(settings["model"], "motion")
        clip = invert_clip(backbone, case.frames_fhwc, "", InversionPlan(settings["steps"], checked=False)).clip
        asked = UniEditSettings(guidance=settings["guidance"])
        return Made(edit_clip(backbone, clip, _caption(case), settings=asked).frames_fhwc)

    return make


def _caption(case: LoadedCase) -> str:
    if not case.case.caption.strip():
        raise ValueError("The caption is empty, but this engine edits by a text; write what must be seen.")
    return case.case.caption


def _request(
    case: LoadedCase,
    models: Models,
    settings: Settings,
    seed: int,
    keys: Keyframes | None = None,
    at: int | None = None,
) -> EditRequest:
    """The edit of a case, of all its frames or of frame `at`."""
    model = models.editing(settings["model"])
    runtime, part = _held(models), slice(None) if at is None else slice(at, at + 1)
    text = prompt_for(model.adapter.traits, "remove" if case.removes else "modify", case.case.caption)
    guidance = None if settings["guidance"] is None else Guidance(settings["guidance"])
    return EditRequest(
        case.frames_fhwc[part],
        case.edit_mask_fhw[part],
        model.encoded(text, runtime),
        model.encoded("", runtime),
        keyframes=keys or Keyframes([]),
        seed=seed,
        steps=settings["steps"],
        guidance=guidance,
    )


def _keyframe(case: LoadedCase, models: Models, settings: Settings, seed: int) -> Keyframes:
    """The first frame that shows something to edit, edited: put together inside the blend mask once, as KIVE does."""
    at = int((case.edit_mask_fhw.amax((1, 2)) > 0.5).float().argmax())
    options = EditOptions(crop=settings["crop"], blend_mask_fhw=case.blend_mask_fhw[at : at + 1])
    request = _request(case, models, settings, seed, at=at)
    made = edit_keyframe(models.editing(settings["model"]), request, options, _held(models))
    return Keyframes([Keyframe(at, made.image_hwc)])


def _shown(case: LoadedCase, settings: Settings) -> EditOptions:
    """Everything that the model made is shown: a blend mask of ones."""
    everywhere = torch.ones((1, 1, 1)).expand(case.edit_mask_fhw.shape)
    return EditOptions(crop=settings["crop"], blend_mask_fhw=everywhere)


def _held(models: Models) -> Runtime:
    return DeviceRuntime(models.device)
