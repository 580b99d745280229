"""The four stages of training the embedded Stable Diffusion: images, motion, depth channel, depth ControlNet.

Each starts from what the stage before it made, and all that comes out has one image model. A stage whose part is there
already, because a finished model was put in the first one's place, goes on with that part.
Motion modules see one place of all frames and have no text of their own: a word reaches them only through the image
model's cross-attention, and what it says moves a thing only through the image model's convolutions. A large image model
brings both, this one does not. So the motion stage moves it and the text encoder too, slowly, and goes on with images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..editors.embedded_backbone import NOISE
from ..models import embedded_sd
from ..models.embedded_frames import FrameCodec, load_frame_codec
from ..models.embedded_sd import EmbeddedSD
from ..models.unet_motion import bypassed
from .sd_objective import latents_of, noised, said_of_images
from .sd_world.samples import draw_batch, draw_ways
from .sd_world.scene import FRAMES
from .sd_world.words import MOTIONS, vocabulary
from .settings import TrainSettings

IMAGES, MOTION, DEPTH, CONTROLNET = "images", "motion", "depth", "controlnet"
STAGES = (IMAGES, MOTION, DEPTH, CONTROLNET)
IMAGE_BATCH = 32
SCENES, WAYS = 3, 3  # of a batch of clips: scenes, and in how many ways each of them goes on
REHEARSAL = 4  # each so manieth step of the motion stage is one of images
REHEARSED_MOTION = 0.25  # of their captions name a motion
LATENESS = 3.0  # of the times of clips: only where little is seen yet do the frames need each other, and the words
# Of the noisy clips, those that lose all frames but the first, and of these those that show it clean: what a schedule
# calls noise still tells where things are, so that no word is needed. First come the words, then what is to be drawn.
HIDDEN, SHOWN = 0.5, 0.5
WORDS_FIRST = 1000  # steps in which all are hidden and shown
LOUD = (
    10.0  # length of a motion word's embedding to begin with: beside what the encoder's layers add, less is not heard
)
IMAGE_RATE = 0.3  # of the learning rate, for the image model and its words in the motion stage
_USUAL = TrainSettings(learning_rate=1e-3, warmup=100, decay_from=0.6, ema=0.999, save_every=100, bf16=False)
SETTINGS = {
    IMAGES: replace(_USUAL, total_steps=5000),
    MOTION: replace(_USUAL, total_steps=5000),
    DEPTH: replace(_USUAL, total_steps=1500, learning_rate=5e-4),
    CONTROLNET: replace(_USUAL, total_steps=2000, learning_rate=5e-4),
}


@dataclass(frozen=True)
class Lesson:
    """What a stage trains: those weights of `parts` that want gradients. `rates` says which of them move at which share
    of the learning rate; `loss` is that of a step; `result` is the whole model with parts like these in it."""

    parts: Mapping[str, nn.Module]
    rates: tuple[tuple[list[Tensor], float], ...]
    loss: Callable[[int], Tensor]
    result: Callable[[Mapping[str, nn.Module]], EmbeddedSD]


def lesson(stage: str, before: EmbeddedSD | None, seed: int) -> Lesson:
    """A stage's lesson; `before` is what the stage before it made.

    Raises ValueError for another stage, or without the one before.
    """
    if stage not in STAGES:
        raise ValueError(f'Training: got the stage "{stage}"; choose one of {", ".join(STAGES)}.')
    if stage == IMAGES:
        return _images(seed)
    if before is None:
        earlier = STAGES[STAGES.index(stage) - 1]
        raise ValueError(f"Training: the stage {stage} needs what the stage {earlier} makes; train that one first.")
    return {MOTION: _motion, DEPTH: _depth, CONTROLNET: _controlnet}[stage](before, seed)


def _images(seed: int) -> Lesson:
    model = embedded_sd.build(vocabulary(), seed)
    parts = {"unet": model.unet, "text_encoder": model.text_encoder}
    codec = load_frame_codec()

    def loss(step: int) -> Tensor:
        return _image_loss(model, parts["unet"], codec, seed, IMAGES, step)

    return Lesson(parts, ((_wanting(parts), 1.0),), loss, lambda made: replace(model, **made))


def _motion(before: EmbeddedSD, seed: int) -> Lesson:
    motion = before.motion
    if motion is None:
        motion = embedded_sd.new_motion(seed)
        _speak_up(before, seed)
    unet = embedded_sd.with_motion(before.unet, motion)
    parts = {"unet": _want(unet, True), "text_encoder": _want(before.text_encoder, True)}
    codec = load_frame_codec()
    moving = [weight for name, weight in unet.named_parameters() if "motion_modules" in name]
    slow = [weight for name, weight in unet.named_parameters() if "motion_modules" not in name]

    def loss(step: int) -> Tensor:
        if step % REHEARSAL == 0:
            with bypassed(unet):
                return _image_loss(before, unet, codec, seed, MOTION, step, REHEARSED_MOTION)
        batch = draw_ways(seed, MOTION, step, SCENES, WAYS)
        hidden, shown = (1.0, 1.0) if step < WORDS_FIRST else (HIDDEN, SHOWN)
        latents = latents_of(codec, batch.frames_bcfhw)
        noise = noised(latents, NOISE, _generator(seed, step), LATENESS, hidden, shown, WAYS)
        text = before.encode(batch.captions).repeat_interleave(FRAMES, 0)
        return noise.loss(unet(noise.noisy_bcfhw, noise.times_b, text, return_dict=False)[0])

    def result(made: Mapping[str, nn.Module]) -> EmbeddedSD:
        still, motion = embedded_sd.without_motion(made["unet"])
        return replace(before, unet=still, motion=motion, text_encoder=made["text_encoder"])

    return Lesson(parts, ((moving, 1.0), ([*slow, *before.text_encoder.parameters()], IMAGE_RATE)), loss, result)


@torch.no_grad()
def _speak_up(model: EmbeddedSD, seed: int) -> None:
    """Give each word that tells one motion from another a random embedding of the length `LOUD`."""
    told = sorted({said.split()[-1] for said in MOTIONS.values()})
    numbers = model.tokenizer([" ".join(told)])[0, : len(told)]
    embeddings: Tensor = model.text_encoder.get_input_embeddings().weight  # type: ignore[operator,union-attr,assignment]
    drawn = torch.randn(len(told), embeddings.shape[1], generator=torch.Generator().manual_seed(seed))
    embeddings[numbers] = LOUD * F.normalize(drawn, dim=1).to(embeddings)


def _depth(before: EmbeddedSD, seed: int) -> Lesson:
    parts = {"unet": before.depth_unet() if before.depth else embedded_sd.with_depth_channel(before.unet)}
    for name, weight in parts["unet"].named_parameters():
        weight.requires_grad_(name.startswith(embedded_sd.OF_DEPTH))
    codec = load_frame_codec()

    def loss(step: int) -> Tensor:
        batch = draw_batch(seed, DEPTH, step, IMAGE_BATCH)
        latents = latents_of(codec, batch.frames_bcfhw)
        noise = noised(latents, NOISE, _generator(seed, step))
        depth = F.interpolate(batch.depth_bfhw, size=latents.shape[3:], mode="bicubic", antialias=True).clamp(0, 1)
        text = before.encode(batch.captions)
        return noise.loss(said_of_images(parts["unet"], noise, text, 2 * depth[:, 0] - 1))

    def result(made: Mapping[str, nn.Module]) -> EmbeddedSD:
        return replace(before, depth=embedded_sd.depth_tensors(made["unet"]))

    return Lesson(parts, ((_wanting(parts), 1.0),), loss, result)


def _controlnet(before: EmbeddedSD, seed: int) -> Lesson:
    controlnet: Any = before.controlnet or embedded_sd.new_controlnet(before.unet, seed)
    parts = {"controlnet": _want(controlnet, True)}
    codec = load_frame_codec()

    def loss(step: int) -> Tensor:
        batch = draw_batch(seed, CONTROLNET, step, IMAGE_BATCH)
        noise = noised(latents_of(codec, batch.frames_bcfhw), NOISE, _generator(seed, step))
        text, picture = before.encode(batch.captions), batch.depth_bfhw.expand(-1, 3, -1, -1)
        given = noise.noisy_bcfhw[:, :, 0]
        down, middle = controlnet(given, noise.times_b, text, picture, return_dict=False)
        named = {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}
        unet: Any = before.unet
        said = unet(given, noise.times_b, text, return_dict=False, **named)[0]
        return noise.loss(said[:, :, None])

    return Lesson(parts, ((_wanting(parts), 1.0),), loss, lambda made: replace(before, **made))


def _image_loss(
    model: EmbeddedSD, unet: nn.Module, codec: FrameCodec, seed: int, stage: str, step: int, motion_said: float = 0.0
) -> Tensor:
    """The loss of a batch of images; a U-Net with motion modules takes them as clips of one frame."""
    batch = draw_batch(seed, stage, step, IMAGE_BATCH, motion_said=motion_said)
    noise = noised(latents_of(codec, batch.frames_bcfhw), NOISE, _generator(seed, step))
    text = model.encode(batch.captions)
    if stage == MOTION:
        return noise.loss(unet(noise.noisy_bcfhw, noise.times_b, text, return_dict=False)[0])
    return noise.loss(said_of_images(unet, noise, text))


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def _want(module: nn.Module, wanted: bool) -> nn.Module:
    return module.requires_grad_(wanted)


def _wanting(parts: Mapping[str, nn.Module]) -> list[Tensor]:
    weights: Iterable[Tensor] = (weight for module in parts.values() for weight in module.parameters())
    return [weight for weight in weights if weight.requires_grad]
