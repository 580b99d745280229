"""Estimates of activations: enough for every forward that was measured, and not much more.

The oracle is the real module at real width with few layers, on fake tensors (see harness.live_memory): a forward's peak
doesn't depend on how many layers follow each other, but where a test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from harness.live_memory import LiveMemory, UnfusedAttention, peak_of_forward
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from vivid_core.masks.prompts import Prompt
from vivid_core.masks.sam2_session import CACHED_FRAMES, Sam2Session
from vivid_core.masks.segmenter import FrameMemory, ObjectMemory, Seen
from vivid_core.models import activations, sam2
from vivid_core.models.families import FAMILIES, empty

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
BY_NAME = {family.name: family for family in FAMILIES}
CLOSE = 1.3
# Unfused attention is coarse: most rules add its scores to a peak that comes at another moment.
COARSE = 1.5
SD = {
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}


def assert_enough(estimate: int, peak: int, limit: float = CLOSE) -> None:
    assert peak <= estimate <= limit * peak, f"{estimate / 1e6:.1f} MB for a peak of {peak / 1e6:.1f} MB"


def module_of(family: str, config: Mapping[str, Any]) -> nn.Module:
    return empty(BY_NAME[family], config)


def rows(fused: bool) -> int:
    return 0 if fused else activations.UNFUSED_ROWS


def limit(fused: bool) -> float:
    return CLOSE if fused else COARSE


def timestep(batch: int) -> torch.Tensor:
    return torch.zeros(batch, dtype=torch.int64)


# ------------------------------------------------------------------------------------------------------- CogVideoX


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width", "heads", "patch_frames", "channels", "dtype", "fused"),
    [
        (2, 13, 60, 90, 48, None, 16, BF16, True),  # 5B, 49 frames of 480x720, both prompts
        (1, 13, 60, 90, 48, None, 32, BF16, True),  # image to video
        (2, 13, 96, 160, 48, None, 48, FP16, True),  # Fun
        (1, 2, 30, 40, 48, None, 16, FP32, True),
        (2, 22, 96, 170, 48, 2, 16, BF16, True),  # 1.5
        (1, 2, 60, 90, 48, 2, 32, FP32, True),
        (2, 13, 60, 90, 30, None, 16, FP16, True),  # 2B, without rotary positions
        (2, 13, 60, 90, 48, None, 16, BF16, False),
        (1, 4, 60, 90, 30, None, 16, FP32, False),
    ],
)
def test_a_cogvideox_transformer_gets_what_it_needs(
    batch: int,
    frames: int,
    height: int,
    width: int,
    heads: int,
    patch_frames: int | None,
    channels: int,
    dtype: torch.dtype,
    fused: bool,
) -> None:
    rotary = heads == 48
    config = {
        "num_attention_heads": heads,
        "attention_head_dim": 64,
        "in_channels": channels,
        "out_channels": 16,
        "text_embed_dim": 4096,
        "num_layers": 3,
        "patch_size_t": patch_frames,
        "patch_bias": patch_frames is None,
        "use_rotary_positional_embeddings": rotary,
    }
    patches = frames // (patch_frames or 1) * (height // 2) * (width // 2)

    def inputs() -> dict[str, Any]:
        return {
            "hidden_states": torch.empty(batch, frames, channels, height, width),
            "encoder_hidden_states": torch.empty(batch, 226, 4096),
            "timestep": timestep(batch),
            "image_rotary_emb": (torch.empty(patches, 64, dtype=FP32),) * 2 if rotary else None,
        }

    peak = peak_of_forward(module_of("cogvideox", config), inputs, dtype, unfused_rows=rows(fused))
    estimate = activations.cogvideox_transformer(
        batch,
        frames,
        height,
        width,
        inner_width=heads * 64,
        element_bytes=dtype.itemsize,
        patch_frames=patch_frames,
        attention_is_fused=fused,
    )
    assert_enough(estimate, peak, limit(fused))


def cogvideox_vae(tiled: bool) -> Any:
    config = {
        "down_block_types": ("CogVideoXDownBlock3D",) * 4,
        "up_block_types": ("CogVideoXUpBlock3D",) * 4,
        "block_out_channels": (128, 256, 256, 512),
        "layers_per_block": 3,
        "sample_height": 480,
        "sample_width": 720,
    }
    module: Any = module_of("cogvideox_vae", config)
    if tiled:
        module.enable_tiling()
    return module


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width", "dtype", "tiled"),
    [
        (1, 13, 480, 720, BF16, False),
        (1, 13, 768, 1280, FP16, False),
        (2, 4, 240, 360, FP32, False),
        (1, 1, 480, 720, BF16, False),
        (1, 2, 480, 720, BF16, False),
        (1, 3, 480, 720, FP32, False),
        (1, 5, 200, 480, BF16, True),
        (2, 1, 480, 360, FP32, True),
        (1, 4, 160, 240, FP16, True),  # smaller than a tile
    ],
)
def test_decoding_with_cogvideox_vae_gets_what_it_needs(
    batch: int, frames: int, height: int, width: int, dtype: torch.dtype, tiled: bool
) -> None:
    vae = cogvideox_vae(tiled)
    peak = peak_of_forward(
        vae, lambda: {"z": torch.empty(batch, 16, frames, height // 8, width // 8)}, dtype, vae.decode
    )
    tile = (240, 360) if tiled else None
    estimate = activations.cogvideox_vae_decode(batch, frames, height, width, element_bytes=dtype.itemsize, tile=tile)
    assert_enough(estimate, peak)


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width", "dtype", "tiled"),
    [
        (1, 49, 480, 720, BF16, False),
        (1, 45, 480, 720, FP16, False),  # thirteen frames in the first pass
        (1, 49, 768, 1280, BF16, False),  # convolutions are cut
        (1, 9, 1088, 1920, BF16, False),
        (2, 16, 240, 360, FP32, False),
        (1, 1, 480, 720, BF16, False),
        (1, 5, 480, 720, FP32, False),
        (1, 33, 200, 480, BF16, True),
        (1, 9, 480, 360, FP32, True),
    ],
)
def test_encoding_with_cogvideox_vae_gets_what_it_needs(
    batch: int, frames: int, height: int, width: int, dtype: torch.dtype, tiled: bool
) -> None:
    vae = cogvideox_vae(tiled)
    peak = peak_of_forward(vae, lambda: {"x": torch.empty(batch, 3, frames, height, width)}, dtype, vae.encode)
    tile = (240, 360) if tiled else None
    estimate = activations.cogvideox_vae_encode(batch, frames, height, width, element_bytes=dtype.itemsize, tile=tile)
    assert_enough(estimate, peak)


# -------------------------------------------------------------------------------------------------------- Wan VACE


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width", "heads", "feed_forward", "vace_blocks", "dtype", "fused"),
    [
        (2, 21, 60, 104, 12, 8960, 2, BF16, True),  # 1.3B, 81 frames of 480x832, both prompts
        (1, 21, 60, 104, 12, 8960, 5, FP16, True),  # every block keeps its hint
        (1, 5, 30, 40, 12, 8960, 1, FP32, True),
        (1, 1, 60, 104, 12, 8960, 2, BF16, True),
        (1, 21, 90, 160, 40, 13824, 2, BF16, True),  # 14B, 720x1280
        (2, 5, 60, 104, 40, 13824, 3, FP32, True),
        (1, 21, 60, 104, 12, 8960, 2, BF16, False),
        (1, 5, 60, 104, 40, 13824, 1, FP32, False),
    ],
)
def test_a_wan_vace_transformer_gets_what_it_needs(
    batch: int,
    frames: int,
    height: int,
    width: int,
    heads: int,
    feed_forward: int,
    vace_blocks: int,
    dtype: torch.dtype,
    fused: bool,
) -> None:
    config = {
        "num_attention_heads": heads,
        "ffn_dim": feed_forward,
        "num_layers": max(3, vace_blocks),
        "vace_layers": list(range(vace_blocks)),
    }

    def inputs() -> dict[str, Any]:
        return {
            "hidden_states": torch.empty(batch, 16, frames, height, width),
            "control_hidden_states": torch.empty(batch, 96, frames, height, width),
            "encoder_hidden_states": torch.empty(batch, 512, 4096),
            "timestep": timestep(batch),
        }

    peak = peak_of_forward(module_of("wan_vace", config), inputs, dtype, unfused_rows=rows(fused))
    estimate = activations.wan_vace_transformer(
        batch,
        frames,
        height,
        width,
        inner_width=heads * 128,
        feed_forward_width=feed_forward,
        vace_blocks=vace_blocks,
        element_bytes=dtype.itemsize,
        attention_is_fused=fused,
    )
    assert_enough(estimate, peak, limit(fused))


@pytest.mark.parametrize(
    ("coding", "frames", "height", "width", "tiled", "dtype"),
    [
        ("decode", 1, 480, 832, False, BF16),
        ("decode", 5, 480, 832, False, BF16),
        ("decode", 81, 480, 832, False, BF16),
        ("decode", 17, 720, 1280, True, FP32),
        ("decode", 9, 480, 832, True, BF16),
        ("encode", 1, 720, 1280, False, FP32),
        ("encode", 5, 480, 832, False, BF16),
        ("encode", 81, 480, 832, False, BF16),
        ("encode", 17, 720, 1280, True, BF16),
    ],
)
def test_wans_vae_gets_what_it_needs(
    coding: str, frames: int, height: int, width: int, tiled: bool, dtype: torch.dtype
) -> None:
    vae: Any = module_of("wan_vae", {})
    if tiled:
        vae.enable_tiling()
    tile = (vae.tile_sample_min_height, vae.tile_sample_min_width) if tiled else None

    def inputs() -> dict[str, Any]:
        if coding == "encode":
            return {"x": torch.empty(1, 3, frames, height, width)}
        return {"z": torch.empty(1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)}

    peak = peak_of_forward(vae, inputs, dtype, getattr(vae, coding))
    estimate = getattr(activations, f"wan_vae_{coding}")
    assert_enough(estimate(1, frames, height, width, element_bytes=dtype.itemsize, tile=tile), peak)


# ---------------------------------------------------------------------------------------------- U-Nets, ControlNet


def picture_inputs(images: int, height: int, width: int, channels: int = 4, text: int = 768) -> dict[str, Any]:
    return {
        "sample": torch.empty(images, channels, height, width),
        "timestep": timestep(images),
        "encoder_hidden_states": torch.empty(images, 77, text),
    }


def residuals(images: int, height: int, width: int) -> dict[str, Any]:
    """What a ControlNet of SD 1.5 returns; height and width are multiples of 8."""
    of_blocks = [(320, 1)] * 3 + [(320, 2)] + [(640, 2)] * 2 + [(640, 4)] + [(1280, 4)] * 2 + [(1280, 8)] * 3
    parts = [torch.empty(images, channels, height // step, width // step) for channels, step in [*of_blocks, (1280, 8)]]
    return {"down_block_additional_residuals": tuple(parts[:-1]), "mid_block_additional_residual": parts[-1]}


@pytest.mark.parametrize(
    ("images", "height", "width", "changes", "controlled", "dtype", "fused"),
    [
        (2, 64, 64, {}, False, FP16, True),
        (16, 64, 96, {}, False, BF16, True),
        (1, 128, 96, {"in_channels": 9}, False, FP32, True),  # inpainting
        (2, 96, 96, {"in_channels": 5, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20)}, 0, BF16, 1),
        (2, 64, 64, {}, True, FP16, True),
        (2, 48, 48, {}, False, BF16, False),
    ],
)
def test_a_unet_gets_what_it_needs(
    images: int, height: int, width: int, changes: dict[str, Any], controlled: bool, dtype: torch.dtype, fused: bool
) -> None:
    config = {**SD, **changes}

    def inputs() -> dict[str, Any]:
        given = picture_inputs(images, height, width, config.get("in_channels", 4), config["cross_attention_dim"])
        return {**given, **(residuals(images, height, width) if controlled else {})}

    peak = peak_of_forward(module_of("unet2d", config), inputs, dtype, unfused_rows=rows(fused))
    estimate = activations.sd_unet(
        images, height, width, element_bytes=dtype.itemsize, controlled=controlled, attention_is_fused=fused
    )
    assert_enough(estimate, peak, limit(fused))


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width", "dtype"), [(2, 16, 64, 64, FP16), (1, 24, 40, 64, FP32)]
)
def test_a_motion_unet_gets_what_it_needs(batch: int, frames: int, height: int, width: int, dtype: torch.dtype) -> None:
    config = {"cross_attention_dim": 768, "use_motion_mid_block": True}

    def inputs() -> dict[str, Any]:
        return {
            "sample": torch.empty(batch, 4, frames, height, width),
            "timestep": timestep(batch),
            "encoder_hidden_states": torch.empty(batch * frames, 77, 768),
        }

    peak = peak_of_forward(module_of("unet_motion", config), inputs, dtype)
    assert_enough(activations.sd_unet(batch * frames, height, width, element_bytes=dtype.itemsize), peak)


@pytest.mark.parametrize(
    ("images", "height", "width", "dtype", "fused"),
    [(2, 64, 64, FP16, True), (16, 64, 96, BF16, True), (1, 128, 96, FP32, True), (2, 48, 48, BF16, False)],
)
def test_a_controlnet_gets_what_it_needs(images: int, height: int, width: int, dtype: torch.dtype, fused: bool) -> None:
    def inputs() -> dict[str, Any]:
        hint = {"controlnet_cond": torch.empty(images, 3, 8 * height, 8 * width)}
        return {**picture_inputs(images, height, width), **hint}

    peak = peak_of_forward(module_of("controlnet", SD), inputs, dtype, unfused_rows=rows(fused))
    estimate = activations.controlnet(images, height, width, element_bytes=dtype.itemsize, attention_is_fused=fused)
    assert_enough(estimate, peak, limit(fused))


# ------------------------------------------------------------------------------------------- text, depth, segments


@pytest.mark.parametrize(
    ("batch", "tokens", "masked", "dtype", "fused"),
    [
        (2, 226, False, BF16, True),
        (1, 226, True, BF16, True),
        (2, 512, True, FP32, True),
        (4, 512, False, BF16, True),
        (1, 1024, False, BF16, True),
        (1, 77, False, FP32, True),
        (2, 226, False, BF16, False),
    ],
)
def test_a_t5_encoder_gets_what_it_needs(
    batch: int, tokens: int, masked: bool, dtype: torch.dtype, fused: bool
) -> None:
    config = {"d_model": 4096, "d_ff": 10240, "num_layers": 3, "num_heads": 64, "feed_forward_proj": "gated-gelu"}

    def inputs() -> dict[str, Any]:
        mask = torch.ones(batch, tokens, dtype=torch.int64) if masked else None
        return {"input_ids": torch.zeros(batch, tokens, dtype=torch.int64), "attention_mask": mask}

    peak = peak_of_forward(module_of("t5_encoder", config), inputs, dtype, unfused_rows=rows(fused))
    estimate = activations.t5_encoder(
        batch, tokens, element_bytes=dtype.itemsize, masked=masked, attention_is_fused=fused
    )
    assert_enough(estimate, peak, limit(fused))


@pytest.mark.parametrize(
    ("images", "height", "width", "sizes", "dtype", "fused"),
    [
        (1, 518, 518, (384, 6, (48, 96, 192, 384), 64), FP32, True),
        (4, 518, 924, (384, 6, (48, 96, 192, 384), 64), FP16, True),
        (2, 518, 518, (768, 12, (96, 192, 384, 768), 128), BF16, True),
        (1, 770, 1372, (1024, 16, (256, 512, 1024, 1024), 256), FP32, True),
        (1, 518, 518, (1024, 16, (256, 512, 1024, 1024), 256), FP16, False),
    ],
)
def test_depth_anything_gets_what_it_needs(
    images: int,
    height: int,
    width: int,
    sizes: tuple[int, int, tuple[int, ...], int],
    dtype: torch.dtype,
    fused: bool,
) -> None:
    hidden, heads, neck, fusion = sizes
    backbone = {
        "model_type": "dinov2",
        "hidden_size": hidden,
        "num_hidden_layers": 4,
        "num_attention_heads": heads,
        "image_size": 518,
        "patch_size": 14,
        "out_indices": [1, 2, 3, 4],
        "reshape_hidden_states": False,
    }
    config = {
        "backbone_config": backbone,
        "reassemble_hidden_size": hidden,
        "neck_hidden_sizes": neck,
        "fusion_hidden_size": fusion,
    }
    module = module_of("depth_anything", config)
    pictures = (images, 3, height, width)
    peak = peak_of_forward(module, lambda: {"pixel_values": torch.empty(pictures)}, dtype, unfused_rows=rows(fused))
    estimate = activations.depth_anything(
        images,
        height,
        width,
        fusion_width=fusion,
        heads=heads,
        element_bytes=dtype.itemsize,
        attention_is_fused=fused,
    )
    assert_enough(estimate, peak, limit(fused))


def sam2_image_encoder(embed_width: int, heads: int) -> Callable[[Mapping[str, Any]], nn.Module]:
    def build(config: Mapping[str, Any]) -> nn.Module:
        from sam2.modeling.backbones.hieradet import Hiera
        from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
        from sam2.modeling.position_encoding import PositionEmbeddingSine

        trunk = Hiera(embed_width, heads, stages=(2, 2, 3, 2), global_att_blocks=(5, 6), window_spec=(8, 4, 14, 7))
        positions = PositionEmbeddingSine(256, warmup_cache=False)
        channels = [embed_width * factor for factor in (8, 4, 2, 1)]
        neck = FpnNeck(positions, 256, channels, fpn_interp_model="nearest", fpn_top_down_levels=[2, 3])
        return ImageEncoder(trunk, neck, scalp=1)

    return build


@pytest.mark.parametrize(
    ("images", "side", "embed_width", "heads", "dtype", "fused"),
    [
        (1, 1024, 144, 2, BF16, True),
        (4, 1024, 144, 2, FP32, True),
        (2, 512, 112, 2, FP16, True),
        (1, 1024, 96, 1, FP32, True),
        (1, 1024, 112, 2, FP32, False),
    ],
)
def test_sam2s_image_encoder_gets_what_it_needs(
    images: int, side: int, embed_width: int, heads: int, dtype: torch.dtype, fused: bool
) -> None:
    pytest.importorskip("sam2")
    module = empty(replace(BY_NAME["sam2"], build=sam2_image_encoder(embed_width, heads)), {})
    pictures = (images, 3, side, side)
    peak = peak_of_forward(module, lambda: {"sample": torch.empty(pictures)}, dtype, unfused_rows=rows(fused))
    estimate = activations.sam2_image_encoder(
        images, side, side, embed_width=embed_width, element_bytes=dtype.itemsize, attention_is_fused=fused
    )
    assert_enough(estimate, peak, limit(fused))


class Unread(Sam2Session):
    """A session on fake tensors, whose numbers can't be read."""

    def _seen(self, found: dict[str, Any]) -> Seen:
        return Seen(found["pred_masks"][0, 0], 1.0)


@pytest.mark.parametrize(
    ("side", "size", "marked", "fused"),
    [
        (1024, (144, 48), 1, True),
        (1024, (144, 48), 16, True),
        (512, (112, 24), 3, True),
        (1024, (96, 12), 1, True),
        (256, (96, 16), 16, True),
        (1024, (96, 12), 16, False),
    ],
)
def test_a_step_of_sam2_gets_what_it_needs_to_remember(
    side: int, size: tuple[int, int], marked: int, fused: bool
) -> None:
    pytest.importorskip("sam2")
    trunk = {name: value for name, value in sam2.SIZES[size].items() if name != "name"}
    config = {"version": "2.1", "image_size": side, "trunk": {"embed_dim": size[0], **trunk}}
    widths = {"width": 256, "memory_width": 64, "memory_layers": 2, "memory_feedforward": 2048}
    module = module_of("sam2", {**config, **widths})
    passed = 6

    def follow(frames_fhwc: torch.Tensor) -> None:
        session = Unread(module, frames_fhwc, torch.device("cpu"))
        features = torch.empty(1, 64, side // 16, side // 16, dtype=BF16)
        frame = FrameMemory(features, torch.empty(1, 256))
        memory = ObjectMemory(1, 0, dict.fromkeys(range(marked), frame))
        memory.passed = {marked + place: frame for place in range(passed)}
        for earlier in range(CACHED_FRAMES - 1):
            session.mark(ObjectMemory(2, 0), Prompt(earlier, points=((0.5, 0.5, 1),)))
        session.follow(memory, marked + passed)

    inputs = {"frames_fhwc": torch.empty(marked + passed + 1, 8, 8, 3)}
    peak = peak_of_forward(module, lambda: inputs, FP32, follow, rows(fused))
    estimate = activations.sam2_step(
        side,
        remembered=marked + passed,
        cached=CACHED_FRAMES,
        embed_width=size[0],
        element_bytes=4,
        attention_is_fused=fused,
    )
    assert_enough(estimate, peak, limit(fused))


# -------------------------------------------------------------------------------------------------- the measurement


def test_the_measurement_counts_what_is_alive_and_views_once() -> None:
    with LiveMemory() as memory:
        first = torch.zeros(1000, dtype=torch.uint8)
        view = first.view(10, 100)[2:]
        second = first + 1
        del first
        assert memory.live == 2000
        del view
        assert memory.live == 1000
        second.add_(1)
    assert (memory.live, memory.peak) == (1000, 2000)


def test_the_unfused_attention_of_the_measurement_is_attention() -> None:
    query, key, value = torch.randn(3, 2, 4, 37, 8).unbind()
    expected = scaled_dot_product_attention(query, key[:, :, :30], value[:, :, :30])
    with UnfusedAttention(rows=10):
        torch.testing.assert_close(
            scaled_dot_product_attention(query, key[:, :, :30], value=value[:, :, :30]), expected
        )
