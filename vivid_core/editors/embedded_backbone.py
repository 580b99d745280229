"""The embedded Stable Diffusion as a backbone of the tuning-free editors: small enough for a CPU, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from torch import nn

from ..diffusion.ddim import NoiseSchedule
from ..models import embedded_sd
from ..models.embedded_codec import PATCH, SCALING_FACTOR
from ..models.embedded_frames import load_frame_codec
from .backbone import Backbone, Depth
from .texts import EmbeddedText

Kind = Literal["image", "motion", "depth", "controlnet"]
HALVINGS = 3  # of the U-Net, between its four levels
NOISE = NoiseSchedule(**embedded_sd.NOISE)


def embedded_backbone(kind: Kind, path: str | Path = embedded_sd.WEIGHTS) -> Backbone:
    """The embedded model on the CPU in fp32: for images, with motion modules, with a depth channel or a ControlNet.

    Raises ValueError for another kind, when the file lacks the part that the kind needs, and as `embedded_sd.load`.
    """
    if kind not in get_args(Kind):
        raise ValueError(f'Embedded model: got the kind "{kind}"; choose one of {", ".join(get_args(Kind))}.')
    model, _ = embedded_sd.load(path)
    controlnet, depth, unet = None, "none", model.unet
    if kind == "motion":
        unet = model.motion_unet()
    elif kind == "depth":
        unet, depth = model.depth_unet(), "channel"
    elif kind == "controlnet":
        controlnet, depth = _controlnet(model), "controlnet"
    unet.eval().requires_grad_(False)
    chosen: Depth = depth  # type: ignore[assignment]
    return Backbone(
        unet=unet,
        vae=load_frame_codec(),
        text=EmbeddedText(model.text_encoder, model.tokenizer),
        controlnet=controlnet,
        noise=NOISE,
        identity=f"embedded_sd/{kind}/{Path(path).resolve()}/{Path(path).stat().st_mtime_ns}",
        latent_channels=embedded_sd.LATENT_CHANNELS,
        scale=SCALING_FACTOR,
        stride=PATCH,
        multiple=PATCH * 2**HALVINGS,
        depth=chosen,
        motion=kind == "motion",
        longest=embedded_sd.LONGEST if kind == "motion" else None,
        title="the embedded Stable Diffusion",
    )


def _controlnet(model: embedded_sd.EmbeddedSD) -> nn.Module:
    if model.controlnet is None:
        raise ValueError(
            "This embedded Stable Diffusion has no ControlNet yet: train its ControlNet stage, or use the image model."
        )
    return model.controlnet
