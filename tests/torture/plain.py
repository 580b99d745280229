"""One graph for each of our nodes that must run: small models, the shortest settings that work, nothing by chance."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from . import widgets
from .clips import Shape
from .graphs import Drawer, Graph, Link
from .schemas import Node, Taken

CLIP, SMALL = Shape(9, 48, 48, 1), Shape(3, 32, 32, 1)  # the second one for the models of single pictures
FROZEN = ("VividInvert", "VividPix2Video", "VividUniEdit")
OUTSIDE = ("IMAGE", "MASK", "VIDEO", "VAE")
# Where else than by the first of our nodes that gives it a socket is filled from:
MAKERS = {"CONDITIONING": "VividEncodePrompt", "VIVID_KEYFRAMES": "VividKeyframes", "VIVID_STITCH": "VividCropSubject"}
TAKEN = ("VividEditLongVideo.mask", "VividMaskHealth.mask", "VividPreviewPropagation.keyframes")  # optional, but wanted
TAKEN += ("VividKeyframeBoard.candidate", "VividRepairMask.overrides", "VividPix2Video.mask", "VividUniEdit.mask")
# What isn't the widget's own default:
SET: dict[str, Any] = {
    "steps": 2, "window": 5, "crop": "off", "feather": 2, "resume": False, "text": "a red ring",
    "prompt": "a blue ring", "source_prompt": "a red ring", "word": "ring", "caption_short": "a red ring",
    "VividVaceControl.size": "frames", "VividInpaintConditioning.size": "frames", "VividInvert.check": False,
    "VividLoadDiffusion.model": "embedded, with motion (comes with the pack)", "VividRepairMask.override_frames": "0",
    "VividTrainLora.rank": 2, "VividTrainLora.batch": 1, "VividTrainLora.frame_count": 5, "VividEstimateCost.tries": 1,
    "VividEstimateCost.measure_speed": False, "VividEstimateDepth.side": 140, "VividUniEdit.masks": "word",
    "VividSaveSample.file_format": "exact", "VividLoadFlow.longest_side": 128, "VividLoadFlow.updates": 1,
    "VividCameraMotion.frame_count": 3,
}  # fmt: skip
# What a target wants of the nodes before it, and of itself:
FOR: dict[str, dict[str, Any]] = {
    "VividPix2Video": {"VividInvert.editor": "Pix2Video"},
    "VividLoadEngine": {"VividLoadEngine.lora": "tiny.safetensors"},
    "VividLoadFlow": {"VividLoadFlow.model": "raft_small.pth"},
    "VividInvert": {"VividLoadDiffusion.model": "embedded, sees depth (comes with the pack)"},
}
# Nodes whose numbers matter when another one uses what they give:
USED_BY = {
    "VividLoadFlow": "VividPreviewPropagation",
    "VividLoadEngine": "VividEditKeyframe",
    "VividKeyframes": "VividPropagate",
}
# Optional inputs that only some need; the embedded model, which the editors use, sees no depth:
WANTED = {"VividInvert": ("VividInvert.depth",), "VividLoadFlow": ("VividPreviewPropagation.flow",)}


class PlainDrawer(Drawer):
    """Draws the one graph that ends in a node and runs."""

    def __init__(self, known: dict[str, Node], base: Path, about: str, turn: int = 1) -> None:
        """`about`: the node that the graph is for; `turn` tells graphs apart which differ in one value only."""
        super().__init__(0, known, base)
        self._about, self._turn = about, turn
        self.graph = Graph(0, SMALL if about in FROZEN else CLIP)
        self._set = {**SET, **FOR.get(about, {}), "VividTrainLora.name": f"run {turn}"}
        self._wanted = (*TAKEN, *WANTED.get(about, ()))
        self.graph.target = self._node(USED_BY.get(about, about), self.graph.shape, 0)

    def drawn(self, name: str = "", value: Any = None) -> Graph:
        """The graph. With a name its node gets this value there, over a link: no widget stands before it."""
        if name:
            self.graph.seed = self._turn  # a key of its own: ComfyUI keeps what was made from the others
            node = next(one for one in self.graph.prompt.values() if one["class_type"] == self._about)
            node["inputs"][name] = self._give(lambda: value)
        self._take_all()
        return self.graph

    def _film_shape(self, shape: Shape) -> Shape:
        return Shape(CLIP.count, 48, 64, shape.seed)

    def _value(self, node_id: str, taken: Taken, shape: Shape, depth: int) -> Any:
        place = f"{node_id}.{taken.name}"
        if taken.name == "dataset" and node_id == "VividTrainLora":
            return [self._node("VividSaveSample", shape, depth + 1), 0]
        if taken.is_widget:
            return self._set.get(place, self._set.get(taken.name, self._usual(node_id, taken, shape)))
        return None if taken.optional and place not in self._wanted else self._socket(node_id, taken, shape, depth)

    def _usual(self, node_id: str, taken: Taken, shape: Shape) -> Any:
        if taken.kind == "STRING":
            return widgets.text(node_id, taken, shape, random.Random(0))
        if taken.default is None and taken.kind == "COMBO":
            return next(one for one in taken.options if not one.startswith(widgets.WRONG))
        return taken.default

    def _socket(self, node_id: str, taken: Taken, shape: Shape, depth: int) -> Link | None:
        if taken.kind in OUTSIDE:
            made = self._outside(f"{node_id}.{taken.name}", taken.name, taken.kind, shape)
            return None if made is None else self._give(made)
        if taken.kind not in self._made:
            able = [name for name, node in sorted(self._known.items()) if taken.kind in node.outputs]
            self._node(MAKERS.get(taken.kind, able[0] if able else ""), shape, depth + 1)
        made_by = self._made[taken.kind]
        return made_by[1] if taken.name == "negative" else made_by[0]
