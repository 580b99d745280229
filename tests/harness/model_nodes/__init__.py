"""A test-only node pack: models under the bridge in a real graph, as the pack's own editors will use it.

ComfyUI loads this folder as a custom node; it finds the bridge of the pack that is loaded beside it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import hashlib
import importlib
import sys
import time
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.latent_formats
import torch
from torch import Tensor, nn

SOCKET = "HARNESS_MODEL"
BORN: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # every module that a graph loaded and that still lives


def of_pack(name: str) -> ModuleType:
    """A module of the pack as ComfyUI loaded it."""
    root = next(module for module in sys.modules if module.endswith(".nodes.comfy_bridge"))
    return importlib.import_module(f"{root.removesuffix('.nodes.comfy_bridge')}.{name}")


def bridge(name: str) -> ModuleType:
    return of_pack(f"nodes.comfy_bridge.{name}")


class Latents(comfy.latent_formats.LatentFormat):
    """Sixteen channels, of which three are shown."""

    latent_channels = 16
    latent_dimensions = 3
    latent_rgb_factors = [[1.0 * (row == column) for column in range(3)] for row in range(16)]


class HarnessLoadModel:
    RETURN_TYPES = (SOCKET,)
    FUNCTION = "load"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"path": ("STRING", {}), "family": ("STRING", {}), "precision": ("STRING", {})}}

    def load(self, path: str, family: str, precision: str) -> tuple[Any]:
        model = bridge("loading").load_model(path, {family}, precision)
        BORN.add(model.module)
        return (model,)


class HarnessLoadModelToo(HarnessLoadModel):
    """Another class of node for the same file."""


class HarnessLora:
    RETURN_TYPES = (SOCKET,)
    FUNCTION = "patch"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"model": (SOCKET, {}), "path": ("STRING", {}), "strength": ("FLOAT", {})}}

    def patch(self, model: Any, path: str, strength: float) -> tuple[Any]:
        lora = of_pack("vivid_core.models.lora_files").read_lora(path)
        return (bridge("lora").with_lora(model, lora, strength, name=Path(path).name),)


class HarnessDenoise:
    """A denoising loop on noise from the seed; says how it ended, how long the loop took and what it needed."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "denoise"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = {"seed": "INT", "steps": "INT", "width": "INT", "height": "INT", "frames": "INT"}
        return {"required": {"model": (SOCKET, {}), **{name: (kind, {}) for name, kind in names.items()}}}

    @torch.inference_mode()
    def denoise(self, model: Any, seed: int, steps: int, width: int, height: int, frames: int) -> dict[str, Any]:
        activations = 64 << 20
        generator = torch.Generator().manual_seed(seed)
        latent = torch.randn(1, frames, 16, height, width, generator=generator).to(model.device, model.compute_dtype)
        runtime = bridge("progress").ComfyRuntime(model, latent_format=Latents())
        runtime.begin(steps)
        began = time.perf_counter()
        with runtime.hold(model.module, activations=activations):
            for step in range(steps):
                latent = latent - 0.1 * predicted(model.module, latent, steps - step)
                runtime.advance(latent_cfhw=functools.partial(latent[0].transpose, 0, 1))
        seconds = time.perf_counter() - began
        digest = hashlib.sha256(latent.float().cpu().numpy().tobytes()).hexdigest()
        plan = bridge("memory").plan([model], activations)
        report = {"digest": [digest], "seconds": [seconds], "notes": [*model.notes, plan.sentence()]}
        return {"ui": report}


def predicted(module: nn.Module, latent: Tensor, step: int) -> Tensor:
    """One forward of a CogVideoX transformer, without a position: latent [1, F, C, H, W]."""
    text = torch.zeros(1, 10, module.config.text_embed_dim, dtype=latent.dtype, device=latent.device)
    tokens = latent.shape[1] * latent.shape[3] * latent.shape[4] // 4
    size = module.config.attention_head_dim
    still = (torch.ones(tokens, size, device=latent.device), torch.zeros(tokens, size, device=latent.device))
    moment = torch.full((1,), step, device=latent.device)
    return module(latent, text, moment, image_rotary_emb=still, return_dict=False)[0]


class HarnessMemory:
    """How much anonymous memory the process has after a thorough tidying up, and how many models live."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "look"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"turn": ("INT", {"max": 1 << 31})}}

    def look(self, turn: int) -> dict[str, Any]:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        rollup = Path("/proc/self/smaps_rollup").read_text()
        kilobytes = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:"))
        return {"ui": {"anonymous": [kilobytes * 1024], "alive": [len(BORN)], "shelf": [bridge("shared").SHELF.live()]}}


NODE_CLASS_MAPPINGS = {
    node.__name__: node for node in (HarnessLoadModel, HarnessLoadModelToo, HarnessLora, HarnessDenoise, HarnessMemory)
}
