"""Load a model that finds and follows marked objects."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import sockets
from .comfy_bridge import engine_files
from .comfy_bridge.progress import say
from .comfy_bridge.segmenter import PRECISIONS, load_segmenter, segmenter_files, segmenter_path
from .comfy_bridge.shared import fingerprint_of
from .schema import expert, node_schema


class LoadSegmenter(io.ComfyNode):
    """A SAM 2, shared with whoever loads the same file and kept in ComfyUI's memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividLoadSegmenter",
            display_name="Load Segmenter (SAM2)",
            search_aliases=["load sam2", "segment anything", "sam 2.1", "video segmentation model"],
            description="Loads a SAM 2 or 2.1 for Track Mask, in any of its four sizes. Needs the Python package sam2; "
            "without a segmenter Track Mask follows objects by optical flow.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=segmenter_files(),
                    tooltip="A file in models/sam2: a .pt as it was released, or .safetensors in the same layout. "
                    "Version and size are found by what is in it. The embedded one needs no file, but knows only the "
                    "plain shapes of Demo Clip.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="fp32",
                    tooltip="How it computes. fp32: in full, on any device. bf16: in half the bits where torch thinks "
                    "that safe, as the sam2 package's own examples do on a GPU; less time and memory. The "
                    "weights stay in fp32.",
                    **expert(),
                ),
            ],
            outputs=[
                sockets.Segmenter.Output("segmenter", display_name="segmenter", tooltip="For Track Mask."),
                io.String.Output(
                    "report", display_name="report", tooltip="Which model it is, how it computes, what fits."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        try:
            return file is None or bool(segmenter_path(file))  # None: from another node, which has not run yet
        except ValueError as missing:
            return str(missing)

    @classmethod
    def fingerprint_inputs(cls, file: str | None, precision: str | None) -> Any:
        return None if file is None else fingerprint_of(lambda: engine_files.inside(segmenter_path(file)))

    @classmethod
    def execute(cls, file: str, precision: str) -> io.NodeOutput:
        segmenter = load_segmenter(segmenter_path(file), precision)
        report = segmenter.report()
        say([report])
        return io.NodeOutput(segmenter, report)
