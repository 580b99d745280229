"""Inputs and outputs that the editing nodes have alike, each list as it stands in their schemas."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..vivid_core.editors.kive import CROPS
from .schema import expert

AUTO = "auto"
SAMPLERS = (AUTO, "dpm", "ddim", "unipc", "euler")  # of all families; each has two of them


def text_inputs() -> list[Any]:
    """Both prompts."""
    return [
        io.Conditioning.Input("positive", tooltip="From Encode Prompt with the same engine."),
        io.Conditioning.Input("negative", tooltip="From Encode Prompt with the same engine."),
    ]


def seed_input(tooltip: str = "Another seed gives another edit; the same one gives the same, to the bit.") -> Any:
    """Where all that is random comes from."""
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip=tooltip)


def crop_inputs() -> list[Any]:
    """Which part of the frame the model sees."""
    return [
        io.Combo.Input(
            "crop",
            options=list(CROPS),
            default="auto",
            tooltip="fine: all pixels of the model for a crop around the mask. fast: the crop at the frame's "
            "own density, least time. off: the whole frame. auto: fine where the mask is small, else off.",
        ),
    ]


def sampler_inputs() -> list[Any]:
    """How the model is sampled."""
    return [
        io.Combo.Input(
            "sampler",
            options=list(SAMPLERS),
            default="auto",
            tooltip="auto: the model's own. CogVideoX models: dpm or ddim; Wan: unipc or euler.",
            **expert(),
        ),
    ]


def strength_inputs() -> list[Any]:
    """Steps and guidance of a whole clip."""
    return [
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
    ]


def window_inputs() -> list[Any]:
    """How the clip is cut."""
    return [
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
            tooltip="Frames that a window shares with the one before it. More join the motion better and take longer.",
        ),
    ]


def rim_input() -> Any:
    """How wide the blend is where no blend mask says it."""
    return io.Int.Input(
        "feather",
        default=8,
        min=0,
        max=256,
        tooltip="Width of the soft rim outside the mask, in pixels; used without a blend mask.",
    )


def guidance_input() -> Any:
    """How far the prompt pulls a frozen model."""
    return io.Float.Input(
        "guidance",
        default=7.5,
        min=0.0,
        max=30.0,
        step=0.1,
        tooltip="How closely the prompt is followed, 1 at least. 1 is half the work and rarely changes enough; more "
        "gives harder colours.",
    )


def negative_input() -> Any:
    """The negative prompt of an editor that encodes its texts itself."""
    return io.String.Input(
        "negative", default="", multiline=True, tooltip="What must not be seen. Empty is usual.", **expert()
    )


def joint_inputs() -> list[Any]:
    """How the result is put into the clip."""
    return [
        rim_input(),
        io.Boolean.Input(
            "colour_match",
            default=True,
            tooltip="Undo what a window does to the colours of the frames it starts from, so that long clips "
            "don't drift.",
        ),
    ]


def blend_inputs() -> list[Any]:
    """Where something may change, if not by the feather."""
    return [
        io.Mask.Input(
            "blend_mask",
            optional=True,
            tooltip="Soft mask for blending, from Augment Mask. Without it the mask is feathered outwards.",
        ),
    ]


def clip_outputs() -> list[Any]:
    """What stands behind the edited frames."""
    return [
        io.Mask.Output("changed_mask", display_name="blend_mask", tooltip="Where something may have changed."),
        io.String.Output(
            "report", display_name="report", tooltip="The windows, what anchors them, and what to look at."
        ),
    ]


def mask_inputs() -> list[Any]:
    """Where an edit goes that may also be of the whole frame."""
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where the edit goes, from Track Mask. Without it the whole frame is edited.",
        ),
    ]


def blend_mask_inputs() -> list[Any]:
    """How it is blended in."""
    return [
        io.Mask.Input(
            "blend_mask",
            optional=True,
            tooltip="Soft mask for blending, from Augment Mask. Without it the mask is feathered outwards.",
        ),
    ]


def local_outputs() -> list[Any]:
    """What a local edit gives."""
    return [
        io.Image.Output("edited", display_name="frames", tooltip="The edited clip, at the clip's own size."),
        io.Mask.Output("changed_mask", display_name="blend_mask", tooltip="Where something may have changed."),
    ]
