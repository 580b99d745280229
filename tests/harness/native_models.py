"""ComfyUI's own video models, tiny and with random weights: loaded by ComfyUI from tensors, as from a file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, LAYERS = 128, 2  # one head of Wan's
TEXT = 4096  # channels of the text that the real models take, which their files don't tell
WORDS = 8


def shaken(build: Callable[[], nn.Module], seed: int = 3, spread: float = 0.1) -> dict[str, Tensor]:
    """The weights of a new module, all drawn from the seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = build().state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) * spread for name, tensor in shapes.items()}


def wan_vae() -> Any:
    """What Load VAE gives of a Wan 2.1 VAE of 16 latent channels."""
    import comfy.ldm.wan.vae
    import comfy.sd

    settings = {"dim": 8, "z_dim": 16, "temperal_downsample": [False, True, True]}
    return comfy.sd.VAE(sd=shaken(lambda: comfy.ldm.wan.vae.WanVAE(**settings)))


def image_vae() -> Any:
    """What Load VAE gives of a VAE for single pictures: four latent channels."""
    import comfy.sd

    part = {"ch": 32, "out_ch": 3, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    sizes = {**part, "in_channels": 3, "resolution": 256, "z_channels": 4, "double_z": True}
    return comfy.sd.VAE(sd={}, config={"params": {"ddconfig": sizes, "embed_dim": 4}})


def wan_model(kind: str) -> Any:
    """What Load Diffusion Model gives: "vace", "inpaint" (36 channels in), or "text" (16), with its own prediction."""
    import comfy.ldm.wan.model
    import comfy.ops

    sizes = {
        "dim": WIDTH,
        "ffn_dim": 96,
        "num_heads": 1,
        "num_layers": LAYERS,
        "operations": comfy.ops.disable_weight_init,
        "dtype": torch.float32,
    }
    if kind == "vace":
        return _model(lambda: comfy.ldm.wan.model.VaceWanModel(vace_layers=LAYERS, vace_in_dim=96, **sizes))
    types = {"inpaint": ("i2v", 36), "text": ("t2v", 16)}
    model_type, channels = types[kind]
    return _model(lambda: comfy.ldm.wan.model.WanModel(model_type=model_type, in_dim=channels, **sizes))


def has_cogvideox() -> bool:
    """Whether the running ComfyUI knows CogVideoX."""
    import comfy.model_base

    return hasattr(comfy.model_base, "CogVideoX")


def cogvideox_vae(monkeypatch: Any) -> Any:
    """What Load VAE gives of CogVideoX's VAE. ComfyUI builds it in one size only, so its class gets another default."""
    import comfy.ldm.cogvideo.vae as home
    import comfy.sd

    narrow = functools.partial(
        home.AutoencoderKLCogVideoX, block_out_channels=(8, 8, 8, 8), layers_per_block=1, groups=2
    )
    weights = shaken(lambda: narrow(latent_channels=16))
    with monkeypatch.context() as patch:
        patch.setattr(home, "AutoencoderKLCogVideoX", narrow)
        return comfy.sd.VAE(sd=weights)


def cogvideox_model(channels: int, later: bool) -> Any:
    """What Load Diffusion Model gives of a CogVideoX of so many channels in; `later`: of version 1.5."""
    import comfy.ldm.cogvideo.model
    import comfy.ops

    def build() -> nn.Module:
        return comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel(
            num_attention_heads=1,
            attention_head_dim=64,
            in_channels=channels,
            time_embed_dim=32,
            num_layers=LAYERS,
            patch_size_t=2 if later else None,
            use_rotary_positional_embeddings=True,
            operations=comfy.ops.disable_weight_init,
            dtype=torch.float32,
        )

    return _model(build)


def _model(build: Callable[[], nn.Module]) -> Any:
    import comfy.sd

    model = comfy.sd.load_diffusion_model_state_dict(shaken(build))
    assert model is not None, "ComfyUI didn't know the model by its weights"
    return model


def text(seed: int) -> list[list[Any]]:
    """A conditioning as CLIP Text Encode gives it."""
    return [[torch.randn(1, WORDS, TEXT, generator=torch.Generator().manual_seed(seed)) * 0.1, {}]]


def watched(model: Any, answer: Callable[[dict[str, Any]], Tensor] | None = None) -> tuple[Any, list[dict[str, Any]]]:
    """The model, with a list of what it was shown, which grows with each step. With `answer` it is asked, and then
    overruled: what comes out of it is what `answer` finds in what it was shown."""
    shown: list[dict[str, Any]] = []

    def ask(apply: Callable[..., Tensor], given: dict[str, Any]) -> Tensor:
        said = apply(given["input"], given["timestep"], **given["c"])
        shown.append(given["c"])
        return said if answer is None else answer(given["c"]).to(said).expand_as(said).clone()

    changed = model.clone()
    changed.set_model_unet_function_wrapper(ask)
    return changed, shown
