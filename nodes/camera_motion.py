"""A still picture as a short clip, for editors that want one."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames
from ..vivid_core.editors.camera_motion import EASES, CameraPath, camera_motion
from .comfy_bridge.progress import ComfyRuntime, say
from .comfy_bridge.tensors import to_core, to_graph
from .schema import expert, node_schema


class CameraMotion(io.ComfyNode):
    """UniEdit's image input: a camera that goes over the picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividCameraMotion",
            display_name="Camera Motion",
            search_aliases=["image to video", "ken burns", "zoom", "pan", "pseudo clip", "uniedit"],
            description="Makes a clip of a still picture: a camera zooms into it or pans over it. For UniEdit (frozen "
            "model), whose motion mode then sets in motion what the picture shows.",
            inputs=[
                io.Image.Input("image", tooltip="One picture."),
                io.Int.Input(
                    "frame_count",
                    default=16,
                    min=1,
                    max=1024,
                    tooltip="How many frames. 16 is what most motion models are trained with.",
                ),
                io.Float.Input(
                    "zoom",
                    default=1.1,
                    min=0.5,
                    max=2.0,
                    step=0.01,
                    tooltip="How much closer the camera is at the end; below 1 it goes away instead, and 1 is no "
                    "zoom. Much of it leaves the model less room for the motion that you ask for.",
                ),
                io.Float.Input(
                    "pan_x",
                    default=0.0,
                    min=-0.5,
                    max=0.5,
                    step=0.01,
                    tooltip="How far the view goes to the right, as a part of the width; below 0 to the left. Up to "
                    "0.08 is usual. A pan is seen from a little closer, so that it stays inside the picture.",
                ),
                io.Float.Input(
                    "pan_y",
                    default=0.0,
                    min=-0.5,
                    max=0.5,
                    step=0.01,
                    tooltip="How far the view goes down, as a part of the height; below 0 up.",
                ),
                io.Combo.Input(
                    "speed",
                    options=list(EASES),
                    default="eased",
                    tooltip="even: the same speed all the time. eased: it starts and ends at rest.",
                    **expert(),
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="A mask of the picture: it moves along, for a local edit."
                ),
            ],
            outputs=[
                io.Image.Output("frames", display_name="frames", tooltip="The clip, in the picture's own pixels."),
                io.Mask.Output("moved_mask", display_name="mask", tooltip="The mask on each frame; all 1 without one."),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        frame_count: int,
        zoom: float,
        pan_x: float,
        pan_y: float,
        speed: str,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        picture = checked_frames(to_core(image), "Camera Motion", notes)
        path = CameraPath(frame_count, zoom, pan_x, pan_y, speed)
        clip = camera_motion(picture, path, None if mask is None else to_core(mask), ComfyRuntime())
        report = "\n".join(
            [*notes, f"{frame_count} frames; the picture moves by up to {clip.fastest:.1f} pixels each."]
        )
        say([report])
        return io.NodeOutput(to_graph(clip.frames_fhwc), to_graph(clip.mask_fhw), report)
