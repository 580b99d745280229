"""The backbone of the tuning-free editors: what it asks its modules, and what it says of sizes and wrong input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from harness import sd
from harness.live_memory import peak_of_forward
from harness.tiny import noise
from torch import Tensor, nn

from vivid_core.diffusion.ddim import NoiseSchedule
from vivid_core.diffusion.sd_schedules import ANIMATEDIFF, IMAGES, schedule_of
from vivid_core.editors.backbone import Backbone
from vivid_core.editors.backbone_parts import backbone_of, footprint_of
from vivid_core.editors.clip_texts import ClipText
from vivid_core.editors.texts import EmbeddedText
from vivid_core.models import autoencoder_kl, embedded_sd
from vivid_core.models.families import empty
from vivid_core.models.sd_fit import check_controlnet, check_text, check_unet, check_vae
from vivid_core.models.unet_motion import bypassed
from vivid_core.runtime import Runtime

CPU = torch.device("cpu")
FRAMES, SIDE = 3, 8  # latents


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return noise(*shape, dtype=torch.float32, device=CPU, seed=seed)


def backbone(unet: Any, controlnet: Any = None, prediction: str = "epsilon", **named: Any) -> Backbone:
    schedule = replace(IMAGES, prediction=prediction)
    return backbone_of(unet, sd.vae(), schedule, "own", controlnet=controlnet, title="own.safetensors", **named)


@pytest.fixture(scope="module")
def moving() -> nn.Module:
    from diffusers import UNetMotionModel

    return UNetMotionModel.from_unet2d(sd.unet(), sd.motion()).eval().requires_grad_(False)


@pytest.fixture
def latents() -> Tensor:
    return drawn(2, 4, FRAMES, SIDE, SIDE)


@pytest.fixture
def texts() -> list[Tensor]:
    return [drawn(1, 7, 64, seed=2), drawn(1, 7, 64, seed=3)]


def folded(values_bcfhw: Tensor) -> Tensor:
    return values_bcfhw.transpose(1, 2).flatten(0, 1)


def unfolded(values: Tensor, rows: int) -> Tensor:
    return values.unflatten(0, (rows, -1)).transpose(1, 2)


def for_frames(texts: list[Tensor]) -> Tensor:
    return torch.cat([text.expand(FRAMES, -1, -1) for text in texts])


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments, **named)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text, text
    return text


class Held(Runtime):
    """Remembers what was held with how much room."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[tuple[nn.Module, ...], int]] = []

    def hold(self, *modules: nn.Module, activations: int = 0) -> Any:
        self.held.append((modules, activations))
        return super().hold(*modules, activations=activations)


# ------------------------------------------------------------------------------------------------------ what it asks


def test_an_image_unet_sees_every_frame_of_every_row_as_a_picture(latents, texts):
    unet = sd.unet()
    said = backbone(unet).ask()(latents, 321, texts)
    wanted = unet(folded(latents), torch.tensor(321), for_frames(texts), return_dict=False)[0]
    assert torch.equal(said, unfolded(wanted, 2))


def test_a_motion_unet_sees_whole_rows(moving, latents, texts):
    said = backbone(moving).ask()(latents, 321, texts)
    assert torch.equal(said, moving(latents, torch.tensor(321), for_frames(texts), return_dict=False)[0])


def test_a_v_prediction_is_turned_into_noise_as_diffusers_does_it(latents, texts):
    from diffusers import DDIMScheduler

    unet = sd.unet()
    said = backbone(unet, prediction="v_prediction").ask()(latents, 500, texts)
    v = unfolded(unet(folded(latents), torch.tensor(500), for_frames(texts), return_dict=False)[0], 2)
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = DDIMScheduler(**betas, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False)
    scheduler.set_timesteps(1000)
    clean = scheduler.step(v, 500, latents).pred_original_sample
    alpha = scheduler.alphas_cumprod[500]
    torch.testing.assert_close(said, (latents - alpha**0.5 * clean) / (1 - alpha) ** 0.5, rtol=0, atol=2e-5)


def test_a_text_for_each_frame_goes_to_its_frame_and_slices_cut_texts_and_depth_alike(texts):
    whole, shared = drawn(1, 4, 5, SIDE, SIDE), texts[1]
    own = drawn(5, 7, 64, seed=9)
    ask = backbone(sd.unet()).ask()
    said = ask(whole.repeat(2, 1, 1, 1, 1), 7, [own, shared])
    for first, last in ((0, 2), (2, 5)):
        part = slice(first, last)
        cut = ask(whole[:, :, part].repeat(2, 1, 1, 1, 1), 7, [own, shared], part)
        torch.testing.assert_close(cut, said[:, :, part], rtol=0, atol=3e-4)
    alone = ask(whole[:, :, 3:4], 7, [own[3:4]])
    torch.testing.assert_close(alone, said[:1, :, 3:4], rtol=0, atol=3e-4)


def test_a_depth_channel_gets_the_depth_in_minus_one_to_one_after_the_latents(texts):
    unet, depth = sd.unet("sd2-depth"), drawn(FRAMES, SIDE, SIDE).sigmoid()
    latents, text = drawn(1, 4, FRAMES, SIDE, SIDE), drawn(1, 7, 128, seed=2)
    made = backbone(unet)
    assert (made.depth, made.latent_channels) == ("channel", 4)
    given = torch.cat([folded(latents), 2 * depth[:, None] - 1], dim=1)
    wanted = unet(given, torch.tensor(9), text.expand(FRAMES, -1, -1), return_dict=False)[0]
    assert torch.equal(made.ask(depth)(latents, 9, [text]), unfolded(wanted, 1))
    part = slice(1, 3)
    cut = made.ask(depth)(latents[:, :, part], 9, [text], part)
    torch.testing.assert_close(cut, unfolded(wanted, 1)[:, :, part], rtol=0, atol=3e-4)


@pytest.mark.parametrize("motion", [False, True], ids=["images", "motion"])
def test_a_controlnet_sees_the_depth_as_a_grey_picture(moving, latents, texts, motion):
    unet, controlnet, depth = moving if motion else sd.unet(), sd.controlnet(), drawn(FRAMES, 64, 64).sigmoid()
    made = backbone(unet, controlnet)
    assert made.depth == "controlnet" and made.modules == (unet, controlnet)
    pictures = depth[:, None].expand(-1, 3, -1, -1).repeat(2, 1, 1, 1)
    time, text = torch.tensor(9), for_frames(texts)
    down, middle = controlnet(folded(latents), time, text, pictures, conditioning_scale=0.5, return_dict=False)
    named = {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}
    given = latents if motion else folded(latents)
    wanted = unet(given, time, text, return_dict=False, **named)[0]
    said = made.ask(depth, 0.5)(latents, 9, texts)
    assert torch.equal(said, wanted if motion else unfolded(wanted, 2))
    assert not torch.allclose(said, made.ask(depth, 0.0)(latents, 9, texts), atol=1e-3)


def test_depth_of_another_size_is_brought_to_the_right_one():
    made, text = backbone(sd.unet("sd2-depth")), drawn(1, 7, 128)
    latents = drawn(1, 4, 1, SIDE, SIDE)
    ramp = torch.linspace(0, 1, 64).expand(1, 64, 64)
    small = torch.nn.functional.interpolate(ramp[:, None], (SIDE, SIDE), mode="bicubic", antialias=True)[:, 0]
    assert torch.equal(made.ask(ramp)(latents, 3, [text]), made.ask(small.clamp(0, 1))(latents, 3, [text]))
    assert made.depth_size(64, 128) == (8, 16)
    assert backbone(sd.unet(), sd.controlnet()).depth_size(64, 128) == (64, 128)


# ---------------------------------------------------------------------------------------------------- still, encoded


def test_still_is_the_image_model_with_its_own_noise_and_no_limit_of_frames(moving, latents, texts):
    images = backbone(sd.unet())
    made = backbone_of(moving, sd.vae(), ANIMATEDIFF, "own", still_noise=IMAGES)
    assert made.motion and made.longest == 32 and made.noise.betas == "linear"
    before = made.ask()(latents, 7, texts)
    with made.still() as still:
        assert (still.motion, still.longest, still.noise) == (False, None, IMAGES)
        assert still.identity != made.identity and still.unet is made.unet
        long = drawn(1, 4, 40, SIDE, SIDE)
        torch.testing.assert_close(still.ask()(long, 7, texts[:1]), images.ask()(long, 7, texts[:1]), rtol=0, atol=1e-4)
    assert torch.equal(made.ask()(latents, 7, texts), before)
    with images.still() as same:
        assert same is images


def test_frames_are_encoded_as_diffusers_does_it_and_decoded_back():
    made, runtime = backbone(sd.unet()), Held()
    frames = drawn(2, 64, 128, 3).sigmoid()
    latents = made.encode(frames, runtime)
    vae: Any = made.vae
    pixels = 2 * frames.movedim(3, 1) - 1
    wanted = vae.encode(pixels).latent_dist.mean * 0.18215
    torch.testing.assert_close(folded(latents), wanted, rtol=0, atol=1e-5)
    shown = made.decode(latents, runtime)
    back = vae.decode(wanted / 0.18215, return_dict=False)[0].movedim(1, 3) / 2 + 0.5
    torch.testing.assert_close(shown, back.clamp(0, 1), rtol=0, atol=1e-4)
    needed = [made.footprint.encode(1, 1, 64, 128), made.footprint.decode(1, 1, 64, 128)]
    assert runtime.held == [((vae,), needed[0]), ((vae,), needed[1])] and min(needed) > 0


def test_encoding_and_decoding_count_each_frame():
    runtime = Runtime()
    runtime.begin(4)
    made = backbone(sd.unet())
    made.decode(made.encode(drawn(2, 64, 64, 3).sigmoid(), runtime), runtime)
    assert runtime.done == 4


def test_text_goes_through_the_encoder_that_is_held():
    numbers = torch.arange(77)[None]
    text = ClipText(sd.text(), lambda texts, length: numbers[:, :length])
    made, runtime = backbone(sd.unet(), text=text), Held()
    assert torch.equal(made.encoded("a ball", runtime), text.module(numbers).last_hidden_state)
    assert runtime.held == [((text.module,), 0)]


def test_what_of_a_text_is_not_read_is_said():
    def tokenize(texts: Any, length: int) -> Tensor:
        words = [49406, *range(len(texts[0].split())), 49407][:length]
        return torch.tensor([words + [49407] * (length - len(words))])

    made = backbone(sd.unet(), text=ClipText(sd.text(), tokenize))
    notes: list[str] = []
    made.encoded("a red ball (in the evening: light)", Runtime(), notes)
    assert notes == []
    made.encoded("a (red:1.2) ball" + " w" * 80, Runtime(), notes)
    assert [note.split(":")[0] for note in notes] == ["The text is too long", "Weights in brackets, such as (red"]
    assert "its last 8 tokens are not read" in notes[0]
    small = embedded_sd.build(["a", "ball"], 0)
    words = backbone(sd.unet(), text=EmbeddedText(small.text_encoder, small.tokenizer))
    words.encoded("a zebra on a zebra", Runtime(), notes)
    assert notes[2] == "own.safetensors has never seen these words and can't follow them: zebra, on."


def test_the_excess_of_a_text_is_counted_by_where_it_ends():
    def tokenize(texts: Any, length: int) -> Tensor:
        words = [49406, *range(len(texts[0].split())), 49407][:length]
        return torch.tensor([words + [49407] * (length - len(words))])

    text = ClipText(nn.Identity(), tokenize)
    assert [text.excess("w " * count) for count in (3, 75, 76, 100)] == [0, 0, 1, 25]


# -------------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize("steps", [1, 4, 20, 50])
@pytest.mark.parametrize("name", ["images", "animatediff", "folder"])
def test_released_schedules_have_the_times_and_alphas_of_diffusers(name, steps):
    from diffusers import DDIMScheduler

    configs: dict[str, dict[str, Any]] = {
        "images": {"beta_schedule": "scaled_linear", "steps_offset": 1, "set_alpha_to_one": False},
        "animatediff": {"beta_schedule": "linear", "steps_offset": 1, "timestep_spacing": "linspace"},
        "folder": {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    }
    config = {"beta_start": 0.00085, "beta_end": 0.012, "set_alpha_to_one": False, **configs[name]}
    ours = schedule_of(config, "own")
    if name != "folder":
        assert ours == {"images": IMAGES, "animatediff": ANIMATEDIFF}[name]
    theirs = DDIMScheduler(**config)
    theirs.set_timesteps(steps)
    assert list(ours.timesteps(steps)) == theirs.timesteps.tolist()[::-1]
    torch.testing.assert_close(ours.alphas().float(), theirs.alphas_cumprod, rtol=1e-4, atol=1e-6)
    assert ours.prediction == theirs.config.prediction_type


@pytest.mark.parametrize("changed", [{"beta_schedule": "squaredcos_cap_v2"}, {"prediction_type": "sample"}])
def test_a_schedule_that_is_none_of_stable_diffusions_is_refused(changed):
    text = refusal(schedule_of, {"beta_schedule": "linear", **changed}, "own")
    assert next(iter(changed.values())) in text and text.startswith("own")


# --------------------------------------------------------------------------------------------------------- bad input


def test_what_does_not_go_together_is_said_before_the_modules_are_asked(moving, latents, texts):
    depth = torch.zeros(FRAMES, SIDE, SIDE)
    assert "connect the depth" in refusal(backbone(sd.unet("sd2-depth")).ask)
    assert "can't see depth" in refusal(backbone(sd.unet()).ask, depth)
    ask = backbone(sd.unet("sd2-depth")).ask(depth)
    text = drawn(1, 7, 128)
    assert "got 3 frames of depth for 2 frames" in refusal(ask, latents[:1, :, :2], 7, [text])
    plain = backbone(sd.unet()).ask()
    assert "1 texts for 2 rows" in refusal(plain, latents, 7, texts[:1])
    assert "one length" in refusal(plain, latents, 7, [texts[0], drawn(1, 9, 64)])
    assert "2 frames, but the latents are of 3" in refusal(plain, latents, 7, [texts[0], drawn(2, 7, 64)])
    long = drawn(1, 4, 33, SIDE, SIDE)
    assert "at most 32 frames" in refusal(backbone(moving).ask(), long, 7, texts[:1])


def test_sizes_rows_and_missing_encoders_are_refused():
    made = backbone(sd.unet())
    assert "multiples of 64" in refusal(made.encode, torch.zeros(1, 64, 72, 3), Runtime())
    assert "got 2 rows" in refusal(made.decode, torch.zeros(2, 4, 1, 8, 8), Runtime())
    assert "without a text encoder" in refusal(made.encoded, "a ball", Runtime())


def test_a_vae_that_gives_no_numbers_is_named():
    made = backbone(sd.unet())
    for parameter in made.vae.parameters():
        parameter.data.fill_(float("nan"))
    assert "while encoding" in refusal(made.encode, torch.zeros(1, 64, 64, 3), Runtime())
    assert "while decoding" in refusal(made.decode, torch.zeros(1, 4, 1, 8, 8), Runtime())


def test_parts_of_other_bases_are_refused_by_their_settings():
    unet, vae = dict(sd.unet().config), dict(sd.vae().config)
    check_unet(unet, "own")
    check_vae(vae, unet, "own")
    check_text(64, unet, "own")
    check_controlnet(sd.controlnet().config, unet, "control", "own")
    assert "SDXL" in refusal(check_unet, {**unet, "addition_embed_type": "text_time"}, "xl")
    assert "9 input channels" in refusal(check_unet, {**unet, "in_channels": 9}, "inpainting")
    assert "0.13025" in refusal(check_vae, {**vae, "scaling_factor": 0.13025}, unet, "xl")
    assert "16 channels" in refusal(check_vae, {**vae, "latent_channels": 16}, unet, "flux")
    assert "128 channels" in refusal(check_text, 128, unet, "text")
    other = sd.controlnet("sd2").config
    assert "another base" in refusal(check_controlnet, other, unet, "control", "own")
    depth = sd.unet("sd2-depth").config
    assert "one too many" in refusal(check_controlnet, other, depth, "control", "own")


def test_a_bypassed_unet_keeps_its_modules_in_their_places(moving):
    names = [name for name, _ in moving.named_modules()]
    with bypassed(moving):
        assert [name for name, _ in moving.named_modules()] == names


@pytest.mark.parametrize("height, width, dtype", [(512, 512, torch.float16), (320, 512, torch.float32)])
@pytest.mark.parametrize("way", ["encode", "decode"])
def test_the_vae_gets_the_memory_that_it_needs(height, width, dtype, way):
    released = {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
    }
    module: Any = empty(autoencoder_kl.FAMILY, released)

    def inputs() -> dict[str, Tensor]:
        if way == "encode":
            return {"x": torch.empty(1, 3, height, width)}
        return {"z": torch.empty(1, 4, height // 8, width // 8)}

    peak = peak_of_forward(module, inputs, dtype, call=getattr(module, way))
    estimate = getattr(footprint_of(8, False, (2, dtype.itemsize)), way)(1, 1, height, width)
    assert peak <= estimate <= 1.3 * peak


def test_sizes_come_from_the_modules(moving):
    made = backbone_of(moving, sd.vae(), NoiseSchedule(), "own")
    assert (made.stride, made.multiple, made.latent_channels, made.scale) == (8, 64, 4, 0.18215)
    assert made.latent_size(128, 64) == (16, 8)
    controlled = backbone(sd.unet(), sd.controlnet()).footprint
    assert controlled.denoise(2, 16, 512, 512) > made.footprint.denoise(2, 16, 512, 512) > 0
