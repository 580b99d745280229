"""Masks for editing: repaired, widened, feathered."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..vivid_core.checks import check_not_empty, checked_mask
from ..vivid_core.masks.augment import MODES, augment_mask, size_verdict
from ..vivid_core.masks.prompts import parse_indices
from ..vivid_core.masks.repair import overrides_at, repair_mask
from ..vivid_core.video.composite import feather_outside
from .comfy_bridge.progress import ComfyRuntime, say
from .comfy_bridge.tensors import to_core, to_graph
from .schema import expert, node_schema


class RepairMask(io.ComfyNode):
    """Hand-painted masks win; gaps are bridged; flicker, specks and holes go."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividRepairMask",
            display_name="Repair Mask",
            search_aliases=["fix mask", "fill holes", "remove specks", "interpolate mask", "stabilize mask"],
            description="Repairs a mask over time: your own masks replace it on their frames, gaps are filled with "
            "in-betweens, flicker, specks and holes are removed.",
            inputs=[
                io.Mask.Input("mask", tooltip="The mask of the clip, from any tracker."),
                io.Mask.Input(
                    "overrides", optional=True, tooltip="Painted masks; they come back exactly on their frames."
                ),
                io.String.Input("override_frames", default="", tooltip="The frame of each override: 12, 40, -1."),
                io.Boolean.Input(
                    "in_between",
                    default=False,
                    tooltip="Fill frames between overrides, and empty frames between good ones, with in-betweens. "
                    "Right for a lost object; wrong for one that was really hidden.",
                ),
                io.Int.Input(
                    "median_frames",
                    default=0,
                    min=0,
                    max=31,
                    tooltip="Median over this many frames (3, 5, 7, ...) against flicker; 0 is off. More is steadier, "
                    "but cuts off fast motion.",
                ),
                io.Float.Input(
                    "min_speck",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Remove islands smaller than this percentage of the frame; 0 keeps all. More also removes "
                    "small parts of the object that are seen apart.",
                ),
                io.Float.Input(
                    "max_hole",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Fill holes up to this percentage of the frame; 0 fills none. More also fills holes that "
                    "belong there, such as the space under an arm.",
                ),
            ],
            outputs=[
                io.Mask.Output("repaired_mask", display_name="mask"),
                io.String.Output("report", display_name="report"),
            ],
        )

    @classmethod
    def execute(
        cls,
        mask: Tensor,
        override_frames: str,
        in_between: bool,
        median_frames: int,
        min_speck: float,
        max_hole: float,
        overrides: Tensor | None = None,
    ) -> io.NodeOutput:
        notes: list[str] = []
        mask = checked_mask(to_core(mask), "Repair Mask")
        chosen = None
        if overrides is None:
            check_not_empty(mask, "Repair Mask")
            if override_frames.strip():
                notes.append("Repair Mask: override_frames has no effect, since no overrides are connected.")
        else:
            chosen = overrides_at(to_core(overrides), parse_indices(override_frames, mask.shape[0]))
        repaired = repair_mask(
            mask,
            overrides=chosen,
            in_between=in_between,
            median_frames=median_frames,
            min_speck=min_speck,
            max_hole=max_hole,
            runtime=ComfyRuntime(),
            notes=notes,
        )
        say(notes)
        return io.NodeOutput(to_graph(repaired), "\n".join(notes))


class AugmentMask(io.ComfyNode):
    """VIVID's six mask shapes: exact outlines leak what was there, wider ones leave room for the edit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="VividAugmentMask",
            display_name="Augment Mask",
            search_aliases=["grow mask", "expand mask", "feather mask", "box mask", "convex hull"],
            description="Widens a mask over time in one of VIVID's six ways, and makes the soft mask for blending. "
            "The edit mask is what gets edited; the blend mask adds a soft rim outside it.",
            inputs=[
                io.Mask.Input("mask", tooltip="The mask of the clip."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="expand",
                    tooltip="expand is for most edits. original keeps the outline, for recolouring. hull and box "
                    "forget it, for a new object of another shape.",
                ),
                io.Float.Input(
                    "amount",
                    default=0.1,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How far expand goes, as a part of the object's own size. More gives the edit room; less "
                    "keeps what is beside it.",
                ),
                io.Int.Input(
                    "feather",
                    default=8,
                    min=0,
                    max=256,
                    tooltip="Width of the soft rim outside the edit mask, in pixels. Wider hides the seam better, but "
                    "blends more of what is beside it; 0 is a hard edge.",
                ),
                io.Boolean.Input(
                    "randomise",
                    default=False,
                    tooltip="Draw the amount and its direction at random, once for the clip, as in VIVID's training.",
                    **expert(),
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    tooltip="For randomise: each number draws another shape. Not used without it.",
                    **expert(),
                ),
            ],
            outputs=[
                io.Mask.Output("edit_mask", display_name="edit_mask", tooltip="1 where the edit happens."),
                io.Mask.Output(
                    "blend_mask", display_name="blend_mask", tooltip="The edit mask with a soft rim outside it."
                ),
            ],
        )

    @classmethod
    def execute(cls, mask: Tensor, mode: str, amount: float, feather: int, randomise: bool, seed: int) -> io.NodeOutput:
        mask = checked_mask(to_core(mask), "Augment Mask")
        check_not_empty(mask, "Augment Mask")
        runtime = ComfyRuntime()
        edit_mask = augment_mask(mask, mode, amount, randomise, seed, runtime)
        blend_mask = feather_outside(edit_mask, feather, runtime)
        verdict = size_verdict(edit_mask)
        say([verdict] if verdict else [])
        return io.NodeOutput(to_graph(edit_mask), to_graph(blend_mask))
