"""What an engine's parts need beside their weights, asked in pixels: enough for the real forward, and not much more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from harness.live_memory import peak_of_forward

from vivid_core.editors.footprints import footprint
from vivid_core.models.families import FAMILIES, empty

BY_NAME = {family.name: family for family in FAMILIES}
BF16, FP32 = torch.bfloat16, torch.float32
FIVE_B = {"num_attention_heads": 48, "num_layers": 2, "use_rotary_positional_embeddings": True, "in_channels": 33}
VACE = {
    "num_attention_heads": 12,
    "ffn_dim": 8960,
    "num_layers": 30,
    "vace_layers": list(range(0, 30, 2)),
    "vace_in_channels": 96,
}


def parts(family: str, settings: dict[str, Any], vae: str, tiled: bool = False) -> tuple[Any, Any]:
    """A transformer and its VAE without weights."""
    made: Any = empty(BY_NAME[vae], {})
    if tiled:
        made.enable_tiling()
    return empty(BY_NAME[family], settings), made


def assert_enough(estimate: int, peak: int, limit: float = 1.3) -> None:
    assert peak <= estimate <= limit * peak, f"{estimate / 1e6:.1f} MB for a peak of {peak / 1e6:.1f} MB"


def test_a_window_of_cogvideox_gets_what_its_forward_needs() -> None:
    transformer, vae = parts("cogvideox", FIVE_B, "cogvideox_vae")
    needed = footprint("cogvideox", transformer.config, vae, (2, 2))
    angles = (torch.zeros(13 * 30 * 45, 64), torch.zeros(13 * 30 * 45, 64))

    def inputs() -> dict[str, Any]:
        return {
            "hidden_states": torch.empty(2, 13, 33, 60, 90),
            "encoder_hidden_states": torch.empty(2, 226, 4096),
            "timestep": torch.zeros(2, dtype=torch.int64),
            "image_rotary_emb": angles,
        }

    assert_enough(needed.denoise(2, 49, 480, 720), peak_of_forward(transformer, inputs, BF16))
    assert_enough(
        needed.decode(1, 9, 480, 720),
        peak_of_forward(vae, lambda: {"z": torch.empty(1, 16, 3, 60, 90)}, BF16, vae.decode),
    )


def test_a_window_of_vace_gets_what_its_parts_need() -> None:
    transformer, vae = parts("wan_vace", VACE, "wan_vae")
    needed = footprint("wan_vace", transformer.config, vae, (2, 4))
    assert needed.denoise(2, 81, 480, 832) > 3 * needed.denoise(2, 21, 480, 832)
    peak = peak_of_forward(vae, lambda: {"x": torch.empty(1, 3, 9, 240, 416)}, FP32, vae.encode)
    assert_enough(needed.encode(1, 9, 240, 416), peak)


def test_tiles_need_less() -> None:
    for family, settings, vae in (("cogvideox", FIVE_B, "cogvideox_vae"), ("wan_vace", VACE, "wan_vae")):
        whole, tiled = (
            footprint(family, transformer.config, made, (2, 2))
            for transformer, made in (parts(family, settings, vae, tiles) for tiles in (False, True))
        )
        for one, other in ((whole.encode, tiled.encode), (whole.decode, tiled.decode)):
            assert other(1, 49, 480, 720) < 0.6 * one(1, 49, 480, 720)


@pytest.mark.parametrize("frames", [1, 9])
def test_the_embedded_codec_gets_what_it_needs(frames: int) -> None:
    codec: Any = empty(BY_NAME["embedded_codec"], {})
    config = {**FIVE_B, "attention_head_dim": 64, "patch_size": 2, "patch_size_t": None, "max_text_seq_length": 16}
    needed = footprint("embedded", config, codec, (4, 4))
    video = peak_of_forward(codec, lambda: {"frames_bcfhw": torch.empty(1, 3, frames, 48, 48)}, FP32, codec.encode)
    latents = (1, 16, (frames - 1) // 4 + 1, 12, 12)
    shown = peak_of_forward(codec, lambda: {"latents_bcfhw": torch.empty(latents)}, FP32, codec.decode)
    assert_enough(needed.decode(1, frames, 48, 48), max(video, shown), 1.6)


def test_a_family_without_an_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="got the family 'unet2d'; engines are of cogvideox, embedded, wan_vace"):
        footprint("unet2d", {}, torch.nn.Identity(), (2, 2))
