"""ComfyUI's own video models, their VAEs and conditionings: which the running core has, and what they are given."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import comfy.model_management
import node_helpers
import torch
from torch import Tensor

from ...vivid_core.editors.contract import latent_frames
from ...vivid_core.editors.native import FAMILIES, STEP, STRIDE, NativeFamily
from ...vivid_core.editors.native_window import NativeWindow
from .conditioning import Conditioning

LATENT_CHANNELS = 16
VAES = {"wan": "wan_2.1_vae.safetensors", "cogvideo": "CogVideoX's VAE"}
COGVIDEOX = "a newer ComfyUI, which has CogVideoX models"
CONTROL_NODE = "WanVaceToVideo"


def inpaint_families() -> list[str]:
    """The labels of the families that this core can run and that see a clip with a hole beside the noise."""
    return [family.label for family in FAMILIES.values() if not family.control and _runs(family)]


def inpaint_family(label: str) -> NativeFamily:
    """The family of a label.

    Raises ValueError when there is none of that name, or this core can't run it.
    """
    found = next((one for one in FAMILIES.values() if one.label == label and not one.control), None)
    here = ", ".join(inpaint_families()) or "none"
    if found is None:
        raise ValueError(f"Family: {label!r} is none that this node knows; use one of those of this ComfyUI: {here}.")
    if not _runs(found):
        raise ValueError(
            f"Family: {label} needs {COGVIDEOX}; update ComfyUI, or use one of those that this one has: {here}."
        )
    return found


def vace_family() -> NativeFamily:
    """Wan VACE.

    Raises ValueError when this ComfyUI has no node to give the control to.
    """
    import nodes  # ComfyUI's own module; its registry is filled after the packs are imported

    if CONTROL_NODE not in nodes.NODE_CLASS_MAPPINGS:
        raise ValueError(
            f"Keyframes to VACE: this ComfyUI has no node {CONTROL_NODE}, which takes the control; update ComfyUI, and "
            "start it without switching its own nodes off."
        )
    return FAMILIES["wan_vace"]


def check_vae(vae: Any, family: NativeFamily) -> None:
    """Raise ValueError unless it is a VAE that the family was trained with, as far as its latents and class tell."""
    use = f"load {VAES[family.vae]} with Load VAE"
    if vae is None or getattr(vae, "first_stage_model", None) is None:
        raise ValueError(f"VAE: got none that works, but {family.label} needs its own; {use}.")
    stride, channels = vae.spacial_compression_encode(), vae.latent_channels
    frames = vae.temporal_compression_decode() or 1
    if (channels, stride, frames) != (LATENT_CHANNELS, STRIDE, STEP):
        raise ValueError(
            f"VAE: got one of {channels} latent channels for {stride}x{stride} pixels of {frames} frames, but "
            f"{family.label} takes {LATENT_CHANNELS} for {STRIDE}x{STRIDE} pixels of {STEP} frames; {use}."
        )
    kind = type(vae.first_stage_model)
    package = kind.__module__.removeprefix("comfy.ldm.").split(".")[0]
    if kind.__module__.startswith("comfy.ldm.") and package != family.vae:
        raise ValueError(
            f"VAE: got one of another family ({package}'s {kind.__name__}), whose latents mean nothing to "
            f"{family.label}; {use}."
        )


def check_model(model: Any, family: NativeFamily) -> None:
    """Raise ValueError when a model that was connected is not of the family: it would not look at what it is shown."""
    if model is None:
        return
    kind, inner = type(model.model), model.model.diffusion_model
    patches = getattr(inner, "patch_embedding", None)
    channels = getattr(inner, "in_channels", 0) if patches is None else patches.weight.shape[1]
    even = getattr(inner, "patch_size_t", None) is not None
    known = issubclass(kind, getattr(comfy.model_base, family.core_class))
    if not known or (channels, even) != (family.channels, family.even):
        version = " of version 1.5" if even else ""
        raise ValueError(
            f"Model: got a {kind.__name__}{version} with {channels} channels in, but {family.label} has "
            f"{family.channels}; it would not see what it is given, so load a model of this family, or choose the "
            "family of that one."
        )


@torch.no_grad()
def inpaint_conditioning(
    positive: Conditioning,
    negative: Conditioning,
    vae: Any,
    family: NativeFamily,
    window: NativeWindow,
    clip_vision: Any = None,
) -> tuple[Conditioning, Conditioning, dict[str, Tensor]]:
    """Both texts with the clip, its hole and its mask beside them, and the empty latent to sample on."""
    count, height, width = window.mask_fhw.shape
    device = comfy.model_management.intermediate_device()
    values: dict[str, Any] = _seen(vae, family, window)
    if clip_vision is not None:
        values["clip_vision_output"] = clip_vision
    shape = (1, LATENT_CHANNELS, latent_frames(count, STEP), height // STRIDE, width // STRIDE)
    latent = {"samples": torch.zeros(shape, device=device)}
    given = [node_helpers.conditioning_set_values(texts, values) for texts in (positive, negative)]
    return given[0], given[1], latent


def _seen(vae: Any, family: NativeFamily, window: NativeWindow) -> dict[str, Tensor]:
    """In the form in which the core's models take it: they scale latents themselves, and Wan's turn the mask round."""
    edit = window.mask_fhw
    if family.vae == "wan" and family.mask_latents is not None:
        return {"concat_latent_image": vae.encode(window.control_fhwc), "concat_mask": family.mask_latents(edit)[None]}
    if family.blank and bool((edit > 0.5).all()):
        shape = (1, 1 + LATENT_CHANNELS, latent_frames(len(edit), STEP), *(side // STRIDE for side in edit.shape[1:]))
        return {"concat_latent_image": torch.zeros(shape)}
    latents = vae.encode(window.control_fhwc)
    if family.mask_latents is None:
        known = vae.encode((1 - edit)[..., None].expand(*edit.shape, 3))
    else:
        known = (1 - family.mask_latents(edit))[None].to(latents)
    return {"concat_latent_image": torch.cat([known, latents], dim=1)}


def _runs(family: NativeFamily) -> bool:
    return hasattr(comfy.model_base, family.core_class)
