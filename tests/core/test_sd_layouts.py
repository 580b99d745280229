"""Stable Diffusion's files: single files of the original layout give the same modules, and the same outputs to the bit,
as the folders that diffusers saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from harness import sd
from harness.tiny import noise
from safetensors.torch import save_file
from torch import Tensor, nn

from vivid_core.models import motion_adapter, unet2d, unet_motion
from vivid_core.models.families import FAMILIES, detect, empty, fill
from vivid_core.models.files import TensorInfo, WeightFiles, open_weights, read_tensors

BY_NAME = {family.name: family for family in FAMILIES}
CPU = torch.device("cpu")


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return noise(*shape, dtype=torch.float32, device=CPU, seed=seed)


def made(files: WeightFiles, name: str) -> Any:
    family = BY_NAME[name]
    assert family.detects(files.tensors)
    module = empty(family, family.config(files))
    fill(module, family.convert(read_tensors(files)), files.path.name)
    for parameter in module.parameters():  # where a tensor begins in memory changes how the CPU rounds
        parameter.data = parameter.data.clone()
    return module


def saved(path: Path, tensors: dict[str, Tensor]) -> WeightFiles:
    save_file({name: one.contiguous() for name, one in tensors.items()}, path)
    return open_weights(path)


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text, text
    return text


def assert_same_settings(ours: Any, theirs: Any) -> None:
    def plain(config: Any) -> dict[str, Any]:
        return {name: list(one) if isinstance(one, tuple) else one for name, one in config.items() if name[0] != "_"}

    assert plain(ours.config) == plain(theirs.config)


def assert_same_weights(ours: nn.Module, theirs: nn.Module) -> None:
    first, second = ours.state_dict(), theirs.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in second)


def run_unet(module: Any) -> Tensor:
    config = module.config
    images, text = drawn(2, config.in_channels, 8, 8), drawn(2, 7, config.cross_attention_dim, seed=2)
    return module(images, torch.tensor(7), text, return_dict=False)[0]


# -------------------------------------------------------------------------------------------------- each kind of model


@pytest.mark.parametrize(
    "kind, prefix",
    [("sd1", "model.diffusion_model."), ("sd1", ""), ("sd2", ""), ("sd2-depth", "model.diffusion_model.")],
)
def test_a_unet_of_the_original_layout_is_the_one_of_the_folder(tmp_path, kind, prefix):
    theirs = sd.unet(kind)
    ours = made(saved(tmp_path / "own.safetensors", sd.original_unet(theirs, prefix)), "unet2d")
    assert_same_settings(ours, theirs)
    assert_same_weights(ours, theirs)
    assert torch.equal(run_unet(ours), run_unet(theirs))


@pytest.mark.parametrize("prefix", ["first_stage_model.", ""], ids=["checkpoint", "alone"])
def test_a_vae_of_the_original_layout_is_the_one_of_the_folder(tmp_path, prefix):
    theirs = sd.vae()
    ours = made(saved(tmp_path / "own.safetensors", sd.original_vae(theirs, prefix)), "autoencoder_kl")
    assert_same_settings(ours, theirs)
    assert_same_weights(ours, theirs)
    pixels = drawn(1, 3, 32, 32)
    latents = [one.encode(pixels).latent_dist.mode() for one in (ours, theirs)]
    assert torch.equal(*latents)
    assert torch.equal(*(one.decode(latents[0], return_dict=False)[0] for one in (ours, theirs)))


def test_a_vae_folder_with_the_attention_names_of_diffusers_first_year_is_read(tmp_path):
    theirs = sd.vae()
    theirs.save_pretrained(tmp_path / "vae")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = dict(theirs.state_dict())
    for new, before in old.items():
        tensors = {
            name.replace(f"attentions.0.{new}.", f"attentions.0.{before}."): one for name, one in tensors.items()
        }
    assert "decoder.mid_block.attentions.0.query.weight" in tensors
    save_file(tensors, tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    assert_same_weights(made(open_weights(tmp_path / "vae"), "autoencoder_kl"), theirs)


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_a_checkpoints_text_encoder_is_the_one_of_the_folder(tmp_path, kind):
    theirs = sd.text(kind)
    ours = made(saved(tmp_path / "own.safetensors", sd.original_text(theirs, kind)), "clip_text")
    assert_same_weights(ours, theirs)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "max_position_embeddings")
    assert [getattr(ours.config, name) for name in names] == [getattr(theirs.config, name) for name in names]
    numbers = torch.arange(77)[None]
    assert torch.equal(ours(numbers).last_hidden_state, theirs(numbers).last_hidden_state)


def test_a_text_encoder_without_text_model_in_its_names_is_read(tmp_path):
    theirs = sd.text()
    tensors = {
        name.replace("transformer.text_model.", "transformer."): one for name, one in sd.original_text(theirs).items()
    }
    assert_same_weights(made(saved(tmp_path / "own.safetensors", tensors), "clip_text"), theirs)


def test_an_openclip_encoder_of_the_released_width_may_come_without_its_last_layer():
    table = torch.empty(9, 1024, device="meta")
    layer = torch.empty(3072, 1024, device="meta")

    def layers(count: int) -> int:
        from vivid_core.models.clip_text import _of_open

        names = {f"transformer.resblocks.{n}.attn.in_proj_weight": layer for n in range(count)}
        found = _of_open({"token_embedding.weight": table, **names})
        return sum(name.endswith("q_proj.weight") for name in found)

    assert layers(24) == layers(23) == 23


@pytest.mark.parametrize("prefix", ["control_model.", ""], ids=["released", "alone"])
@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_a_controlnet_of_the_original_layout_is_the_one_of_the_folder(tmp_path, kind, prefix):
    theirs = sd.controlnet(kind)
    ours = made(saved(tmp_path / "own.safetensors", sd.original_controlnet(theirs, prefix)), "controlnet")
    assert_same_settings(ours, theirs)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("mid, frames", [(True, 24), (True, 32), (False, 32)], ids=["v1", "v2", "v3"])
@pytest.mark.parametrize("prefix", ["", "module."], ids=["plain", "as trained"])
def test_released_motion_modules_are_those_of_the_folder(tmp_path, mid, frames, prefix):
    theirs = sd.motion(mid, frames)
    ours = made(saved(tmp_path / "own.safetensors", sd.original_motion(theirs, prefix)), "motion_adapter")
    assert_same_settings(ours, theirs)
    assert_same_weights(ours, theirs)


def test_a_pytorch_checkpoint_with_the_state_of_its_training_is_read_without_running_what_is_in_it(tmp_path):
    theirs, adapter = sd.unet(), sd.motion()
    torch.save({"state_dict": sd.original_unet(theirs), "global_step": 7}, tmp_path / "own.ckpt")
    torch.save({"state_dict": sd.original_motion(adapter, "module.")}, tmp_path / "mm.ckpt")
    assert_same_weights(made(open_weights(tmp_path / "own.ckpt"), "unet2d"), theirs)
    assert_same_weights(made(open_weights(tmp_path / "mm.ckpt"), "motion_adapter"), adapter)
    torch.save({"state_dict": sd.original_unet(theirs), "callback": Path}, tmp_path / "code.ckpt")
    assert "was not opened" in refusal(open_weights, tmp_path / "code.ckpt")


# ---------------------------------------------------------------------------------------------- a U-Net that moves


def joined(tmp_path: Path, original: bool, adapter: Any, image_unet: Any | None = None) -> Any:
    image_unet = image_unet or sd.unet()
    if original:
        first = saved(tmp_path / "sd.safetensors", {**sd.original_unet(image_unet), **sd.original_vae(sd.vae())})
        second = saved(tmp_path / "mm.safetensors", sd.original_motion(adapter))
    else:
        image_unet.save_pretrained(tmp_path / "unet")
        adapter.save_pretrained(tmp_path / "motion")
        first, second = open_weights(tmp_path / "unet"), open_weights(tmp_path / "motion")
    return made(unet_motion.joined(first, second), "unet_motion")


def of_images(ours: Any, theirs: Any, frames: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What a U-Net for clips and one for images say about the same images."""
    clip, text = drawn(2, 4, frames, 8, 8).to(dtype), drawn(2 * frames, 7, 64, seed=2).to(dtype)
    images = clip.transpose(1, 2).flatten(0, 1)
    said = ours(clip, torch.tensor(7), text, return_dict=False)[0].transpose(1, 2).flatten(0, 1)
    return said, theirs(images, torch.tensor(7), text, return_dict=False)[0]


def run_clip(module: Any, frames: int = 3) -> Tensor:
    text = drawn(2 * frames, 7, 64, seed=2)
    return module(drawn(2, 4, frames, 8, 8), torch.tensor(7), text, return_dict=False)[0]


@pytest.mark.parametrize("original", [True, False], ids=["single files", "folders"])
@pytest.mark.parametrize("mid", [True, False], ids=["v2", "v3"])
def test_a_unet_and_motion_modules_make_what_diffusers_makes_of_them(tmp_path, original, mid):
    from diffusers import UNetMotionModel

    adapter = sd.motion(mid)
    theirs = UNetMotionModel.from_unet2d(sd.unet(), adapter).eval().requires_grad_(False)
    ours = joined(tmp_path, original, adapter)
    assert_same_settings(ours, theirs)
    assert_same_weights(ours, theirs)
    assert torch.equal(run_clip(ours), run_clip(theirs))


@pytest.mark.parametrize("mid", [True, False], ids=["v2", "v3"])
def test_with_its_motion_modules_bypassed_it_is_the_image_unet(tmp_path, mid):
    ours, image_unet = joined(tmp_path, True, sd.motion(mid, 4)), sd.unet()
    moving = run_clip(ours)
    with unet_motion.bypassed(ours):
        assert torch.equal(*of_images(ours, image_unet, 1, torch.float32))
        # More frames than motion modules take; the image model works out the time for each anew, which rounds.
        still, wanted = of_images(ours.double(), image_unet.double(), 5, torch.float64)
        torch.testing.assert_close(still, wanted, rtol=0, atol=1e-12)
    assert torch.equal(run_clip(ours.float()), moving)
    with unet_motion.bypassed(ours):
        assert not torch.allclose(run_clip(ours), moving, atol=0.01)


def test_motion_modules_come_back_after_an_error_and_after_nested_bypasses(tmp_path):
    ours = joined(tmp_path, True, sd.motion())
    moving = run_clip(ours)
    with pytest.raises(KeyError), unet_motion.bypassed(ours), unet_motion.bypassed(ours):
        raise KeyError
    with unet_motion.bypassed(ours):
        with unet_motion.bypassed(ours):
            still = run_clip(ours)
        assert torch.equal(run_clip(ours), still)
    assert torch.equal(run_clip(ours), moving)
    assert all("forward" not in vars(module) for module in unet_motion.motion_modules(ours))


# -------------------------------------------------------------------------------------------------- released sizes

RELEASED = {"block_out_channels": (320, 640, 1280, 1280)}
SD15 = {**RELEASED, "cross_attention_dim": 768, "attention_head_dim": 8}


def on_meta(kind: str, **config: Any) -> Any:
    import diffusers

    with torch.device("meta"):
        return getattr(diffusers, kind)(**config)


def header(tensors: dict[str, Tensor], name: str = "own") -> WeightFiles:
    path = Path(f"{name}.safetensors")
    infos = {name: TensorInfo(one.dtype, tuple(one.shape), one.nbytes) for name, one in tensors.items()}
    return WeightFiles(path, (path,), infos, {}, None)


def millions(module: Any) -> float:
    return round(sum(one.numel() for one in module.parameters()) / 1e6, 1)


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_a_controlnet_of_the_released_size_is_told_from_its_shapes_in_both_layouts(layout):
    theirs = on_meta("ControlNetModel", **SD15)
    tensors = sd.original_controlnet(theirs) if layout == "original" else theirs.state_dict()
    ours = on_meta("ControlNetModel", **BY_NAME["controlnet"].config(header(tensors)))
    assert_same_settings(ours, theirs)
    assert millions(ours) == 361.3


@pytest.mark.parametrize("mid, count, motions", [(True, 42, 453.2), (False, 40, 417.1)], ids=["v2", "v3"])
def test_sd15_and_released_motion_modules_have_the_size_and_layers_that_are_known_of_them(mid, count, motions):
    adapter = on_meta("MotionAdapter", **RELEASED, use_motion_mid_block=mid)
    unet = on_meta("UNet2DConditionModel", **SD15)
    files = unet_motion.joined(header(sd.original_unet(unet)), header(sd.original_motion(adapter)))
    module = on_meta("UNetMotionModel", **{name: one for name, one in files.config.items() if name[0] != "_"})
    assert (millions(unet), millions(adapter)) == (859.5, motions)
    assert abs(millions(module) - 859.5 - motions) < 0.2
    temporal = [name for name in module.attn_processors if "motion_modules" in name]
    assert len(temporal) == count
    assert set(files.tensors) == set(module.state_dict())


# ------------------------------------------------------------------------------------------------------ bad input


def test_a_checkpoint_is_known_by_each_of_its_parts_and_as_a_unet_first(tmp_path):
    files = saved(tmp_path / "own.safetensors", sd.checkpoint())
    assert detect(files).name == "unet2d"
    found = {family.name for family in FAMILIES if family.detects(files.tensors)}
    assert found == {"unet2d", "autoencoder_kl", "clip_text"}


@pytest.mark.parametrize("strange", ["label_emb.0.0.weight", "input_blocks.4.1.transformer_blocks.1.attn1.to_q.weight"])
def test_a_checkpoint_of_sdxl_is_refused(tmp_path, strange):
    tensors = {**sd.original_unet(sd.unet()), f"model.diffusion_model.{strange}": torch.zeros(4, 4)}
    files = saved(tmp_path / "xl.safetensors", tensors)
    text = refusal(unet2d.config, files)
    assert text.startswith("xl.safetensors") and "SDXL" in text and "SD 1.5 or 2.1" in text


def test_layers_without_any_downsampling_are_refused(tmp_path):
    tensors = {name: one for name, one in sd.original_unet(sd.unet()).items() if ".op." not in name}
    assert "download" in refusal(unet2d.config, saved(tmp_path / "own.safetensors", tensors))


@pytest.mark.parametrize("name", ["unet", "controlnet"])
def test_diffusers_tensors_of_an_unknown_width_need_their_config(tmp_path, name):
    module = getattr(sd, name)()
    files = saved(tmp_path / "own.safetensors", dict(module.state_dict()))
    assert "config.json" in refusal(detect(files).config, files)


def test_motion_modules_for_another_base_are_refused():
    def unet(kind: str) -> WeightFiles:
        return header(sd.original_unet(on_meta("UNet2DConditionModel", **sd.KINDS[kind])), kind)

    def motion(name: str, channels: tuple[int, ...] = sd.CHANNELS, **more: Tensor) -> WeightFiles:
        return header({**sd.original_motion(on_meta("MotionAdapter", block_out_channels=channels)), **more}, name)

    fitting = motion("mm")
    assert "wide.safetensors" in refusal(unet_motion.joined, unet("sd1"), motion("wide", (32, 32, 64, 64)))
    assert "SDXL" in refusal(unet_motion.joined, unet("sd1"), motion("xl", (32, 64, 64)))
    pia = motion("pia", **{"conv_in.weight": torch.zeros(4)})
    assert "PIA" in refusal(unet_motion.joined, unet("sd1"), pia)
    assert "made for SD 1.5" in refusal(unet_motion.joined, unet("sd2"), fitting)
    assert "5 input channels" in refusal(unet_motion.joined, unet("sd2-depth"), fitting)
    assert motion_adapter.FAMILY.detects(fitting.tensors) and not motion_adapter.FAMILY.detects(unet("sd1").tensors)
