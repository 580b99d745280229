"""Keyframes and a mask, for ComfyUI's own video models and samplers."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames
from ..vivid_core.editors.native import SIZES, NativeFamily
from ..vivid_core.editors.native_window import NativeOptions, NativeWindow, native_window
from ..vivid_core.masks.shots import shot_cuts
from ..vivid_core.video.keyframes import Keyframes
from . import sockets
from .comfy_bridge.conditioning import Conditioning
from .comfy_bridge.native import (
    check_model,
    check_vae,
    inpaint_conditioning,
    inpaint_families,
    inpaint_family,
    vace_family,
)
from .comfy_bridge.progress import Uncounted, say
from .comfy_bridge.tensors import to_core, to_graph
from .editing_inputs import crop_inputs, window_inputs
from .schema import expert, node_schema

WAN_FUN = "Wan-Fun InP"


def clip_inputs() -> list[Any]:
    """The clip, and which of its windows."""
    return [
        io.Image.Input("frames", tooltip="The clip before the edit, whole; any length."),
        io.Mask.Input("mask", tooltip="Where the edit goes, on every frame."),
        io.Int.Input(
            "window_index",
            default=0,
            min=0,
            max=9999,
            tooltip="Which window of the plan in the report. A clip that one window holds has only 0.",
        ),
    ]


def size_inputs() -> list[Any]:
    """How large the model sees it."""
    return [
        io.Combo.Input(
            "size",
            options=list(SIZES),
            default="auto",
            tooltip="Pixels of a frame that the model makes. auto: as the family was trained (480p for Wan). frames: "
            "as many as the clip has. The aspect stays; sides become multiples of 16.",
        ),
    ]


def key_inputs() -> list[Any]:
    """What is known before the run."""
    return [
        io.Boolean.Input(
            "from_keys",
            default=False,
            tooltip="Let windows start on keyframes and run backward and forward in time from them, as Propagate Edit "
            "does, even where one window would hold all. More runs, firmer keyframes.",
            **expert(),
        ),
        sockets.Keyframes.Input(
            "keyframes", optional=True, tooltip="One or several edited frames. Without them the text alone decides."
        ),
        io.Image.Input(
            "earlier",
            optional=True,
            tooltip="For window_index 1 and up: the clip that Stitch Back returned for the window before.",
        ),
        io.Model.Input(
            "model",
            optional=True,
            tooltip="Only to be checked: a model of another family would not look at the mask, and not say so.",
        ),
    ]


def plan_outputs() -> list[Any]:
    """What puts the result back, and tells how to go on."""
    return [
        sockets.Stitch.Output("stitch", display_name="stitch", tooltip="For Stitch Back, behind VAE Decode."),
        io.Int.Output("windows", display_name="windows", tooltip="How many windows the clip needs."),
        io.String.Output("report", display_name="report", tooltip="The plan, and what to look at."),
    ]


class KeyframesToVace(io.ComfyNode):
    """Control video and masks for the native WanVaceToVideo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividVaceControl",
            display_name="Keyframes to VACE",
            search_aliases=["vace control", "vace inpaint", "control video", "wan vace", "native vace"],
            description="Prepares a clip, its mask and keyframes for ComfyUI's own WanVaceToVideo: the hole grey, "
            "keyframes clean, a mask for each frame, at a size and length that the model takes. Stitch Back ends it.",
            inputs=[*clip_inputs(), *window_inputs(), *size_inputs(), *crop_inputs(), *key_inputs()],
            outputs=[
                io.Image.Output("control_video", display_name="control_video", tooltip="For WanVaceToVideo."),
                io.Mask.Output("control_masks", display_name="control_masks", tooltip="For WanVaceToVideo."),
                io.Int.Output("width", display_name="width", tooltip="For WanVaceToVideo."),
                io.Int.Output("height", display_name="height", tooltip="For WanVaceToVideo."),
                io.Int.Output("length", display_name="length", tooltip="For WanVaceToVideo."),
                *plan_outputs(),
            ],
        )

    @classmethod
    def execute(cls, model: Any = None, **inputs: Any) -> io.NodeOutput:
        family = vace_family()
        check_model(model, family)
        made, report = _window(family, "Keyframes to VACE", **inputs)
        count, height, width = made.mask_fhw.shape
        control, masks = to_graph(made.control_fhwc), to_graph(made.mask_fhw)
        return io.NodeOutput(control, masks, width, height, count, made.stitch, made.count, report)


class InpaintConditioning(io.ComfyNode):
    """What native inpaint models see beside the noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividInpaintConditioning",
            display_name="Keyframes to inpaint conditioning",
            search_aliases=["wan fun inpaint", "cogvideox fun inp", "void inpaint", "video inpaint conditioning"],
            description="Prepares a clip, its moving mask and keyframes on any frame for ComfyUI's own inpaint models, "
            "as conditioning and an empty latent for a sampler. Stitch Back ends it.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="From CLIP Text Encode with the model's own text encoder."),
                io.Conditioning.Input("negative", tooltip="From CLIP Text Encode with the model's own text encoder."),
                io.Vae.Input("vae", tooltip="The model's own VAE, from Load VAE."),
                io.Combo.Input(
                    "family",
                    options=inpaint_families(),
                    default=WAN_FUN,
                    tooltip="What kind of model samples. The list has those that this ComfyUI can run.",
                ),
                *clip_inputs(),
                *window_inputs(),
                *size_inputs(),
                *crop_inputs(),
                *key_inputs(),
                io.ClipVisionOutput.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="From CLIP Vision Encode of a keyframe. Wan-Fun InP was trained with it; others ignore it.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("seen_positive", display_name="positive", tooltip="For the sampler."),
                io.Conditioning.Output("seen_negative", display_name="negative", tooltip="For the sampler."),
                io.Latent.Output("latent", display_name="latent", tooltip="Empty, for the sampler, with denoise 1."),
                *plan_outputs(),
            ],
        )

    @classmethod
    def validate_inputs(cls, family: str | None) -> bool | str:
        try:
            return family is None or bool(inpaint_family(family))  # None: it comes from another node
        except ValueError as fault:
            return str(fault)

    @classmethod
    def execute(
        cls,
        positive: Conditioning,
        negative: Conditioning,
        vae: Any,
        family: str,
        model: Any = None,
        clip_vision: Any = None,
        **inputs: Any,
    ) -> io.NodeOutput:
        found = inpaint_family(family)
        check_vae(vae, found)
        check_model(model, found)
        made, report = _window(found, "Keyframes to inpaint conditioning", **inputs)
        given = inpaint_conditioning(positive, negative, vae, found, made, clip_vision)
        return io.NodeOutput(*given, made.stitch, made.count, report)


def _window(
    family: NativeFamily,
    what: str,
    frames: Tensor,
    mask: Tensor,
    window_index: int,
    window: int,
    overlap: int,
    size: str,
    crop: str,
    from_keys: bool,
    keyframes: Keyframes | None = None,
    earlier: Tensor | None = None,
) -> tuple[NativeWindow, str]:
    """Both nodes: the window that was asked for, and the report on it."""
    notes: list[str] = []
    clip = checked_frames(to_core(frames), what, notes)
    options = NativeOptions(window or None, overlap, size, crop, from_keys, shot_cuts(clip, Uncounted()))
    made = native_window(
        family,
        clip,
        to_core(mask),
        keyframes or Keyframes([]),
        window_index,
        None if earlier is None else to_core(earlier),
        options,
        notes,
    )
    report = "\n".join([*notes, made.report])
    say([report])
    return made, report
