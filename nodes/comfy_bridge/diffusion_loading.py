"""From chosen files to a diffusion model: its parts under ComfyUI's memory, shared with whoever uses the same files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from ...vivid_core.diffusion.ddim import NoiseSchedule
from ...vivid_core.diffusion.sd_schedules import ANIMATEDIFF, IMAGES, PREDICTIONS, schedule_of
from ...vivid_core.editors.backbone_parts import backbone_of
from ...vivid_core.editors.clip_texts import ClipText
from ...vivid_core.editors.contract import Place
from ...vivid_core.editors.embedded_backbone import Kind, embedded_backbone
from ...vivid_core.editors.texts import EmbeddedText
from ...vivid_core.models import embedded_sd, unet_motion
from ...vivid_core.models.clip_text import pads_with_zero
from ...vivid_core.models.sd_fit import base_of
from ...vivid_core.models.sd_prediction import guessed_prediction
from .attention import is_fused
from .diffusion import ManagedDiffusion, known_format
from .diffusion_files import DiffusionFiles, DiffusionParts, Opened, open_parts
from .host import ManagedModel, Role
from .loading import load_family
from .patcher import manage
from .shared import SHELF, file_identity
from .tokenizers import clip_tokenizer

AUTO = "auto"
EMBEDDED: dict[str, Kind] = {
    "embedded, with motion (comes with the pack)": "motion",
    "embedded, sees depth (comes with the pack)": "depth",
    "embedded, with a depth ControlNet (comes with the pack)": "controlnet",
}
PLAIN_SHAPES = "It knows the plain shapes of Demo Scene and little else: for films choose a released model."
WITHOUT_TEXT = "It came without a text encoder, and every editor needs one: choose a whole checkpoint or folder."


def embedded_choices() -> list[str]:
    """The embedded models to choose from; none where their file is not there."""
    return list(EMBEDDED) if embedded_sd.WEIGHTS.exists() else []


def load_diffusion(chosen: DiffusionFiles) -> ManagedDiffusion:
    """The diffusion model of these files.

    Raises ValueError, in one sentence that names the file, when a part is missing, damaged, something else, or made for
    another base than the others.
    """
    parts = open_parts(chosen)
    unet, vae = load_family(*parts.unet, chosen.precision), load_family(*parts.vae)
    text = None if parts.text is None else load_family(*parts.text)
    control = None if parts.controlnet is None else load_family(*parts.controlnet, chosen.precision)
    models = [one for one in (unet, vae, text, control) if one is not None]
    still, moving = _still_noise(chosen, parts), None
    if parts.unet[1] is unet_motion.FAMILY:
        moving = _moving_noise(chosen, parts)
    backbone = backbone_of(
        unet.module,
        vae.module,
        moving or still,
        _identity(parts, models, still),
        text=None if text is None or parts.text is None else _text(text, parts.text),
        controlnet=None if control is None else control.module,
        still_noise=None if moving is None else still,
        title=chosen.model.name,
        places=(_place(unet), _place(vae), Place() if text is None else _place(text)),
        fused=is_fused(),
    )
    notes = [note for one in models for note in one.notes] + ([] if text is not None else [WITHOUT_TEXT])
    base = f"{chosen.model.name} ({base_of(parts.still[1].config(parts.still[0]))})"
    return ManagedDiffusion(backbone, unet, vae, text, control, base, notes, known_format())


def load_embedded(kind: Kind) -> ManagedDiffusion:
    """The small model that comes with the pack, of one kind, always in fp32.

    Raises ValueError as `embedded_backbone` does.
    """
    made = embedded_backbone(kind, embedded_sd.WEIGHTS)
    assert isinstance(made.text, EmbeddedText)
    files = file_identity([embedded_sd.WEIGHTS])

    def managed(module: nn.Module, role: Role) -> ManagedModel:
        return SHELF.get(("embedded_sd", kind, role, files), lambda: manage(module, role=role))

    unet, vae, text = (
        managed(made.unet, "denoiser"),
        managed(made.vae, "vae"),
        managed(made.text.module, "text_encoder"),
    )
    control = None if made.controlnet is None else managed(made.controlnet, "controlnet")
    backbone = replace(
        made,
        unet=unet.module,
        vae=vae.module,
        text=replace(made.text, module=text.module),
        controlnet=None if control is None else control.module,
        place=_place(unet),
        vae_place=_place(vae),
        text_place=_place(text),
        identity=json.dumps([files, kind, unet.device.type, vae.device.type]),
    )
    return ManagedDiffusion(backbone, unet, vae, text, control, "The embedded Stable Diffusion", [PLAIN_SHAPES])


def _still_noise(chosen: DiffusionFiles, parts: DiffusionParts) -> NoiseSchedule:
    """How the image model was noised: as asked, else as its folder says, else as its weights suggest."""
    if parts.still[1] is unet_motion.FAMILY:
        return IMAGES
    said = IMAGES if parts.scheduler is None else schedule_of(parts.scheduler, chosen.model.name)
    if chosen.prediction != AUTO:
        if chosen.prediction not in PREDICTIONS:
            raise ValueError(
                f"Load Diffusion Model: got the prediction {chosen.prediction!r}; choose {AUTO} or one of "
                f"{', '.join(PREDICTIONS)}."
            )
        return replace(said, prediction=chosen.prediction)  # type: ignore[arg-type]
    if parts.scheduler is not None:
        return said
    linear = bool(parts.still[1].config(parts.still[0]).get("use_linear_projection"))
    return replace(said, prediction=guessed_prediction(parts.still[0], linear))


def _moving_noise(chosen: DiffusionFiles, parts: DiffusionParts) -> NoiseSchedule:
    """How motion modules were noised: a folder that was saved with them says it."""
    if parts.still[1] is unet_motion.FAMILY and parts.scheduler is not None:
        return schedule_of(parts.scheduler, chosen.model.name)
    return ANIMATEDIFF


def _text(model: ManagedModel, opened: Opened) -> ClipText:
    module: Any = model.module
    return ClipText(module, clip_tokenizer(opened[0].path, pads_with_zero(module.config)))


def _identity(parts: DiffusionParts, models: list[ManagedModel], *noise: NoiseSchedule) -> str:
    """Everything that can change a result, as text."""
    kinds = [(str(one.host.get_dtype()), str(one.compute_dtype), one.device.type) for one in models]
    return json.dumps([file_identity(parts.parts()), kinds, [asdict(one) for one in noise]])


def _place(model: ManagedModel) -> Place:
    return Place(model.device, model.compute_dtype)
