"""The pack's nodes: thin V3 classes, one file for each step of the loop."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..vivid_core.optional import tell_what_is_missing
from .board import KeyframeBoard
from .camera_motion import CameraMotion
from .comfy_bridge.board_routes import register_board_routes
from .comfy_bridge.folders import register_folders
from .cost import EstimateCost
from .crop import CropSubject, StitchBack
from .demo import DemoClip, DemoScene
from .diffusion import EstimateDepth, LoadDepth, LoadDiffusion
from .editing import EditKeyframe
from .engine import EncodePrompt, LoadEngine
from .evaluation import CompareEngines
from .flow import LoadFlow
from .inversion import InvertClip
from .keyframes import SetKeyframes
from .long_video import EditLongVideo
from .marking import MarkObject, MaskHealth
from .masks import AugmentMask, RepairMask
from .native import InpaintConditioning, KeyframesToVace
from .pix2video import Pix2Video
from .preview import PreviewPropagation
from .propagation import EditVideo, PropagateEdit
from .quality import Compare, MeasureEdit
from .segmenter import LoadSegmenter
from .tracking import TrackMask, TrackToMask
from .training import SaveSample, TrainLora
from .uniedit import UniEdit

NODES: list[type[io.ComfyNode]] = [
    TrackMask,
    TrackToMask,
    MarkObject,
    MaskHealth,
    RepairMask,
    AugmentMask,
    CropSubject,
    StitchBack,
    SetKeyframes,
    PreviewPropagation,
    MeasureEdit,
    Compare,
    DemoClip,
    LoadEngine,
    EncodePrompt,
    EditKeyframe,
    PropagateEdit,
    EditVideo,
    EditLongVideo,
    EstimateCost,
    SaveSample,
    TrainLora,
    LoadFlow,
    LoadSegmenter,
    KeyframeBoard,
    KeyframesToVace,
    InpaintConditioning,
    LoadDiffusion,
    LoadDepth,
    EstimateDepth,
    InvertClip,
    Pix2Video,
    UniEdit,
    CameraMotion,
    DemoScene,
    CompareEngines,
]


class VividExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def on_load(self) -> None:
        register_folders()
        register_board_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        register_folders()  # older cores never call on_load
        register_board_routes()
        tell_what_is_missing()
        return NODES
