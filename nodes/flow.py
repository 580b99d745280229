"""Load a model that finds motion."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..vivid_core.masks.fields import WORKING_SIDE
from ..vivid_core.models.raft import LEAST_SIDE
from . import sockets
from .comfy_bridge.flow import flow_files, flow_path, load_flow
from .comfy_bridge.progress import say
from .comfy_bridge.shared import fingerprint_of
from .schema import expert, node_schema


class LoadFlow(io.ComfyNode):
    """RAFT from a file that the user brings; without it every node finds motion by inverse search."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividLoadFlow",
            display_name="Load Optical Flow",
            search_aliases=["raft", "optical flow model", "motion estimation", "dense flow"],
            description="Loads a RAFT model (torchvision's, large or small) that finds the motion between two frames. "
            "Connect it to nodes that follow motion; they work without it too.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=flow_files(),
                    tooltip="A file of the model folder optical_flow. Large or small is found by the file itself.",
                ),
                io.Int.Input(
                    "longest_side",
                    default=480,
                    min=LEAST_SIDE,
                    max=WORKING_SIDE,
                    step=8,
                    tooltip="Pictures are shrunk to this before the model sees them, in pixels. Lower is faster and "
                    "needs less memory, but small things are lost.",
                    **expert(),
                ),
                io.Int.Input(
                    "updates",
                    default=12,
                    min=1,
                    max=32,
                    tooltip="How often the flow is refined. Time goes with it; more than 12 gains little, fewer "
                    "follow fast motion worse.",
                    **expert(),
                ),
            ],
            outputs=[
                sockets.Flow.Output("flow", display_name="flow", tooltip="For Track Mask and Preview Propagation."),
                io.String.Output("report", display_name="report", tooltip="What was loaded, and what fits."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str | None, **_: Any) -> Any:
        if model is None:
            return None  # from another node, which has not run yet: what it gives decides
        return fingerprint_of(lambda: [flow_path(model)])

    @classmethod
    def execute(cls, model: str, longest_side: int, updates: int) -> io.NodeOutput:
        flow = load_flow(flow_path(model), longest_side, updates)
        report = flow.report()
        say([report])
        return io.NodeOutput(flow, report)
