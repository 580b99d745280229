"""Stable Diffusion's original layout, held against what ComfyUI knows of it: its name tables, its models, its CLIP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import sd
from harness.inprocess import bridge
from harness.tiny import noise
from safetensors.torch import save_file
from torch import Tensor

from vivid_core.editors.clip_texts import ClipText
from vivid_core.editors.contract import Place
from vivid_core.models import autoencoder_kl, clip_text, unet2d
from vivid_core.models.clip_text import pads_with_zero
from vivid_core.models.families import Family, empty, fill
from vivid_core.models.files import TensorInfo, WeightFiles, open_weights, read_tensors
from vivid_core.models.sd_names import unet_namer
from vivid_core.models.sd_prediction import guessed_prediction

pytestmark = pytest.mark.usefixtures("comfy_base")
CPU = torch.device("cpu")
TEXTS = ("a red ball on a table", "", "two boats & a house, in the evening light!", "word " * 70)
# What diffusers' folders of the released models say.
RELEASED = {
    "sd15": {"in_channels": 4, "cross_attention_dim": 768, "attention_head_dim": 8, "use_linear_projection": False},
    "sd21": {
        "in_channels": 4,
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
    "sd2-depth": {
        "in_channels": 5,
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
}
COMFYS_CLASS = {"sd15": "SD15", "sd21": "SD20", "sd2-depth": "SD20"}


@pytest.fixture(scope="module")
def released() -> Callable[[str], dict[str, Tensor]]:
    """The tensors of released U-Nets, by diffusers' names, on the meta device."""
    from diffusers import UNet2DConditionModel

    made: dict[str, dict[str, Tensor]] = {}

    def tensors(kind: str) -> dict[str, Tensor]:
        if kind not in made:
            with torch.device("meta"):
                made[kind] = dict(
                    UNet2DConditionModel(block_out_channels=(320, 640, 1280, 1280), **RELEASED[kind]).state_dict()
                )
        return made[kind]

    return tensors


def comfys_config(tensors: dict[str, Tensor]) -> dict[str, Any]:
    import comfy.model_detection

    return comfy.model_detection.detect_unet_config(tensors, "model.diffusion_model.")


class Loose:
    """A module's tensors as harness.sd asks for them."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    def state_dict(self) -> dict[str, Tensor]:
        return self._tensors


def header(tensors: dict[str, Tensor]) -> WeightFiles:
    path = Path("own.safetensors")
    infos = {key: TensorInfo(one.dtype, tuple(one.shape), one.nbytes) for key, one in tensors.items()}
    return WeightFiles(path, (path,), infos, {}, None)


def made(path: Path, tensors: dict[str, Tensor], family: Family) -> Any:
    save_file({name: one.contiguous() for name, one in tensors.items()}, path)
    files = open_weights(path)
    module = empty(family, family.config(files))
    fill(module, family.convert(read_tensors(files)), path.name)
    return module


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return noise(*shape, dtype=torch.float32, device=CPU, seed=seed)


# ------------------------------------------------------------------------------------------------- names and settings


@pytest.mark.parametrize("kind", RELEASED)
def test_every_name_is_the_one_in_comfyuis_table(released, kind):
    import comfy.utils

    original = sd.original_unet(Loose(released(kind)))  # type: ignore[arg-type]
    table = comfy.utils.unet_to_diffusers(comfys_config(original))
    ours = {name: name.removeprefix("model.diffusion_model.") for name in original}
    namer = unet_namer(list(ours.values()))
    assert {namer(name): name for name in ours.values()}.items() <= table.items()
    assert set(map(namer, ours.values())) == set(released(kind))


@pytest.mark.parametrize("kind", RELEASED)
def test_the_shapes_of_released_models_tell_the_settings_of_their_folders(released, kind):
    import comfy.model_detection

    original = sd.original_unet(Loose(released(kind)))  # type: ignore[arg-type]
    found = unet2d.config(header(original))
    wanted = {**RELEASED[kind], "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "out_channels": 4}
    blocks = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    assert found == {**wanted, "down_block_types": blocks[0], "up_block_types": blocks[1]}
    theirs = comfy.model_detection.model_config_from_unet(original, "model.diffusion_model.")
    assert type(theirs).__name__ == COMFYS_CLASS[kind]
    assert theirs.unet_config["in_channels"] == found["in_channels"]


def test_the_vae_is_called_in_files_what_comfyui_calls_it():
    import comfy.diffusers_convert

    ours, theirs = sd.original_vae(sd.vae(), ""), comfy.diffusers_convert.convert_vae_state_dict(sd.vae().state_dict())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_text_encoder_of_sd2_is_called_in_files_what_comfyui_calls_it():
    import comfy.diffusers_convert

    held = {
        f"transformer.text_model.{name.removeprefix('text_model.')}": one
        for name, one in sd.text("sd2").state_dict().items()
    }
    theirs = comfy.diffusers_convert.convert_text_enc_state_dict_v20(held)
    ours = {
        name.removeprefix("cond_stage_model.model."): one
        for name, one in sd.original_text(sd.text("sd2"), "sd2").items()
    }
    assert {name.removeprefix("transformer.") for name in theirs} <= {
        name.removeprefix("transformer.") for name in ours
    }
    ours = {name.removeprefix("transformer."): one for name, one in ours.items()}
    assert all(torch.equal(ours[name.removeprefix("transformer.")], one) for name, one in theirs.items())


@pytest.mark.parametrize("spread, wanted", [(0.05, "epsilon"), (0.2, "v_prediction")])
@pytest.mark.parametrize("in_folder", [False, True], ids=["checkpoint", "folder"])
def test_what_sd2_predicts_is_guessed_as_comfyui_guesses_it(tmp_path, spread, wanted, in_folder):
    import comfy.supported_models

    module = sd.unet("sd2")
    bias = module.up_blocks[3].attentions[2].transformer_blocks[0].norm1.bias
    bias.data = torch.linspace(-1, 1, len(bias)) * spread * 3**0.5
    original = sd.original_unet(module)
    if in_folder:
        module.save_pretrained(tmp_path / "unet")
        files = open_weights(tmp_path / "unet")
    else:
        save_file(original, tmp_path / "own.safetensors")
        files = open_weights(tmp_path / "own.safetensors")
    assert guessed_prediction(files, linear=True) == wanted
    assert guessed_prediction(files, linear=False) == "epsilon"
    theirs = comfy.supported_models.SD20.__new__(comfy.supported_models.SD20)
    theirs.unet_config = {"in_channels": 4}
    assert theirs.model_type(original, "model.diffusion_model.").name == {"epsilon": "EPS"}.get(wanted, "V_PREDICTION")


# ------------------------------------------------------------------------------------------------------------ outputs


@pytest.mark.parametrize("kind", sd.KINDS)
def test_a_unet_computes_what_comfyuis_own_does_with_the_same_file(tmp_path, kind):
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    config = sd.KINDS[kind]
    original = sd.original_unet(sd.unet(kind), "")
    ours = made(tmp_path / "own.safetensors", original, unet2d.FAMILY)
    linear, channels = config["use_linear_projection"], config["block_out_channels"]
    theirs = UNetModel(
        image_size=32,
        in_channels=config["in_channels"],
        out_channels=4,
        model_channels=channels[0],
        num_res_blocks=[2] * 4,
        channel_mult=[size // channels[0] for size in channels],
        num_heads=-1 if linear else 8,
        num_head_channels=64 if linear else -1,
        use_spatial_transformer=True,
        context_dim=config["cross_attention_dim"],
        transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
        transformer_depth_output=[1] * 9 + [0] * 3,
        transformer_depth_middle=1,
        use_linear_in_transformer=linear,
        dtype=torch.float32,
        device=CPU,
        operations=comfy.ops.disable_weight_init,
    )
    theirs.load_state_dict(original)
    images, text = drawn(2, config["in_channels"], 8, 8), drawn(2, 7, config["cross_attention_dim"], seed=2)
    said = ours(images, torch.tensor(7), text, return_dict=False)[0]
    with torch.no_grad():
        wanted = theirs.eval()(images, torch.tensor([7, 7]), context=text)
    torch.testing.assert_close(said, wanted, rtol=0, atol=2e-4)


def test_a_vae_computes_what_comfyuis_own_does_with_the_same_file(tmp_path):
    from comfy.ldm.models.autoencoder import AutoencoderKL

    original = sd.original_vae(sd.vae(), "")
    ours = made(tmp_path / "own.safetensors", original, autoencoder_kl.FAMILY)
    sizes = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32}
    config = {**sizes, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    theirs = AutoencoderKL(ddconfig=config, embed_dim=4)
    theirs.load_state_dict(original)
    latents = drawn(1, 4, 4, 4)
    with torch.no_grad():
        wanted = theirs.eval().decode(latents)
    torch.testing.assert_close(ours.decode(latents, return_dict=False)[0], wanted, rtol=0, atol=1e-4)


def comfys_clip(kind: str, original: dict[str, Tensor]) -> Callable[[str], Tensor]:
    """ComfyUI's CLIP of this kind, made small, with the weights of a checkpoint as its loader takes them over."""
    import comfy.sd1_clip
    import comfy.supported_models
    import comfy.text_encoders.sd2_clip

    width = sd.KINDS[kind]["cross_attention_dim"]
    small = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": width // 64}
    layers = 2 if kind == "sd1" else 3  # of SD 2.x the last but one is read
    name = "clip_l" if kind == "sd1" else "clip_h"
    options = {f"{name}_model_config": {**small, "num_hidden_layers": layers}}
    if kind == "sd1":
        model: Any = comfy.sd1_clip.SD1ClipModel(dtype=torch.float32, model_options=options)
        tokenizer: Any = comfy.sd1_clip.SD1Tokenizer()
        found = comfy.supported_models.SD15
    else:
        model = comfy.text_encoders.sd2_clip.SD2ClipModel(dtype=torch.float32, model_options=options)
        tokenizer = comfy.text_encoders.sd2_clip.SD2Tokenizer()
        found = comfy.supported_models.SD20
    held = found.process_clip_state_dict(found.__new__(found), dict(original))
    missing, _ = getattr(model, name).load_state_dict(
        {key.removeprefix(f"{name}."): one for key, one in held.items() if key.startswith(name)}, strict=False
    )
    assert [key for key in missing if not key.startswith(("logit_scale", "transformer.text_projection"))] == []

    def encode(text: str) -> Tensor:
        with torch.no_grad():
            return model.encode_token_weights(tokenizer.tokenize_with_weights(text))[0]

    return encode


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_texts_are_embedded_as_comfyuis_clip_embeds_them_with_the_same_checkpoint(tmp_path, kind):
    original = sd.original_text(sd.text(kind), kind)
    module = made(tmp_path / "own.safetensors", original, clip_text.FAMILY)
    tokenizer = bridge("tokenizers").clip_tokenizer(tmp_path / "own.safetensors", pads_with_zero(module.config))
    ours, theirs = ClipText(module, tokenizer), comfys_clip(kind, original)
    for text in TEXTS:
        torch.testing.assert_close(ours.encode([text], Place()), theirs(text), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_texts_are_embedded_as_diffusers_pipeline_embeds_them(tmp_path, kind):
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    encoder = sd.text(kind)
    released = CLIPTokenizer.from_pretrained(str(bridge("tokenizers").comfys_clip()), model_max_length=77)
    if kind == "sd2":
        released.pad_token = "!"
    pipeline = StableDiffusionPipeline(
        sd.vae(), encoder, released, sd.unet(kind), DDIMScheduler(), None, None, requires_safety_checker=False
    )
    tokenizer = bridge("tokenizers").clip_tokenizer(tmp_path, pads_with_zero(encoder.config))
    ours = ClipText(encoder, tokenizer)
    for text in (*TEXTS, "word " * 90):
        with torch.no_grad():
            wanted, _ = pipeline.encode_prompt(text, "cpu", 1, False)
        assert torch.equal(ours.encode([text], Place()), wanted)
    assert [ours.excess(text) for text in ("word", "word " * 90)] == [0, 15]


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_a_tokenizer_folder_beside_the_encoder_is_preferred(tmp_path, kind):
    from transformers import CLIPTokenizer

    own = CLIPTokenizer.from_pretrained(str(bridge("tokenizers").comfys_clip()))
    own.pad_token = "!"
    own.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "text_encoder").mkdir()
    tokenize = bridge("tokenizers").clip_tokenizer(tmp_path / "text_encoder", kind == "sd2")
    assert tokenize(["a ball"], 6).tolist() == [[49406, 320, 1069, 49407, 0, 0]]
