"""Carry edited keyframes through a clip with a video model, or edit the clip by text alone."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames, checked_mask_for
from ..vivid_core.editors.contract import EditRequest
from ..vivid_core.editors.kive import CROPS, edit_video, propagate
from ..vivid_core.editors.propagation import Propagation
from ..vivid_core.masks.shots import shot_cuts
from ..vivid_core.video.keyframes import Keyframes
from . import sockets
from .comfy_bridge.conditioning import Conditioning
from .comfy_bridge.engine import ManagedEngine
from .comfy_bridge.files import window_store
from .comfy_bridge.progress import Uncounted, say
from .comfy_bridge.tensors import to_core, to_graph
from .editing import SAMPLERS, settings_of, texts_of
from .schema import expert, node_schema


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
                io.Conditioning.Input("positive", tooltip="From Encode Prompt with the same engine."),
                io.Conditioning.Input("negative", tooltip="From Encode Prompt with the same engine."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed gives another motion of the details; the same one gives the same, to the "
                    "bit. Fix it to keep finished windows.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="0: as many as the model is used with. More take longer and rarely help.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How closely the text is followed; 0: as the model is used. 1 turns it off: half the time.",
                ),
                io.Int.Input(
                    "window",
                    default=0,
                    min=0,
                    max=999,
                    tooltip="Frames that the model makes together; 0: the most that it was trained with. Fewer need "
                    "less memory, and give more joints.",
                ),
                io.Int.Input(
                    "overlap",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Frames that a window shares with the one before it. More join the motion better and take "
                    "longer.",
                ),
                io.Combo.Input(
                    "crop",
                    options=list(CROPS),
                    default="auto",
                    tooltip="fine: all pixels of the model for a crop around the mask. fast: the crop at the frame's "
                    "own density, least time. off: the whole frame. auto: fine where the mask is small, else off.",
                ),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=256,
                    tooltip="Width of the soft rim outside the mask, in pixels; used without a blend mask.",
                ),
                io.Boolean.Input(
                    "colour_match",
                    default=True,
                    tooltip="Undo what a window does to the colours of the frames it starts from, so that long clips "
                    "don't drift.",
                ),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    tooltip="Keep finished windows in the output folder (vivid_windows, 4 GB at most): a run that was "
                    "stopped goes on, and a changed keyframe runs its own windows only.",
                ),
                io.Combo.Input(
                    "sampler",
                    options=list(SAMPLERS),
                    default="auto",
                    tooltip="auto: the model's own. CogVideoX models: dpm or ddim; Wan: unipc or euler.",
                    **expert(),
                ),
                io.Mask.Input(
                    "blend_mask",
                    optional=True,
                    tooltip="Soft mask for blending, from Augment Mask. Without it the mask is feathered outwards.",
                ),
            ],
            outputs=[
                io.Image.Output("propagated", display_name="frames"),
                io.Mask.Output("changed_mask", display_name="blend_mask", tooltip="Where something may have changed."),
                io.String.Output(
                    "report", display_name="report", tooltip="The windows, what anchors them, and what to look at."
                ),
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
                io.Conditioning.Input("positive", tooltip="From Encode Prompt with the same engine."),
                io.Conditioning.Input("negative", tooltip="From Encode Prompt with the same engine."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed gives another edit; the same one gives the same, to the bit.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="0: as many as the model is used with. More take longer and rarely help.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How closely the text is followed; 0: as the model is used. 1 turns it off: half the time.",
                ),
                io.Int.Input(
                    "window",
                    default=0,
                    min=0,
                    max=999,
                    tooltip="Frames that the model makes together; 0: the most that it was trained with. Fewer need "
                    "less memory, and give more joints.",
                ),
                io.Int.Input(
                    "overlap",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Frames that a window shares with the one before it. More join the motion better and take "
                    "longer.",
                ),
                io.Combo.Input(
                    "crop",
                    options=list(CROPS),
                    default="auto",
                    tooltip="fine: all pixels of the model for a crop around the mask. fast: the crop at the frame's "
                    "own density, least time. off: the whole frame. auto: fine where the mask is small, else off.",
                ),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=256,
                    tooltip="Width of the soft rim outside the mask, in pixels; used without a blend mask.",
                ),
                io.Boolean.Input(
                    "colour_match",
                    default=True,
                    tooltip="Undo what a window does to the colours of the frames it starts from, so that long clips "
                    "don't drift.",
                ),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    tooltip="Keep finished windows in the output folder (vivid_windows, 4 GB at most): a run that was "
                    "stopped goes on where it was.",
                ),
                io.Combo.Input(
                    "sampler",
                    options=list(SAMPLERS),
                    default="auto",
                    tooltip="auto: the model's own. CogVideoX models: dpm or ddim; Wan: unipc or euler.",
                    **expert(),
                ),
                io.Mask.Input(
                    "blend_mask",
                    optional=True,
                    tooltip="Soft mask for blending, from Augment Mask. Without it the mask is feathered outwards.",
                ),
            ],
            outputs=[
                io.Image.Output("edited", display_name="frames"),
                io.Mask.Output("changed_mask", display_name="blend_mask", tooltip="Where something may have changed."),
                io.String.Output(
                    "report", display_name="report", tooltip="The windows, what anchors them, and what to look at."
                ),
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
    blend = None if blend_mask is None else to_core(blend_mask)
    texts = texts_of(engine, positive, negative, what)
    settings = settings_of(engine.adapter.traits, **sampling)
    request = EditRequest(frames, mask, *texts, keyframes=keyframes or Keyframes([]), **settings)
    with engine.running() as (core, runtime):
        options = {
            "window": window or None,
            "overlap": overlap,
            "crop": crop,
            "feather": feather,
            "blend_mask_fhw": blend,
            "colour_match": colour_match,
            "cuts": shot_cuts(frames, Uncounted()),
            "store": window_store() if resume else None,
        }
        run = edit_video if keyframes is None else propagate
        result: Propagation = run(core, request, runtime=runtime, notes=notes, **options)  # type: ignore[arg-type]
    report = "\n".join([*notes, result.report])
    say([report])
    return io.NodeOutput(to_graph(result.frames_fhwc), to_graph(result.blend_mask_fhw), report)
