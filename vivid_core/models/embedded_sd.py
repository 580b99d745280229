"""The embedded Stable Diffusion: a tiny model of SD 1.5's topology, with motion, a depth variant and a ControlNet.

It knows the words of its own procedural world and nothing else. Its classes are those of diffusers and transformers,
so that whatever edits with it edits with the released models. All of it is in one file:

    unet.*          UNet2DConditionModel with the 16 attention layers of SD 1.5
    text_encoder.*  CLIPTextModel
    motion.*        MotionAdapter, as AnimateDiff's
    depth.*         those tensors of the U-Net that differ in its depth variant, with one more input channel
    controlnet.*    ControlNetModel for depth

A file in training lacks the parts whose turn has not come.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..optional import require
from .embedded import TEXT_TOKENS, TEXT_WIDTH, WordTokenizer, settings_of
from .family import from_diffusers, from_transformers
from .files import open_weights, read_tensors

WEIGHTS = Path(__file__).with_name("embedded_sd.safetensors")
METADATA = "vivid_embedded_sd"
LATENT_CHANNELS = 16
LONGEST = 8  # frames that the motion modules take
CHANNELS = (32, 48, 64, 64)
GROUPS, HEADS = 8, 2
# SD 2's: with so few weights, what a picture shows is learned far sooner from v than from eps, which at the noisy end
# says next to nothing of it. One schedule for images and clips.
NOISE: dict[str, Any] = {"betas": "scaled_linear", "start": 0.00085, "end": 0.012, "prediction": "v_prediction"}
UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "block_out_channels": CHANNELS,
    "layers_per_block": 2,
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": HEADS,  # diffusers' name for how many heads there are
    "norm_num_groups": GROUPS,
}
MOTION: dict[str, Any] = {
    "block_out_channels": CHANNELS,
    "motion_layers_per_block": 2,
    "motion_num_attention_heads": HEADS,
    "motion_norm_num_groups": GROUPS,
    "motion_max_seq_length": LONGEST,
    "use_motion_mid_block": False,
}
TEXT_ENCODER: dict[str, Any] = {
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 2 * TEXT_WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": TEXT_TOKENS,
    "projection_dim": TEXT_WIDTH,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
SEEN = (8, 16, 32)  # channels in which a ControlNet sees its picture; two halvings make 4 pixels one latent
OF_DEPTH = ("conv_in.", "down_blocks.0.", "down_blocks.1.")  # what the depth variant has of its own
PARTS = ("unet", "text_encoder", "motion", "controlnet")
TEXT_PREFIX = "text_model."  # of older transformers, in the names of CLIPTextModel's tensors


@dataclass(frozen=True)
class EmbeddedSD:
    """The parts, in one precision and place. `depth` holds tensors by the names they have in the U-Net; it, `motion` (a
    MotionAdapter) and `controlnet` are None where they were not trained yet."""

    unet: nn.Module
    text_encoder: nn.Module
    tokenizer: WordTokenizer
    motion: nn.Module | None = None
    depth: Mapping[str, Tensor] | None = None
    controlnet: nn.Module | None = None

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [B, TEXT_TOKENS, TEXT_WIDTH]; padding is not masked, so an empty text has one, too."""
        device = next(self.text_encoder.parameters()).device
        return self.text_encoder(self.tokenizer(texts).to(device)).last_hidden_state

    def motion_unet(self) -> nn.Module:
        """A new UNetMotionModel of the U-Net and the motion modules.

        Raises ValueError when the motion modules were not trained yet.
        """
        if self.motion is None:
            raise ValueError(
                "This embedded Stable Diffusion has no motion modules yet: train its motion stage, or use its images."
            )
        return with_motion(self.unet, self.motion)

    def depth_unet(self) -> nn.Module:
        """A new UNet2DConditionModel with a depth channel.

        Raises ValueError when the depth variant was not trained yet.
        """
        if self.depth is None:
            raise ValueError(
                "This embedded Stable Diffusion has no depth variant yet: train its depth stage, or use the ControlNet."
            )
        unet = with_depth_channel(self.unet)
        unet.load_state_dict(dict(self.depth), strict=False)
        return unet


def build(words: Sequence[str], seed: int) -> EmbeddedSD:
    """A new image model with random weights from the seed, on the CPU in fp32; `words` are all that it will know.

    Raises ModuleNotFoundError without diffusers or transformers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddedSD(_unet(UNET), _text_encoder(words, TEXT_ENCODER), WordTokenizer(words))


def new_motion(seed: int) -> nn.Module:
    """Motion modules that change nothing yet: what each adds to its layer begins at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        motion = from_diffusers("MotionAdapter", MOTION)
    for name, weight in motion.named_parameters():
        if ".proj_out." in name:
            nn.init.zeros_(weight)
    return motion


def with_motion(unet: nn.Module, motion: nn.Module) -> nn.Module:
    """A new UNetMotionModel with the weights of both."""
    diffusers = require("diffusers", "The embedded Stable Diffusion")
    return diffusers.UNetMotionModel.from_unet2d(unet, motion)


def without_motion(unet: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The image U-Net and the motion modules that are in a motion U-Net, as modules of their own."""
    still, motion = _unet(UNET), from_diffusers("MotionAdapter", MOTION)
    state = unet.state_dict()
    still.load_state_dict({name: one for name, one in state.items() if "motion_modules" not in name})
    motion.load_state_dict({name: one for name, one in state.items() if "motion_modules" in name})
    return still, motion


def with_depth_channel(unet: nn.Module) -> nn.Module:
    """A new U-Net with one more input channel, which at first says what the old one did whatever that channel holds."""
    config: Any = unet.config
    wider = _unet({**UNET, "in_channels": config["in_channels"] + 1})
    state = unet.state_dict()
    weight = state["conv_in.weight"]
    state["conv_in.weight"] = torch.cat([weight, weight.new_zeros(weight.shape[0], 1, *weight.shape[2:])], 1)
    wider.load_state_dict(state)
    return wider


def new_controlnet(unet: nn.Module, seed: int) -> nn.Module:
    """A ControlNet that begins as the U-Net's first half and adds nothing yet."""
    diffusers = require("diffusers", "The embedded Stable Diffusion")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=SEEN)


def depth_tensors(unet: nn.Module) -> dict[str, Tensor]:
    """What a depth variant has of its own, by the names in the U-Net."""
    return {name: one.detach() for name, one in unet.state_dict().items() if name.startswith(OF_DEPTH)}


def save(model: EmbeddedSD, path: str | Path, notes: Mapping[str, Any]) -> None:
    """Write what there is of the model as fp16 safetensors, never half a file; `notes` go into its metadata."""
    from safetensors.torch import save_file

    path = Path(path)
    named = {part: _state(module) for part in PARTS if (module := getattr(model, part)) is not None}
    if model.depth is not None:
        named["depth"] = dict(model.depth)
    tensors = {
        f"{part}.{name}": one.detach().to("cpu", torch.float16).contiguous()
        for part, state in named.items()
        for name, one in state.items()
    }
    about = {"unet": UNET, "text_encoder": TEXT_ENCODER, "motion": MOTION, "noise": NOISE}
    settings = {"words": model.tokenizer.words, **about}
    unfinished = path.with_name(path.name + ".part")
    save_file(tensors, unfinished, {METADATA: json.dumps({**settings, "notes": dict(notes)})})
    os.replace(unfinished, path)


def load(path: str | Path = WEIGHTS) -> tuple[EmbeddedSD, dict[str, Any]]:
    """What `save` wrote: the model in fp32, not trainable, and its notes.

    Raises ValueError, in one sentence with the file's name, as `open_weights` does, for a file of something else and
    for one that lacks tensors of a part it has.
    """
    files = open_weights(path)
    about = settings_of(files, METADATA, "Stable Diffusion")
    named: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(files).items():
        part, _, rest = name.partition(".")
        named.setdefault(part, {})[rest] = tensor.float()
    words = about["words"]
    made = {"unet": _unet(about["unet"]), "text_encoder": _text_encoder(words, about["text_encoder"])}
    if "motion" in named:
        made["motion"] = from_diffusers("MotionAdapter", about["motion"])
    if "controlnet" in named:
        made["controlnet"] = new_controlnet(made["unet"], 0)
    for part, module in made.items():
        _fill(module, named.get(part, {}), f"{files.path.name} ({part})")
    return EmbeddedSD(tokenizer=WordTokenizer(words), depth=named.get("depth"), **made), about["notes"]


def _unet(config: Mapping[str, Any]) -> nn.Module:
    return from_diffusers("UNet2DConditionModel", config)


def _text_encoder(words: Sequence[str], config: Mapping[str, Any]) -> nn.Module:
    vocabulary = len(WordTokenizer(words))
    return from_transformers("CLIPTextModel", "CLIPTextConfig", {**config, "vocab_size": vocabulary})


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Its tensors, by names that are the same in every version of transformers, without those that follow from it."""
    state = {name.removeprefix(TEXT_PREFIX): one for name, one in module.state_dict().items()}
    return {name: one for name, one in state.items() if one.is_floating_point() and not name.endswith(".pe")}


def _fill(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    own = {name.removeprefix(TEXT_PREFIX): name for name in module.state_dict()}
    missing = [name for name in _state(module) if name not in state]
    if missing:
        raise ValueError(f"{where} lacks {len(missing)} tensors, the first is {missing[0]}: download it again.")
    module.load_state_dict({own[name]: one for name, one in state.items() if name in own}, strict=False)
    module.eval().requires_grad_(False)
