"""Pix2Video from a clip to a clip: inverted once, edited by a text or after a keyframe, put back inside the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import editing_models as models
import pytest
import torch
import uniedit_models as tiny
from cancelling import CancelAfter, CancelledError
from torch import Tensor

from vivid_core.diffusion.branches import run_branches
from vivid_core.diffusion.ddim import invert
from vivid_core.diffusion.roles import Role
from vivid_core.editors.backbone import Backbone
from vivid_core.editors.inverted import InversionPlan, InvertedClip, invert_clip
from vivid_core.editors.pix2video import Pix2VideoSettings, guided_update, pix2video, plan_for, rules_for, steps_of
from vivid_core.editors.pix2video_clip import FramesEdited, edit_frames
from vivid_core.editors.put_back import blend_mask_for
from vivid_core.runtime import Runtime
from vivid_core.video.keyframes import Keyframe, Keyframes

STEPS, COUNT = 3, 4
SOURCE, PROMPT = "a red ball", "a blue ball"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


@cache
def images() -> Backbone:
    return tiny.backbone(tiny.image_unet(), tiny.vae())


@cache
def moving() -> Backbone:
    return tiny.backbone(tiny.motion_unet(), tiny.vae())


@cache
def inverted(backbone: Backbone | None = None) -> InvertedClip:
    plan = InversionPlan(STEPS, still=True, checked=False)
    return invert_clip(backbone or images(), tiny.frames(COUNT), SOURCE, plan).clip


@cache
def mask() -> Tensor:
    return tiny.mask(COUNT)


def key(index: int = 1) -> Keyframe:
    image = tiny.frames(COUNT)[index].clone()
    image[4:24, 4:24] = torch.tensor([0.1, 0.2, 0.9])
    return Keyframe(index, image)


def edited(**named: Any) -> FramesEdited:
    return edit_frames(images(), inverted(), PROMPT, **({"settings": Pix2VideoSettings(guidance=3)} | named))


def test_outside_the_blend_mask_nothing_changed_and_inside_something_did() -> None:
    made = edited(mask_fhw=mask(), feather=2)
    outside, clip = made.blend_mask_fhw == 0, inverted().frames_fhwc
    assert 0 < outside.float().mean() < 1
    assert torch.equal(made.frames_fhwc[outside], clip[outside])
    assert (made.frames_fhwc[mask() == 1] - clip[mask() == 1]).abs().mean() > 0.01
    assert "Largest difference outside the blend mask: 0." in made.report


def test_without_a_mask_the_whole_frame_is_what_the_model_made() -> None:
    made = edited()
    assert torch.equal(made.frames_fhwc, made.seen_fhwc) and "the whole frame" in made.report
    assert made.depth_fhw is None


def test_a_keyframe_comes_back_exactly_and_the_other_frames_follow_it() -> None:
    keys = Keyframes([key()])
    made, plain = edited(keyframes=keys, mask_fhw=mask()), edited(mask_fhw=mask())
    blend = blend_mask_for(inverted(), mask(), None, 8, [])
    assert blend is not None
    inside = blend[1] == 1
    assert torch.equal(made.frames_fhwc[1][inside], key().image_hwc[inside])
    assert torch.equal(made.frames_fhwc[1][blend[1] == 0], inverted().frames_fhwc[1][blend[1] == 0])
    others = [0, 2, 3]
    assert (made.frames_fhwc[others] - plain.frames_fhwc[others]).abs().max() > 1e-3
    assert "given: frame 1" in made.report and "looks at frame 1" in made.report


def test_a_keyframe_has_the_latents_of_its_own_inversion_with_the_prompt_at_every_time() -> None:
    backbone, clip, settings = images(), inverted(), Pix2VideoSettings(guidance=3)
    made = pix2video(backbone, clip, PROMPT, settings=settings, keyframes=Keyframes([key(2)])).latents
    alone = backbone.encode(key(2).image_hwc[None], Runtime())
    text, negative = (backbone.encoded(words, Runtime()) for words in (PROMPT, ""))
    stored = invert(backbone.ask(), alone, text, clip.inversion.times).latents
    plan = plan_for(settings, COUNT, (2,))
    correct = guided_update(plan, settings, STEPS, (2,))
    role = Role("edit", text, negative, 3, clip.inversion.noisiest, pinned={2: stored}, correct=correct)
    rules = rules_for(settings, plan)
    wanted = run_branches(backbone.unet, backbone.ask(), clip.inversion.times, [role], rules)["edit"]
    assert torch.equal(made[:, :, 2:3], alone)
    assert (made - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_the_clip_in_parts_is_the_clip_at_once() -> None:
    whole = edited(keyframes=Keyframes([key()])).seen_fhwc
    parts = edited(keyframes=Keyframes([key()]), settings=Pix2VideoSettings(guidance=3, chunk=2)).seen_fhwc
    assert (whole - parts).abs().max() <= 1e-4
    assert whole.std() > 0.01


def test_a_motion_backbone_edits_frames_with_its_motion_bypassed_and_has_it_back() -> None:
    backbone = moving()
    clip = inverted(backbone)
    before = backbone.unet.attn_processors
    made = pix2video(backbone, clip, PROMPT, settings=Pix2VideoSettings(guidance=3))
    after = backbone.unet.attn_processors
    assert all(after[name] is before[name] for name in before)
    image = tiny.image_unet()
    weights = {name: one for name, one in backbone.unet.state_dict().items() if ".motion_modules." not in name}
    image.load_state_dict(weights)
    alone = replace(backbone, unet=image, motion=False, longest=None)
    wanted = pix2video(alone, clip, PROMPT, settings=Pix2VideoSettings(guidance=3))
    assert (made.latents - wanted.latents).abs().max() <= 1e-4 * wanted.latents.abs().max()


@pytest.mark.parametrize("keys", (0, 1))
def test_the_bar_ends_with_the_run(keys: int) -> None:
    runtime = Runtime()
    edited(keyframes=Keyframes([key()] * keys), mask_fhw=mask(), runtime=runtime)
    assert runtime.total == steps_of(inverted(), keys) + COUNT and runtime.done == runtime.total
    less = Runtime()
    less.begin(10**6)
    pix2video(images(), inverted(), PROMPT, keyframes=Keyframes([key()] * keys), runtime=less)
    assert less.done == steps_of(inverted(), keys)


@pytest.mark.parametrize("after", (0, 2, 4))
def test_a_cancel_passes_through_and_the_processors_are_back(after: int) -> None:
    unet: Any = images().unet
    before = unet.attn_processors
    with pytest.raises(CancelledError):
        pix2video(images(), inverted(), PROMPT, keyframes=Keyframes([key()]), runtime=CancelAfter(after))
    assert all(unet.attn_processors[name] is before[name] for name in before)


def together() -> InvertedClip:
    return invert_clip(moving(), tiny.frames(COUNT), SOURCE, InversionPlan(STEPS, checked=False)).clip


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    (
        (lambda: pix2video(moving(), inverted(), PROMPT), "inverted with another model"),
        (lambda: pix2video(moving(), together(), PROMPT), "inverted all frames together"),
        (lambda: edited(settings=Pix2VideoSettings(anchor=COUNT)), "Anchor: got frame 4"),
        (lambda: edited(keyframes=Keyframes([Keyframe(9, key().image_hwc)])), "Keyframe 9: the clip has 4 frames"),
        (lambda: edited(mask_fhw=torch.zeros(COUNT, 32, 32)), "mask is empty"),
        (lambda: edited(mask_fhw=mask()[:2]), "got 2 masks for 4 frames"),
    ),
)
def test_what_does_not_fit_is_said_before_any_work(wrong: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert str(caught.value).endswith(".")
