"""Compare what several engines made of one clip: the same masks and models for all."""

from __future__ import annotations

from typing import Any

from comfy_api.input_impl import VideoFromFile
from comfy_api.latest import io, ui
from torch import Tensor

from ..vivid_core.evaluate.in_graph import compare_edits, grid_frames, grid_sheet, names_of
from ..vivid_core.video.files import write_video
from .comfy_bridge.clip_scores import native_encoder
from .comfy_bridge.files import temp_file
from .comfy_bridge.progress import ComfyRuntime, say
from .comfy_bridge.tensors import to_core, to_graph
from .judging_inputs import clip_score_inputs, used_blend_input
from .schema import node_schema

EDITS = ("edited_1", "edited_2", "edited_3", "edited_4", "edited_5", "edited_6")


class CompareEngines(io.ComfyNode):
    """One table and one picture of several edits of a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividCompareEngines",
            display_name="Compare Engines",
            search_aliases=["benchmark", "side by side", "rank edits", "evaluate", "compare models"],
            description="Compares up to six edits of one clip: measured with the same masks and the same models, in "
            "one table, side by side in one video, and on a contact sheet.",
            inputs=[
                io.Image.Input("original", tooltip="The clip before the edits."),
                io.Mask.Input("edit_mask", tooltip="Where the edits are, the same for all."),
                io.Image.Input("edited_1", tooltip="The first edit, at the original's size."),
                io.Image.Input("edited_2", optional=True, tooltip="The second edit."),
                io.Image.Input("edited_3", optional=True, tooltip="The third edit."),
                io.Image.Input("edited_4", optional=True, tooltip="The fourth edit."),
                io.Image.Input("edited_5", optional=True, tooltip="The fifth edit."),
                io.Image.Input("edited_6", optional=True, tooltip="The sixth edit."),
                io.String.Input(
                    "names",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="A line for each connected edit, in their order; edit 1, edit 2 and so on without.",
                ),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=0.1,
                    max=240.0,
                    step=0.01,
                    optional=True,
                    tooltip="Frame rate of the video; connect the one of the source.",
                ),
                used_blend_input(),
                *clip_score_inputs(),
                io.String.Input(
                    "caption",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What the edited region should show, for TA. Needs clip_vision and clip.",
                ),
            ],
            outputs=[
                io.String.Output("table", display_name="table", tooltip="Markdown."),
                io.String.Output("json_report", display_name="json"),
                io.Image.Output("contact_sheet", display_name="contact_sheet"),
                io.Video.Output("comparison", display_name="video"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        original: Tensor,
        edit_mask: Tensor,
        names: str = "",
        fps: float = 24.0,
        blend_mask: Tensor | None = None,
        clip_vision: Any = None,
        clip: Any = None,
        caption: str = "",
        **edited: Tensor | None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        clips = [to_core(frames) for name in EDITS if (frames := edited.get(name)) is not None]
        edits = dict(zip(names_of(names, len(clips), notes), clips))
        encoder = native_encoder(clip_vision, clip) if clip_vision is not None else None
        blend = None if blend_mask is None else to_core(blend_mask)
        runtime = ComfyRuntime()
        if caption and encoder is None:
            notes.append("The caption is not used: connect clip_vision and clip for TA.")
            caption = ""
        found = compare_edits(
            to_core(original), to_core(edit_mask), edits, blend, encoder, caption, runtime, notes, then=len(original)
        )
        path, saved = temp_file("vivid_engines", "mp4")
        write_video(path, grid_frames(found, runtime=runtime), fps)
        sheet = grid_sheet(found)[None]
        table = found.markdown()
        say([*notes, table])
        shown = ui.PreviewVideo([saved])
        return io.NodeOutput(table, found.json(), to_graph(sheet), VideoFromFile(path), ui=shown)
