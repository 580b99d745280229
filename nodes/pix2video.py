"""Pix2Video: an image model edits a clip, its frames tied together by attention, without training."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import check_number
from ..vivid_core.diffusion.attention_rules import Order
from ..vivid_core.editors.inverted import InvertedClip
from ..vivid_core.editors.pix2video import LAYERS, Pix2VideoSettings
from ..vivid_core.editors.pix2video_clip import edit_frames
from ..vivid_core.video.keyframes import Keyframes
from . import sockets
from .comfy_bridge.blocking import blocked
from .comfy_bridge.diffusion import ManagedDiffusion
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core, to_graph
from .editing_inputs import blend_mask_inputs, guidance_input, local_outputs, mask_inputs, negative_input, rim_input
from .schema import expert, node_schema

ATTENDED: dict[str, tuple[Any, ...]] = {
    "anchor and previous": ("anchor", "previous"),
    "anchor": ("anchor",),
    "previous": ("previous",),
    "itself": (),
}


class Pix2Video(io.ComfyNode):
    """By a text, or after an edited keyframe, with an image model alone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividPix2Video",
            display_name="Pix2Video (frozen model)",
            search_aliases=[
                "pix2video",
                "tuning free",
                "video style",
                "keyframe propagation",
                "depth video",
                "vid2vid",
            ],
            description="Edits a clip of any number of frames by a text, with an image model and without training; or "
            "carries an edited keyframe through it. With a mask nothing changes outside it.",
            inputs=[
                sockets.Diffusion.Input(
                    "diffusion",
                    tooltip="From Load Diffusion Model; one that sees depth keeps the shapes. Motion modules are not "
                    "used.",
                ),
                sockets.Inversion.Input(
                    "inversion", tooltip="From Invert Clip with the same model, with Pix2Video as its editor."
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="What the edited clip shows, the whole picture. With a keyframe: what that one shows.",
                ),
                guidance_input(),
                io.Combo.Input(
                    "order",
                    options=list(get_args(Order)),
                    default="outward",
                    tooltip="How the edit spreads. outward: from the anchor to both ends. forward: from the first "
                    "frame on. reverse: from the last frame back, for objects that are seen best at the end.",
                ),
                io.Int.Input(
                    "anchor",
                    default=-1,
                    min=-1,
                    max=99999,
                    tooltip="The frame that all others look at. -1: the first keyframe, or where the order begins.",
                ),
                rim_input(),
                negative_input(),
                io.Combo.Input(
                    "attended",
                    options=list(ATTENDED),
                    default="anchor and previous",
                    tooltip="What each frame looks at instead of itself. The anchor keeps the look the same all along, "
                    "the previous frame follows what changes.",
                    **expert(),
                ),
                io.Int.Input(
                    "first_layer",
                    default=7,
                    min=0,
                    max=15,
                    tooltip="The first of the 16 attention layers in which frames look at others. 7: all on the way "
                    "up, as in the paper.",
                    **expert(),
                ),
                io.Float.Input(
                    "update_weight",
                    default=0.0122,
                    min=0.0,
                    max=1.0,
                    step=0.0001,
                    round=0.0001,
                    tooltip="How far a frame is drawn to the one before it in each early step, as a share of their "
                    "difference; 0 is off. More flickers less and smears motion.",
                    **expert(),
                ),
                io.Float.Input(
                    "update_share",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="In which share of the steps frames are drawn together. All of them blur details.",
                    **expert(),
                ),
                *mask_inputs(),
                sockets.Keyframes.Input(
                    "keyframes",
                    optional=True,
                    tooltip="Frames that were edited by anything: they come back exactly, and the others follow them.",
                ),
                *blend_mask_inputs(),
            ],
            outputs=[
                *local_outputs(),
                io.String.Output("report", display_name="report", tooltip="How the frames were tied together."),
                io.Image.Output(
                    "seen_frames",
                    display_name="whole_frames",
                    tooltip="What the model made of the whole frames, at its size, before the mask.",
                ),
                io.Image.Output(
                    "depth_frames", display_name="depth", tooltip="The depth that the model saw; nothing without depth."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        diffusion: ManagedDiffusion,
        inversion: InvertedClip,
        prompt: str,
        negative: str,
        feather: int,
        mask: Tensor | None = None,
        keyframes: Keyframes | None = None,
        blend_mask: Tensor | None = None,
        **inputs: Any,
    ) -> io.NodeOutput:
        notes: list[str] = []
        masks = [None if one is None else to_core(one) for one in (mask, blend_mask)]
        with diffusion.running() as (backbone, runtime):
            texts, settings = (prompt, negative), _settings(**inputs)
            made = edit_frames(backbone, inversion, *texts, settings, keyframes, *masks, feather, runtime, notes)
        report = "\n".join([*notes, made.report])
        say([report])
        depth = blocked() if made.depth_fhw is None else to_graph(made.depth_fhw[..., None].expand(-1, -1, -1, 3))
        return io.NodeOutput(
            to_graph(made.frames_fhwc), to_graph(made.blend_mask_fhw), report, to_graph(made.seen_fhwc), depth
        )


def _settings(
    guidance: float,
    order: Order,
    anchor: int,
    attended: str,
    first_layer: int,
    update_weight: float,
    update_share: float,
) -> Pix2VideoSettings:
    if attended not in ATTENDED:
        raise ValueError(f"Pix2Video, attended: got {attended!r}; choose one of {', '.join(ATTENDED)}.")
    check_number(first_layer, 0, LAYERS - 1, "Pix2Video, first_layer")
    return Pix2VideoSettings(
        guidance=guidance,
        update_weight=update_weight,
        update_share=update_share,
        layers=tuple(range(first_layer, LAYERS)),
        attended=ATTENDED[attended],
        anchor=None if anchor < 0 else anchor,
        order=order,
    )
