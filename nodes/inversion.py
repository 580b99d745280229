"""The noise that a clip comes from, found once for all edits of it."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames
from ..vivid_core.editors.inverted import InversionPlan, invert_clip, pixels_of
from . import sockets
from .comfy_bridge.diffusion import ManagedDiffusion
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core, to_graph
from .schema import expert, node_schema

CLIP_EDITOR, FRAME_EDITOR = "UniEdit", "Pix2Video"


class InvertClip(io.ComfyNode):
    """Once for a clip; every prompt after it starts from here."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividInvert",
            display_name="Invert Clip",
            search_aliases=["ddim inversion", "unsampler", "invert video", "uniedit", "pix2video"],
            description="Finds the noise that a diffusion model would make this clip from. UniEdit and Pix2Video start "
            "from it; another prompt there does not invert again.",
            inputs=[
                sockets.Diffusion.Input("diffusion", tooltip="From Load Diffusion Model."),
                io.Image.Input("frames", tooltip="The clip; or a crop of it, from Crop Subject."),
                io.String.Input(
                    "source_prompt",
                    default="",
                    multiline=True,
                    tooltip="What the clip shows. Empty is usual for UniEdit; Pix2Video wants it. Name the object in "
                    "it if a word is to find it.",
                ),
                io.Combo.Input(
                    "editor",
                    options=[CLIP_EDITOR, FRAME_EDITOR],
                    default=CLIP_EDITOR,
                    tooltip="For which editor: UniEdit takes all frames together, by the motion modules if there are "
                    "any; Pix2Video takes each frame by itself.",
                ),
                io.Int.Input(
                    "steps",
                    default=50,
                    min=1,
                    max=1000,
                    tooltip="Steps to the noise; an edit has as many. Fewer are faster and come back less exactly.",
                ),
                io.Float.Input(
                    "megapixels",
                    default=0.26,
                    min=0.0,
                    max=16.0,
                    step=0.01,
                    tooltip="Larger frames are shrunk to about this for the model; 0.26 is 512x512, what Stable "
                    "Diffusion 1.5 was trained with. 0 keeps the size. Time and memory go with it.",
                ),
                io.Boolean.Input(
                    "check",
                    default=True,
                    tooltip="Denoise again to see how exactly the clip comes back: twice the time, once for a clip.",
                ),
                io.Int.Input(
                    "frames_at_once",
                    default=8,
                    min=1,
                    max=1024,
                    tooltip="For single frames: how many go through the model together. Fewer need less memory.",
                    **expert(),
                ),
                io.Int.Input(
                    "overlap",
                    default=4,
                    min=0,
                    max=15,
                    tooltip="For clips longer than the motion modules were trained with: frames that neighbouring "
                    "windows share. More join them better and take longer.",
                    **expert(),
                ),
                io.Image.Input(
                    "depth",
                    optional=True,
                    tooltip="How near things are, white = near: for a model or ControlNet that sees depth. From "
                    "Estimate Depth or any node.",
                ),
                io.Combo.Input(
                    "depth_range",
                    options=["frame", "clip"],
                    default="frame",
                    optional=True,
                    tooltip="Depth is stretched to its full range in each frame, as Pix2Video does, or once for the "
                    "clip, which flickers less when things come near or go away.",
                    **expert(),
                ),
                io.Float.Input(
                    "depth_strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    optional=True,
                    tooltip="How much a depth ControlNet counts. A model with a depth channel has no such setting.",
                    **expert(),
                ),
            ],
            outputs=[
                sockets.Inversion.Output(
                    "inversion",
                    display_name="inversion",
                    tooltip="For UniEdit or Pix2Video; it carries the clip along.",
                ),
                io.Image.Output(
                    "reconstruction",
                    display_name="reconstruction",
                    tooltip="The clip as it comes back from the noise, at the model's size. What is lost here, no edit "
                    "can keep.",
                ),
                io.String.Output("report", display_name="report", tooltip="How exactly the clip came back."),
            ],
        )

    @classmethod
    def execute(
        cls,
        diffusion: ManagedDiffusion,
        frames: Tensor,
        source_prompt: str,
        editor: str,
        steps: int,
        megapixels: float,
        check: bool,
        frames_at_once: int,
        overlap: int,
        depth: Tensor | None = None,
        depth_range: str = "frame",
        depth_strength: float = 1.0,
    ) -> io.NodeOutput:
        notes: list[str] = []
        frames = checked_frames(to_core(frames), "Invert Clip", notes)
        plan = InversionPlan(
            steps=steps,
            still=editor == FRAME_EDITOR or not diffusion.backbone.motion,
            pixels=pixels_of(megapixels),
            chunk=frames_at_once,
            overlap=overlap,
            checked=check,
            depth_scale=depth_range,  # type: ignore[arg-type]
            strength=depth_strength,
        )
        with diffusion.running() as (backbone, runtime):
            seen = None if depth is None else to_core(depth)
            made = invert_clip(backbone, frames, source_prompt, plan, runtime, seen, notes)
        report = "\n".join([*notes, made.report()])
        say([report])
        return io.NodeOutput(made.clip, to_graph(made.frames_fhwc), report)
