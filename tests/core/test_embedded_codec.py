"""The embedded codec: the causal layout, the interface of diffusers' VAE, and how well it shows the world."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vivid_core.models.embedded_codec import FAMILY, PATCH, WEIGHTS, EmbeddedCodec, load_codec, save_codec
from vivid_core.models.files import open_weights
from vivid_core.training.measures import codec_answer, mean_score, score
from vivid_core.training.world import codec_fitting
from vivid_core.training.world.codec_fitting import START_CLIPS, clips, codec_psnr, fit_codec
from vivid_core.training.world.trials import trials

SIDE = 16


def random_codec(seed: int = 0) -> EmbeddedCodec:
    torch.manual_seed(seed)
    codec = EmbeddedCodec(hidden_channels=8)
    for parameter in codec.parameters():  # the corrections begin as nothing, and would hide their mistakes
        torch.nn.init.normal_(parameter, std=0.1)
    return codec.eval().requires_grad_(False)


def encoded(codec: EmbeddedCodec, frames_bcfhw: torch.Tensor) -> torch.Tensor:
    return codec.encode(frames_bcfhw).latent_dist.mode()


@pytest.fixture(scope="module")
def shipped() -> EmbeddedCodec:
    return load_codec()


@pytest.mark.parametrize("count", [1, 5, 9, 33])
def test_latents_have_the_causal_layout(count: int) -> None:
    codec = random_codec()
    frames = torch.rand(2, 3, count, 16, 24) * 2 - 1
    latents = encoded(codec, frames)
    assert latents.shape == (2, 16, (count - 1) // 4 + 1, 16 // PATCH, 24 // PATCH)
    assert codec.decode(latents).sample.shape == frames.shape


def test_a_latent_depends_on_its_own_frames_and_places_only() -> None:
    codec, frames = random_codec(), torch.rand(1, 3, 9, SIDE, SIDE)
    before = encoded(codec, frames)
    for frame in range(9):
        changed = frames.clone()
        changed[:, :, frame, 5, 10] += 1
        different = (encoded(codec, changed) != before).any(1)[0]
        own = torch.zeros_like(different)
        own[(frame + 3) // 4, 5 // PATCH, 10 // PATCH] = True
        assert torch.equal(different, own)


def test_a_frame_depends_on_its_own_latent_only() -> None:
    codec, latents = random_codec(), torch.randn(1, 16, 3, 4, 4)
    before = codec.decode(latents).sample
    for index, own in enumerate(([0], [1, 2, 3, 4], [5, 6, 7, 8])):
        changed = latents.clone()
        changed[:, :, index] += 1
        different = (codec.decode(changed).sample != before).any(dim=(0, 1, 3, 4))
        assert different.nonzero().flatten().tolist() == own


def test_a_first_frame_encodes_alike_in_a_clip_and_alone() -> None:
    codec, frames = random_codec(), torch.rand(2, 3, 9, SIDE, SIDE)
    assert torch.equal(encoded(codec, frames)[:, :, :1], encoded(codec, frames[:, :, :1]))


def test_it_answers_as_diffusers_vae_does() -> None:
    codec, frames = random_codec(), torch.rand(1, 3, 5, SIDE, SIDE)
    (posterior,) = codec.encode(frames, return_dict=False)
    assert torch.equal(posterior.mode(), encoded(codec, frames))
    assert torch.equal(posterior.sample(torch.Generator().manual_seed(3)), posterior.mean)
    (frames_back,) = codec.decode(posterior.mode(), return_dict=False)
    assert torch.equal(frames_back, codec.decode(posterior.mode()).sample)
    assert 2 ** (len(codec.config.block_out_channels) - 1) == PATCH
    assert codec.config.latent_channels == 16 and codec.config.temporal_compression_ratio == 4
    assert codec.dtype == torch.float32 and codec.device.type == "cpu"


@pytest.mark.parametrize("shape", [(1, 3, 4, 16, 16), (1, 3, 5, 15, 16), (1, 3, 5, 16, 18), (1, 4, 5, 16, 16)])
def test_a_clip_off_the_grid_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"4k\+1 RGB frames"):
        random_codec().encode(torch.zeros(shape))


def test_latents_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="3 channels"):
        random_codec().decode(torch.zeros(1, 3, 16, 4, 4))


def test_a_saved_codec_is_the_same_codec(tmp_path: Path) -> None:
    codec = random_codec().half().float()
    save_codec(codec, tmp_path / "codec.safetensors", {"seed": "3"})
    loaded = load_codec(tmp_path / "codec.safetensors")
    frames = torch.rand(1, 3, 5, SIDE, SIDE)
    assert torch.equal(encoded(codec, frames), encoded(loaded, frames))
    assert loaded.config == codec.config
    files = open_weights(tmp_path / "codec.safetensors")
    assert files.metadata["seed"] == "3" and FAMILY.detects(files.tensors)
    built = FAMILY.build(FAMILY.config(files))
    assert set(built.state_dict()) == set(files.tensors)


def test_another_models_file_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match="other.safetensors is no embedded codec"):
        load_codec(tmp_path / "other.safetensors")


def test_without_steps_a_fit_is_the_principal_components() -> None:
    codec = fit_codec(0)
    first = clips(0, 0, START_CLIPS)[:, :, 0]  # the very clips that it was fitted to
    blocks = torch.nn.functional.pixel_unshuffle(first, PATCH).movedim(1, -1).flatten(0, -2).double()
    values = torch.linalg.eigvalsh((blocks - blocks.mean(0)).T @ (blocks - blocks.mean(0)) / len(blocks))
    shown = codec.decode(encoded(codec, first[:, :, None])).sample[:, :, 0]
    assert float((shown - first).double().square().sum(1).mean() * PATCH**2) == pytest.approx(
        float(values[:-16].sum()), rel=1e-3
    )


def test_a_fit_is_the_same_from_the_same_seed() -> None:
    first, second = fit_codec(3, batch=2, seed=5), fit_codec(3, batch=2, seed=5)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters()))


def test_the_command_writes_a_codec_and_how_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_fitting, "START_CLIPS", 8)
    codec_fitting.main([str(tmp_path / "codec.safetensors"), "--steps", "0"])
    about = open_weights(tmp_path / "codec.safetensors").metadata
    assert about["fitted"] == "fit_codec(0, batch=16, seed=0, hidden=96, side=48)" and "dB" in about["psnr"]
    assert load_codec(tmp_path / "codec.safetensors").config.hidden_channels == 96


def test_scaled_latents_are_centred_with_a_variance_of_one(shipped: EmbeddedCodec) -> None:
    frames = clips(123, 0, 100)
    for part in (frames[:, :, :1], frames):
        latents = encoded(shipped, part)[:, :, -1] * shipped.config.scaling_factor
        assert float(latents.square().mean()) == pytest.approx(1, rel=0.15)
        assert float(latents.mean(dim=(0, 2, 3)).abs().max()) < 0.2


def test_the_shipped_codec_is_small_and_shows_the_world_better_than_a_linear_one(shipped: EmbeddedCodec) -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    held_out = trials("add", "seen", 12)
    assert codec_psnr(shipped, held_out) > codec_psnr(fit_codec(0), held_out) + 2.5


def test_the_shipped_codecs_limit_leaves_the_goals_within_reach(shipped: EmbeddedCodec) -> None:
    truths = [one.truth() for one in trials("modify", "seen", 24)]
    limit = mean_score([score(codec_answer(one, shipped.there_and_back), one) for one in truths])
    assert limit.iou > 0.94 and limit.colour > 0.99 and limit.background > 0.95
    deleted = [one.truth() for one in trials("delete", "seen", 12)]
    assert mean_score([score(codec_answer(one, shipped.there_and_back), one) for one in deleted]).psnr > 40
