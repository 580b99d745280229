"""Engines for timing: random weights, in the form of the embedded model but with as many tokens as is asked for."""

from __future__ import annotations

from typing import Any

FRAMES = 9
BOX = 3  # the edited box is a third of each side, so a ninth of the frame


def random_engine(side: int, heads: int = 4, layers: int = 4) -> Any:
    """An engine for windows of 9 frames of `side` x `side` pixels. With 4 heads and 192 pixels (1744 tokens), attention
    is as large a share of the work as in CogVideoX-5B at 49 frames of 480x720."""
    import torch
    from diffusers import CogVideoXTransformer3DModel

    from vivid_core.editors.adapters.cogvideox import embedded as adapter
    from vivid_core.editors.engine import Engine
    from vivid_core.models.embedded import TRANSFORMER
    from vivid_core.models.embedded_codec import PATCH, load_codec

    size = {"sample_width": side // PATCH, "sample_height": side // PATCH, "sample_frames": FRAMES}
    torch.manual_seed(0)
    transformer = CogVideoXTransformer3DModel(
        **{**TRANSFORMER, **size, "num_attention_heads": heads, "num_layers": layers}
    )
    transformer.eval().requires_grad_(False)
    return Engine(adapter(transformer.config), transformer, load_codec(), None, f"random/{side}/{heads}/{layers}")


def request(engine: Any, frames: int, height: int, width: int, keys: tuple[int, ...] = (), **settings: Any) -> Any:
    """A textured clip with a box that moves slowly, to be edited there; each keyframe has the box in one colour."""
    import torch

    from vivid_core.editors.contract import EditRequest
    from vivid_core.video.keyframes import Keyframe, Keyframes

    generator = torch.Generator().manual_seed(0)
    clip = torch.rand(1, height, width, 3, generator=generator).expand(frames, -1, -1, -1)
    mask = torch.zeros(frames, height, width)
    for index, mask_hw in enumerate(mask):
        top, left = (length // BOX + index % 4 for length in (height, width))
        mask_hw[top : top + height // BOX, left : left + width // BOX] = 1
    traits = engine.adapter.traits
    width_of_text = engine.transformer.config["text_embed_dim"]
    texts = torch.randn(2, 1, traits.text_tokens, width_of_text, generator=generator)
    pictures = [keyframe(clip[index], mask[index], 0.5) for index in keys]
    chosen = Keyframes([Keyframe(index, picture) for index, picture in zip(keys, pictures)])
    return EditRequest(clip, mask, texts[0], texts[1], chosen, **settings)


def keyframe(frame_hwc: Any, mask_hw: Any, level: float) -> Any:
    """The frame with its mask in one grey."""
    return frame_hwc + mask_hw[..., None] * (level - frame_hwc)
