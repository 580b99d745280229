"""UniEdit: another look or another motion by a text, with a frozen model and without training."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.editors.inverted import InvertedClip
from ..vivid_core.editors.uniedit import MODES, UniEditSettings
from ..vivid_core.editors.uniedit_clip import STEERS, LocalOptions, edit_clip
from . import sockets
from .comfy_bridge.blocking import blocked
from .comfy_bridge.diffusion import ManagedDiffusion
from .comfy_bridge.progress import say
from .comfy_bridge.tensors import to_core, to_graph
from .editing_inputs import blend_mask_inputs, guidance_input, local_outputs, mask_inputs, negative_input, rim_input
from .schema import expert, node_schema

REPLAY, REDENOISE = "replay", "denoise along"
TOGETHER, ONE_BY_ONE = "together", "one by one"


class UniEdit(io.ComfyNode):
    """Appearance or motion, by a text, through the attention of the frozen model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividUniEdit",
            display_name="UniEdit (frozen model)",
            search_aliases=["uniedit", "tuning free", "video style", "motion edit", "animatediff edit", "vid2vid"],
            description="Edits a clip by a text, without training: another look with the same motion, or another "
            "motion with the same look. With a mask nothing changes outside it.",
            inputs=[
                sockets.Diffusion.Input("diffusion", tooltip="From Load Diffusion Model; motion needs motion modules."),
                sockets.Inversion.Input("inversion", tooltip="From Invert Clip, with the same model."),
                io.String.Input(
                    "prompt", default="", multiline=True, tooltip="What the edited clip shows, the whole picture."
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="appearance",
                    tooltip="appearance: another look or style, layout and motion are kept. motion: another action, "
                    "the look is kept.",
                ),
                guidance_input(),
                io.Float.Input(
                    "structure",
                    default=-1.0,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the steps in which the layout comes from the source. More keeps shapes and loses "
                    "the new look. -1 is usual: 0.5 for appearance, 0.3 for motion; 0 is off.",
                ),
                io.Combo.Input(
                    "masks",
                    options=list(STEERS),
                    default="blend only",
                    tooltip="Whether the model itself is told where the object is. blend only: the mask only says "
                    "where the edit shows. mask: by the mask. word: by the word below in the source prompt.",
                ),
                rim_input(),
                io.String.Input(
                    "word",
                    default="",
                    tooltip="For masks: word. The object's name, as it stands in the source prompt.",
                    **expert(),
                ),
                io.Float.Input(
                    "threshold",
                    default=0.4,
                    min=0.05,
                    max=0.95,
                    step=0.01,
                    tooltip="For masks: word. Lower marks more.",
                    **expert(),
                ),
                negative_input(),
                io.Float.Input(
                    "content",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="For motion: share of the steps in which the look comes from the source.",
                    **expert(),
                ),
                io.Int.Input(
                    "content_from",
                    default=10,
                    min=0,
                    max=16,
                    tooltip="For motion: the first of the 16 layers that take the look from the source. Lower keeps "
                    "more and moves less.",
                    **expert(),
                ),
                io.Float.Input(
                    "injection",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="For motion: share of the steps in which the motion comes from the motion reference.",
                    **expert(),
                ),
                io.Float.Input(
                    "background",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="For appearance with masks: share of the steps in which the look outside the object comes "
                    "from the source.",
                    **expert(),
                ),
                io.Combo.Input(
                    "source",
                    options=[REPLAY, REDENOISE],
                    default="replay",
                    tooltip="replay: the inversion's own latents at each step, exact. denoise along: as in the paper, "
                    "where small errors add up.",
                    **expert(),
                ),
                io.Combo.Input(
                    "roles",
                    options=[TOGETHER, ONE_BY_ONE],
                    default="together",
                    tooltip="together: source, edit and motion reference in one batch. one by one: the same result in "
                    "less memory, a little slower.",
                    **expert(),
                ),
                *mask_inputs(),
                io.Mask.Input(
                    "motion_mask",
                    optional=True,
                    tooltip="For motion with masks: where the object will be, for instance tracked in the motion "
                    "reference of a first run. Without it: where it is.",
                ),
                *blend_mask_inputs(),
            ],
            outputs=[
                *local_outputs(),
                io.String.Output("report", display_name="report", tooltip="What steered the edit, what it cost."),
                io.Image.Output(
                    "source_frames",
                    display_name="reconstruction",
                    tooltip="The source as the edit saw it, at the model's size.",
                ),
                io.Image.Output(
                    "motion_frames",
                    display_name="motion_reference",
                    tooltip="The prompt alone: it should show the action, if with the wrong look. Nothing in "
                    "appearance mode.",
                ),
                io.Mask.Output(
                    "object_mask", display_name="object", tooltip="The mask that the attention had; nothing without."
                ),
            ],
        )

    @classmethod
    def execute(cls, diffusion: ManagedDiffusion, inversion: InvertedClip, prompt: str, **inputs: Any) -> io.NodeOutput:
        notes: list[str] = []
        settings, options = _settings(**inputs), _options(**inputs)
        with diffusion.running() as (backbone, runtime):
            made = edit_clip(backbone, inversion, prompt, inputs["negative"], settings, options, runtime, notes)
        report = "\n".join([*notes, made.report])
        say([report])
        return io.NodeOutput(
            to_graph(made.frames_fhwc),
            to_graph(made.blend_mask_fhw),
            report,
            to_graph(made.source_fhwc),
            blocked() if made.motion_fhwc is None else to_graph(made.motion_fhwc),
            blocked() if made.object_fhw is None else to_graph(made.object_fhw),
        )


def _settings(mode: str, guidance: float, structure: float, source: str, roles: str, **inputs: Any) -> UniEditSettings:
    return UniEditSettings(
        mode,
        guidance,
        None if structure < 0 else structure,
        inputs["content"],
        inputs["content_from"],
        inputs["injection"],
        inputs["background"],
        replayed=source == REPLAY,
        side_by_side=roles == TOGETHER,
    )


def _options(
    masks: str,
    feather: int,
    word: str,
    threshold: float,
    mask: Tensor | None = None,
    motion_mask: Tensor | None = None,
    blend_mask: Tensor | None = None,
    **_: Any,
) -> LocalOptions:
    given = (None if one is None else to_core(one) for one in (mask, blend_mask, motion_mask))
    return LocalOptions(*given, feather=feather, steer=masks, word=word, threshold=threshold)
