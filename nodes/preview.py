"""An edited keyframe on every frame, or an object removed, in seconds and without a model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames, checked_mask_for
from ..vivid_core.editors.flow_warp import propagate_by_flow
from ..vivid_core.editors.removal import remove_by_flow
from ..vivid_core.video.keyframes import Keyframes
from . import sockets
from .comfy_bridge.flow import ManagedFlow, flow_runtime
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core, to_graph
from .schema import node_schema

PROPAGATE, REMOVE = "propagate", "remove"


class PreviewPropagation(io.ComfyNode):
    """KIVE's last step without a model: optical flow carries the edit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividPreviewPropagation",
            display_name="Preview Propagation (optical flow)",
            search_aliases=["propagate keyframe", "remove object", "ebsynth", "clean plate", "object removal"],
            description="Carries edited keyframes to every frame inside the mask, or removes the masked object, by "
            "optical flow. Seconds instead of minutes, no model; outside the mask nothing changes.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip before the edit."),
                io.Mask.Input("mask", tooltip="Where the edit goes, on every frame."),
                io.Combo.Input(
                    "mode",
                    options=[PROPAGATE, REMOVE],
                    default=PROPAGATE,
                    tooltip="remove needs no keyframe: it shows what other frames saw behind the object.",
                ),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=256,
                    tooltip="Width of the soft rim outside the mask, in pixels. Wider hides the seam better; 0 is a "
                    "hard edge.",
                ),
                sockets.Keyframes.Input(
                    "keyframes", optional=True, tooltip="One or several edited frames; needed for propagate."
                ),
                sockets.Flow.Input(
                    "flow",
                    optional=True,
                    tooltip="From Load Optical Flow: motion by a RAFT model. Nothing: by DIS, without a model.",
                ),
            ],
            outputs=[
                io.Image.Output("propagated", display_name="frames"),
                io.Mask.Output("blend_mask", display_name="blend_mask", tooltip="Where something may have changed."),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def execute(
        cls,
        frames: Tensor,
        mask: Tensor,
        mode: str,
        feather: int,
        keyframes: Keyframes | None = None,
        flow: ManagedFlow | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        frames = checked_frames(to_core(frames), "Preview Propagation", notes)
        mask = checked_mask_for(to_core(mask), frames, "Preview Propagation", notes)
        if mode != REMOVE and keyframes is None:
            raise ValueError(
                "Preview Propagation: no keyframes are connected; connect Set Keyframes, or choose the mode remove."
            )
        if mode == REMOVE and keyframes is not None:
            notes.append("Preview Propagation: the mode is remove, so the keyframes are not used.")
        with flow_runtime(flow) as (runtime, estimator):
            options: dict[str, Any] = {"feather": feather, "runtime": runtime, "notes": notes, "flow": estimator}
            if mode == REMOVE or keyframes is None:
                result = remove_by_flow(frames, mask, **options)
            else:
                result = propagate_by_flow(frames, mask, keyframes, **options)
        report = "\n".join([*notes, result.report])
        say([report])
        return io.NodeOutput(to_graph(result.frames_fhwc), to_graph(result.blend_mask_fhw), report)
