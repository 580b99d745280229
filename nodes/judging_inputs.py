"""Inputs that the judging nodes have alike."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


def used_blend_input() -> Any:
    """Where an edit was allowed to change something."""
    return io.Mask.Input(
        "blend_mask",
        optional=True,
        tooltip="The soft mask that was used for blending; without it the edit mask counts.",
    )


def clip_score_inputs() -> list[Any]:
    """Both halves of a CLIP that judges."""
    return [
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="A CLIP from Load CLIP Vision: how alike neighbouring frames are to it (TC).",
        ),
        io.Clip.Input(
            "clip",
            optional=True,
            tooltip="The text half of the same CLIP, for TA: clip_l for ViT-L, from Load CLIP.",
        ),
    ]
