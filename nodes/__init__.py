"""The pack's nodes: thin V3 classes, one file for each step of the loop."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .comfy_bridge.folders import register_folders
from .crop import CropSubject, StitchBack
from .keyframes import SetKeyframes
from .masks import AugmentMask, RepairMask
from .preview import PreviewPropagation
from .quality import Compare, MeasureEdit
from .tracking import TrackMask, TrackToMask

NODES: list[type[io.ComfyNode]] = [
    TrackMask,
    TrackToMask,
    RepairMask,
    AugmentMask,
    CropSubject,
    StitchBack,
    SetKeyframes,
    PreviewPropagation,
    MeasureEdit,
    Compare,
]


class VividExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def on_load(self) -> None:
        register_folders()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
