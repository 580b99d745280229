"""Judge an edit: numbers and pictures."""

from __future__ import annotations

from typing import Any

from comfy_api.input_impl import VideoFromFile
from comfy_api.latest import io, ui
from torch import Tensor

from ..vivid_core.checks import check_not_empty, check_same_clip, checked_frames, checked_mask_for
from ..vivid_core.metrics.pictures import LAYOUTS, contact_sheet, series_strip, wipe_frames
from ..vivid_core.metrics.report import measure_edit
from ..vivid_core.video.files import write_video
from ..vivid_core.video.keyframes import Keyframes
from . import sockets
from .comfy_bridge.clip_scores import native_encoder
from .comfy_bridge.files import temp_file
from .comfy_bridge.flow import ManagedFlow, flow_runtime
from .comfy_bridge.progress import ComfyRuntime, say
from .comfy_bridge.tensors import to_core, to_graph
from .judging_inputs import clip_score_inputs, used_blend_input
from .schema import node_schema


class MeasureEdit(io.ComfyNode):
    """What changed outside the mask, seams, flicker, drift, motion; with a CLIP also what the edit shows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividMeasureEdit",
            display_name="Measure Edit",
            search_aliases=["video metrics", "background preservation", "flicker", "seam", "quality", "clip score"],
            description="Measures an edit: what changed outside the mask, how visible the seam is, flicker, drift "
            "from the keyframe, and motion; with a CLIP also how well it fits a caption and holds over time.",
            inputs=[
                io.Image.Input("original", tooltip="The clip before the edit."),
                io.Image.Input("edited", tooltip="The clip after the edit, at the same size."),
                io.Mask.Input("edit_mask", tooltip="Where the edit is."),
                used_blend_input(),
                sockets.Keyframes.Input("keyframes", optional=True, tooltip="For the drift measure."),
                *clip_score_inputs(),
                io.String.Input(
                    "caption",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What the edited region should show, for TA. Needs clip_vision and clip. Leave it empty "
                    "for a removal.",
                ),
                io.Boolean.Input(
                    "motion",
                    default=True,
                    optional=True,
                    tooltip="Warp error and motion fidelity, which need optical flow: about as much time as all the "
                    "rest without a CLIP.",
                ),
                sockets.Flow.Input(
                    "flow",
                    optional=True,
                    tooltip="From Load Optical Flow: motion by a RAFT model instead of DIS.",
                ),
            ],
            outputs=[
                io.String.Output("report", display_name="report"),
                io.String.Output("json_report", display_name="json"),
                io.Float.Output(
                    "outside_difference",
                    display_name="outside_difference",
                    tooltip="Largest change outside the blend mask; 0 is exact.",
                ),
                io.Image.Output("chart", display_name="chart", tooltip="The measures over time."),
                io.Image.Output(
                    "contact_sheet",
                    display_name="contact_sheet",
                    tooltip="Frames before and after, the worst ones among them.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        original: Tensor,
        edited: Tensor,
        edit_mask: Tensor,
        blend_mask: Tensor | None = None,
        keyframes: Keyframes | None = None,
        clip_vision: Any = None,
        clip: Any = None,
        caption: str = "",
        motion: bool = True,
        flow: ManagedFlow | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        original = checked_frames(to_core(original), "Measure Edit, original", notes)
        edited = checked_frames(to_core(edited), "Measure Edit, edited", notes)
        mask = checked_mask_for(to_core(edit_mask), original, "Measure Edit, edit_mask", notes)
        check_not_empty(mask, "Measure Edit, edit_mask")
        if blend_mask is not None:
            blend_mask = checked_mask_for(to_core(blend_mask), original, "Measure Edit, blend_mask", notes)
            check_not_empty(blend_mask, "Measure Edit, blend_mask")
        encoder = native_encoder(clip_vision, clip)
        with flow_runtime(flow) as (runtime, estimator):
            measures = measure_edit(
                original, edited, mask, blend_mask, keyframes, runtime, notes, encoder, caption,
                flow=estimator if motion else None,
            )  # fmt: skip
        chart = series_strip(measures)[None]
        sheet = contact_sheet(original, edited, mask, measures.key_indices, marked=measures.worst_frames())[None]
        report = "\n".join([*notes, measures.text()])
        say([report])
        shown = ui.PreviewImage(chart, cls=cls)
        numbers = measures.json(), measures.outside_maximum
        return io.NodeOutput(report, *numbers, to_graph(chart), to_graph(sheet), ui=shown)


class Compare(io.ComfyNode):
    """Before and after in one video, and as a contact sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividCompare",
            display_name="Compare",
            search_aliases=["before after", "wipe", "side by side", "contact sheet", "compare video"],
            description="Shows the clip before and after the edit: as a wipe or side by side, with the mask's outline "
            "and the keyframes on a time line, and as a contact sheet.",
            inputs=[
                io.Image.Input("original", tooltip="The clip before the edit."),
                io.Image.Input("edited", tooltip="The clip after the edit, at the same size."),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=0.1,
                    max=240.0,
                    step=0.01,
                    tooltip="Frame rate of the video; connect the one of the source.",
                ),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default="wipe",
                    tooltip="One picture that is wiped, or two beside each other.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Its outline is drawn on the original."),
                sockets.Keyframes.Input(
                    "keyframes", optional=True, tooltip="Marked on the time line and on the sheet."
                ),
            ],
            outputs=[
                io.Video.Output("comparison", display_name="video"),
                io.Image.Output("contact_sheet", display_name="contact_sheet"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        original: Tensor,
        edited: Tensor,
        fps: float,
        layout: str,
        mask: Tensor | None = None,
        keyframes: Keyframes | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        original = checked_frames(to_core(original), "Compare, original", notes)
        edited = checked_frames(to_core(edited), "Compare, edited", notes)
        check_same_clip(original, edited, "original", "edited")
        if mask is not None:
            mask = checked_mask_for(to_core(mask), original, "Compare, mask", notes)
        keys = keyframes.fitted(original).indices if keyframes is not None else ()
        path, saved = temp_file("vivid_compare", "mp4")
        runtime = ComfyRuntime()
        runtime.begin(original.shape[0])
        wipe = wipe_frames(original, edited, mask, keys, layout, runtime=runtime)
        write_video(path, wipe, fps)
        sheet = contact_sheet(original, edited, mask, keys, runtime=runtime)[None]
        say(notes)
        return io.NodeOutput(VideoFromFile(path), to_graph(sheet), ui=ui.PreviewVideo([saved]))
