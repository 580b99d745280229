"""A CogVideoX transformer of a size that can be timed on a CPU, and ComfyUI around it in this process."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests"
LAYERS, HEADS = 4, 16  # 1024 wide
FRAMES, HEIGHT, WIDTH = 4, 32, 48  # latents; 1536 tokens

# For code in `timing.peak_extra_bytes`: the pack inside a ComfyUI, and nothing else that grows later.
PREAMBLE = """
from harness.packages import import_from_root
import_from_root("benchmarks")
from benchmarks._models import boot, forward, plain_load
bridge = boot()
"""


def transformer(layers: int = LAYERS, heads: int = HEADS) -> Any:
    """Random weights of the true architecture."""
    import torch
    from diffusers import CogVideoXTransformer3DModel

    torch.manual_seed(0)
    return CogVideoXTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=64,
        num_layers=layers,
        time_embed_dim=512,
        text_embed_dim=4096,
        max_text_seq_length=226,
        sample_width=WIDTH,
        sample_height=HEIGHT,
        sample_frames=4 * FRAMES - 3,
        use_rotary_positional_embeddings=True,
    ).eval()


def saved_transformer(folder: str, layers: int = LAYERS, heads: int = HEADS) -> Path:
    """A weights file in `folder`."""
    from safetensors.torch import save_file

    path = Path(folder, "transformer.safetensors")
    save_file(transformer(layers, heads).state_dict(), path)
    return path


def forward(module: Any, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Any:
    """One step's prediction on the CPU, in fp32."""
    import torch

    with torch.inference_mode():
        generator = torch.Generator().manual_seed(1)
        latent = torch.randn(1, frames, 16, height, width, generator=generator)
        text = torch.randn(1, 226, 4096, generator=generator)
        tokens = frames * height * width // 4
        still = (torch.ones(tokens, 64), torch.zeros(tokens, 64))
        return module(latent, text, torch.tensor([500]), image_rotary_emb=still, return_dict=False)[0]


def boot() -> Any:
    """ComfyUI and the pack in this process, with torch's own attention; returns what gives the bridge's modules."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    from harness import inprocess

    base = Path(tempfile.mkdtemp())
    inprocess.boot(base, use_pytorch_cross_attention=True)
    inprocess.load_pack(base)
    return inprocess.bridge


def plain_load(path: str) -> Any:
    """What a pack without a memory bridge does: make the module, read the file, copy it in."""
    from safetensors.torch import load_file

    from vivid_core.models.families import open_family

    files, family = open_family(path, {"cogvideox"})
    module = family.build(family.config(files))
    module.load_state_dict(load_file(path))
    return module
