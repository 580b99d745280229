"""Cut the subject out for editing, and put the edit back exactly where it was."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames, checked_mask_for
from ..vivid_core.video.colour import MODES as COLOUR_MODES
from ..vivid_core.video.composite import BLENDS
from ..vivid_core.video.crop import CROP_MODES, Stitch, crop, plan_crop
from ..vivid_core.video.keyframes import Keyframes
from ..vivid_core.video.stitch import stitch_back
from ..vivid_core.video.window_stitch import WindowStitch, stitch_window
from . import sockets
from .comfy_bridge.progress import ComfyRuntime, say
from .comfy_bridge.tensors import to_core, to_graph
from .schema import node_schema


class CropSubject(io.ComfyNode):
    """A steady crop around the mask, so that the model spends its pixels on the subject."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividCropSubject",
            display_name="Crop Subject",
            search_aliases=["crop mask", "stable crop", "crop and stitch", "inpaint crop"],
            description="Crops the clip steadily around the mask. Edit the crop with anything, then use Stitch Back.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip."),
                io.Mask.Input("mask", tooltip="The subject, on every frame."),
                io.Combo.Input(
                    "mode",
                    options=list(CROP_MODES),
                    default="static",
                    tooltip="static: one box for the whole clip, the steadiest. follow: a box of one size glides with "
                    "the subject, so that one that wanders gets more pixels.",
                ),
                io.Float.Input(
                    "padding",
                    default=0.25,
                    min=0.0,
                    max=4.0,
                    step=0.01,
                    tooltip="Room around the subject, as a part of its size. More shows the editor more of the scene, "
                    "but leaves fewer pixels for the subject.",
                ),
                io.Int.Input(
                    "multiple",
                    default=16,
                    min=1,
                    max=128,
                    tooltip="Both sides of the crop become multiples of this. 16 suits most video models; take what "
                    "yours asks for.",
                ),
                io.Float.Input(
                    "megapixels",
                    default=0.0,
                    min=0.0,
                    max=16.0,
                    step=0.01,
                    tooltip="Scale the crop to about this size; 0 keeps the source's pixels, so the return is exact. "
                    "About 0.4 gives video models the size that they know.",
                ),
            ],
            outputs=[
                io.Image.Output("crop", display_name="crop"),
                io.Mask.Output("crop_mask", display_name="crop_mask"),
                sockets.Stitch.Output("stitch", display_name="stitch", tooltip="For Stitch Back."),
            ],
        )

    @classmethod
    def execute(
        cls, frames: Tensor, mask: Tensor, mode: str, padding: float, multiple: int, megapixels: float
    ) -> io.NodeOutput:
        notes: list[str] = []
        frames = checked_frames(to_core(frames), "Crop Subject", notes)
        mask = checked_mask_for(to_core(mask), frames, "Crop Subject", notes)
        stitch = plan_crop(mask, mode=mode, padding=padding, multiple=multiple, megapixels=megapixels, notes=notes)
        runtime = ComfyRuntime()
        runtime.begin(2 * frames.shape[0])
        cropped, cropped_mask = crop(frames, stitch, runtime), crop(mask, stitch, runtime)
        say(notes)
        return io.NodeOutput(to_graph(cropped), to_graph(cropped_mask), stitch)


class StitchBack(io.ComfyNode):
    """The edit inside the mask, the original everywhere else, to the last bit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividStitch",
            display_name="Stitch Back",
            search_aliases=["uncrop", "composite video", "paste back", "colour match", "color match"],
            description="Puts an edited clip or crop back into the original. Outside the blend mask every pixel stays "
            "as it was, to the bit, and the node says so.",
            inputs=[
                io.Image.Input("original", tooltip="The clip before the edit."),
                io.Image.Input("edited", tooltip="The edited clip; or the edited crop, when `stitch` is connected."),
                io.Mask.Input("edit_mask", tooltip="Where the edit is, in the original's or the crop's size."),
                io.Mask.Input(
                    "blend_mask",
                    optional=True,
                    tooltip="Soft mask for blending. Without it the edit mask is feathered outwards.",
                ),
                sockets.Stitch.Input(
                    "stitch",
                    optional=True,
                    tooltip="From Crop Subject, Keyframes to VACE or Keyframes to inpaint conditioning.",
                ),
                sockets.Keyframes.Input(
                    "keyframes", optional=True, tooltip="Edited keyframes: they come back exactly on their frames."
                ),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=256,
                    tooltip="Width of the soft rim outside the edit mask, in pixels; used without a blend mask. Wider "
                    "hides the seam better; 0 is a hard edge.",
                ),
                io.Combo.Input(
                    "colour_match",
                    options=list(COLOUR_MODES),
                    default="none",
                    tooltip="Bring the edit's colours to the original's, judged just outside the edit mask, once for "
                    "the clip. For editors that redraw the surroundings too; none for an edit that changes "
                    "the light.",
                ),
                io.Combo.Input(
                    "blend",
                    options=list(BLENDS),
                    default="feather",
                    tooltip="feather: a plain soft edge. laplacian: broad colours blend wide, details blend narrow; "
                    "better on sky and ground, slower.",
                ),
            ],
            outputs=[
                io.Image.Output("stitched", display_name="frames"),
                io.Float.Output(
                    "outside_difference",
                    display_name="outside_difference",
                    tooltip="Largest change outside the blend mask; 0 is exact.",
                ),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def execute(
        cls,
        original: Tensor,
        edited: Tensor,
        edit_mask: Tensor,
        feather: int,
        colour_match: str,
        blend: str,
        blend_mask: Tensor | None = None,
        stitch: Stitch | WindowStitch | None = None,
        keyframes: Keyframes | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        put_back = stitch_window if isinstance(stitch, WindowStitch) else stitch_back
        stitched, difference = put_back(
            checked_frames(to_core(original), "Stitch Back, original", notes),
            checked_frames(to_core(edited), "Stitch Back, edited", notes),
            to_core(edit_mask),
            blend_mask_fhw=None if blend_mask is None else to_core(blend_mask),
            stitch=stitch,
            keyframes=keyframes,
            feather=feather,
            colour_match=colour_match,
            blend=blend,
            runtime=ComfyRuntime(),
            notes=notes,
        )
        notes.append(
            "Outside the blend mask: bit-exact."
            if difference == 0
            else f"Outside the blend mask: changed by up to {difference:.3g}."
        )
        say(notes)
        return io.NodeOutput(to_graph(stitched), difference, "\n".join(notes))
