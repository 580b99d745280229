"""Load Edit Engine and Encode Prompt on tiny models of the released architectures, where users put their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import engines
from harness.engines import of_pack, returned
from harness.inprocess import Result, bridge
from harness.tokenizers import PIECES, pieces
from safetensors.torch import save_file
from torch import Tensor, nn

from vivid_core.editors.adapters.cogvideox import DELETION
from vivid_core.editors.contract import Place
from vivid_core.editors.texts import T5Text, Umt5Text
from vivid_core.models import embedded, trained_parts
from vivid_core.models.text_tokens import folder_tokenizer, of_pieces
from vivid_core.training.world.words import vocabulary

Call = Callable[..., Result]
CPU = Place()
WAN_LAYER, WAN_OWN_LAYER = "blocks.0.attn1.to_q", "blocks.0.self_attn.q"


@pytest.fixture(scope="module")
def models(comfy_base: Path) -> Iterator[Path]:
    """ComfyUI's folder of models, with tiny ones in it."""
    import folder_paths

    root = Path(folder_paths.models_dir)
    before = set(root.rglob("*"))
    engines.save_pipeline(
        root / "diffusion_models" / "tiny-fun",
        transformer=engines.cogvideox(33),
        vae=engines.cogvideox_vae(),
        text_encoder=engines.t5(),
    )
    engines.save_pipeline(root / "diffusers" / "tiny-t2v", transformer=engines.cogvideox(), vae=engines.cogvideox_vae())
    engines.save_pipeline(root / "diffusers" / "tiny-vace", transformer=engines.wan_vace(), vae=tiny_wan_vae())
    encoder = engines.umt5(PIECES)
    inside = torch.frombuffer(bytearray(pieces()), dtype=torch.uint8)
    engines.save_single(encoder, root / "text_encoders" / "umt5_xxl.safetensors", spiece_model=inside)
    engines.save_single(encoder, root / "text_encoders" / "umt5_alone.safetensors")
    engines.save_single(engines.t5(), root / "text_encoders" / "t5xxl.safetensors")
    engines.save_single(engines.cogvideox_vae(), root / "vae" / "tiny_vae.safetensors")
    for folder in ("vivid", "loras"):
        (root / folder).mkdir(exist_ok=True)
    trained_parts.save(engines.random_parts(engines.cogvideox()), root / "vivid" / "trained.safetensors")
    down, up = torch.randn(4, 48), torch.randn(48, 4)
    for name, layer in (("few_step", WAN_OWN_LAYER), ("few_step_diffusers", WAN_LAYER)):
        keys = {f"diffusion_model.{layer}.lora_A.weight": down, f"diffusion_model.{layer}.lora_B.weight": up}
        save_file(keys, root / "loras" / f"{name}.safetensors")
    yield root
    for path in sorted(set(root.rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder_paths.filename_list_cache.clear()


def tiny_wan_vae() -> Any:
    from diffusers import AutoencoderKLWan

    return engines.made(lambda: AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1))


@pytest.fixture
def load(call: Call, models: Path) -> Callable[..., Any]:
    return lambda **choices: engines.engine(call, **choices)


@pytest.fixture
def refused(call: Call, models: Path) -> Callable[..., str]:
    """The one sentence with which Load Edit Engine refuses."""

    def sentence(**choices: Any) -> str:
        kind, text = call("VividLoadEngine", **{**engines.CHOICES, **choices}).exception
        assert kind == "ValueError" and text.endswith(".") and "\n" not in text, f"{kind}: {text}"
        return text

    return sentence


# ------------------------------------------------------------------------------------------------ finding the files


def test_the_list_has_folders_and_files_and_nothing_inside_a_folder(models: Path) -> None:
    listed = bridge("engine_files").models()
    assert {"tiny-fun/", "tiny-t2v/", "tiny-vace/", "trained.safetensors"} <= set(listed)
    assert not any("transformer" in name for name in listed)


def test_a_diffusers_folder_finds_its_parts_alone(load: Callable[..., Any], models: Path) -> None:
    made = load(model="tiny-fun/")
    assert made.adapter.traits.name == "cogvideox_fun" and len(made.get_models()) == 3
    for managed, plain in ((made.transformer, engines.cogvideox(33)), (made.vae, engines.cogvideox_vae())):
        state = managed.module.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in plain.state_dict().items())
    with made.running() as (core, runtime):
        encoded = core.encoded("a red ring", runtime)
    tokenizer = folder_tokenizer(bridge("tokenizers").comfys_t5())
    assert torch.equal(encoded, T5Text(engines.t5(), tokenizer, 226).encode(["a red ring"], CPU))


def test_the_report_says_what_was_loaded_and_what_the_model_likes(call: Call, models: Path) -> None:
    _, report = returned(call("VividLoadEngine", **{**engines.CHOICES, "model": "tiny-fun/", "precision": "bf16"}))
    for words in ("CogVideoX-Fun InP", "kept in bfloat16", "Memory: ", "up to 49 frames", "8 frames a second", "box"):
        assert words in report, report


def test_engines_of_one_file_share_its_weights(load: Callable[..., Any]) -> None:
    first, second = load(model="tiny-fun/"), load(model="tiny-fun/", lora="none", lora_strength=0.5)
    assert first.transformer.module is second.transformer.module and first.vae.module is second.vae.module
    tiled = load(model="tiny-fun/", tiled_vae=True)
    assert tiled.vae.module is not first.vae.module
    assert tiled.vae.module.use_tiling and not first.vae.module.use_tiling
    assert tiled.footprint.decode(1, 49, 480, 720) < 0.5 * first.footprint.decode(1, 49, 480, 720)
    assert len({first.identity, tiled.identity, load(model="tiny-fun/", precision="bf16").identity}) == 3


def test_a_family_stays_in_fp32_where_its_own_library_keeps_it(load: Callable[..., Any]) -> None:
    made = load(model="tiny-vace/", precision="bf16")
    module, wide = made.transformer.module, set(type(engines.wan_vace())._keep_in_fp32_modules)
    assert wide
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == (torch.float32 if wide & set(name.split(".")) else torch.bfloat16), name


@pytest.mark.parametrize(
    "choices",
    [
        {"model": "tiny-fun/"},
        {"model": "tiny-t2v/", "lora": "trained.safetensors", "text_encoder": "t5xxl.safetensors"},
        {"model": "tiny-vace/", "text_encoder": "umt5_xxl.safetensors"},
    ],
    ids=["Fun", "VIVID", "VACE"],
)
def test_every_family_edits_a_frame_and_carries_it(
    call: Call, load: Callable[..., Any], choices: dict[str, Any]
) -> None:
    made = load(**choices)
    frames, mask = engines.clip(5, 64), torch.zeros(5, 64, 64)
    mask[:, 20:36, 20:36] = 1
    inputs = {"engine": made, "frames": frames, "mask": mask, **engines.texts(call, made)}
    settings = {**engines.RUN, "steps": 1, "crop": "fast"}
    image, keys, _ = returned(call("VividEditKeyframe", **inputs, **settings, frame=0))
    settings = {**engines.CLIP_RUN, **settings}
    propagated, blend, _ = returned(call("VividPropagate", **inputs, **settings, keyframes=keys))
    assert torch.equal(propagated[0], image[0]) and bool(torch.isfinite(propagated).all())
    assert torch.equal(propagated[blend == 0], frames[blend == 0])
    assert not torch.equal(propagated[mask > 0.5], frames[mask > 0.5])


# ------------------------------------------------------------------------------------------------------------ LoRAs


def latents_of(made: Any) -> Tensor:
    """What an engine's transformer predicts from fixed noise and text."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(1, 2, 16, 8, 12, generator=generator)
    condition = torch.randn(1, 2, 17, 8, 12, generator=generator)
    text = torch.randn(1, 226, engines.WIDTH, generator=generator)
    with made.running() as (core, runtime), torch.inference_mode(), runtime.hold(core.transformer):
        predict = core.adapter.predictor(core.transformer, condition, text, None, core.place)
        return predict(noise, torch.tensor([500]), (True,))


def plainly(parts: trained_parts.TrainedParts, strength: float) -> nn.Module:
    """The same parts merged into a transformer by hand."""
    module = engines.cogvideox()
    trained_parts.put_projection(parts, module)
    trained_parts.merge_lora(parts, module, strength)
    return module


def test_a_text_to_video_model_can_be_trained_and_is_refused_by_the_editors(load: Callable[..., Any]) -> None:
    made = load(model="tiny-t2v/", text_encoder="t5xxl.safetensors")
    assert made.engine().adapter.traits.name == "vivid" and "sees no mask" in made.report()
    assert made.transformer.module.config.in_channels == 33
    with bridge("memory").loaded(made.transformer):
        assert not made.transformer.module.patch_embed.proj.weight[:, 16:].any()
    with pytest.raises(ValueError, match="sees no mask: choose the trained parts of VIVID"), made.running():
        pass


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_trained_parts_make_a_text_to_video_model_edit(load: Callable[..., Any], models: Path, strength: float) -> None:
    made = load(model="tiny-t2v/", lora="trained.safetensors", lora_strength=strength, precision="fp32")
    assert made.adapter.traits.name == "vivid"
    expected = latents_of(of_one(made, plainly(trained_parts.load(models / "vivid" / "trained.safetensors"), strength)))
    said = latents_of(made)
    assert float((said - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def of_one(made: Any, module: nn.Module) -> Any:
    """`made` with another transformer, under ComfyUI's memory as well."""
    import dataclasses

    return dataclasses.replace(made, transformer=bridge("patcher").manage(module, role="denoiser"))


def test_two_trainings_of_one_base_share_its_weights_and_nothing_else(load: Callable[..., Any], models: Path) -> None:
    other = engines.random_parts(engines.cogvideox(), seed=9)
    trained_parts.save(other, models / "vivid" / "other.safetensors")
    import folder_paths

    folder_paths.filename_list_cache.clear()
    first, second = (
        load(model="tiny-t2v/", lora=f"{name}.safetensors", precision="fp32") for name in ("trained", "other")
    )
    assert first.transformer.module is second.transformer.module
    before, between, after = latents_of(first), latents_of(second), latents_of(first)
    assert torch.equal(before, after) and not torch.allclose(before, between, atol=1e-3)


def test_trained_parts_of_the_embedded_model_change_what_it_says(
    call: Call, load: Callable[..., Any], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    import folder_paths

    model = embedded.build(vocabulary(), seed=0)
    parts = dataclasses.replace(engines.random_parts(model.transformer), mask_encoding="pool")
    trained_parts.save(parts, models / "vivid" / "heart.safetensors")
    folder_paths.filename_list_cache.clear()
    path = engines.save_embedded(tmp_path / "embedded_vivid.safetensors")
    monkeypatch.setattr(of_pack("vivid_core.models.embedded"), "WEIGHTS", path)
    made = load(lora="heart.safetensors")
    assert made.adapter.traits.name == "embedded"
    expected, _ = embedded.load(path)
    trained_parts.put_projection(parts, expected.transformer)
    trained_parts.merge_lora(parts, expected.transformer)
    state = expected.transformer.state_dict()
    with made.running() as (core, runtime), torch.inference_mode(), runtime.hold(core.transformer):
        for name, tensor in core.transformer.state_dict().items():
            assert torch.allclose(tensor, state[name], atol=1e-5), name


def test_a_few_step_lora_in_wans_own_names_is_the_one_in_diffusers_names(load: Callable[..., Any]) -> None:
    weight = "diffusion_model.blocks.0.attn1.to_q.weight"
    own, theirs = (
        load(model="tiny-vace/", lora=f"{name}.safetensors", precision="fp32")
        for name in ("few_step", "few_step_diffusers")
    )
    assert "1 of 1 updates in use" in own.report()
    patched = []
    for made in (own, theirs):
        with made.running() as (core, runtime), torch.inference_mode(), runtime.hold(core.transformer):
            patched.append(core.transformer.get_parameter(weight.removeprefix("diffusion_model.")).clone())
    assert torch.equal(*patched)
    assert not torch.allclose(patched[0], engines.wan_vace().get_parameter(weight.removeprefix("diffusion_model.")))


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"model": "trained.safetensors"}, "a LoRA and no model"),
        ({"model": "tiny-fun/", "vae": "wan_vae"}, "is a Wan VAE, but this input needs a CogVideoX VAE"),
        (
            {"model": "tiny-fun/", "text_encoder": "umt5_xxl.safetensors"},
            "is a UMT5 text encoder, but",
        ),
        ({"model": "tiny-vace/", "text_encoder": "umt5_alone.safetensors"}, "comes without a tokenizer"),
        ({"model": "tiny-vace/", "lora": "trained.safetensors"}, "leave them out"),
        ({"model": "tiny-fun/", "lora": "few_step.safetensors"}, "made for another model"),
        ({"model": "alone"}, "comes without a VAE: choose a CogVideoX VAE in the input vae"),
        ({"model": "half"}, "missing"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_does_not_belong_together_gets_one_sentence(
    refused: Callable[..., str], models: Path, choices: dict[str, Any], words: str
) -> None:
    import folder_paths

    whole = engines.cogvideox(33)
    if choices.get("vae") == "wan_vae":
        engines.save_single(tiny_wan_vae(), models / "vae" / "wan_vae.safetensors")
        choices = {**choices, "vae": "wan_vae.safetensors"}
    if choices["model"] in ("alone", "half"):
        folder = models / "diffusion_models" / choices["model"]
        whole.save_pretrained(folder)
        if choices["model"] == "half":
            file = folder / "diffusion_pytorch_model.safetensors"
            state = {key: tensor for key, tensor in whole.state_dict().items() if "transformer_blocks.1" not in key}
            save_file(state, file)
        choices = {**choices, "model": choices["model"] + "/"}
    folder_paths.filename_list_cache.clear()
    assert words in refused(**choices)


def test_a_file_that_is_gone_is_named(load: Callable[..., Any], models: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.safetensors is not in .*: put it there, or choose one that is\."):
        bridge("engine_files").path_of("gone.safetensors", "diffusion_models", "vivid")


@pytest.mark.parametrize("name", ("../vae/", "tiny-fun/../../vae/", "/"))
def test_names_that_lead_out_of_the_model_folders_are_refused(models: Path, name: str) -> None:
    with pytest.raises(ValueError, match="choose one that is"):
        bridge("engine_files").path_of(name, "diffusion_models")
    with pytest.raises(ValueError, match="choose one that is"):
        bridge("engine_files").path_of(f"{models}/", "diffusion_models")


def test_an_engine_is_loaded_again_when_a_file_in_its_folder_changes(models: Path) -> None:
    node = of_pack("nodes.engine").LoadEngine
    chosen = {**engines.CHOICES, "model": "tiny-fun/"}
    before = node.fingerprint_inputs(**chosen)
    weights = next((models / "diffusion_models" / "tiny-fun" / "transformer").glob("*.safetensors"))
    os.utime(weights, (1, 1))
    assert before == before and node.fingerprint_inputs(**chosen) != before
    assert node.fingerprint_inputs(**{**chosen, "model": None}) is None, "ComfyUI asks before linked nodes have run"


# ------------------------------------------------------------------------------------------------------------- texts


def encode(call: Call, made: Any, text: str = "a red ring", task: str = "modify", **more: Any) -> list[Tensor]:
    inputs = {"engine": made, "text": text, "task": task, "negative": "", **more}
    return [one[0][0] for one in returned(call("VividEncodePrompt", **inputs))]


def refusal(call: Call, made: Any, **inputs: Any) -> str:
    inputs = {"engine": made, "text": "a red ring", "task": "modify", "negative": "", **inputs}
    kind, text = call("VividEncodePrompt", **inputs).exception
    assert kind == "ValueError", f"{kind}: {text}"
    return text


def native(name: str, encoder: nn.Module, **tokenizer_data: Any) -> Any:
    """A CLIP as ComfyUI's loader makes it of t5xxl or umt5xxl, with tiny weights."""
    from types import SimpleNamespace

    import comfy.sd
    import comfy.text_encoders.flux
    import comfy.text_encoders.lt
    import comfy.text_encoders.sd3_clip
    import comfy.text_encoders.wan

    encoders = comfy.text_encoders
    made = {
        "sd3": lambda: (
            encoders.sd3_clip.sd3_clip(clip_l=False, clip_g=False, t5=True),
            encoders.sd3_clip.SD3Tokenizer,
        ),
        "ltxv": lambda: (encoders.lt.ltxv_te(), encoders.lt.LTXVT5Tokenizer),
        "wan": lambda: (encoders.wan.te(), encoders.wan.WanT5Tokenizer),
    }[name]()
    config = {name: engines.TEXT[name] for name in ("d_model", "d_kv", "d_ff", "num_layers", "num_heads")}
    config["vocab_size"] = encoder.config.vocab_size
    options = {"dtype": torch.float32, **{f"{key}_model_config": config for key in ("t5xxl", "umt5xxl", "")}}
    target = SimpleNamespace(params={}, clip=made[0], tokenizer=made[1])
    clip = comfy.sd.CLIP(target, tokenizer_data=tokenizer_data, model_options=options)
    inner = getattr(clip.cond_stage_model, "umt5xxl" if name == "wan" else "t5xxl")
    inner.transformer.load_state_dict(encoder.state_dict(), strict=False)
    return clip


@pytest.mark.parametrize("kind", ["sd3", "ltxv"])
def test_a_native_t5_gives_the_familys_own_embedding_whatever_its_type(
    call: Call, load: Callable[..., Any], kind: str
) -> None:
    made = load(model="tiny-fun/")
    own = encode(call, made, negative="blurred")
    by_clip = encode(call, made, negative="blurred", clip=native(kind, engines.t5()))
    for theirs, ours in zip(by_clip, own):
        assert ours.shape == (1, 226, engines.WIDTH)
        assert float((theirs - ours).abs().max()) <= 1e-5 * float(ours.abs().max())


def test_a_native_umt5_gives_the_familys_own_embedding(call: Call, load: Callable[..., Any]) -> None:
    made = load(model="tiny-vace/", text_encoder="umt5_xxl.safetensors")
    inside = torch.frombuffer(bytearray(pieces()), dtype=torch.uint8)
    own = encode(call, made, negative="ein Haus")
    expected = Umt5Text(engines.umt5(PIECES), of_pieces(pieces())).encode(["a red ring", "ein Haus"], CPU)
    by_clip = encode(call, made, negative="ein Haus", clip=native("wan", engines.umt5(PIECES), spiece_model=inside))
    for theirs, ours, plain in zip(by_clip, own, expected):
        assert ours.shape == (1, 512, engines.WIDTH) and torch.equal(ours[0], plain)
        assert float((theirs - ours).abs().max()) <= 1e-5 * float(ours.abs().max())


def test_a_native_clip_without_the_familys_encoder_gets_one_sentence(call: Call, load: Callable[..., Any]) -> None:
    made = load(model="tiny-vace/", text_encoder="none (use CLIP)")
    assert "this CLIP holds no umt5xxl" in refusal(call, made, clip=native("sd3", engines.t5()))
    assert "was loaded without a text encoder" in refusal(call, made)


def test_each_task_is_told_in_the_familys_words(
    call: Call, load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    vace = load(model="tiny-vace/", text_encoder="umt5_xxl.safetensors")
    assert "write what must be seen" in refusal(call, vace, text=" ")
    assert "describe what is behind" in refusal(call, vace, text="", task="remove")
    vivid = load(model="tiny-t2v/", lora="trained.safetensors", text_encoder="t5xxl.safetensors")
    removing, written = (encode(call, vivid, text, task)[0] for text, task in (("", "remove"), (DELETION, "modify")))
    assert torch.equal(removing, written)


@pytest.fixture
def embedded_engine(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = engines.save_embedded(tmp_path / "embedded_vivid.safetensors")
    monkeypatch.setattr(of_pack("vivid_core.models.embedded"), "WEIGHTS", path)
    return engines.engine(call)


def test_words_that_the_embedded_model_never_saw_are_named(
    call: Call, embedded_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="vivid"):
        encode(call, embedded_engine, "a red zeppelin")
    assert "can't follow them: zeppelin" in caplog.text
    assert "understands only its own text encoder" in refusal(call, embedded_engine, clip=native("sd3", engines.t5()))


def test_the_embedded_model_is_in_comfyuis_memory_like_every_other(call: Call, embedded_engine: Any) -> None:
    import comfy.model_management

    again = engines.engine(call)
    assert again.transformer.module is embedded_engine.transformer.module
    encode(call, embedded_engine)
    held = [entry.model.model for entry in comfy.model_management.current_loaded_models]
    assert embedded_engine.text.host in held
    assert [model.role for model in (again.transformer, again.vae, again.text)] == ["denoiser", "vae", "text_encoder"]


def test_a_file_is_loaded_once_until_it_is_written_over(load: Callable[..., Any], models: Path) -> None:
    import folder_paths

    path = engines.save_embedded(models / "vivid" / "retrained.safetensors", seed=1)
    folder_paths.filename_list_cache.clear()
    first, second = (load(model="retrained.safetensors") for _ in range(2))
    assert first is second, "ComfyUI keeps what a node gave while its inputs stay"
    engines.save_embedded(path, seed=2)
    third = load(model="retrained.safetensors")
    assert third.identity != first.identity
    assert not torch.equal(*(made.transformer.module.proj_out.weight for made in (first, third)))


def test_another_model_of_the_embedded_kind_can_be_chosen(load: Callable[..., Any], models: Path) -> None:
    import folder_paths

    engines.save_embedded(models / "vivid" / "own_world.safetensors", seed=4)
    folder_paths.filename_list_cache.clear()
    made = load(model="own_world.safetensors", precision="bf16", vae="tiny_vae.safetensors", tiled_vae=True)
    assert made.adapter.traits.name == "embedded" and "always computes in fp32" in made.report()
    assert "of its own: vae, tiled_vae not used." in made.report()
