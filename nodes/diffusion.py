"""Load the models that the tuning-free editors steer, and the models that see depth."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import sockets
from .comfy_bridge import engine_files
from .comfy_bridge.depth import depth_files, depth_path, load_depth
from .comfy_bridge.diffusion_files import CONTROL_FOLDER, MODEL_FOLDERS, MOTION_FOLDER, VAE_FOLDER, DiffusionFiles
from .comfy_bridge.diffusion_loading import EMBEDDED, embedded_choices, load_diffusion, load_embedded
from .comfy_bridge.precision import CHOICES as PRECISIONS
from .comfy_bridge.progress import say
from .comfy_bridge.shared import fingerprint_of
from .schema import expert, node_schema

WITH_MODEL, NONE, AUTO = "with the model", "none", "auto"
PREDICTIONS = (AUTO, "epsilon", "v_prediction")


class LoadDiffusion(io.ComfyNode):
    """Stable Diffusion with motion modules or a ControlNet, in ComfyUI's memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividLoadDiffusion",
            display_name="Load Diffusion Model (tuning-free)",
            search_aliases=["load stable diffusion", "animatediff", "sd 1.5", "sd2 depth", "pix2video", "uniedit"],
            description="Loads a Stable Diffusion 1.x or 2.x model for the editors that need no training. UniEdit "
            "needs AnimateDiff's motion modules; Pix2Video is best with a depth ControlNet or an SD 2 depth model.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[*engine_files.models(MODEL_FOLDERS), *embedded_choices()] or [engine_files.NOTHING],
                    tooltip="A file of checkpoints or a diffusers folder of diffusers; a name that ends with / is a "
                    "folder. The embedded ones come with the pack and know plain shapes only.",
                ),
                io.Combo.Input(
                    "motion",
                    options=[NONE, *engine_files.models((MOTION_FOLDER,))],
                    default=NONE,
                    tooltip="AnimateDiff's motion modules for SD 1.5, of animatediff_models. UniEdit needs them; "
                    "Pix2Video ignores them.",
                ),
                io.Combo.Input(
                    "controlnet",
                    options=[NONE, *engine_files.models((CONTROL_FOLDER,))],
                    default=NONE,
                    tooltip="A depth ControlNet for the same base, of controlnet. It keeps the shapes of the clip.",
                ),
                io.Combo.Input(
                    "vae",
                    options=[WITH_MODEL, *engine_files.models((VAE_FOLDER,))],
                    default=WITH_MODEL,
                    tooltip="with the model: the one in the same checkpoint or folder.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default=AUTO,
                    tooltip="How the U-Net and the ControlNet are kept. auto: as ComfyUI chooses. The embedded models "
                    "are always fp32.",
                    **expert(),
                ),
                io.Combo.Input(
                    "prediction",
                    options=list(PREDICTIONS),
                    default=AUTO,
                    tooltip="What the model was trained to predict. auto finds it; choose v_prediction if an SD 2.x "
                    "model of 768 pixels gives nothing but noise.",
                    **expert(),
                ),
            ],
            outputs=[
                sockets.Diffusion.Output("diffusion", display_name="diffusion", tooltip="For the tuning-free editors."),
                io.String.Output("report", display_name="report", tooltip="What was loaded, what fits, what it takes."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **named: Any) -> Any:
        if None in named.values():
            return None  # from other nodes, which have not run yet: what they give decides
        if named["model"] in EMBEDDED:
            return None
        return fingerprint_of(lambda: engine_files.inside(*_chosen(**named).paths()))

    @classmethod
    def execute(cls, **named: Any) -> io.NodeOutput:
        chosen = _chosen(**named)
        diffusion = load_embedded(EMBEDDED[named["model"]]) if chosen is None else load_diffusion(chosen)
        report = diffusion.report()
        say([report])
        return io.NodeOutput(diffusion, report)


def _chosen(
    model: str, motion: str, controlnet: str, vae: str, precision: str, prediction: str
) -> DiffusionFiles | None:
    """Names from the lists as files; None for an embedded model."""
    if model in EMBEDDED:
        return None
    path_of = engine_files.path_of
    return DiffusionFiles(
        model=engine_files.listed_path(
            model,
            MODEL_FOLDERS,
            "Load Diffusion Model",
            "put a Stable Diffusion 1.x or 2.x checkpoint there, and press R to see it in the list",
        ),
        motion=None if motion == NONE else path_of(motion, MOTION_FOLDER),
        controlnet=None if controlnet == NONE else path_of(controlnet, CONTROL_FOLDER),
        vae=None if vae == WITH_MODEL else path_of(vae, VAE_FOLDER),
        precision=precision,
        prediction=prediction,
    )


class LoadDepth(io.ComfyNode):
    """A Depth Anything, shared with whoever loads the same file and kept in ComfyUI's memory."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividLoadDepth",
            display_name="Load Depth Model",
            search_aliases=["depth anything", "load depth", "monocular depth"],
            description="Loads a Depth Anything (1 or 2) for Estimate Depth, in any of its sizes.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=depth_files(),
                    tooltip="A folder of geometry_estimation with Depth Anything's files in transformers' layout; a "
                    "name that ends with / is a folder.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS)[:4],
                    default=AUTO,
                    tooltip="How it is kept and computes. auto: as ComfyUI chooses.",
                    **expert(),
                ),
            ],
            outputs=[
                sockets.Depth.Output("depth_model", display_name="depth model", tooltip="For Estimate Depth."),
                io.String.Output("report", display_name="report", tooltip="What was loaded, and what fits."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        try:
            return file is None or bool(depth_path(file))  # None: from another node, which has not run yet
        except ValueError as missing:
            return str(missing)

    @classmethod
    def fingerprint_inputs(cls, file: str | None, precision: str | None) -> Any:
        return None if file is None else fingerprint_of(lambda: engine_files.inside(depth_path(file)))

    @classmethod
    def execute(cls, file: str, precision: str) -> io.NodeOutput:
        depth = load_depth(depth_path(file), precision)
        report = depth.report()
        say([report])
        return io.NodeOutput(depth, report)


class EstimateDepth(io.ComfyNode):
    """How far everything is, frame by frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividEstimateDepth",
            display_name="Estimate Depth",
            search_aliases=["depth map", "depth anything", "depth video"],
            description="How far everything in each frame is, as grey pictures: near is white, far is black.",
            inputs=[
                sockets.Depth.Input("depth_model", tooltip="From Load Depth Model."),
                io.Image.Input("frames", tooltip="The clip."),
                io.Int.Input(
                    "side",
                    default=518,
                    min=140,
                    max=2072,
                    step=14,
                    tooltip="The short side in pixels of what the model sees. 518 is what it was trained with; more "
                    "shows finer edges and takes more time.",
                    **expert(),
                ),
            ],
            outputs=[
                io.Image.Output("depth", display_name="depth", tooltip="Grey pictures of the clip's own shape."),
                io.String.Output("report", display_name="report", tooltip="The range of what was found."),
            ],
        )

    @classmethod
    def execute(cls, depth_model: Any, frames: Any, side: int) -> io.NodeOutput:
        notes: list[str] = []
        depth_fhwc, report = depth_model.estimate(frames, side, notes)
        say([report, *notes])
        return io.NodeOutput(depth_fhwc, "\n".join([report, *notes]))
