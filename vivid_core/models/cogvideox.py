"""CogVideoX transformers in diffusers' layout: 2B, 5B, 1.5, image-to-video, Fun."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from .family import Family, Tensors, count, from_diffusers, given_config, odd_size, width
from .files import WeightFiles

CLASS = "CogVideoXTransformer3DModel"
LABEL = "CogVideoX transformer"
HEAD_DIM = 64
WIDTH_2B = 1920  # the one size that was trained with sine tables instead of rotary positions
PATCH_OF_1_5 = (2, 2)  # frames, pixels: its embedding is one matrix, in which they can't be told apart
TEXT_TOKENS = 226
SIZE_OF_1_0 = {"sample_width": 90, "sample_height": 60, "sample_frames": 49}
SIZE_OF_1_5 = {"sample_width": 300, "sample_height": 300, "sample_frames": 81}
LATENT_SCALES = {"2B": 1.15258426, "5B": 0.7}


def latent_scale(config: Mapping[str, Any]) -> float:
    """What a transformer of these settings wants its VAE's latents multiplied with (the VAE's file doesn't tell)."""
    rotary = config.get("use_rotary_positional_embeddings", False)
    return LATENT_SCALES["5B" if rotary else "2B"]


def _detects(tensors: Tensors) -> bool:
    needed = ("patch_embed.proj.weight", "patch_embed.text_proj.weight", "transformer_blocks.0.norm1.linear.weight")
    return all(name in tensors for name in (*needed, "time_embedding.linear_1.weight", "norm_final.weight"))


def config(files: WeightFiles) -> dict[str, Any]:
    """The settings, from config.json or from the shapes.

    Not in the shapes, so taken from the released models: heads of 64 channels; rotary positions but at the 2B width
    of 1920; 226 text tokens; latents of 90x60 and 49 frames (1.5: 300x300, 81); patches of 2x2 and 2 frames in 1.5.

    Raises ValueError when the shapes contradict these.
    """
    given = given_config(files, LABEL, CLASS)
    if given is not None:
        return given
    tensors = files.tensors
    inner = width(tensors, "patch_embed.proj.weight")
    if inner % HEAD_DIM:
        raise odd_size(files, LABEL, f"{inner} channels are no multiple of {HEAD_DIM}")
    learned = "patch_embed.pos_embedding" in tensors
    return {
        "num_attention_heads": inner // HEAD_DIM,
        "attention_head_dim": HEAD_DIM,
        "time_embed_dim": width(tensors, "time_embedding.linear_1.weight"),
        "ofs_embed_dim": tensors["ofs_embedding.linear_1.weight"].shape[0]
        if "ofs_embedding.linear_1.weight" in tensors
        else None,
        "text_embed_dim": width(tensors, "patch_embed.text_proj.weight", 1),
        "num_layers": count(tensors, "transformer_blocks."),
        "attention_bias": "transformer_blocks.0.attn1.to_q.bias" in tensors,
        "norm_elementwise_affine": True,  # or norm_final.weight, by which the family is known, would not be there
        "patch_bias": "patch_embed.proj.bias" in tensors,
        "max_text_seq_length": TEXT_TOKENS,
        "temporal_compression_ratio": 4,
        "use_rotary_positional_embeddings": inner != WIDTH_2B or learned,
        "use_learned_positional_embeddings": learned,
        **_patches(files, learned),
    }


def _patches(files: WeightFiles, learned: bool) -> dict[str, Any]:
    """What the embedding of patches tells: their size, the channels, and the size of the latents."""
    shape = files.tensors["patch_embed.proj.weight"].shape
    rows = width(files.tensors, "proj_out.weight")
    if len(shape) == 2:
        frames, pixels = PATCH_OF_1_5
        size, channels = SIZE_OF_1_5, shape[1] // (frames * pixels**2)
    else:
        frames, pixels = 1, shape[-1]
        size, channels = SIZE_OF_1_0, shape[1]
    if learned:
        tokens = files.tensors["patch_embed.pos_embedding"].shape[1]
        latent_frames = (size["sample_frames"] - 1) // 4 + 1
        usual = TEXT_TOKENS + latent_frames * (size["sample_height"] // pixels) * (size["sample_width"] // pixels)
        if tokens != usual:
            raise odd_size(files, LABEL, f"it has learned {tokens} positions instead of {usual}")
    return {
        "in_channels": channels,
        "out_channels": rows // (frames * pixels**2),
        "patch_size": pixels,
        "patch_size_t": frames if len(shape) == 2 else None,
        **size,
    }


FAMILY = Family(
    name="cogvideox",
    label=LABEL,
    role="denoiser",
    get_it="get the folder transformer of zai-org/CogVideoX-5b (or of a model made from it) on Hugging Face",
    detects=_detects,
    config=config,
    build=partial(from_diffusers, CLASS),
)
