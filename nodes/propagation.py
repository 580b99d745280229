"""Carry edited keyframes through a clip with a video model, or edit the clip by text alone."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames, checked_mask_for
from ..vivid_core.editors.contract import EditRequest
from ..vivid_core.editors.kive import edit_video, propagate
from ..vivid_core.masks.shots import shot_cuts
from ..vivid_core.video.keyframes import Keyframes
from . import sockets
from .comfy_bridge.conditioning import Conditioning
from .comfy_bridge.engine import ManagedEngine
from .comfy_bridge.progress import Uncounted, say
from .comfy_bridge.tensors import to_core, to_graph
from .editing import options_of, settings_of, texts_of
from .editing_inputs import (
    blend_inputs,
    clip_outputs,
    crop_inputs,
    joint_inputs,
    sampler_inputs,
    seed_input,
    strength_inputs,
    text_inputs,
    window_inputs,
)
from .schema import node_schema


class PropagateEdit(io.ComfyNode):
    """KIVE's second half: the keyframes, carried forward and backward in time by the video model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividPropagate",
            display_name="Propagate Edit (KIVE)",
            search_aliases=["kive", "propagate keyframe", "edit video", "video inpaint", "object replacement"],
            description="Carries edited keyframes through the clip with the engine's video model, in windows that are "
            "chained. The keyframes come back exactly; outside the mask nothing changes.",
            inputs=[
                sockets.Engine.Input("engine", tooltip="From Load Edit Engine."),
                io.Image.Input("frames", tooltip="The clip before the edit; any length."),
                io.Mask.Input("mask", tooltip="Where the edit goes, on every frame."),
                sockets.Keyframes.Input(
                    "keyframes", tooltip="From Edit Keyframe, or from Set Keyframes with pictures of any editor."
                ),
                *text_inputs(),
                seed_input(
                    "Another seed gives another motion of the details; the same one gives the same, to the "
                    "bit. Fix it to keep finished windows."
                ),
                *strength_inputs(),
                *window_inputs(),
                *crop_inputs(),
                *joint_inputs(),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    tooltip="Keep finished windows in the output folder (vivid_windows, 4 GB at most): a run that was "
                    "stopped goes on, and a changed keyframe runs its own windows only.",
                ),
                *sampler_inputs(),
                *blend_inputs(),
            ],
            outputs=[
                io.Image.Output("propagated", display_name="frames"),
                *clip_outputs(),
            ],
        )

    @classmethod
    def execute(cls, engine: ManagedEngine, keyframes: Keyframes, **inputs: Any) -> io.NodeOutput:
        return _edited("Propagate Edit", engine, keyframes, **inputs)


class EditVideo(io.ComfyNode):
    """The same model, by text alone: for comparison, and where no keyframe is needed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividEditVideo",
            display_name="Edit Video (direct)",
            search_aliases=["video inpaint", "remove object from video", "text to video edit", "video outpaint"],
            description="Edits a clip inside the mask by text alone, without a keyframe. Good for removing; for adding "
            "and modifying, a keyframe that you have seen costs less than another try of the whole clip.",
            inputs=[
                sockets.Engine.Input("engine", tooltip="From Load Edit Engine."),
                io.Image.Input("frames", tooltip="The clip before the edit; any length."),
                io.Mask.Input("mask", tooltip="Where the edit goes, on every frame."),
                *text_inputs(),
                seed_input(),
                *strength_inputs(),
                *window_inputs(),
                *crop_inputs(),
                *joint_inputs(),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    tooltip="Keep finished windows in the output folder (vivid_windows, 4 GB at most): a run that was "
                    "stopped goes on where it was.",
                ),
                *sampler_inputs(),
                *blend_inputs(),
            ],
            outputs=[
                io.Image.Output("edited", display_name="frames"),
                *clip_outputs(),
            ],
        )

    @classmethod
    def execute(cls, engine: ManagedEngine, **inputs: Any) -> io.NodeOutput:
        return _edited("Edit Video", engine, None, **inputs)


def _edited(
    what: str,
    engine: ManagedEngine,
    keyframes: Keyframes | None,
    frames: Tensor,
    mask: Tensor,
    positive: Conditioning,
    negative: Conditioning,
    window: int,
    overlap: int,
    crop: str,
    feather: int,
    colour_match: bool,
    resume: bool,
    blend_mask: Tensor | None = None,
    **sampling: Any,
) -> io.NodeOutput:
    """Both nodes: with keyframes, or by text alone."""
    notes: list[str] = []
    frames = checked_frames(to_core(frames), what, notes)
    mask = checked_mask_for(to_core(mask), frames, f"{what}, mask", notes)
    texts = texts_of(engine, positive, negative, what)
    settings = settings_of(engine.adapter.traits, **sampling)
    request = EditRequest(frames, mask, *texts, keyframes=keyframes or Keyframes([]), **settings)
    with engine.running() as (core, runtime):
        cuts = shot_cuts(frames, Uncounted())
        options = options_of(window, overlap, crop, feather, colour_match, resume, blend_mask, cuts=cuts)
        run = edit_video if keyframes is None else propagate
        result = run(core, request, options, runtime, notes)
    report = "\n".join([*notes, result.report])
    say([report])
    return io.NodeOutput(to_graph(result.frames_fhwc), to_graph(result.blend_mask_fhw), report)
