"""Engines for tests: files of tiny models with random weights, and the nodes that load and use them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vivid_core.models import embedded, trained_parts
from vivid_core.models.widening import widen
from vivid_core.training.world.words import vocabulary

from . import tiny
from .inprocess import Result

SIDE, COUNT = 48, 9  # the size that the embedded model was made for
CHOICES = {
    "model": "embedded (comes with the pack)",
    "vae": "with the model",
    "text_encoder": "with the model",
    "lora": "none",
    "lora_strength": 1.0,
    "precision": "auto",
    "tiled_vae": False,
}
RUN = {"seed": 3, "steps": 2, "guidance": 0.0, "crop": "off", "feather": 2, "sampler": "auto"}
CLIP_RUN = {**RUN, "window": 0, "overlap": 1, "colour_match": True, "resume": False}
Call = Callable[..., Result]


def of_pack(name: str) -> ModuleType:
    """A module of the pack as ComfyUI loaded it."""
    root = next(module for module in sys.modules if module.endswith(".nodes.comfy_bridge"))
    return importlib.import_module(f"{root.removesuffix('.nodes.comfy_bridge')}.{name}")


def save_embedded(path: Path, seed: int = 0) -> Path:
    """An embedded model with random weights, as its file."""
    embedded.save(embedded.build(vocabulary(), seed), path, {})
    return path


def returned(result: Result) -> list[Any]:
    assert result.ok, result.exception
    return result.outputs["node"]


def engine(call: Call, **choices: Any) -> Any:
    """What Load Edit Engine gives."""
    return returned(call("VividLoadEngine", **{**CHOICES, **choices}))[0]


def texts(call: Call, made: Any, text: str = "a red ring", task: str = "modify", negative: str = "") -> dict[str, Any]:
    """`positive` and `negative` by Encode Prompt."""
    both = returned(call("VividEncodePrompt", engine=made, text=text, task=task, negative=negative))
    return dict(zip(("positive", "negative"), both))


def clip(count: int = COUNT, side: int = SIDE) -> torch.Tensor:
    """frames_fhwc with some structure."""
    at = torch.linspace(0, 1, side)
    frames = torch.stack([at.expand(side, side), at[:, None].expand(side, side), torch.full((side, side), 0.4)], dim=-1)
    return frames.expand(count, -1, -1, -1) * torch.linspace(0.8, 1, count)[:, None, None, None]


def mask(count: int = COUNT, side: int = SIDE) -> torch.Tensor:
    """mask_fhw: a square that moves."""
    mask_fhw = torch.zeros(count, side, side)
    for index in range(count):
        mask_fhw[index, 12:30, 6 + index % 10 : 24 + index % 10] = 1
    return mask_fhw


# ---------------------------------------------------------------- tiny models of the released architectures, as files

WIDTH, HEADS = 64, 2  # of a text, and of a transformer
T5_WORDS = 32128  # as many as ComfyUI's tokenizer of T5 has


def made(build: Callable[[], nn.Module], seed: int = 0) -> Any:
    """A module with random weights in which every part has an effect."""
    return tiny.TinyModel("own", "denoiser", build, lambda *_: torch.empty(0)).make(seed=seed)


def cogvideox(channels: int = 16, tokens: int = 226) -> Any:
    from diffusers import CogVideoXTransformer3DModel

    return made(
        lambda: CogVideoXTransformer3DModel(
            num_attention_heads=HEADS,
            attention_head_dim=32,
            in_channels=channels,
            time_embed_dim=32,
            text_embed_dim=WIDTH,
            num_layers=2,
            sample_width=12,
            sample_height=8,
            sample_frames=9,
            max_text_seq_length=tokens,
            use_rotary_positional_embeddings=True,
        )
    )


def cogvideox_vae() -> Any:
    from diffusers import AutoencoderKLCogVideoX

    return made(
        lambda: AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(8, 16, 16, 16),
            latent_channels=16,
            layers_per_block=1,
            norm_num_groups=2,
            temporal_compression_ratio=4,
        )
    )


def t5(words: int = T5_WORDS) -> Any:
    from transformers import T5Config, T5EncoderModel

    return in_halves(made(lambda: T5EncoderModel(T5Config(vocab_size=words, **TEXT))))


def in_halves(module: nn.Module) -> nn.Module:
    """With weights that fp16 holds exactly: in that ComfyUI keeps the text encoders of fp32 files."""
    return module.half().float()


def umt5(words: int) -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    return in_halves(made(lambda: UMT5EncoderModel(UMT5Config(vocab_size=words, **TEXT))))


TEXT = {
    "d_model": WIDTH,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 3,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": False,
}


def wan_vace() -> Any:
    from diffusers import WanVACETransformer3DModel

    return made(
        lambda: WanVACETransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=24,
            in_channels=16,
            out_channels=16,
            text_dim=WIDTH,
            freq_dim=32,
            ffn_dim=96,
            num_layers=2,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            vace_layers=[0],
            vace_in_channels=96,
        )
    )


def save_pipeline(folder: Path, **parts: Any) -> Path:
    """A diffusers folder: `save_pipeline(folder, transformer=..., vae=..., text_encoder=...)`."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text("{}")
    return folder


def random_parts(transformer: Any, rank: int = 4, seed: int = 7) -> trained_parts.TrainedParts:
    """A LoRA and a patch projection as training would leave them."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.2

    wide = widen(transformer, 33)
    lora = {}
    for name, layer in wide.named_modules():
        if name.endswith(("to_q", "to_out.0")):
            lora[name + trained_parts.DOWN] = drawn(rank, layer.in_features)
            lora[name + trained_parts.UP] = drawn(layer.out_features, rank)
    projection = {name: drawn(*one.shape) for name, one in wide.patch_embed.proj.named_parameters()}
    return trained_parts.TrainedParts(lora, projection, 33, rank, 8.0)


def save_single(module: nn.Module, path: Path, **more: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tied = {"encoder.embed_tokens.weight"}
    tensors = {name: one.contiguous() for name, one in module.state_dict().items() if name not in tied}
    save_file({**tensors, **more}, path)
    return path
