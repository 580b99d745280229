"""Tiny Stable Diffusion models of the true topology, as diffusers saves them and as files of the original layout.

The names of the original layout are made here in diffusers' order, level by level, so that what reads them can be
compared with something that was written apart from it.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

CHANNELS = (32, 64, 64, 64)  # of an SD 1.x model
OF_SD1 = {
    "block_out_channels": CHANNELS,
    "use_linear_projection": False,
    "attention_head_dim": 8,
    "cross_attention_dim": 64,
}
OF_SD2 = {
    "block_out_channels": (64, 64, 128, 128),
    "use_linear_projection": True,
    "attention_head_dim": [1, 1, 2, 2],
    "cross_attention_dim": 128,
}
KINDS: dict[str, dict[str, Any]] = {
    "sd1": {"in_channels": 4, **OF_SD1},
    "sd2": {"in_channels": 4, **OF_SD2},
    "sd2-depth": {"in_channels": 5, **OF_SD2},
}
VOCABULARY = 49408  # of CLIP's tokenizer
SPREAD = {"vae": 0.02, "text": 0.02}
RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)


Model = TypeVar("Model", bound=Callable[..., Any])


def made_once(build: Model) -> Model:
    """A builder whose model has weights from its own name, in evaluation mode: made once, given out as copies. What
    begins at zero has an effect too."""

    @functools.cache
    def make(*args: Any, **named: Any) -> Any:
        with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(len(build.__name__))
            module = build(*args, **named)
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) * SPREAD.get(build.__name__, 0.05))
        return module.eval().requires_grad_(False)

    def copied(*args: Any, **named: Any) -> Any:
        with torch.inference_mode(False):
            return copy.deepcopy(make(*args, **named))

    return functools.wraps(build)(copied)  # type: ignore[return-value]


@made_once
def unet(kind: str = "sd1") -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**KINDS[kind])


@made_once
def motion(mid: bool = False, frames: int = 32, channels: tuple[int, ...] = CHANNELS) -> Any:
    from diffusers import MotionAdapter

    return MotionAdapter(block_out_channels=channels, use_motion_mid_block=mid, motion_max_seq_length=frames)


@made_once
def controlnet(kind: str = "sd1") -> Any:
    from diffusers import ControlNetModel

    named = {**KINDS[kind], "in_channels": 4}
    return ControlNetModel(**named, conditioning_embedding_out_channels=(8, 8, 16, 16))


@made_once
def vae(attention: bool = True) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        latent_channels=4,
        mid_block_add_attention=attention,
    )


@made_once
def text(kind: str = "sd1", layers: int = 2) -> Any:
    """The CLIP text encoder as the diffusers folder of its kind has it."""
    from transformers import CLIPTextConfig, CLIPTextModel

    width = KINDS[kind]["cross_attention_dim"]
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            hidden_act="quick_gelu" if kind == "sd1" else "gelu",
        )
    )


# ------------------------------------------------------------------------------------------------- original layouts


def _levels(layers: int = 2, levels: int = 4) -> list[tuple[str, str]]:
    """Beginnings of names, diffusers' and the original ones, of all that a U-Net and its ControlNet share."""
    pairs = [
        ("conv_in.", "input_blocks.0.0."),
        ("time_embedding.linear_1.", "time_embed.0."),
        ("time_embedding.linear_2.", "time_embed.2."),
    ]
    block = 1
    for level in range(levels):
        for layer in range(layers):
            pairs += _pair(f"down_blocks.{level}", layer, f"input_blocks.{block}")
            block += 1
        pairs.append((f"down_blocks.{level}.downsamplers.0.conv.", f"input_blocks.{block}.0.op."))
        block += 1
    pairs += [(f"mid_block.resnets.0.{new}.", f"middle_block.0.{old}.") for new, old in RESNET]
    pairs.append(("mid_block.attentions.0.", "middle_block.1."))
    pairs += [(f"mid_block.resnets.1.{new}.", f"middle_block.2.{old}.") for new, old in RESNET]
    return pairs


def _ups(layers: int = 2, levels: int = 4) -> list[tuple[str, str]]:
    pairs, block = [("conv_norm_out.", "out.0."), ("conv_out.", "out.2.")], 0
    for level in range(levels):
        for layer in range(layers + 1):
            pairs += _pair(f"up_blocks.{level}", layer, f"output_blocks.{block}")
            block += 1
        attention = 1 if level == 0 else 2  # no attention in the first level, so the upsampler comes one earlier
        pairs.append((f"up_blocks.{level}.upsamplers.0.", f"output_blocks.{block - 1}.{attention}."))
    return pairs


def _pair(new: str, layer: int, old: str) -> list[tuple[str, str]]:
    resnet = [(f"{new}.resnets.{layer}.{inner}.", f"{old}.0.{original}.") for inner, original in RESNET]
    return [*resnet, (f"{new}.attentions.{layer}.", f"{old}.1.")]


def _hints(blocks: int = 6) -> list[tuple[str, str]]:
    new = ["conv_in", *(f"blocks.{number}" for number in range(blocks)), "conv_out"]
    return [
        (f"controlnet_cond_embedding.{name}.", f"input_hint_block.{2 * number}.") for number, name in enumerate(new)
    ]


def _swapped(state_dict: dict[str, Tensor], pairs: list[tuple[str, str]], prefix: str) -> dict[str, Tensor]:
    found = {}
    for name, tensor in state_dict.items():
        new, old = next((pair for pair in pairs if name.startswith(pair[0])), (name, name))
        found[prefix + old + name[len(new) :]] = tensor.clone()
    return found


def original_unet(module: nn.Module, prefix: str = "model.diffusion_model.") -> dict[str, Tensor]:
    return _swapped(module.state_dict(), _levels() + _ups(), prefix)


def original_controlnet(module: nn.Module, prefix: str = "control_model.") -> dict[str, Tensor]:
    zeros = [(f"controlnet_down_blocks.{number}.", f"zero_convs.{number}.0.") for number in range(12)]
    middle = [("controlnet_mid_block.", "middle_block_out.0.")]
    return _swapped(module.state_dict(), _levels() + _hints() + zeros + middle, prefix)


def original_vae(module: nn.Module, prefix: str = "first_stage_model.") -> dict[str, Tensor]:
    pairs = []
    for side in ("encoder", "decoder"):
        for level in range(4):
            old = f"encoder.down.{level}" if side == "encoder" else f"decoder.up.{3 - level}"
            new, way = f"{side}.{'down' if side == 'encoder' else 'up'}_blocks.{level}", old.split(".")[1]
            for layer in range(3):
                pairs.append((f"{new}.resnets.{layer}.conv_shortcut.", f"{old}.block.{layer}.nin_shortcut."))
                pairs.append((f"{new}.resnets.{layer}.", f"{old}.block.{layer}."))
            pairs.append((f"{new}.{way}samplers.0.", f"{old}.{way}sample."))
        pairs += [(f"{side}.mid_block.resnets.{number}.", f"{side}.mid.block_{number + 1}.") for number in range(2)]
        attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
        pairs += [
            (f"{side}.mid_block.attentions.0.{new}.", f"{side}.mid.attn_1.{old}.") for new, old in attention.items()
        ]
        pairs.append((f"{side}.conv_norm_out.", f"{side}.norm_out."))
    found = _swapped(module.state_dict(), pairs, prefix)
    return {
        name: one[:, :, None, None] if ".mid.attn_1." in name and one.dim() == 2 else one for name, one in found.items()
    }


def original_text(module: Any, kind: str = "sd1") -> dict[str, Tensor]:
    """As checkpoints hold it: transformers' names for SD 1.x; OpenCLIP's for SD 2.x, with the last layer, which the
    diffusers folder leaves out."""
    held = {name.removeprefix("text_model."): one.clone() for name, one in module.state_dict().items()}
    if kind == "sd1":
        prefix = "cond_stage_model.transformer.text_model."
        positions = {prefix + "embeddings.position_ids": torch.arange(77)[None]}
        return {**{prefix + name: one for name, one in held.items()}, **positions}
    prefix, width = "cond_stage_model.model.", module.config.hidden_size
    found = {
        f"{prefix}token_embedding.weight": held["embeddings.token_embedding.weight"],
        f"{prefix}positional_embedding": held["embeddings.position_embedding.weight"],
        f"{prefix}ln_final.weight": held["final_layer_norm.weight"],
        f"{prefix}ln_final.bias": held["final_layer_norm.bias"],
        f"{prefix}text_projection": torch.eye(width),
        f"{prefix}logit_scale": torch.tensor(4.6),
    }
    layers = module.config.num_hidden_layers
    for layer in range(layers + 1):
        old, new = f"{prefix}transformer.resblocks.{layer}", f"encoder.layers.{min(layer, layers - 1)}"
        for kind_of in ("weight", "bias"):
            stacked = [held[f"{new}.self_attn.{which}_proj.{kind_of}"] for which in "qkv"]
            found[f"{old}.attn.in_proj_{kind_of}"] = torch.cat(stacked)
            found[f"{old}.attn.out_proj.{kind_of}"] = held[f"{new}.self_attn.out_proj.{kind_of}"].clone()
            for theirs, ours in {"ln_1": "layer_norm1", "ln_2": "layer_norm2"}.items():
                found[f"{old}.{theirs}.{kind_of}"] = held[f"{new}.{ours}.{kind_of}"].clone()
            for theirs, ours in {"c_fc": "fc1", "c_proj": "fc2"}.items():
                found[f"{old}.mlp.{theirs}.{kind_of}"] = held[f"{new}.mlp.{ours}.{kind_of}"].clone()
    return found


def original_motion(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """As AnimateDiff's authors released it: each of the two attentions has its own copy of the table of positions."""
    found = {}
    for name, tensor in module.state_dict().items():
        head, number, inner = name.split(".motion_modules.")[0], *name.split(".motion_modules.")[1].split(".", 1)
        inner = inner.replace("attn1.", "attention_blocks.0.").replace("attn2.", "attention_blocks.1.")
        for old, new in {"norm1.": "norms.0.", "norm2.": "norms.1.", "norm3.": "ff_norm."}.items():
            inner = inner.replace(old, new)
        places = [inner]
        if inner.endswith("pos_embed.pe"):
            places = [inner.replace("pos_embed", f"attention_blocks.{which}.pos_encoder") for which in range(2)]
        for place in places:
            found[f"{prefix}{head}.motion_modules.{number}.temporal_transformer.{place}"] = tensor.clone()
    return found


def checkpoint(kind: str = "sd1") -> dict[str, Tensor]:
    """All tensors of a single-file checkpoint."""
    ema = {"model_ema.decay": torch.zeros(()), "betas": torch.zeros(4)}
    return {**original_unet(unet(kind)), **original_vae(vae()), **original_text(text(kind), kind), **ema}


def save_checkpoint(path: Path, kind: str = "sd1", **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: one.contiguous() for name, one in checkpoint(kind).items()}, path, metadata or None)
    return path


def save_folder(folder: Path, kind: str = "sd1", scheduler: dict[str, Any] | None = None, **parts: Any) -> Path:
    """The same models as a diffusers folder; `parts` replace some, None leaves one out."""
    made = {"unet": unet(kind), "vae": vae(), "text_encoder": text(kind), **parts}
    for name, part in made.items():
        if part is not None:
            part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text("{}")
    if scheduler is not None:
        (folder / "scheduler").mkdir(exist_ok=True)
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return folder
