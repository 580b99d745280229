"""Wan's files in its own layout: ComfyUI's classes have those names, and say what must come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from harness import tiny
from safetensors.torch import save_file
from torch import Tensor, nn

from vivid_core.models.families import empty, fill, open_family
from vivid_core.models.files import read_tensors
from vivid_core.models.wan_names import of_transformer, own_layer

pytestmark = pytest.mark.usefixtures("comfy_base")
HEADS, LAYERS = 2, 4


def shaken(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return module.eval().requires_grad_(False)


@pytest.fixture
def transformer() -> Any:
    import comfy.ldm.wan.model
    import comfy.ops

    return shaken(
        comfy.ldm.wan.model.VaceWanModel(
            dim=HEADS * 128,
            ffn_dim=96,
            freq_dim=32,
            text_dim=24,
            num_heads=HEADS,
            num_layers=LAYERS,
            vace_layers=2,
            vace_in_dim=96,
            operations=comfy.ops.disable_weight_init,
            dtype=torch.float32,
            device="cpu",
        )
    )


def loaded(module: nn.Module, path: Path, family: str, prefix: str = "") -> nn.Module:
    """The weights of one of ComfyUI's models, saved under their own names, as our family's module."""
    save_file({prefix + name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)
    files, found = open_family(path, {family})
    made = empty(found, found.config(files))
    fill(made, found.convert(read_tensors(files)), path.name)
    return made


def noise(*shape: int, seed: int) -> Tensor:
    return tiny.noise(*shape, dtype=torch.float32, device=torch.device("cpu"), seed=seed)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@torch.inference_mode()
def test_a_vace_transformer_in_its_own_layout_says_what_comfyuis_says(
    transformer: Any, tmp_path: Path, prefix: str
) -> None:
    ours = loaded(transformer, tmp_path / "wan2.1_vace.safetensors", "wan_vace", prefix)
    latents, text = noise(1, 16, 3, 8, 8, seed=1), noise(1, 512, 24, seed=2)
    control, time = noise(1, 96, 3, 8, 8, seed=3), torch.tensor([500.0])
    theirs = transformer(latents, time, text, vace_context=control[:, None], vace_strength=[1.0])
    said = ours(
        hidden_states=latents,
        timestep=time,
        encoder_hidden_states=text,
        control_hidden_states=control,
        control_hidden_states_scale=torch.ones(2),
        return_dict=False,
    )[0]
    assert float((said - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())


@torch.inference_mode()
def test_a_vae_in_its_own_layout_codes_as_comfyuis_does(tmp_path: Path) -> None:
    import comfy.ldm.wan.vae

    settings = {"dim": 8, "z_dim": 16, "temperal_downsample": [False, True, True]}
    vae = shaken(comfy.ldm.wan.vae.WanVAE(**settings))
    ours = loaded(vae, tmp_path / "wan_2.1_vae.safetensors", "wan_vae")
    video = noise(1, 3, 9, 32, 48, seed=1)
    latents = ours.encode(video).latent_dist.mode()
    theirs = vae.encode(video)
    assert torch.allclose(latents, theirs, atol=1e-4 * float(theirs.abs().max()))
    shown, wanted = ours.decode(latents).sample, vae.decode(latents).clamp(-1, 1)
    assert torch.allclose(shown, wanted, atol=1e-4)


def test_the_releases_vae_has_the_names_that_diffusers_own_converter_gives() -> None:
    import comfy.ldm.wan.vae
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    from vivid_core.models.wan_names import vae_in_diffusers

    with torch.device("meta"):
        own = comfy.ldm.wan.vae.WanVAE(dim=96, z_dim=16, temperal_downsample=[False, True, True]).state_dict()
    theirs = convert_wan_vae_to_diffusers(dict(own))
    assert {name: id(value) for name, value in vae_in_diffusers(own).items()} == {
        name: id(value) for name, value in theirs.items()
    }


def test_the_layers_that_loras_change_have_both_names() -> None:
    module = tiny.BY_NAME["wan_vace"].make()
    layers = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    assert len(layers) > 40
    for layer in layers:
        assert of_transformer(own_layer(layer) + ".") == layer + ".", layer
