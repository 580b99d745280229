"""Which files hold the parts of a Stable Diffusion model: a checkpoint with all of them, or a diffusers folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...vivid_core.json_text import parsed_object
from ...vivid_core.models import autoencoder_kl, clip_text, controlnet, motion_adapter, unet2d, unet_motion
from ...vivid_core.models.families import Family, check_family, open_family
from ...vivid_core.models.files import WeightFiles, open_weights
from ...vivid_core.models.sd_fit import check_controlnet, check_text, check_unet, check_vae
from ...vivid_core.models.unet_motion import joined
from . import engine_files

MODEL_FOLDERS = ("checkpoints", "diffusers")
MOTION_FOLDER, CONTROL_FOLDER, VAE_FOLDER = "animatediff_models", "controlnet", "vae"
UNETS = (unet2d.FAMILY.name, unet_motion.FAMILY.name)
SCHEDULER = Path("scheduler", "scheduler_config.json")

Opened = tuple[WeightFiles, Family]


@dataclass(frozen=True)
class DiffusionFiles:
    """What the user chose. `vae` None means the one with the model; `prediction` is auto, epsilon or v_prediction."""

    model: Path
    motion: Path | None = None
    controlnet: Path | None = None
    vae: Path | None = None
    precision: str = "auto"
    prediction: str = "auto"

    def paths(self) -> list[Path]:
        """All that was named."""
        return [path for path in (self.model, self.motion, self.controlnet, self.vae) if path is not None]


@dataclass(frozen=True)
class DiffusionParts:
    """The headers of all parts, with their families. `unet` holds motion modules where some were chosen; `still` is the
    U-Net alone. `scheduler` is what the folder says of its noise."""

    unet: Opened
    still: Opened
    vae: Opened
    text: Opened | None
    controlnet: Opened | None
    scheduler: Mapping[str, Any] | None

    def parts(self) -> list[Path]:
        """All files."""
        opened = [one for one in (self.unet, self.vae, self.text, self.controlnet) if one is not None]
        return [path for files, _ in opened for path in files.parts]


def model_names() -> list[str]:
    """The checkpoints and diffusers folders that may hold a U-Net; folders end with a slash."""
    return engine_files.models(MODEL_FOLDERS)


def open_parts(chosen: DiffusionFiles) -> DiffusionParts:
    """The parts of the chosen model, from their headers alone, checked against each other.

    Raises ValueError, in one sentence with the file's name, when one is missing, damaged, something else, or made for
    another base than the others.
    """
    checkpoint = None if chosen.model.is_dir() else open_weights(chosen.model)
    still = _unet(chosen.model, checkpoint)
    settings = still[1].config(still[0])
    check_unet(settings, chosen.model.name)
    unet = _with_motion(still, chosen.motion)
    vae, text = _vae(chosen, checkpoint), _part(chosen.model, checkpoint, "text_encoder", clip_text.FAMILY)
    check_vae(vae[1].config(vae[0]), settings, vae[0].path.name)
    if text is not None:
        check_text(text[1].config(text[0])["hidden_size"], settings, text[0].path.name)
    control = None
    if chosen.controlnet is not None:
        control = open_family(chosen.controlnet, {controlnet.FAMILY.name})
        check_controlnet(control[1].config(control[0]), settings, chosen.controlnet.name, chosen.model.name)
    return DiffusionParts(unet, still, vae, text, control, _scheduler(chosen.model))


def _unet(model: Path, checkpoint: WeightFiles | None) -> Opened:
    if checkpoint is None:
        return open_family(engine_files.part_of(model, "unet") or model, UNETS)
    family = check_family(checkpoint, UNETS)
    return _of_checkpoint(checkpoint, unet2d.UNET_PREFIX), family


def _with_motion(unet: Opened, motion: Path | None) -> Opened:
    if motion is None:
        return unet
    if unet[1] is unet_motion.FAMILY:
        raise ValueError(
            f"{unet[0].path.name} has motion modules already: choose none in motion, or a plain SD 1.5 model."
        )
    modules, _ = open_family(motion, {motion_adapter.FAMILY.name})
    return joined(unet[0], modules), unet_motion.FAMILY


def _vae(chosen: DiffusionFiles, checkpoint: WeightFiles | None) -> Opened:
    wanted = autoencoder_kl.FAMILY
    if chosen.vae is not None:
        return open_family(chosen.vae, {wanted.name})
    vae = _part(chosen.model, checkpoint, "vae", wanted)
    if vae is None:
        raise ValueError(f"{chosen.model.name} comes without a VAE: choose one in the input vae, or {wanted.get_it}.")
    return vae


def _part(model: Path, checkpoint: WeightFiles | None, name: str, family: Family) -> Opened | None:
    """A part of a checkpoint, or the folder `name` beside the others; None where there is none."""
    if checkpoint is None:
        folder = engine_files.part_of(model, name)
        return None if folder is None else open_family(folder, {family.name})
    if not family.detects(checkpoint.tensors):
        return None
    prefix = autoencoder_kl.VAE_PREFIX if family is autoencoder_kl.FAMILY else clip_text.PREFIX
    return _of_checkpoint(checkpoint, prefix), family


def _of_checkpoint(checkpoint: WeightFiles, prefix: str) -> WeightFiles:
    """The same file, as if it held one part alone."""
    own = {name: info for name, info in checkpoint.tensors.items() if name.startswith(prefix)}
    return replace(checkpoint, tensors=own or checkpoint.tensors)


def _scheduler(model: Path) -> Mapping[str, Any] | None:
    for base in (model, model.parent) if model.is_dir() else ():
        if (base / SCHEDULER).is_file():
            try:
                return parsed_object((base / SCHEDULER).read_text(encoding="utf-8"))
            except (ValueError, OSError) as error:
                raise ValueError(f"{SCHEDULER} in {base.name} is damaged ({error}): download it again.") from error
    return None
