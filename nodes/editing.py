"""Edit one frame until it is right; what is edited here is carried through the clip by Propagate Edit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames, checked_mask_for
from ..vivid_core.editors.contract import EditRequest, Traits
from ..vivid_core.editors.kive import EditOptions, edit_keyframe
from ..vivid_core.video.keyframes import Keyframe, Keyframes
from . import sockets
from .comfy_bridge.conditioning import Conditioning, text_of
from .comfy_bridge.engine import ManagedEngine
from .comfy_bridge.files import window_store
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core, to_graph
from .editing_inputs import AUTO, crop_inputs, sampler_inputs, seed_input, text_inputs
from .schema import node_schema


class EditKeyframe(io.ComfyNode):
    """VIVID's image mode: one frame, seconds instead of minutes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividEditKeyframe",
            display_name="Edit Keyframe",
            search_aliases=["inpaint frame", "edit image", "kive", "first frame"],
            description="Edits one frame of a clip, or a single image, inside the mask. Try prompts and seeds here, "
            "where a run is cheap; then give the keyframe to Propagate Edit.",
            inputs=[
                sockets.Engine.Input("engine", tooltip="From Load Edit Engine."),
                io.Image.Input("frames", tooltip="The clip, of which one frame is edited; or a single image."),
                io.Mask.Input("mask", tooltip="Where the edit goes: one mask for each frame, or one for all."),
                *text_inputs(),
                io.Int.Input(
                    "frame",
                    default=0,
                    min=-99999,
                    max=99999,
                    tooltip="The frame to edit; -1 is the last one. The object should be seen large and whole there. "
                    "With a single image: the frame of the clip that it belongs to.",
                ),
                seed_input(),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="0: as many as the model is used with. More take longer and rarely help; fewer give rough "
                    "edits, but for a few-step LoRA.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="How closely the text is followed; 0: as the model is used. More gives harder colours. 1 "
                    "turns it off: half the time, and the negative text is not used.",
                ),
                *crop_inputs(),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=256,
                    tooltip="Width of the soft rim outside the mask, in pixels. 0 gives a hard edge.",
                ),
                *sampler_inputs(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The whole frame with the edit in it."),
                sockets.Keyframes.Output("keyframe", display_name="keyframe", tooltip="For Propagate Edit."),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def execute(
        cls,
        engine: ManagedEngine,
        frames: Tensor,
        mask: Tensor,
        positive: Conditioning,
        negative: Conditioning,
        frame: int,
        crop: str,
        feather: int,
        **sampling: Any,
    ) -> io.NodeOutput:
        notes: list[str] = []
        frames = checked_frames(to_core(frames), "Edit Keyframe", notes)
        mask = checked_mask_for(to_core(mask), frames, "Edit Keyframe, mask")
        place, index = _place_of(frame, len(frames))
        texts = texts_of(engine, positive, negative, "Edit Keyframe")
        settings = settings_of(engine.adapter.traits, **sampling)
        with engine.running() as (core, runtime):
            one = slice(place, place + 1)
            request = EditRequest(frames[one], mask[one], *texts, **settings)
            edit = edit_keyframe(core, request, EditOptions(crop=crop, feather=feather), runtime, notes)
        report = "\n".join([*notes, edit.report])
        say([report])
        return io.NodeOutput(to_graph(edit.image_hwc[None]), Keyframes([Keyframe(index, edit.image_hwc)]), report)


def texts_of(engine: ManagedEngine, positive: Conditioning, negative: Conditioning, what: str) -> tuple[Tensor, Tensor]:
    """Both texts as the engine takes them.

    Raises ValueError when one is not of its encoder.
    """
    return text_of(positive, engine, f"{what}, positive"), text_of(negative, engine, f"{what}, negative")


def settings_of(traits: Traits, seed: int, steps: int, guidance: float, sampler: str) -> dict[str, Any]:
    """The widgets as vivid_core takes them: None is the model's own habit."""
    chosen = None if sampler == AUTO else sampler
    usual = traits.guidance_for(chosen or traits.schedule.default)
    return {
        "seed": seed,
        "steps": steps or None,
        "guidance": replace(usual, scale=guidance) if guidance else None,
        "sampler": chosen,
    }


def options_of(
    window: int,
    overlap: int,
    crop: str,
    feather: int,
    colour_match: bool,
    resume: bool,
    blend_mask: Tensor | None,
    *,
    cuts: Iterable[int],
    room: int = 0,
) -> EditOptions:
    """The widgets of a whole clip as vivid_core takes them; finished windows may take the usual
    room on disk, or `room` bytes if that is more."""
    return EditOptions(
        window=window or None,
        overlap=overlap,
        crop=crop,
        feather=feather,
        blend_mask_fhw=None if blend_mask is None else to_core(blend_mask),
        colour_match=colour_match,
        cuts=cuts,
        store=window_store(room) if resume else None,
    )


def _place_of(frame: int, count: int) -> tuple[int, int]:
    """Which of the connected frames is meant, and its number in the clip. A single image may belong anywhere."""
    if count == 1:
        return 0, frame
    if not -count <= frame < count:
        raise ValueError(
            f"Edit Keyframe: got frame {frame} of a clip of {count} frames; use 0 to {count - 1}, or -{count} to -1 "
            "counted from the end."
        )
    return frame % count, frame % count
