"""UniEdit on a clip, from its inversion to the finished frames, on tiny models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from uniedit_models import FRAMES, backbone, frames, image_unet, mask, motion_unet, vae

from vivid_core.editors.attention_masks import word_mask
from vivid_core.editors.backbone import Backbone
from vivid_core.editors.inverted import InversionPlan, InvertedClip, invert_clip
from vivid_core.editors.uniedit import EDIT, MOTION, SOURCE, UniEditMasks, UniEditSettings, uniedit
from vivid_core.editors.uniedit_clip import EditedClip, LocalOptions, edit_clip
from vivid_core.runtime import Runtime

STEPS = 2
CAPTION, PROMPT = "a red ball on grass", "a blue ball on grass"


@pytest.fixture(scope="module")
def moving() -> Backbone:
    return backbone(motion_unet(), vae())


@pytest.fixture(scope="module")
def inverted(moving: Backbone) -> InvertedClip:
    return invert_clip(moving, frames(), CAPTION, InversionPlan(STEPS, checked=False)).clip


def edited(model: Backbone, clip: InvertedClip, mode: str = "appearance", **options: Any) -> EditedClip:
    return edit_clip(model, clip, PROMPT, settings=UniEditSettings(mode), options=LocalOptions(**options))


@pytest.mark.parametrize("steer", ["blend only", "mask", "word"])
@pytest.mark.parametrize("mode", ["appearance", "motion"])
def test_outside_the_mask_nothing_changes_to_the_bit_and_inside_something_does(
    moving: Backbone, inverted: InvertedClip, mode: str, steer: str
) -> None:
    made = edited(moving, inverted, mode, mask_fhw=mask(), feather=2, steer=steer, word="ball")
    outside = made.blend_mask_fhw == 0
    assert torch.equal(made.frames_fhwc[outside], inverted.frames_fhwc[outside])
    assert (made.frames_fhwc - inverted.frames_fhwc)[mask() > 0.5].abs().max() > 0.01
    assert "Largest difference outside the blend mask: 0." in made.report
    assert (made.object_fhw is None) == (steer == "blend only")


def test_without_a_mask_the_whole_frame_is_edited(moving: Backbone, inverted: InvertedClip) -> None:
    made = edited(moving, inverted)
    latents = uniedit(moving, inverted, PROMPT, settings=UniEditSettings("appearance")).latents[EDIT]
    assert torch.equal(made.frames_fhwc, moving.decode(latents, Runtime()))
    assert "the whole frame is edited" in made.report


def test_diagnostics_are_the_source_and_the_motion_reference(moving: Backbone, inverted: InvertedClip) -> None:
    made = uniedit(moving, inverted, PROMPT, settings=UniEditSettings("motion"))
    assert set(made.latents) == {SOURCE, EDIT, MOTION}
    assert torch.equal(made.latents[SOURCE], inverted.inversion.latents[0])
    assert made.motion_fhwc is not None
    assert torch.equal(made.motion_fhwc, moving.decode(made.latents[MOTION], Runtime()))
    assert torch.equal(made.source_fhwc, moving.decode(made.latents[SOURCE], Runtime()))
    assert uniedit(moving, inverted, PROMPT, settings=UniEditSettings("appearance")).motion_fhwc is None


def test_the_masks_of_attention_change_the_edit_itself(moving: Backbone, inverted: InvertedClip) -> None:
    for mode in ("appearance", "motion"):
        plain, steered = (
            edited(moving, inverted, mode, mask_fhw=mask(), steer=steer) for steer in ("blend only", "mask")
        )
        assert not torch.allclose(plain.frames_fhwc, steered.frames_fhwc, atol=1e-4)


def test_a_mask_by_a_word_is_the_one_of_the_source_pass(moving: Backbone, inverted: InvertedClip) -> None:
    settings = UniEditSettings("appearance")
    made = edit_clip(moving, inverted, PROMPT, "", settings, LocalOptions(steer="word", word="red ball"))
    masks = UniEditMasks(word_mask(moving, inverted, "red ball"))
    assert torch.equal(made.frames_fhwc, uniedit(moving, inverted, PROMPT, "", settings, masks).frames_fhwc)
    assert made.object_fhw is not None and made.object_fhw.shape == (FRAMES, 32, 32)


@pytest.mark.parametrize(("mode", "steer"), [("appearance", "word"), ("motion", "blend only")])
def test_the_bar_ends_where_the_work_ends(moving: Backbone, inverted: InvertedClip, mode: str, steer: str) -> None:
    class Counting(Runtime):
        counted = 0

        def advance(self, steps: int = 1, **_: object) -> None:
            self.counted += steps

    runtime = Counting()
    options = LocalOptions(mask_fhw=mask(), steer=steer, word="ball")
    edit_clip(moving, inverted, PROMPT, "", UniEditSettings(mode), options, runtime)
    assert runtime.counted == runtime.total > STEPS


def test_a_longer_clip_goes_in_windows_in_which_every_frame_has_its_own_mask() -> None:
    """Windows without any shared frame are clips of their own."""
    short = backbone(motion_unet(), vae(), longest=3)
    plan = InversionPlan(STEPS, checked=False, overlap=0)
    whole, parts = invert_clip(short, frames(6), "", plan).clip, []
    for at in (slice(0, 3), slice(3, 6)):
        part = invert_clip(short, frames(6)[at], "", plan).clip
        parts.append(edited(short, part, "motion", mask_fhw=mask(6)[at], steer="mask").frames_fhwc)
    notes: list[str] = []
    options = LocalOptions(mask_fhw=mask(6), steer="mask")
    made = edit_clip(short, whole, PROMPT, "", UniEditSettings("motion"), options, None, notes)
    assert torch.allclose(made.frames_fhwc, torch.cat(parts), atol=1e-3)
    assert any("2 windows" in note for note in notes)


def test_an_image_model_edits_the_same_however_many_frames_it_is_asked_at_once() -> None:
    still, made = backbone(image_unet(), vae()), []
    for chunk in (2, None):
        clip = invert_clip(still, frames(), CAPTION, InversionPlan(STEPS, still=True, chunk=chunk, checked=False)).clip
        made.append(edited(still, clip, mask_fhw=mask(), steer="word", word="ball").frames_fhwc)
    assert torch.allclose(*made, atol=1e-3)


def test_the_report_says_what_steered_and_what_was_saved(moving: Backbone, inverted: InvertedClip) -> None:
    report = edit_clip(moving, inverted, PROMPT, settings=UniEditSettings("motion", structure=0.5)).report
    assert report.startswith(
        "UniEdit, motion: 2 steps, guidance 7.5; queries and keys of the source in the first 1 step; "
    )
    assert (
        "values of the source in all steps; queries and keys over time of the motion reference in all steps." in report
    )
    assert "Asked 10 times for a clip; 12 without savings." in report


# ------------------------------------------------------------------------------------------------- what is refused


def test_a_new_motion_without_motion_modules_gets_one_sentence() -> None:
    still = backbone(image_unet(), vae())
    clip = invert_clip(still, frames(), "", InversionPlan(1, still=True, checked=False)).clip
    with pytest.raises(ValueError, match="Tiny Diffusion has no motion modules, which a new motion comes from"):
        edited(still, clip, "motion")
    assert edited(still, clip, "appearance").frames_fhwc.shape == frames().shape


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mask_fhw": torch.ones(2, 32, 32)}, "got 2 masks for 3 frames"),
        ({"mask_fhw": torch.zeros(3, 32, 32)}, "the mask is empty on all 3 frames"),
        ({"steer": "mask"}, "no mask is connected that its attention could use"),
        ({"steer": "word", "word": "jumps"}, '"jumps" is not in the source prompt "a red ball on grass"'),
        ({"steer": "word", "word": ""}, '"" is not in the source prompt'),
        ({"steer": "word", "word": "ball", "threshold": 1.0}, "got the threshold 1; use a number between 0 and 1"),
        ({"steer": "everything"}, "got the use 'everything' of masks; use one of blend only, mask, word"),
        (
            {"steer": "mask", "mask_fhw": mask(), "motion_mask_fhw": torch.ones(5, 32, 32)},
            "UniEdit, motion mask: got 5 masks for 3 frames",
        ),
    ],
)
def test_options_that_can_not_be_get_one_sentence(
    moving: Backbone, inverted: InvertedClip, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        edited(moving, inverted, **options)


class Cancelled(Exception):
    pass


class Cancels(Runtime):
    """At its third step."""

    def advance(self, steps: int = 1, **_: object) -> None:
        self.done += steps
        if self.done > 2:
            raise Cancelled


@pytest.mark.parametrize("steer", ["mask", "word"])
def test_a_cancel_passes_through_and_the_processors_are_as_before(
    moving: Backbone, inverted: InvertedClip, steer: str
) -> None:
    unet: Any = moving.unet
    before = dict(unet.attn_processors)
    with pytest.raises(Cancelled):
        options = LocalOptions(mask_fhw=mask(), steer=steer, word="ball")
        edit_clip(moving, inverted, PROMPT, "", UniEditSettings("motion"), options, Cancels())
    after = unet.attn_processors
    assert all(after[name] is before[name] for name in before)


def test_nan_gets_one_sentence_and_the_processors_are_as_before(moving: Backbone, inverted: InvertedClip) -> None:
    unet: Any = motion_unet()
    before = dict(unet.attn_processors)
    hook = unet.conv_out.register_forward_hook(lambda module, given, made: made * float("nan"))
    with pytest.raises(ValueError, match="returned NaN"):
        edited(replace(moving, unet=unet), inverted)
    hook.remove()
    assert all(unet.attn_processors[name] is before[name] for name in before)
