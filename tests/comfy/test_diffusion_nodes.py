"""Load Diffusion Model, Load Depth Model and Estimate Depth with tiny models, in the real executor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import sd, tiny
from harness.engines import of_pack, returned
from harness.inprocess import Result, bridge
from harness.tiny import noise
from safetensors.torch import save_file
from torch import Tensor

Call = Callable[..., Result]
CPU = torch.device("cpu")
LOAD = {
    "model": "own.safetensors",
    "motion": "none",
    "controlnet": "none",
    "vae": "with the model",
    "precision": "auto",
    "prediction": "auto",
}
SCHEDULER = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
NEAR = 2e-4


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return noise(*shape, dtype=torch.float32, device=CPU, seed=seed)


def root(name: str) -> Path:
    import folder_paths

    return Path(folder_paths.get_folder_paths(name)[0])


def save(tensors: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: one.contiguous() for name, one in tensors.items()}, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def files(comfy_base: Path) -> Iterator[None]:
    """Tiny models in ComfyUI's folders."""
    import folder_paths

    checkpoints, diffusers = root("checkpoints"), root("diffusers")
    sd.save_checkpoint(checkpoints / "own.safetensors")
    for kind, name in (("sd1", "mute"), ("sd2", "two"), ("sd2-depth", "deep")):
        save({**sd.original_unet(sd.unet(kind)), **sd.original_vae(sd.vae())}, checkpoints / f"{name}.safetensors")
    save(sd.original_unet(sd.unet()), checkpoints / "blind.safetensors")
    sd.save_folder(diffusers / "folder", scheduler=SCHEDULER)
    save(sd.original_motion(sd.motion()), root("animatediff_models") / "mm.safetensors")
    sd.motion(True).save_pretrained(root("animatediff_models") / "adapter")
    save(sd.original_controlnet(sd.controlnet()), root("controlnet") / "depth.safetensors")
    sd.controlnet("sd2").save_pretrained(root("controlnet") / "of-two")
    save(sd.original_vae(sd.vae(), ""), root("vae") / "vae.safetensors")
    tiny.BY_NAME["depth_anything"].make().save_pretrained(root("geometry_estimation") / "small")
    folder_paths.filename_list_cache.clear()
    yield
    for name in ("checkpoints", "diffusers", "animatediff_models", "controlnet", "vae", "geometry_estimation"):
        for entry in root(name).iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    folder_paths.filename_list_cache.clear()


@pytest.fixture
def load(call: Call) -> Callable[..., tuple[Any, str]]:
    def loaded(**named: Any) -> tuple[Any, str]:
        diffusion, report = returned(call("VividLoadDiffusion", **{**LOAD, **named}))
        return diffusion, report

    return loaded


@pytest.fixture
def refusal(call: Call) -> Callable[..., str]:
    def refused(node: str = "VividLoadDiffusion", **named: Any) -> str:
        result = call(node, **({**LOAD, **named} if node == "VividLoadDiffusion" else named))
        assert not result.ok
        text = str(result.exception[1]).rstrip()
        assert text.endswith(".") and "\n" not in text, text
        return text

    return refused


def said(diffusion: Any, frames: int = 2, depth: Tensor | None = None, text: Tensor | None = None) -> Tensor:
    text = drawn(1, 7, 64, seed=2) if text is None else text
    with diffusion.running() as (backbone, runtime):
        ask = backbone.ask(depth)
        with runtime.hold(*backbone.modules, activations=backbone.footprint.denoise(1, frames, 64, 64)):
            return ask(drawn(1, 4, frames, 8, 8), 7, [text])


def images(unet: Any, frames: int = 2, text: Tensor | None = None) -> Tensor:
    text = drawn(1, 7, 64, seed=2) if text is None else text
    pictures = drawn(1, 4, frames, 8, 8).transpose(1, 2).flatten(0, 1)
    made = unet(pictures, torch.tensor(7), text.expand(frames, -1, -1), return_dict=False)[0]
    return made.unflatten(0, (1, -1)).transpose(1, 2)


# --------------------------------------------------------------------------------------------------------- diffusion


@pytest.mark.parametrize("model", ["own.safetensors", "folder/"])
def test_a_checkpoint_and_a_folder_say_what_diffusers_says(load, model):
    diffusion, report = load(model=model)
    torch.testing.assert_close(said(diffusion), images(sd.unet()), rtol=0, atol=NEAR)
    assert "SD 1.x" in report and "single images" in report and "predicts noise" in report
    assert len(diffusion.get_models()) == 3 and diffusion.get_ram_usage() > 0


@pytest.mark.parametrize("model", ["own.safetensors", "folder/"])
def test_frames_and_texts_go_through_the_models_own_parts(load, model):
    diffusion, _ = load(model=model)
    frames = drawn(2, 64, 64, 3).sigmoid()
    with diffusion.running() as (backbone, runtime):
        latents = backbone.encode(frames, runtime)
        text = backbone.encoded("a red ball", runtime)
        shown = backbone.decode(latents, runtime)
    vae = sd.vae()
    wanted = vae.encode(2 * frames.movedim(3, 1) - 1).latent_dist.mean * 0.18215
    torch.testing.assert_close(latents[0].movedim(1, 0), wanted, rtol=0, atol=NEAR)
    assert shown.shape == frames.shape and text.shape == (1, 77, 64)
    numbers = bridge("tokenizers").clip_tokenizer(Path("own.safetensors"), False)(["a red ball"], 77)
    wanted = sd.text().half().float()(numbers).last_hidden_state  # ComfyUI keeps text encoders in fp16
    torch.testing.assert_close(text, wanted, rtol=0, atol=NEAR)


@pytest.mark.parametrize("model, motion", [("own.safetensors", "mm.safetensors"), ("folder/", "adapter/")])
def test_motion_modules_go_into_the_unet_and_can_be_bypassed(load, model, motion):
    from diffusers import UNetMotionModel

    diffusion, report = load(model=model, motion=motion)
    theirs = UNetMotionModel.from_unet2d(sd.unet(), sd.motion(motion == "adapter/")).eval()
    text = drawn(1, 7, 64, seed=2)
    with torch.no_grad():
        wanted = theirs(drawn(1, 4, 2, 8, 8), torch.tensor(7), text.expand(2, -1, -1), return_dict=False)[0]
    torch.testing.assert_close(said(diffusion), wanted, rtol=0, atol=NEAR)
    assert "clips of up to 32 frames" in report and diffusion.backbone.noise.betas == "linear"
    with diffusion.running() as (backbone, runtime), backbone.still() as still, runtime.hold(*still.modules):
        made = still.ask()(drawn(1, 4, 2, 8, 8), 7, [text])
        assert still.noise.betas == "scaled_linear"
    torch.testing.assert_close(made, images(sd.unet()), rtol=0, atol=NEAR)


def test_a_folder_that_was_saved_with_motion_modules_is_loaded_as_it_is(load, refusal):
    import folder_paths
    from diffusers import UNetMotionModel

    unet = UNetMotionModel.from_unet2d(sd.unet(), sd.motion()).eval().requires_grad_(False)
    moving = {**SCHEDULER, "beta_schedule": "linear", "timestep_spacing": "trailing"}
    sd.save_folder(root("diffusers") / "moving", scheduler=moving, unet=unet)
    folder_paths.filename_list_cache.clear()
    diffusion, report = load(model="moving/")
    wanted = unet(drawn(1, 4, 2, 8, 8), torch.tensor(7), drawn(1, 7, 64, seed=2).expand(2, -1, -1), return_dict=False)[
        0
    ]
    torch.testing.assert_close(said(diffusion), wanted, rtol=0, atol=NEAR)
    assert "up to 32 frames" in report
    assert (diffusion.backbone.noise.betas, diffusion.backbone.noise.spacing) == ("linear", "trailing")
    assert diffusion.backbone.still_noise.betas == "scaled_linear"
    assert "has motion modules already" in refusal(model="moving/", motion="mm.safetensors")


def test_two_loaders_of_the_same_files_share_one_set_of_weights(load):
    shelf = bridge("shared").SHELF
    first, _ = load(motion="mm.safetensors")
    builds = shelf.builds
    second, _ = load(motion="mm.safetensors")
    third, _ = load(motion="mm.safetensors", prediction="epsilon")
    assert shelf.builds == builds
    assert first.backbone.unet is second.backbone.unet is third.backbone.unet
    assert first.backbone.identity == second.backbone.identity == third.backbone.identity
    plain, _ = load()
    assert plain.backbone.unet is not first.backbone.unet and plain.backbone.vae is first.backbone.vae
    assert plain.backbone.identity != first.backbone.identity


def test_a_controlnet_and_a_depth_channel_see_the_depth(load):
    depth = torch.linspace(0, 1, 64).expand(2, 64, 64)
    controlled, report = load(controlnet="depth.safetensors")
    assert "ControlNet" in report and len(controlled.models()) == 4
    assert not torch.allclose(said(controlled, depth=depth), images(sd.unet()), atol=0.01)
    deep, report = load(model="deep.safetensors")
    text = drawn(1, 7, 128, seed=2)
    assert "channel of its own" in report
    first, second = (said(deep, depth=one, text=text) for one in (depth, 1 - depth))
    assert not torch.allclose(first, second, atol=0.01)


def test_what_sd2_predicts_is_found_or_chosen(load):
    diffusion, report = load(model="two.safetensors")
    assert "SD 2.x" in report and diffusion.backbone.noise.prediction == "epsilon"
    asked, report = load(model="two.safetensors", prediction="v_prediction")
    assert "predicts v" in report and asked.backbone.noise.prediction == "v_prediction"
    assert asked.backbone.identity != diffusion.backbone.identity


def test_a_vae_may_come_from_a_file_of_its_own(load, refusal):
    diffusion, _ = load(model="blind.safetensors", vae="vae.safetensors")
    assert diffusion.backbone.latent_channels == 4
    assert refusal(model="blind.safetensors").startswith("blind.safetensors comes without a VAE")


def test_a_model_without_a_text_encoder_is_loaded_and_says_so(load):
    diffusion, report = load(model="mute.safetensors")
    assert diffusion.text is None and "without a text encoder" in report
    with pytest.raises(ValueError, match="without a text encoder"), diffusion.running() as (backbone, runtime):
        backbone.encoded("a ball", runtime)


def test_latents_are_shown_by_comfyuis_own_colours_without_its_small_decoder(load):
    diffusion, _ = load()
    shown = diffusion.latent_format
    assert shown.latent_channels == 4 and shown.latent_rgb_factors and shown.taesd_decoder_name is None


@pytest.fixture
def with_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the user had chosen ComfyUI's previews of latents."""
    import latent_preview
    from comfy.cli_args import args

    method = latent_preview.LatentPreviewMethod.Latent2RGB
    monkeypatch.setattr(args, "preview_method", method)
    monkeypatch.setattr(latent_preview, "default_preview_method", method, raising=False)  # newer cores begin with it


@pytest.mark.usefixtures("with_previews")
def test_the_first_frame_of_a_clip_of_latents_is_shown(load):
    diffusion, _ = load()
    with diffusion.running() as (_, runtime):
        kind, picture, _ = runtime._latent_image(lambda: drawn(4, 3, 8, 16))
    assert kind == "JPEG" and picture.size == (16, 8)


def test_what_does_not_fit_is_refused_in_one_sentence(refusal):
    assert "SD 1.5" in refusal(model="two.safetensors", motion="mm.safetensors")
    assert "another base" in refusal(controlnet="of-two/")
    assert "one too many" in refusal(model="deep.safetensors", controlnet="of-two/")
    save(sd.original_controlnet(sd.controlnet()), root("animatediff_models") / "wrong.safetensors")
    text = refusal(motion="wrong.safetensors")
    assert text.startswith("wrong.safetensors is a ControlNet, but this input needs a set of motion modules")
    save(
        {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": torch.zeros(2)},
        root("checkpoints") / "flux.safetensors",
    )
    assert "not known here" in refusal(model="flux.safetensors")
    (root("checkpoints") / "cut.safetensors").write_bytes((root("checkpoints") / "blind.safetensors").read_bytes()[:-8])
    assert "cut off" in refusal(model="cut.safetensors")


def test_a_file_that_changed_is_loaded_anew(call, load):
    copy = root("checkpoints") / "changing.safetensors"
    shutil.copy(root("checkpoints") / "mute.safetensors", copy)
    node = of_pack("nodes.diffusion").LoadDiffusion
    before = node.fingerprint_inputs(**{**LOAD, "model": copy.name})
    assert before == node.fingerprint_inputs(**{**LOAD, "model": copy.name})
    first, _ = load(model=copy.name)
    tensors = {**sd.original_unet(sd.unet()), **sd.original_vae(sd.vae())}
    tensors["model.diffusion_model.out.2.bias"] += 1
    save(tensors, copy)
    assert before != node.fingerprint_inputs(**{**LOAD, "model": copy.name})
    second, _ = load(model=copy.name)
    torch.testing.assert_close(said(second), said(first) + 1, rtol=0, atol=NEAR)


# ------------------------------------------------------------------------------------------------------------- depth


@pytest.fixture
def depth(call: Call) -> Any:
    return returned(call("VividLoadDepth", file="small/", precision="fp32"))[0]


def test_depth_is_what_transformers_makes_of_each_frame(call, depth):
    from transformers import DPTImageProcessor

    frames = drawn(3, 45, 80, 3).sigmoid().mul(255).round().div(255)
    pictures, report = returned(call("VividEstimateDepth", depth_model=depth, frames=frames, side=140))
    module = tiny.BY_NAME["depth_anything"].make()
    processor = DPTImageProcessor(
        size={"height": 140, "width": 140},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    given = processor(list(frames.mul(255).byte().movedim(3, 1)), return_tensors="pt")["pixel_values"]
    outputs = module(given)
    found = processor.post_process_depth_estimation(outputs, [(45, 80)] * 3)
    wanted = torch.stack([one["predicted_depth"] for one in found])
    wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min())
    assert pictures.shape == frames.shape and torch.equal(pictures[..., 0], pictures[..., 2])
    torch.testing.assert_close(pictures[..., 0], wanted, rtol=0, atol=0.03)
    assert f"{given.shape[3]}x{given.shape[2]} pixels" in report


def test_a_metric_model_is_turned_round_so_that_near_is_white(call, depth):
    frames = drawn(1, 56, 56, 3).sigmoid()
    relative = depth.estimator(56).nearness(frames)
    depth.model.module.config.depth_estimation_type = "metric"
    metric = depth.estimator(56).nearness(frames)
    depth.model.module.config.depth_estimation_type = "relative"
    order = relative.flatten().argsort()
    assert metric.flatten()[order[-1]] < metric.flatten()[order[0]]


def test_a_flat_clip_is_black_and_said(call, depth):
    for parameter in depth.model.module.head.conv3.parameters():
        parameter.data.zero_()
    pictures, report = returned(
        call("VividEstimateDepth", depth_model=depth, frames=torch.zeros(2, 28, 28, 3), side=140)
    )
    assert not pictures.any() and "equally far" in report


def test_an_empty_folder_of_depth_models_is_said_before_the_run(monkeypatch):
    node, depth = of_pack("nodes.diffusion").LoadDepth, bridge("depth")
    monkeypatch.setattr(depth.engine_files, "models", lambda names: [])
    (nothing,) = depth.depth_files()
    said = node.validate_inputs(file=nothing)
    assert "Depth-Anything-V2-Small-hf" in said and "reload the page" in said
    assert node.validate_inputs(file=None) is True


def test_a_depth_model_that_is_none_is_refused(call, refusal):
    save({"own.weight": torch.zeros(1)}, root("geometry_estimation") / "own.safetensors")
    assert refusal("VividLoadDepth", file="own.safetensors", precision="auto").startswith(
        "own.safetensors holds 1 tensors"
    )


# ---------------------------------------------------------------------------------------------------------- embedded


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The embedded model with random weights, in the place of the pack's."""
    models = of_pack("vivid_core.models.embedded_sd")
    model = models.build(["a", "red", "ball"], 0)
    whole = replace(
        model,
        motion=models.new_motion(1),
        depth=models.depth_tensors(models.with_depth_channel(model.unet)),
        controlnet=models.new_controlnet(model.unet, 2),
    )
    models.save(whole, tmp_path / "embedded_sd.safetensors", {})
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "embedded_sd.safetensors")
    return models.load(tmp_path / "embedded_sd.safetensors")[0]


@pytest.mark.parametrize("kind", ["motion", "depth", "controlnet"])
def test_each_kind_of_the_embedded_model_runs_under_comfyuis_memory(load, embedded, kind):
    name = next(name for name, one in bridge("diffusion_loading").EMBEDDED.items() if one == kind)
    diffusion, report = load(model=name)
    assert "embedded" in report and "plain shapes" in report
    depth = None if kind == "motion" else torch.linspace(0, 1, 32).expand(2, 32, 32)
    latents = drawn(1, 16, 2, 8, 8)
    with diffusion.running() as (backbone, runtime):
        text = backbone.encoded("a red ball", runtime)
        with runtime.hold(*backbone.modules, activations=backbone.footprint.denoise(1, 2, 32, 32)):
            noise_of = backbone.ask(depth)(latents, 7, [text])
    assert noise_of.shape == latents.shape and len(diffusion.models()) == 3 + (kind == "controlnet")
    torch.testing.assert_close(text, embedded.encode(["a red ball"]), rtol=0, atol=NEAR)
    again, _ = load(model=name)
    assert again.backbone.unet is diffusion.backbone.unet


@pytest.mark.usefixtures("with_previews")
def test_latents_of_the_embedded_model_are_shown_in_colours_fitted_to_its_codec(load, embedded):
    diffusion, _ = load(model=next(iter(bridge("diffusion_loading").EMBEDDED)))
    red = torch.zeros(1, 32, 32, 3)
    red[..., 0] = 1
    with diffusion.running() as (backbone, runtime):
        latents = backbone.encode(red, runtime)[0]
        _, picture, _ = runtime._latent_image(lambda: latents)
    colour = torch.tensor(list(picture.convert("RGB").getdata())).float().mean(0)
    assert picture.size == (8, 8) and colour[0] > 180 and colour[1:].max() < 80


def test_an_empty_list_says_what_to_put_where(refusal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bridge("engine_files"), "models", lambda folders: [])
    monkeypatch.setattr(of_pack("vivid_core.models.embedded_sd"), "WEIGHTS", tmp_path / "gone")
    text = refusal(model="none found")
    assert text.startswith("Load Diffusion Model: there is no model in") and "checkpoint there" in text


def test_embedded_models_are_offered_where_their_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "embedded_sd.safetensors"
    monkeypatch.setattr(of_pack("vivid_core.models.embedded_sd"), "WEIGHTS", file)
    loading = bridge("diffusion_loading")
    assert loading.embedded_choices() == []
    file.touch()
    assert loading.embedded_choices() == list(loading.EMBEDDED)
