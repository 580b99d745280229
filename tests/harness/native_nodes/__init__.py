"""A test-only node pack: ComfyUI's own video models, tiny, with random weights, where files would be loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))
from harness import native_models

KINDS = {"vace": "vace", "fun_inp": "inpaint"}  # what the name of a model's file says of it


class HarnessNativeModel:
    """In place of Load Diffusion Model."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"unet_name": ("STRING", {})}}

    def load(self, unet_name: str) -> tuple[Any]:
        return (native_models.wan_model(next(kind for word, kind in KINDS.items() if word in unet_name)),)


class HarnessNativeVae:
    """In place of Load VAE."""

    RETURN_TYPES = ("VAE",)
    FUNCTION = "load"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def load(self) -> tuple[Any]:
        return (native_models.wan_vae(),)


class HarnessNativeText:
    """In place of CLIP Text Encode, whose encoder has one size only, of billions of weights."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": ("STRING", {})}}

    def encode(self, text: str) -> tuple[Any]:
        return (native_models.text(len(text)),)


NODE_CLASS_MAPPINGS = {node.__name__: node for node in (HarnessNativeModel, HarnessNativeVae, HarnessNativeText)}
