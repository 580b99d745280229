"""A small clip with an edit whose true answer is known, for trying the loop with the embedded model."""

from __future__ import annotations

from comfy_api.latest import io

from ..vivid_core.training.new_shape import new_shape_trial
from ..vivid_core.training.world.trials import trial
from .comfy_bridge.tensors import to_graph
from .schema import expert, node_schema

ADD, MODIFY, REMOVE = "add", "modify", "remove"
SEEN, UNSEEN, NEW = "seen", "unseen", "new"


class DemoClip(io.ComfyNode):
    """One held-out clip of the embedded model's world."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividDemoClip",
            display_name="Demo Clip",
            search_aliases=["example clip", "test video", "synthetic clip", "toy world"],
            description="A small clip of the world that the embedded model knows, with a mask, a caption and the true "
            "answer. For trying the whole loop without a file and without other weights.",
            inputs=[
                io.Combo.Input(
                    "task",
                    options=[MODIFY, ADD, REMOVE],
                    default=MODIFY,
                    tooltip="What the caption asks for: another object in place of one, a new one, or none.",
                ),
                io.Int.Input(
                    "clip",
                    default=0,
                    min=0,
                    max=99999,
                    control_after_generate=True,
                    tooltip="The number of the clip; odd numbers have other objects in the frame too. The model was "
                    "trained on none of them.",
                ),
                io.Int.Input(
                    "frame_count",
                    default=9,
                    min=1,
                    max=129,
                    tooltip="How many frames. The embedded model sees 9 at once; longer clips are edited in windows.",
                ),
                io.Int.Input(
                    "side",
                    default=48,
                    min=32,
                    max=512,
                    step=16,
                    tooltip="Side of the frames in pixels. The embedded model works at 48; larger frames are cropped "
                    "around the mask or scaled.",
                ),
                io.Combo.Input(
                    "group",
                    options=[SEEN, UNSEEN, NEW],
                    default=SEEN,
                    tooltip="seen: a shape and colour that were trained together. unseen: each was trained, but never "
                    "both together. new: a shape that was never trained, for Train VIVID LoRA. For remove only seen.",
                    **expert(),
                ),
            ],
            outputs=[
                io.Image.Output("frames", display_name="frames", tooltip="The clip before the edit."),
                io.Mask.Output(
                    "mask", display_name="mask", tooltip="Where the edit goes: a loose box for modify and add."
                ),
                io.String.Output("caption", display_name="caption", tooltip="The words for Encode Prompt."),
                io.Image.Output("answer", display_name="answer", tooltip="The clip as a perfect edit would show it."),
                io.Mask.Output(
                    "object_mask", display_name="object", tooltip="The new object alone; empty where one is removed."
                ),
            ],
        )

    @classmethod
    def execute(cls, task: str, clip: int, frame_count: int, side: int, group: str) -> io.NodeOutput:
        if task == REMOVE and group != SEEN:
            raise ValueError(f'Demo Clip: got the group "{group}" for remove, which has only "seen"; choose that.')
        if group == NEW:
            chosen = new_shape_trial(task, clip, frame_count)
        else:
            chosen = trial("delete" if task == REMOVE else task, group, clip, frame_count)
        truth = chosen.truth(side)
        made = (chosen.source_fhwc(side), truth.edit_mask_fhw, truth.oracle_fhwc, (truth.weight_fhw > 0).float())
        frames, mask, answer, shape = (to_graph(tensor.clone()) for tensor in made)
        return io.NodeOutput(frames, mask, chosen.caption, answer, shape)
