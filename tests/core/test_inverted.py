"""Inverting a clip for the tuning-free editors: sizes, windows, what is told, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from uniedit_models import FRAMES, backbone, frames, image_unet, motion_unet, vae

from vivid_core.diffusion.ddim import Times
from vivid_core.editors.backbone import Backbone
from vivid_core.editors.inverted import InversionPlan, fitted, invert_clip
from vivid_core.editors.put_back import blend_mask_for, put_back
from vivid_core.runtime import Runtime
from vivid_core.video.crop import crop, uncrop

STEPS = 2


@pytest.fixture(scope="module")
def codec() -> nn.Module:
    return vae()


@pytest.fixture(scope="module")
def moving(codec: nn.Module) -> Backbone:
    return backbone(motion_unet(), codec)


@pytest.fixture(scope="module")
def still(codec: nn.Module) -> Backbone:
    return backbone(image_unet(), codec)


def test_the_first_latents_are_the_clips_own_and_the_last_are_noised_by_the_model(moving: Backbone) -> None:
    made = invert_clip(moving, frames(), "a red ball", InversionPlan(STEPS))
    latents, times = made.clip.inversion.latents, Times.make(moving.noise, STEPS)
    assert torch.equal(latents[0], moving.encode(frames(), Runtime()))
    text = moving.encoded("a red ball", Runtime())
    expected = latents[0]
    for k in (1, 2):
        expected = times.up(k, expected, moving.ask()(expected, times.timestep(k), [text]))
    assert torch.allclose(latents[-1], expected, atol=1e-4)
    assert torch.equal(made.clip.text_bld, text)


def test_a_checked_inversion_shows_the_clip_denoised_again_and_how_far_off_it_is(moving: Backbone) -> None:
    made = invert_clip(moving, frames(), "", InversionPlan(STEPS))
    latents, times = made.clip.inversion.latents, made.clip.inversion.times
    back = latents[-1]
    for k in (2, 1):
        back = times.down(k, back, moving.ask()(back, times.timestep(k), [made.clip.text_bld]))
    assert torch.allclose(made.frames_fhwc, moving.decode(back, Runtime()), atol=1e-3)
    share = (back - latents[0]).square().mean().sqrt() / latents[0].square().mean().sqrt()
    assert made.error == pytest.approx(float(share), rel=1e-3)
    assert f"Reconstruction error: {100 * made.error:.2f} %" in made.report()


def test_unchecked_it_shows_what_the_vae_makes_of_the_clip(moving: Backbone) -> None:
    made = invert_clip(moving, frames(), "", InversionPlan(STEPS, checked=False))
    assert torch.equal(made.frames_fhwc, moving.decode(made.clip.inversion.latents[0], Runtime()))
    assert made.error is None and "Not checked" in made.report()


@pytest.mark.parametrize("checked", [True, False])
def test_the_bar_ends_where_the_work_ends(moving: Backbone, checked: bool) -> None:
    class Counting(Runtime):
        counted = 0

        def advance(self, steps: int = 1, **_: object) -> None:
            self.counted += steps

    runtime = Counting()
    invert_clip(moving, frames(), "", InversionPlan(STEPS, checked=checked), runtime)
    assert runtime.counted == runtime.total == 2 * FRAMES + STEPS * (1 + checked)


def test_the_image_model_inverts_each_frame_by_itself_however_many_are_asked_at_once(moving: Backbone) -> None:
    plan = InversionPlan(STEPS, still=True, checked=False)
    whole = invert_clip(moving, frames(), "", plan).clip.inversion
    first = invert_clip(moving, frames()[:1], "", plan).clip.inversion
    parts = invert_clip(moving, frames(), "", InversionPlan(STEPS, still=True, checked=False, chunk=2)).clip.inversion
    assert torch.allclose(whole.noisiest[:, :, :1], first.noisiest, atol=1e-4)
    assert torch.allclose(whole.noisiest, parts.noisiest, atol=1e-4)


def test_a_clip_longer_than_the_motion_modules_take_goes_in_windows_and_that_is_said(codec: nn.Module) -> None:
    short, notes = backbone(motion_unet(), codec, longest=4), list[str]()
    made = invert_clip(short, frames(7), "", InversionPlan(STEPS, overlap=1), notes=notes)
    assert notes == [
        "Tiny Diffusion makes 4 frames at once, so the 7 frames go in 2 windows that share 1 or more, averaged there "
        "in every step."
    ]
    alone = invert_clip(short, frames(7)[:4], "", InversionPlan(STEPS, overlap=1)).clip.inversion
    assert made.clip.inversion.frames == 7
    assert torch.allclose(made.clip.inversion.latents[1][:, :, :3], alone.latents[1][:, :, :3], atol=1e-4)


def test_frames_are_brought_to_sides_that_the_model_takes_and_back(moving: Backbone) -> None:
    clip = frames(2, 37, 50)
    made = invert_clip(moving, clip, "", InversionPlan(1, checked=False))
    assert made.clip.size == (32, 48) and made.clip.inversion.latents[0].shape[3:] == (16, 24)
    assert "Frames of 50x37, resized to 48x32 for the model and back." in made.report()
    assert made.clip.frames_fhwc.shape == clip.shape and torch.equal(made.clip.frames_fhwc, clip)
    back = put_back(made.clip, made.frames_fhwc, None)
    assert back.frames_fhwc.shape == clip.shape
    assert torch.equal(back.frames_fhwc, uncrop(made.frames_fhwc, made.clip.stitch))


@pytest.mark.parametrize(
    ("size", "pixels", "expected"),
    [
        ((512, 512), None, (512, 512)),
        ((1080, 1920), 260_000, (384, 704)),
        ((64, 64), 260_000, (64, 64)),
        ((20, 500), None, (64, 512)),
    ],
)
def test_large_frames_are_shrunk_and_small_ones_kept(
    size: tuple[int, int], pixels: int | None, expected: tuple[int, int]
) -> None:
    stitch = fitted(torch.zeros(1, *size, 3), 64, pixels)
    assert stitch.out_size == expected and stitch.source_size == stitch.box_size == size
    assert crop(torch.zeros(1, *size, 3), stitch).shape[1:3] == expected


def test_outside_the_mask_nothing_changes_to_the_bit(moving: Backbone) -> None:
    clip = invert_clip(moving, frames(2, 37, 50), "", InversionPlan(1, checked=False)).clip
    marked = torch.zeros(2, 37, 50)
    marked[:, 10:20, 5:15] = 1
    blend = blend_mask_for(clip, marked, None, 3, [])
    done = put_back(clip, torch.rand(2, 32, 48, 3), blend)
    outside = done.blend_mask_fhw == 0
    assert outside.any() and torch.equal(done.frames_fhwc[outside], clip.frames_fhwc[outside])
    assert not torch.equal(done.frames_fhwc[~outside], clip.frames_fhwc[~outside])
    assert "Largest difference outside the blend mask: 0." in done.report


def test_another_model_or_kind_than_the_one_that_inverted_gets_one_sentence(moving: Backbone, still: Backbone) -> None:
    clip = invert_clip(moving, frames(), "", InversionPlan(1, checked=False)).clip
    with pytest.raises(ValueError, match="inverted with another model"), clip.asked(still, True, "UniEdit"):
        pass
    sentence = "inverted all frames together, but this editor works on each frame by itself"
    with pytest.raises(ValueError, match=sentence), clip.asked(moving, True, "Pix2Video"):
        pass


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"steps": 0}, "Steps: got 0; use 1"),
        ({"pixels": 0}, "got 0 pixels for a frame; use 1 or more"),
        ({"still": True, "chunk": 0}, "Frames at once: got 0; use 1 or more"),
    ],
)
def test_plans_that_can_not_be_get_one_sentence(moving: Backbone, plan: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        invert_clip(moving, frames(), "", InversionPlan(**plan))


def test_masks_that_do_not_fit_get_one_sentence(moving: Backbone) -> None:
    clip = invert_clip(moving, frames(), "", InversionPlan(1, checked=False)).clip
    with pytest.raises(ValueError, match="got 2 masks for 3 frames"):
        blend_mask_for(clip, torch.ones(2, 32, 32), None, 8, [])
    with pytest.raises(ValueError, match="the mask is empty on all 3 frames"):
        blend_mask_for(clip, torch.zeros(3, 32, 32), None, 8, [])
    with pytest.raises(ValueError, match="got masks of 31x32 for frames of 32x32"):
        blend_mask_for(clip, None, torch.ones(3, 32, 31), 8, [])
