"""The embedded Stable Diffusion: its topology, its file, its codec of frames, and the backbones made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vivid_core.editors.embedded_backbone import embedded_backbone
from vivid_core.models import embedded_sd
from vivid_core.models.embedded_codec import SCALING_FACTOR, load_codec
from vivid_core.models.embedded_frames import load_frame_codec
from vivid_core.models.unet_motion import bypassed
from vivid_core.runtime import Runtime
from vivid_core.training.sd_world.render import render
from vivid_core.training.sd_world.scene import held_out
from vivid_core.training.sd_world.words import vocabulary


def shaken(module: nn.Module) -> nn.Module:
    """With weights that are nowhere zero, so that each part has a say."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    return module.eval()


@pytest.fixture(scope="module")
def whole() -> embedded_sd.EmbeddedSD:
    model = embedded_sd.build(vocabulary(), 0)
    shaken(model.unet)
    depth = embedded_sd.depth_tensors(shaken(embedded_sd.with_depth_channel(model.unet)))
    controlnet = shaken(embedded_sd.new_controlnet(model.unet, 0))
    return replace(model, motion=shaken(embedded_sd.new_motion(0)), depth=depth, controlnet=controlnet)


@pytest.fixture(scope="module")
def file(whole: embedded_sd.EmbeddedSD, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "embedded_sd.safetensors"
    embedded_sd.save(whole, path, {"seed": 0})
    return path


def latents(rows: int = 2, channels: int = 16, *frames: int) -> Tensor:
    return torch.randn(rows, channels, *frames, 16, 16, generator=torch.Generator().manual_seed(2))


def said(unet: Any, given: Tensor, text: Tensor) -> Tensor:
    with torch.no_grad():
        return unet(given, torch.tensor(500), text, return_dict=False)[0]


def test_its_layers_have_the_names_of_stable_diffusions() -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        original = UNet2DConditionModel(cross_attention_dim=768)
    own = embedded_sd.build(vocabulary(), 0).unet
    assert [name for name, _ in own.named_parameters()] == [name for name, _ in original.named_parameters()]
    assert sum(name.endswith("attn1") for name, _ in own.named_modules()) == 16


def test_the_whole_file_has_at_most_twelve_megabytes(file: Path) -> None:
    assert file.stat().st_size <= 12e6


def test_every_part_comes_back_from_its_file_as_it_was_but_for_half_precision(
    whole: embedded_sd.EmbeddedSD, file: Path
) -> None:
    back, notes = embedded_sd.load(file)
    assert notes == {"seed": 0} and back.tokenizer.words == vocabulary()
    text = whole.encode(["a red ring", ""]).detach()
    assert torch.allclose(back.encode(["a red ring", ""]), text, atol=2e-2)
    pairs = [
        (said(model.unet, latents(), text), said(model.depth_unet(), latents(2, 17), text)) for model in (whole, back)
    ]
    for ours, theirs in zip(*pairs):
        assert torch.allclose(ours, theirs, atol=3e-2) and not torch.equal(ours, latents())
    clips = [said(one.motion_unet(), latents(1, 16, 4), text[:1].expand(4, -1, -1)) for one in (whole, back)]
    assert torch.allclose(*clips, atol=3e-2)
    assert back.controlnet is not None and whole.controlnet is not None
    for ours, theirs in zip(back.controlnet.parameters(), whole.controlnet.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-3)


def test_a_file_in_training_lacks_parts_and_says_so_when_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "young.safetensors"
    embedded_sd.save(embedded_sd.build(vocabulary(), 0), path, {})
    for kind, words in (
        ("motion", "no motion modules"),
        ("depth", "no depth variant"),
        ("controlnet", "no ControlNet"),
    ):
        with pytest.raises(ValueError, match=words):
            embedded_backbone(kind, path)  # type: ignore[arg-type]
    assert embedded_backbone("image", path).controlnet is None


def test_a_damaged_file_and_one_of_something_else_are_named(file: Path, tmp_path: Path) -> None:
    tensors, damaged = load_file(file), tmp_path / "damaged.safetensors"
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    del tensors["unet.conv_in.weight"]
    save_file(tensors, damaged, about)
    with pytest.raises(ValueError, match=r"damaged.safetensors \(unet\) lacks 1 tensors.*conv_in.weight"):
        embedded_sd.load(damaged)
    save_file(tensors, damaged)
    with pytest.raises(ValueError, match="damaged.safetensors is no embedded Stable Diffusion"):
        embedded_sd.load(damaged)


def test_new_motion_modules_change_nothing_and_bypassed_ones_never_do(whole: embedded_sd.EmbeddedSD) -> None:
    text = whole.encode(["a red ring"]).detach().expand(3, -1, -1)
    given = latents(1, 16, 3)
    image = said(whole.unet, given[0].transpose(0, 1), text).transpose(0, 1)[None]
    fresh = embedded_sd.with_motion(whole.unet, embedded_sd.new_motion(5)).eval()
    assert torch.allclose(said(fresh, given, text), image, atol=1e-5)
    moving = whole.motion_unet().eval()
    assert not torch.allclose(said(moving, given, text), image, atol=1e-2)
    with bypassed(moving):
        assert torch.allclose(said(moving, given, text), image, atol=1e-5)


def test_taken_apart_a_motion_unet_gives_back_what_it_was_made_of(whole: embedded_sd.EmbeddedSD) -> None:
    assert whole.motion is not None
    still, motion = embedded_sd.without_motion(whole.motion_unet())
    for ours, theirs in ((still, whole.unet), (motion, whole.motion)):
        state = theirs.state_dict()
        assert ours.state_dict().keys() == state.keys()
        assert all(torch.equal(one, state[name]) for name, one in ours.state_dict().items())


def test_a_new_depth_channel_and_a_new_controlnet_change_nothing_yet(whole: embedded_sd.EmbeddedSD) -> None:
    text = whole.encode(["a red ring", "a blue square"]).detach()
    plain = said(whole.unet, latents(), text)
    wider = embedded_sd.with_depth_channel(whole.unet)
    assert torch.allclose(said(wider, torch.cat([latents(), 9 * latents(2, 1)], 1), text), plain, atol=1e-5)
    controlnet: Any = embedded_sd.new_controlnet(whole.unet, 0)
    with torch.no_grad():
        down, middle = controlnet(latents(), torch.tensor(9), text, torch.rand(2, 3, 64, 64), return_dict=False)
    assert all(not one.any() for one in (*down, middle)) and middle.shape[2:] == (2, 2)


def test_the_depth_variant_differs_from_the_image_model_only_in_its_first_layers(
    whole: embedded_sd.EmbeddedSD,
) -> None:
    ours, theirs = whole.depth_unet().state_dict(), whole.unet.state_dict()
    other = {
        name for name, one in ours.items() if one.shape != theirs[name].shape or not torch.equal(one, theirs[name])
    }
    assert other and all(name.startswith(embedded_sd.OF_DEPTH) for name in other)


def test_frames_are_coded_as_a_clip_of_one_frame_is() -> None:
    frames, clips = load_frame_codec(), load_codec()
    images = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoded = frames.encode(images).latent_dist.mode()  # type: ignore[union-attr]
    assert torch.equal(encoded, clips.latents(images[:, :, None])[:, :, 0]) and encoded.shape == (3, 16, 8, 12)
    decoded = frames.decode(encoded, return_dict=False)[0]  # type: ignore[index]
    assert torch.equal(decoded, clips.frames(encoded[:, :, None])[:, :, 0])
    with pytest.raises(ValueError, match="30x32 with 3 channels"):
        frames.encode(torch.zeros(1, 3, 32, 30))
    with pytest.raises(ValueError, match="latents of 4 channels"):
        frames.decode(torch.zeros(1, 4, 8, 8))


def test_the_codec_shows_the_world_and_its_scaled_latents_have_about_unit_variance() -> None:
    codec = load_frame_codec()
    frames = torch.cat([render(held_out(number), frames=1).frames_fhwc for number in range(32)])
    encoded = codec.encode(2 * frames.permute(0, 3, 1, 2) - 1).latent_dist.mode()  # type: ignore[union-attr]
    back = (codec.decode(encoded, return_dict=False)[0].permute(0, 2, 3, 1) + 1) / 2  # type: ignore[index]
    assert -10 * (back.clamp(0, 1) - frames).square().mean().log10() > 38
    assert 0.5 < float((encoded * SCALING_FACTOR).square().mean()) < 1.5


@pytest.mark.parametrize("kind", ["image", "motion", "depth", "controlnet"])
def test_a_backbone_of_each_kind_is_asked_for_noise_as_its_parts_are(
    kind: Any, whole: embedded_sd.EmbeddedSD, file: Path
) -> None:
    backbone, given = embedded_backbone(kind, file), latents(2, 16, 3)
    assert backbone.modules[0].training is False
    texts = [backbone.encoded(caption, Runtime()) for caption in ("a red ring", "")]
    depth = torch.rand(3, 64, 64) if kind in ("depth", "controlnet") else None
    eps = backbone.ask(depth)(given, 500, texts)
    assert eps.shape == given.shape
    text = torch.cat([one.expand(3, -1, -1) for one in texts])
    images = given.transpose(1, 2).flatten(0, 1)
    model, _ = embedded_sd.load(file)
    plain = said(model.unet, images, text).unflatten(0, (2, 3)).transpose(1, 2)
    assert torch.allclose(eps, eps_of(plain, given), atol=1e-5) == (kind == "image")
    if kind == "motion":
        assert torch.allclose(eps, eps_of(said(model.motion_unet(), given, text), given), atol=1e-5)


def eps_of(v: Tensor, noisy: Tensor) -> Tensor:
    """By diffusers' own schedule, at time 500."""
    from diffusers import DDPMScheduler

    schedule = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    alpha = schedule.alphas_cumprod[500]
    return alpha.sqrt() * v + (1 - alpha).sqrt() * noisy


def test_a_backbone_takes_frames_of_multiples_of_32_and_shows_them_again(file: Path) -> None:
    backbone = embedded_backbone("motion", file)
    frames = render(held_out(1), side=96, frames=2).frames_fhwc[:, :64]
    encoded = backbone.encode(frames, Runtime())
    assert encoded.shape == (1, 16, 2, 16, 24) and backbone.longest == 8
    assert (backbone.decode(encoded, Runtime()) - frames).abs().mean() < 0.02
    with pytest.raises(ValueError, match="multiples of 32"):
        backbone.encode(frames[:, :48], Runtime())


def test_a_kind_that_is_none_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match='"video"; choose one of image, motion, depth, controlnet'):
        embedded_backbone("video", file)  # type: ignore[arg-type]
