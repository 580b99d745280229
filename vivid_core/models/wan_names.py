"""Wan's own names of weights, which ComfyUI's single files and most LoRAs have, as diffusers' names.

The order of the rules counts: a later one sees what the earlier ones made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias, TypeVar

Value = TypeVar("Value")
Rules: TypeAlias = tuple[tuple[str, str], ...]

PREFIX = "model.diffusion_model."
UP_BLOCK = 4  # layers of an up block in the VAE's flat list: three ResNet layers and what makes it larger

TRANSFORMER: Rules = (
    (r"^time_embedding\.0\.", "condition_embedder.time_embedder.linear_1."),
    (r"^time_embedding\.2\.", "condition_embedder.time_embedder.linear_2."),
    (r"^text_embedding\.0\.", "condition_embedder.text_embedder.linear_1."),
    (r"^text_embedding\.2\.", "condition_embedder.text_embedder.linear_2."),
    (r"^time_projection\.1\.", "condition_embedder.time_proj."),
    (r"^head\.modulation$", "scale_shift_table"),
    (r"^head\.head\.", "proj_out."),
    (r"\.self_attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"\.(attn[12])\.([qkv])\.", r".\1.to_\2."),
    (r"\.(attn[12])\.o\.", r".\1.to_out.0."),
    (r"\.([kv])_img\.", r".add_\1_proj."),
    (r"\.norm_k_img\.", ".norm_added_k."),
    (r"\.modulation$", ".scale_shift_table"),
    (r"\.ffn\.0\.", ".ffn.net.0.proj."),
    (r"\.ffn\.2\.", ".ffn.net.2."),
    # Wan counts the norms in the order in which it lists them, diffusers in the order in which they are used.
    (r"\.norm2\.", ".norm_after_swapping."),
    (r"\.norm3\.", ".norm2."),
    (r"\.norm_after_swapping\.", ".norm3."),
    (r"\.before_proj\.", ".proj_in."),
    (r"\.after_proj\.", ".proj_out."),
)
LAYERS: Rules = (  # the other way round, for the layers that LoRAs change
    (r"^condition_embedder\.(time|text)_embedder\.linear_1$", r"\1_embedding.0"),
    (r"^condition_embedder\.(time|text)_embedder\.linear_2$", r"\1_embedding.2"),
    (r"^condition_embedder\.time_proj$", "time_projection.1"),
    (r"^proj_out$", "head.head"),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])$", r".\1"),
    (r"\.to_out\.0$", ".o"),
    (r"\.add_([kv])_proj$", r".\1_img"),
    (r"\.ffn\.net\.0\.proj$", ".ffn.0"),
    (r"\.ffn\.net\.2$", ".ffn.2"),
    (r"\.norm2$", ".norm3"),
    (r"\.proj_in$", ".before_proj"),
    (r"\.proj_out$", ".after_proj"),
)
VAE: Rules = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"^(encoder|decoder)\.head\.0\.", r"\1.norm_out."),
    (r"^(encoder|decoder)\.head\.2\.", r"\1.conv_out."),
    (r"^(encoder|decoder)\.middle\.0\.", r"\1.mid_block.resnets.0."),
    (r"^(encoder|decoder)\.middle\.1\.", r"\1.mid_block.attentions.0."),
    (r"^(encoder|decoder)\.middle\.2\.", r"\1.mid_block.resnets.1."),
    (r"^encoder\.downsamples\.", "encoder.down_blocks."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
)


def of_transformer(name: str) -> str:
    """The name in WanVACETransformer3DModel of a weight of Wan's own transformer, or of a layer (with a dot behind)."""
    return _renamed(TRANSFORMER, name.removeprefix(PREFIX))


def own_layer(layer: str) -> str:
    """Wan's own name of a layer of WanVACETransformer3DModel; a name of another model may come back changed."""
    return _renamed(LAYERS, layer)


def of_vae(name: str) -> str:
    """The name in AutoencoderKLWan of a weight of Wan's own VAE."""
    return re.sub(r"^decoder\.upsamples\.(\d+)\.", _up_block, _renamed(VAE, name))


def transformer_in_diffusers(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Everything that a file of the transformer holds, by diffusers' names; which already has them is left alone."""
    if not any(name.endswith("text_embedding.0.weight") for name in tensors):
        return dict(tensors)
    return {of_transformer(name): value for name, value in tensors.items()}


def vae_in_diffusers(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """As `transformer_in_diffusers`, of the VAE."""
    if "decoder.middle.0.residual.0.gamma" not in tensors:
        return dict(tensors)
    return {of_vae(name): value for name, value in tensors.items()}


def _renamed(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _up_block(found: re.Match[str]) -> str:
    block, layer = divmod(int(found[1]), UP_BLOCK)
    return f"decoder.up_blocks.{block}." + ("upsamplers.0." if layer == UP_BLOCK - 1 else f"resnets.{layer}.")
