"""What an edit will cost, before it is run."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import checked_frames, checked_mask, checked_mask_for
from ..vivid_core.cost import measured_rates
from ..vivid_core.cost_report import estimate
from ..vivid_core.diffusion.guidance import Guidance
from . import sockets
from .comfy_bridge.engine import ManagedEngine
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core
from .schema import expert, node_schema


class EstimateCost(io.ComfyNode):
    """KIVE against direct editing, each crop mode, memory, time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividEstimateCost",
            display_name="Estimate Cost",
            search_aliases=["flops", "how long", "memory", "vram", "kive", "time estimate"],
            description="Says what an edit will cost before it is run: the work by KIVE and by editing the whole clip "
            "at each try, with each crop, the memory, and the time at the measured speed of this device.",
            inputs=[
                sockets.Engine.Input("engine", tooltip="The model, from Load Edit Engine."),
                io.Int.Input(
                    "tries",
                    default=3,
                    min=1,
                    max=1000,
                    tooltip="How often you expect to try before the edit is right. The more tries, the more a "
                    "keyframe saves.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Sampling steps of each try; 0 takes the model's own. The work grows with them.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="0 takes the model's own. At 1 and below, each step is half the work.",
                    **expert(),
                ),
                io.Int.Input(
                    "frame_count",
                    default=49,
                    min=1,
                    max=100000,
                    tooltip="Frames of the clip. Not used when frames or mask are connected.",
                ),
                io.Int.Input(
                    "width",
                    default=720,
                    min=16,
                    max=16384,
                    tooltip="Width of the clip in pixels. Not used when frames or mask are connected.",
                ),
                io.Int.Input(
                    "height",
                    default=480,
                    min=16,
                    max=16384,
                    tooltip="Height of the clip in pixels. Not used when frames or mask are connected.",
                ),
                io.Boolean.Input(
                    "measure_speed",
                    default=True,
                    tooltip="Measure for half a second how fast the device is, and say how long the edit takes at "
                    "the least.",
                ),
                io.Image.Input("frames", optional=True, tooltip="The clip; its length and size count."),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the edit is; with it, the crop modes are compared too."
                ),
            ],
            outputs=[
                io.String.Output("report", display_name="report"),
                io.Float.Output(
                    "pflops",
                    display_name="pflops",
                    tooltip="The work by KIVE, in units of 10^15 operations, with the crop that auto chooses.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        engine: ManagedEngine,
        tries: int,
        steps: int,
        guidance: float,
        frame_count: int,
        width: int,
        height: int,
        measure_speed: bool,
        frames: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        clip: Tensor | tuple[int, int, int] = (frame_count, height, width)
        if frames is not None:
            shown = checked_frames(to_core(frames), "Estimate Cost, frames", notes)
            clip = (shown.shape[0], shown.shape[1], shown.shape[2])
        if mask is not None:
            clip = checked_mask(to_core(mask), "Estimate Cost, mask")
            if frames is not None:
                clip = checked_mask_for(clip, shown, "Estimate Cost, mask", notes)
        model = engine.engine()
        found = estimate(model, clip, tries, steps or None, Guidance(guidance) if guidance else None)
        rates = measured_rates(model.transformer.config, model.place) if measure_speed else None
        place = f"on {model.place.device} in {str(model.place.dtype).removeprefix('torch.')}"
        report = "\n".join([*notes, found.text(rates, place)])
        say([report])
        return io.NodeOutput(report, found.petaflops)
