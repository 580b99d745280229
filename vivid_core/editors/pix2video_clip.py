"""A clip edited by Pix2Video from the inversion to the finished frames: keyframes, the edit, the way back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..runtime import Runtime
from ..video.composite import composite_key
from ..video.keyframes import Keyframe, Keyframes
from .backbone import Backbone
from .inverted import InvertedClip
from .pix2video import Pix2VideoSettings, pix2video, plan_for, steps_of
from .put_back import blend_mask_for, put_back


@dataclass(frozen=True)
class FramesEdited:
    """The finished clip, bit-exact the original where `blend_mask_fhw` is 0 and the keyframe at each of theirs.
    `seen_fhwc` is what the model made, at its size; `depth_fhw` what it was shown, or None."""

    frames_fhwc: Tensor
    blend_mask_fhw: Tensor
    seen_fhwc: Tensor
    depth_fhw: Tensor | None
    report: str


def edit_frames(
    backbone: Backbone,
    clip: InvertedClip,
    prompt: str,
    negative: str = "",
    settings: Pix2VideoSettings | None = None,
    keyframes: Keyframes | None = None,
    mask_fhw: Tensor | None = None,
    blend_mask_fhw: Tensor | None = None,
    feather: float = 8,
    runtime: Runtime | None = None,
    notes: list[str] | None = None,
) -> FramesEdited:
    """Edit a clip that was inverted frame by frame by a text and, if there are any, after edited keyframes.

    The edit shows where `blend_mask_fhw` is above 0, by default `mask_fhw` with a soft rim of `feather` pixels outside
    it, or everywhere.

    Raises ValueError for masks or keyframes that don't fit the clip, and as `pix2video` does.
    """
    settings, runtime = settings or Pix2VideoSettings(), runtime or Runtime()
    notes = [] if notes is None else notes
    keys = Keyframes(()) if keyframes is None else keyframes.fitted(clip.frames_fhwc, notes)
    blend = blend_mask_for(clip, mask_fhw, blend_mask_fhw, feather, notes)
    plan_for(settings, clip.frame_count, keys.indices)
    runtime.begin(steps_of(clip, len(keys)) + clip.frame_count)
    made = pix2video(backbone, clip, prompt, negative, settings, _as_shown(keys, clip, blend), runtime)
    done = put_back(clip, made.frames_fhwc, blend, runtime, keep=keys, notes=notes)
    report = f"{made.report}\n{done.report}"
    return FramesEdited(done.frames_fhwc, done.blend_mask_fhw, made.frames_fhwc, made.depth_fhw, report)


def _as_shown(keys: Keyframes, clip: InvertedClip, blend_mask_fhw: Tensor | None) -> Keyframes:
    """Keyframes as they will be in the finished clip, so that the model follows these and not what is cut away."""

    def shown(key: Keyframe) -> Keyframe:
        original = clip.frames_fhwc[key.index]
        blend = torch.ones(original.shape[:2]) if blend_mask_fhw is None else blend_mask_fhw[key.index]
        return Keyframe(key.index, composite_key(original, key, blend))

    return Keyframes(shown(key) for key in keys)
