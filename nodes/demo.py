"""Small clips with an edit whose true answer is known, for trying the loop with the embedded models."""

from __future__ import annotations

from comfy_api.latest import io

from ..vivid_core.checks import check_number
from ..vivid_core.training.demo_scene import demo_scene
from ..vivid_core.training.new_shape import new_shape_trial
from ..vivid_core.training.world.trials import trial
from .comfy_bridge.tensors import to_graph
from .schema import expert, node_schema

ADD, MODIFY, REMOVE = "add", "modify", "remove"
SEEN, UNSEEN, NEW = "seen", "unseen", "new"
FRAME_COUNTS, SIDES = (1, 129), (32, 512)
RECOLOUR, MOVE = "recolour", "move"


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
                    min=FRAME_COUNTS[0],
                    max=FRAME_COUNTS[1],
                    tooltip="How many frames. The embedded model sees 9 at once; longer clips are edited in windows.",
                ),
                io.Int.Input(
                    "side",
                    default=48,
                    min=SIDES[0],
                    max=SIDES[1],
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
        check_number(frame_count, *FRAME_COUNTS, "Demo Clip, frame_count")
        check_number(side, *SIDES, "Demo Clip, side")
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


class DemoScene(io.ComfyNode):
    """One held-out clip of the embedded Stable Diffusion's world."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividDemoScene",
            display_name="Demo Scene",
            search_aliases=["example clip", "test video", "synthetic clip", "pix2video demo", "uniedit demo"],
            description="A small clip of the world that the embedded Stable Diffusion knows, with its words, depth, a "
            "mask and the true answer. For trying Pix2Video and UniEdit without a file and without other weights.",
            inputs=[
                io.Combo.Input(
                    "task",
                    options=[RECOLOUR, MOVE],
                    default=RECOLOUR,
                    tooltip="What the prompt asks for: the object in another colour, for Pix2Video or UniEdit's "
                    "appearance mode; or in another motion, for UniEdit's motion mode.",
                ),
                io.Int.Input(
                    "clip",
                    default=0,
                    min=0,
                    max=99999,
                    control_after_generate=True,
                    tooltip="The number of the clip. The model was trained on none of them.",
                ),
            ],
            outputs=[
                io.Image.Output("frames", display_name="frames", tooltip="The clip before the edit."),
                io.Mask.Output("mask", display_name="mask", tooltip="Where the edit goes."),
                io.String.Output("caption", display_name="source_prompt", tooltip="What the clip shows."),
                io.String.Output("prompt", display_name="prompt", tooltip="What it should show."),
                io.Image.Output("depth", display_name="depth", tooltip="The true depth, near is white."),
                io.Image.Output("answer", display_name="answer", tooltip="The clip as a perfect edit would show it."),
            ],
        )

    @classmethod
    def execute(cls, task: str, clip: int) -> io.NodeOutput:
        scene = demo_scene(task, clip)
        depth_fhwc = scene.depth_fhw[..., None].expand(-1, -1, -1, 3)
        made = (scene.frames_fhwc, scene.mask_fhw, depth_fhwc, scene.answer_fhwc)
        frames, mask, depth, answer = (to_graph(tensor.clone()) for tensor in made)
        return io.NodeOutput(frames, mask, scene.caption, scene.prompt, depth, answer)
