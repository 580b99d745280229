"""Families of models: a file's own keys and shapes say what it is, and the module made from it computes the same.

The oracles are the real classes of diffusers, transformers and sam2: tiny ones that run, and released sizes on the meta
device, of which only the header is made.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import tiny
from harness.tiny import noise, step
from safetensors.torch import save_file
from torch import Tensor, nn

from vivid_core.models.cogvideox import latent_scale
from vivid_core.models.families import FAMILIES, Family, check_family, detect, empty, fill, open_family
from vivid_core.models.family import from_diffusers
from vivid_core.models.files import TensorInfo, WeightFiles, open_weights, read_tensors

BY_NAME = {family.name: family for family in FAMILIES}
BUILT = [model for model in tiny.MODELS if model.name != "sam2"]  # has no config.json of its own: test_sam2_models.py
FAMILY_OF = {"t5": "t5_encoder"}  # the harness calls it otherwise
CPU = torch.device("cpu")
INFERRED = ("cogvideox", "cogvideox_vae", "t5_encoder", "umt5", "wan_vace", "wan_vae")

tiny_models = pytest.mark.parametrize("model", BUILT, ids=lambda model: model.name)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def loaded(path: Path, name: str) -> nn.Module:
    files, family = open_family(path, {name})
    module = empty(family, family.config(files))
    fill(module, family.convert(read_tensors(files)), path.name)
    return in_own_memory(module)


def in_own_memory(module: nn.Module) -> nn.Module:
    """The module with copies of its weights: a tensor of a file may begin anywhere, one of torch's begins at a multiple
    of 64 bytes, and the CPU's convolutions and products round differently for the two."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    return module


def save_single(module: nn.Module, path: Path, drop: tuple[str, ...] = ()) -> Path:
    save_file({name: one.contiguous() for name, one in module.state_dict().items() if name not in drop}, path)
    return path


def header(tensors: Mapping[str, Tensor], config: dict[str, Any] | None = None, name: str = "own") -> WeightFiles:
    """Files of which there is only the header."""
    path = Path(f"{name}.safetensors")
    infos = {key: TensorInfo(one.dtype, tuple(one.shape), one.nbytes) for key, one in tensors.items()}
    return WeightFiles(path, (path,), infos, {}, config)


def shaken(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module.eval().requires_grad_(False)


def refusal(name: str, call: Any, *arguments: Any) -> str:
    """The one sentence with which something is refused; it must begin with the file's name."""
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.startswith(name) and text.endswith(".") and "\n" not in text, text
    return text


def assert_same_module(first: nn.Module, second: nn.Module) -> None:
    """The same class, weights and buffers (those too that no file holds)."""
    assert type(first) is type(second)
    for kind in ("named_parameters", "named_buffers"):
        ours, theirs = dict(getattr(first, kind)()), dict(getattr(second, kind)())
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name


# ------------------------------------------------------------------------------- folders with config.json, as saved


@tiny_models
@pytest.mark.parametrize("dtype", tiny.FP32_AND_BF16)
def test_a_saved_folder_gives_the_same_module_and_output(tmp_path, model, dtype):
    saved = model.make(dtype)
    saved.save_pretrained(tmp_path / "own")
    ours = loaded(tmp_path / "own", FAMILY_OF.get(model.name, model.name))
    assert_same_module(ours, saved)
    assert not ours.training and not any(parameter.requires_grad for parameter in ours.parameters())
    assert torch.equal(model.run(ours, dtype, CPU), model.run(saved, dtype, CPU))


@tiny_models
def test_a_sharded_folder_gives_the_same_output(tmp_path, model):
    saved = model.make()
    saved.save_pretrained(tmp_path / "own", max_shard_size="60KB")
    assert len(open_weights(tmp_path / "own").parts) > 2
    ours = loaded(tmp_path / "own", FAMILY_OF.get(model.name, model.name))
    assert torch.equal(model.run(ours, torch.float32, CPU), model.run(saved, torch.float32, CPU))


@tiny_models
def test_a_config_of_another_class_is_refused(tmp_path, model):
    model.make().save_pretrained(tmp_path / "own")
    config = json.loads((tmp_path / "own" / "config.json").read_text())
    config.update({"_class_name": "FluxTransformer2DModel"} if "_class_name" in config else {"architectures": ["Bert"]})
    (tmp_path / "own" / "config.json").write_text(json.dumps(config))
    files = open_weights(tmp_path / "own")
    family = detect(files)
    text = refusal("own", family.config, files)
    assert family.label in text and ("FluxTransformer2DModel" in text or "Bert" in text)


def test_depth_anything_is_read_under_the_names_of_files_and_of_modules(tmp_path):
    saved = tiny.BY_NAME["depth_anything"].make()
    saved.save_pretrained(tmp_path / "own")  # under the names of the released files, whatever the module's own are
    assert "backbone.encoder.layer.0.attention.attention.query.weight" in open_weights(tmp_path / "own").tensors
    assert_same_module(loaded(tmp_path / "own", "depth_anything"), saved)
    save_single(saved, tmp_path / "own" / "model.safetensors")
    assert_same_module(loaded(tmp_path / "own", "depth_anything"), saved)


# ------------------------------------------------------------------------- single files: the shapes tell the settings

COGVIDEOX = {
    "num_attention_heads": 2,
    "time_embed_dim": 32,
    "text_embed_dim": 48,
    "num_layers": 2,
    "use_rotary_positional_embeddings": True,
}
COGVIDEOX_KINDS = {
    "text to video": {},
    "image to video by concatenation": {"in_channels": 32},
    "Fun inpainting": {"in_channels": 33},
    "Fun control": {"in_channels": 48, "out_channels": 8},
    "without biases": {"attention_bias": False, "patch_bias": False},
    "wide patches": {"patch_size": 4},
    "1.5": {"patch_size_t": 2, "sample_width": 300, "sample_height": 300, "sample_frames": 81},
    "1.5 image to video": {
        "patch_size_t": 2,
        "in_channels": 32,
        "ofs_embed_dim": 32,
        "sample_width": 300,
        "sample_height": 300,
        "sample_frames": 81,
    },
}


def cogvideox(**changes: Any) -> nn.Module:
    from diffusers import CogVideoXTransformer3DModel

    return shaken(CogVideoXTransformer3DModel(**{**COGVIDEOX, **changes}))


def run_cogvideox(module: nn.Module) -> Tensor:
    config = module.config
    side, pixels, latent_frames = 8, config.patch_size, config.patch_size_t or 1
    angles = noise(4 // latent_frames * (side // pixels) ** 2, 64, dtype=torch.float32, device=CPU, seed=3)
    return module(
        hidden_states=noise(1, 4, config.in_channels, side, side, dtype=torch.float32, device=CPU),
        encoder_hidden_states=noise(1, 10, config.text_embed_dim, dtype=torch.float32, device=CPU, seed=2),
        timestep=step(CPU),
        ofs=torch.full((1,), 2.0) if config.ofs_embed_dim else None,
        image_rotary_emb=(angles.cos(), angles.sin()),
        return_dict=False,
    )[0]


def assert_same_settings(ours: nn.Module, theirs: nn.Module, but: tuple[str, ...] = ()) -> None:
    """All settings of a diffusers model, those that were left at their defaults too."""
    first, second = (
        {name: list(value) if isinstance(value, tuple) else value for name, value in one.config.items()}
        for one in (ours, theirs)
    )
    for name in second.keys() - set(but):
        assert name.startswith("_") or first[name] == second[name], name


@pytest.mark.parametrize("kind", COGVIDEOX_KINDS)
def test_the_shapes_of_a_cogvideox_transformer_tell_its_settings(tmp_path, kind):
    saved = cogvideox(**COGVIDEOX_KINDS[kind])
    ours = loaded(save_single(saved, tmp_path / "own.safetensors"), "cogvideox")
    assert_same_settings(ours, saved)
    assert torch.equal(run_cogvideox(ours), run_cogvideox(saved))


def test_learned_positions_of_a_cogvideox_transformer_are_taken_from_the_file(tmp_path):
    saved = cogvideox(num_attention_heads=1, num_layers=1, in_channels=32, use_learned_positional_embeddings=True)
    saved.patch_embed.pos_embedding += 1  # or the computed table would do as well
    ours = loaded(save_single(saved, tmp_path / "own.safetensors"), "cogvideox")
    assert_same_settings(ours, saved)
    assert_same_module(ours, saved)


def test_the_shapes_of_the_cogvideox_vae_tell_its_settings(tmp_path):
    from diffusers import AutoencoderKLCogVideoX

    saved = shaken(AutoencoderKLCogVideoX(block_out_channels=(32, 64, 32, 96), latent_channels=6, layers_per_block=2))
    ours = loaded(save_single(saved, tmp_path / "own.safetensors"), "cogvideox_vae")
    assert_same_settings(ours, saved)
    video = noise(1, 3, 5, 16, 16, dtype=torch.float32, device=CPU)
    first, second = (one.encode(video).latent_dist.mode() for one in (ours, saved))
    assert torch.equal(first, second)
    assert torch.equal(*(one.decode(second, return_dict=False)[0] for one in (ours, saved)))


WAN = {
    "num_attention_heads": 2,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 96,
    "num_layers": 4,
    "vace_layers": [0, 2],
    "vace_in_channels": 24,
}


def wan(**changes: Any) -> nn.Module:
    from diffusers import WanVACETransformer3DModel

    return shaken(WanVACETransformer3DModel(**{**WAN, **changes}))


def run_wan(module: nn.Module) -> Tensor:
    image = module.config.image_dim
    return module(
        hidden_states=noise(1, 16, 2, 8, 8, dtype=torch.float32, device=CPU),
        timestep=step(CPU),
        encoder_hidden_states=noise(1, 512, 32, dtype=torch.float32, device=CPU, seed=2),
        encoder_hidden_states_image=noise(1, 9, image, dtype=torch.float32, device=CPU, seed=4) if image else None,
        control_hidden_states=noise(1, 24, 2, 8, 8, dtype=torch.float32, device=CPU, seed=3),
        return_dict=False,
    )[0]


@pytest.mark.parametrize(
    "changes",
    [{}, {"vace_layers": [0, 1, 2, 3], "cross_attn_norm": False}, {"image_dim": 40, "added_kv_proj_dim": 256}],
    ids=["text", "every layer", "image"],
)
def test_the_shapes_of_a_wan_vace_transformer_tell_its_settings(tmp_path, changes):
    saved = wan(**changes)
    ours = loaded(save_single(saved, tmp_path / "own.safetensors"), "wan_vace")
    assert_same_settings(ours, saved)
    assert_same_module(ours, saved)
    assert torch.equal(run_wan(ours), run_wan(saved))


T5 = {"vocab_size": 200, "d_model": 64, "d_kv": 24, "d_ff": 128, "num_layers": 3, "num_heads": 4}
TABLE, TWIN = "shared.weight", "encoder.embed_tokens.weight"


def t5(**changes: Any) -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    return shaken(T5EncoderModel(T5Config(**{**T5, "feed_forward_proj": "gated-gelu", **changes})))


def run_t5(module: nn.Module) -> Tensor:
    return module(torch.arange(200)[None]).last_hidden_state  # longer than the 128 up to which distances count


def same_settings_t5(ours: nn.Module, theirs: nn.Module) -> bool:
    names = (*T5, "feed_forward_proj", "layer_norm_epsilon", "dense_act_fn", "is_gated_act")
    names = (*names, "relative_attention_num_buckets", "relative_attention_max_distance")
    return all(getattr(ours.config, name) == getattr(theirs.config, name) for name in names)


@pytest.mark.parametrize("drop", [(TWIN,), (TABLE,), ()], ids=["ComfyUI's", "other table", "both tables"])
@pytest.mark.parametrize("changes", [{}, {"feed_forward_proj": "relu", "relative_attention_num_buckets": 16}])
def test_the_shapes_of_a_t5_encoder_tell_its_settings(tmp_path, drop, changes):
    saved = t5(**changes)
    tensors = {name: one.clone() for name, one in saved.state_dict().items() if name not in drop}
    save_file(tensors, tmp_path / "t5xxl.safetensors")
    ours = loaded(tmp_path / "t5xxl.safetensors", "t5_encoder")
    assert same_settings_t5(ours, saved)
    assert ours.get_parameter(TABLE) is ours.get_parameter(TWIN)
    assert torch.equal(run_t5(ours), run_t5(saved))


def test_the_decoder_of_a_whole_t5_is_left_in_the_file(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    whole = shaken(T5ForConditionalGeneration(T5Config(**T5, num_decoder_layers=1, tie_word_embeddings=False)))
    save_file({name: one.clone() for name, one in whole.state_dict().items()}, tmp_path / "own.safetensors")
    ours = loaded(tmp_path / "own.safetensors", "t5_encoder")
    assert torch.equal(run_t5(ours), whole.encoder(torch.arange(200)[None]).last_hidden_state)


def test_a_plain_fp8_text_encoder_keeps_its_bytes(tmp_path):
    saved = t5().to(torch.float8_e4m3fn)
    ours = loaded(save_single(saved, tmp_path / "own.safetensors", (TWIN,)), "t5_encoder")
    assert all(parameter.dtype == torch.float8_e4m3fn for parameter in ours.parameters())
    mine, theirs = ours.state_dict(), saved.state_dict()
    assert all(torch.equal(mine[name].view(torch.uint8), theirs[name].view(torch.uint8)) for name in theirs)


# ---------------------------------------------------------------------------------- released sizes, by header alone

SIZE_1_5 = {"sample_width": 300, "sample_height": 300, "sample_frames": 81, "patch_size_t": 2}
FIVE_B = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
WAN_COMMON = {"text_dim": 4096, "freq_dim": 256, "in_channels": 16, "out_channels": 16, "vace_in_channels": 96}
RELEASED = {
    "CogVideoX-2b": ("cogvideox", {"num_attention_heads": 30, "num_layers": 30}),
    "CogVideoX-5b": ("cogvideox", FIVE_B),
    "CogVideoX-5b-I2V": ("cogvideox", {**FIVE_B, "in_channels": 32, "use_learned_positional_embeddings": True}),
    "CogVideoX1.5-5B": ("cogvideox", {**FIVE_B, **SIZE_1_5}),
    "CogVideoX1.5-5B-I2V": ("cogvideox", {**FIVE_B, **SIZE_1_5, "in_channels": 32, "ofs_embed_dim": 512}),
    "CogVideoX-Fun-V1.1-5b-InP": ("cogvideox", {**FIVE_B, "in_channels": 33}),
    "CogVideoX VAE": ("cogvideox_vae", {}),
    "Wan2.1-VACE-1.3B": (
        "wan_vace",
        {
            **WAN_COMMON,
            "num_attention_heads": 12,
            "ffn_dim": 8960,
            "num_layers": 30,
            "vace_layers": list(range(0, 30, 2)),
        },
    ),
    "Wan2.1-VACE-14B": (
        "wan_vace",
        {
            **WAN_COMMON,
            "num_attention_heads": 40,
            "ffn_dim": 13824,
            "num_layers": 40,
            "vace_layers": list(range(0, 40, 5)),
        },
    ),
}
PARAMETERS = {"CogVideoX-2b": 1.69e9, "CogVideoX-5b": 5.57e9, "Wan2.1-VACE-1.3B": 2.15e9}  # so the shapes are real


@pytest.mark.parametrize("release", RELEASED)
def test_the_header_of_a_release_tells_its_settings(release):
    name, settings = RELEASED[release]
    released = empty(BY_NAME[name], settings)
    assert all(parameter.is_meta for parameter in released.parameters())
    files = header(released.state_dict())
    family = detect(files)
    assert family.name == name
    assert_same_settings(empty(family, family.config(files)), released)
    if release in PARAMETERS:
        total = sum(parameter.numel() for parameter in released.parameters())
        assert total == pytest.approx(PARAMETERS[release], rel=0.01)


def test_the_header_of_t5_xxl_tells_its_settings():
    settings = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    family = BY_NAME["t5_encoder"]
    released = empty(family, {**settings, "feed_forward_proj": "gated-gelu"})
    files = header(released.state_dict())
    assert detect(files) is family
    assert same_settings_t5(empty(family, family.config(files)), released)


def test_the_scale_of_the_latents_follows_the_transformer():
    for release, scale in {"CogVideoX-2b": 1.15258426, "CogVideoX-5b": 0.7, "CogVideoX1.5-5B": 0.7}.items():
        assert latent_scale(RELEASED[release][1]) == scale


# ----------------------------------------------------------------------------------------------------- empty modules


@tiny_models
def test_an_empty_module_has_no_weights_but_all_its_buffers(tmp_path, model):
    saved = model.make()
    saved.save_pretrained(tmp_path / "own")
    files = open_weights(tmp_path / "own")
    family = detect(files)
    with torch.inference_mode():
        module = empty(family, family.config(files))
    assert all(parameter.is_meta and not parameter.requires_grad for parameter in module.parameters())
    assert not any(buffer.is_meta or buffer.is_inference() for buffer in module.buffers())
    assert [*dict(module.named_parameters(remove_duplicate=False))] == [
        *dict(saved.named_parameters(remove_duplicate=False))
    ]


def test_modules_that_another_thread_builds_meanwhile_keep_their_weights():
    built: list[nn.Module] = []

    def build(config: Mapping[str, Any]) -> nn.Module:
        other = threading.Thread(target=lambda: built.append(nn.Linear(2, 2)))
        other.start()
        other.join()
        return nn.Linear(2, 2)

    family = Family("own", "own", "denoiser", "", lambda tensors: True, lambda files: {}, build)
    assert empty(family, {}).weight.is_meta
    assert not built[0].weight.is_meta and not nn.Linear(2, 2).weight.is_meta


def test_filling_takes_the_tensors_themselves(tmp_path):
    saved = cogvideox()
    files = open_weights(save_single(saved, tmp_path / "own.safetensors"))
    family = detect(files)
    tensors = read_tensors(files)
    module = empty(family, family.config(files))
    fill(module, tensors, "own")
    held = module.state_dict()
    assert all(held[name].data_ptr() == tensor.data_ptr() for name, tensor in tensors.items())
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None


def test_settings_that_make_no_module_are_refused():
    with pytest.raises(ValueError, match="The settings make no CogVideoX transformer .*put the config.json"):
        empty(BY_NAME["cogvideox"], {"num_attention_heads": "many"})


# ---------------------------------------------------------------------------------------------- what doesn't fit


def test_tensors_that_do_not_fit_are_counted_and_named():
    saved = cogvideox()
    family, tensors = BY_NAME["cogvideox"], dict(saved.state_dict())
    settings = family.config(header(tensors))
    for name in ("norm_final.weight", "norm_final.bias", "proj_out.weight", "proj_out.bias"):
        del tensors[name]
    tensors["own.weight"] = torch.zeros(3)
    tensors["patch_embed.proj.bias"] = torch.zeros(7)
    text = refusal("own.safetensors doesn't fit", fill, empty(family, settings), tensors, "own.safetensors")
    assert "4 missing (norm_final.weight, norm_final.bias, proj_out.weight, ...)" in text
    assert "1 unknown (own.weight)" in text
    assert "1 of another shape (patch_embed.proj.bias is (7,) instead of (128,))" in text


def test_packed_integers_are_no_weights():
    saved = cogvideox()
    family, tensors = BY_NAME["cogvideox"], dict(saved.state_dict())
    settings = family.config(header(tensors))
    tensors["proj_out.bias"] = tensors["proj_out.bias"].to(torch.int8)
    text = refusal("own", fill, empty(family, settings), tensors, "own")
    assert "proj_out.bias is (64,) of integers instead of (64,)" in text


@pytest.mark.parametrize("name", ["unet_motion", "depth_anything"])
def test_a_single_file_whose_settings_its_shapes_do_not_tell_needs_its_config(tmp_path, name):
    model = tiny.BY_NAME[name]
    files = open_weights(save_single(model.make(), tmp_path / "own.safetensors"))
    family = detect(files)
    assert family.name == name
    text = refusal("own.safetensors", family.config, files)
    assert family.label in text and "config.json must lie beside the file" in text


@pytest.mark.parametrize(
    "name, tensors, found",
    [
        ("cogvideox", lambda: cogvideox(attention_head_dim=24).state_dict(), "48 channels"),
        ("cogvideox_vae", lambda: tiny.BY_NAME["cogvideox_vae"].make().state_dict(), "[8, 16, 16, 16]"),
        ("wan_vace", lambda: tiny.BY_NAME["wan_vace"].make().state_dict(), "48 channels"),
        ("unet2d", lambda: tiny.BY_NAME["unet2d"].make().state_dict(), "[32, 64] channels"),
        ("controlnet", lambda: tiny.BY_NAME["controlnet"].make().state_dict(), "[32, 64] channels"),
        ("clip_text", lambda: tiny.BY_NAME["clip_text"].make().state_dict(), "64 channels"),
        ("wan_vace", lambda: wan(num_layers=5).state_dict(), "2 VACE blocks for 5 layers"),
        (
            "cogvideox",
            lambda: cogvideox(
                num_attention_heads=1, num_layers=1, sample_width=8, use_learned_positional_embeddings=True
            ).state_dict(),
            "learned",
        ),
    ],
)
def test_sizes_that_the_conventions_do_not_explain_need_their_config(name, tensors, found):
    files = header(tensors())
    assert detect(files).name == name
    text = refusal("own.safetensors", BY_NAME[name].config, files)
    assert found in text and "config.json" in text


@pytest.mark.parametrize("key", ["scaled_fp8", "encoder.block.0.layer.0.SelfAttention.q.scale_weight"])
@pytest.mark.parametrize("config", [None, {"architectures": ["T5EncoderModel"]}])
def test_scaled_fp8_files_are_refused(key, config):
    files = header({**t5().state_dict(), key: torch.zeros(1)}, config, "t5xxl_fp8_e4m3fn_scaled")
    assert detect(files).name == "t5_encoder"
    text = refusal("t5xxl_fp8_e4m3fn_scaled.safetensors", BY_NAME["t5_encoder"].config, files)
    assert key in text and "plain fp8" in text


@pytest.mark.parametrize("name", INFERRED)
def test_quantised_folders_are_refused(name):
    model = next(model for model in BUILT if FAMILY_OF.get(model.name, model.name) == name)
    files = header(model.make().state_dict(), {"quantization_config": {"load_in_4bit": True}})
    assert "quantised" in refusal("own.safetensors", BY_NAME[name].config, files)


# --------------------------------------------------------------------------------------------------------- detection


def test_every_family_is_known_by_its_own_tensors_alone():
    for model in tiny.MODELS:
        files = header(model.make().state_dict())
        assert [family.name for family in FAMILIES if family.detects(files.tensors)] == [
            FAMILY_OF.get(model.name, model.name)
        ]


def test_a_family_says_what_messages_need():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.role in {"denoiser", "vae", "text_encoder", "controlnet", "segmenter", "depth", "flow"}
        assert family.label and family.get_it.startswith(("get ", "save ")) and not family.get_it.endswith(".")


def test_the_wrong_family_is_named_with_the_right_one_and_where_to_get_it(tmp_path):
    tiny.BY_NAME["cogvideox_vae"].make().save_pretrained(tmp_path / "vae")
    files = open_weights(tmp_path / "vae")
    assert check_family(files, {"cogvideox_vae", "unet2d"}).name == "cogvideox_vae"
    text = refusal("vae", check_family, files, {"cogvideox"})
    assert text.startswith("vae is a CogVideoX VAE, but this input needs a CogVideoX transformer; get the folder ")
    text = refusal("vae", check_family, files, {"cogvideox", "wan_vace"})
    assert "needs a CogVideoX transformer or a Wan VACE transformer" in text


@pytest.mark.parametrize(
    "keys, what",
    [
        (["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.x"], "original layout"),
        (["input_blocks.0.0.weight"], "original layout"),
        (["transformer_blocks.0.attn1.to_q.lora_A.weight"], "a LoRA and no model"),
        (["lora_unet_down_blocks_0.lora_down.weight"], "a LoRA and no model"),
        (["down_blocks.0.motion_modules.0.proj_in.weight"], "part of a model with motion modules"),
        (["vision_encoder.backbone.patch_embed.projection.weight"], "SAM 2 model in transformers' layout"),
    ],
)
def test_what_is_often_chosen_by_mistake_is_recognised(keys, what):
    assert what in refusal("own.safetensors", detect, header({key: torch.zeros(1) for key in keys}))


def test_unknown_tensors_are_refused_with_the_list_of_families():
    text = refusal("own.safetensors", detect, header({"own.weight": torch.zeros(1)}))
    assert "own.weight" in text and all(family.label in text for family in FAMILIES)


def test_an_sd15_checkpoint_is_refused_before_its_weights_are_read(tmp_path):
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, tmp_path / "v1-5.safetensors")
    refusal("v1-5.safetensors", check_family, open_weights(tmp_path / "v1-5.safetensors"), {"unet2d"})


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)  # Python's own way to say that it is not there
    with pytest.raises(ModuleNotFoundError, match="needs the package diffusers.*pip install .*diffusers>="):
        empty(BY_NAME["cogvideox"], {})


def test_a_diffusers_that_is_too_old_is_named():
    with pytest.raises(ValueError, match="diffusers .* has no OwnModel: run .* for a newer one"):
        from_diffusers("OwnModel", {})


def test_a_missing_file_is_named_with_what_is_needed_and_where_to_get_it(tmp_path):
    with pytest.raises(
        ValueError, match=r"gone\.safetensors is not there, and this input needs a CogVideoX.*; get "
    ) as told:
        open_family(tmp_path / "gone.safetensors", {"cogvideox"})
    assert "Hugging Face" in str(told.value)
