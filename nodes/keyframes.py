"""Pin edited images to frames of the clip."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import check_not_empty, checked_frames, checked_mask_for
from ..vivid_core.masks.prompts import parse_indices
from ..vivid_core.video.keyframes import Keyframe, Keyframes
from . import sockets
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core
from .schema import expert, node_schema


class SetKeyframes(io.ComfyNode):
    """Images and the frames they belong to, from any editor; chained for more."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividKeyframes",
            display_name="Set Keyframes",
            search_aliases=["keyframe", "pin image", "reference frame"],
            description="Says which frame of the clip each edited image replaces. The image may come from any editor; "
            "another size of the same aspect is resized.",
            inputs=[
                io.Image.Input("images", tooltip="One or several edited frames."),
                io.String.Input(
                    "at_frames", default="0", tooltip="The frame of each image: 0, 48, -1. -1 is the last frame."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="Weight against the other keyframe on the frames between two of them. 1 is full; less "
                    "lets the other one reach further. With one keyframe it changes nothing.",
                    **expert(),
                ),
                io.Mask.Input("masks", optional=True, tooltip="Only this part of each image counts as edited."),
                sockets.Keyframes.Input("previous", optional=True, tooltip="Keyframes to add these to."),
            ],
            outputs=[sockets.Keyframes.Output("keyframes", display_name="keyframes")],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        at_frames: str,
        strength: float,
        masks: Tensor | None = None,
        previous: Keyframes | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        images = checked_frames(to_core(images), "Set Keyframes", notes)
        indices = parse_indices(at_frames)
        if len(indices) != images.shape[0]:
            raise ValueError(
                f"Set Keyframes: got {images.shape[0]} images for {len(indices)} frame numbers ({at_frames!r}); "
                "give one number for each image."
            )
        if masks is not None:
            masks = checked_mask_for(to_core(masks), images, "Set Keyframes, masks", notes)
            for index, mask in zip(indices, masks):
                check_not_empty(mask[None], f"Set Keyframes, mask of frame {index}")
        keys = [
            Keyframe(index, images[i], None if masks is None else masks[i], strength) for i, index in enumerate(indices)
        ]
        say(notes)
        return io.NodeOutput(previous.merged(keys) if previous is not None else Keyframes(keys))
