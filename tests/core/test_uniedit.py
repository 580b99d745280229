"""UniEdit on tiny models of the true topology: against the method as its paper tells it, and by identities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from harness.naive_uniedit import Naive
from torch import Tensor, nn
from uniedit_models import FRAMES, SIDE, ask_of, image_unet, latents, motion_unet, planted_inversion, text

from vivid_core.diffusion.attention_rules import Rule, SplitRule
from vivid_core.diffusion.branches import run_branches
from vivid_core.diffusion.ddim import Inversion, NoiseSchedule, invert
from vivid_core.editors.uniedit import EDIT, MOTION, UniEditMasks, UniEditSettings, roles_for, rules_for

STEPS = 3
PROMPT, NEGATIVE, CAPTION = text(1), text(2), text(3)
TOLERANCE = 1e-9  # in fp64, after all steps


@pytest.fixture(scope="module")
def moving() -> nn.Module:
    return motion_unet(dtype=torch.float64)


@pytest.fixture(scope="module")
def inversion(moving: nn.Module) -> Inversion:
    """With an empty source prompt, which is the negative one."""
    return inverted(moving, NEGATIVE)


@pytest.fixture(scope="module")
def unsteered(moving: nn.Module, inversion: Inversion) -> Tensor:
    """Nothing but guided denoising."""
    return plain(moving, inversion)


@pytest.fixture(scope="module")
def way(moving: nn.Module, inversion: Inversion) -> Inversion:
    """The latents that denoising with a caption goes through."""
    return denoised_way(moving, inversion, CAPTION)


def inverted(unet: nn.Module, source: Tensor) -> Inversion:
    times = planted_inversion(STEPS).times
    return invert(ask_of(unet), latents(dtype=torch.float64), source.double(), times)


def edited(
    unet: nn.Module,
    inversion: Inversion,
    settings: UniEditSettings,
    masks: UniEditMasks | None = None,
    source: Tensor = NEGATIVE,
    prompt: Tensor = PROMPT,
) -> dict[str, Tensor]:
    roles = roles_for(settings, inversion, source, prompt, NEGATIVE)
    rules = rules_for(settings, STEPS, masks)
    return run_branches(unet, ask_of(unet), inversion.times, roles, rules, mode=settings.run_mode)


def plain(unet: nn.Module, inversion: Inversion, guidance: float = 7.5, prompt: Tensor = PROMPT) -> Tensor:
    """By diffusers' own scheduler."""
    from diffusers import DDIMScheduler

    named = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    scheduler = DDIMScheduler(**named, clip_sample=False, set_alpha_to_one=False)
    scheduler.alphas_cumprod = NoiseSchedule().alphas()  # the same in fp64
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(inversion.times.steps)
    made = inversion.noisiest
    for timestep in scheduler.timesteps:
        without, with_prompt = ask_of(unet)(torch.cat([made, made]), int(timestep), [NEGATIVE, prompt]).split(1)
        made = scheduler.step(without + guidance * (with_prompt - without), timestep, made).prev_sample
    return made


def denoised_way(unet: nn.Module, inversion: Inversion, prompt: Tensor) -> Inversion:
    """The latents that denoising with a prompt at guidance 1 goes through, kept as an inversion keeps them."""
    made, times = [inversion.noisiest], inversion.times
    for k in reversed(range(1, times.steps + 1)):
        made.append(times.down(k, made[-1], ask_of(unet)(made[-1], times.timestep(k), [prompt])))
    return Inversion(tuple(reversed(made)), times)


def object_masks() -> UniEditMasks:
    source, motion = torch.zeros(FRAMES, SIDE, SIDE), torch.zeros(FRAMES, SIDE, SIDE)
    source[:, 3:9, 2:10], motion[:, 5:13, 6:14] = 1, 1
    return UniEditMasks(source, motion)


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


SETTINGS = {
    "appearance": UniEditSettings("appearance", replayed=False, structure=2 / 3, background=1 / 3),
    "motion": UniEditSettings("motion", replayed=False, structure=1 / 3, content=2 / 3),
}


@pytest.mark.parametrize("masked", [False, True], ids=["without masks", "with masks"])
@pytest.mark.parametrize("mode", ["appearance", "motion"])
def test_the_edit_is_that_of_the_paper_with_all_roles_and_halves_asked_always(
    moving: nn.Module, inversion: Inversion, mode: str, masked: bool
) -> None:
    masks = object_masks() if masked else None
    naive = Naive(
        structure=2 if mode == "appearance" else 1,
        content=2,
        injection=STEPS,
        background=1,
        motion=mode == "motion",
        source_mask=None if masks is None else masks.source_fhw,
        target_mask=None if masks is None else masks.target_fhw,
    )
    texts = (NEGATIVE, PROMPT, NEGATIVE)
    expected = naive.run(moving, ask_of(moving), inversion.times, inversion.noisiest, texts)
    found = edited(moving, inversion, SETTINGS[mode], masks)
    assert apart(found[EDIT], expected[1]) < TOLERANCE
    if mode == "motion":
        assert apart(found[MOTION], expected[2]) < TOLERANCE


@pytest.mark.parametrize("mode", ["appearance", "motion"])
def test_roles_in_one_batch_and_one_after_the_other_give_the_same(
    moving: nn.Module, inversion: Inversion, mode: str
) -> None:
    settings, masks = SETTINGS[mode], object_masks()
    together = edited(moving, inversion, settings, masks)
    apart_in_time = edited(moving, inversion, replace(settings, side_by_side=False), masks)
    assert apart(together[EDIT], apart_in_time[EDIT]) < TOLERANCE


@pytest.mark.parametrize("mode", ["appearance", "motion"])
def test_with_every_rule_off_it_is_plain_denoising(
    moving: nn.Module, inversion: Inversion, unsteered: Tensor, mode: str
) -> None:
    off = UniEditSettings(mode, structure=0, content=0, injection=0, background=0)
    assert rules_for(off, STEPS, object_masks()) == ()
    assert apart(edited(moving, inversion, off)[EDIT], unsteered) < TOLERANCE


@pytest.mark.parametrize("rule", ["structure", "content", "injection"])
def test_each_rule_alone_changes_the_edit(
    moving: nn.Module, inversion: Inversion, unsteered: Tensor, rule: str
) -> None:
    off = UniEditSettings("motion", structure=0, content=0, injection=0)
    on = replace(off, **{rule: 0.5})
    # Without structure the motion reference is the edit itself, from which nothing new can be taken.
    assert (apart(edited(moving, inversion, on)[EDIT], unsteered) > 1e-3) == (rule != "injection")


def test_injection_brings_the_motion_reference_into_an_edit_that_has_content(
    moving: nn.Module, inversion: Inversion, unsteered: Tensor
) -> None:
    content = UniEditSettings("motion", structure=0, content=1, injection=0)
    both = edited(moving, inversion, replace(content, injection=1))
    assert apart(both[EDIT], edited(moving, inversion, content)[EDIT]) > 1e-3
    assert apart(both[MOTION], unsteered) < TOLERANCE  # it follows the prompt alone


@pytest.mark.parametrize("replayed", [True, False], ids=["replayed", "denoised along"])
@pytest.mark.parametrize("mode", ["appearance", "motion"])
def test_under_all_rules_at_all_steps_an_edit_with_the_sources_prompt_is_the_source(
    moving: nn.Module, way: Inversion, mode: str, replayed: bool
) -> None:
    settings = UniEditSettings(mode, guidance=1, structure=1, content_from=0, replayed=replayed)
    made = edited(moving, way, settings, source=CAPTION, prompt=CAPTION)
    assert apart(made[EDIT], way.latents[0]) < TOLERANCE


def test_a_source_that_is_dropped_after_its_last_rule_gives_the_same_as_one_that_stays(
    moving: nn.Module, inversion: Inversion
) -> None:
    settings, rules = SETTINGS["appearance"], rules_for(SETTINGS["appearance"], STEPS)
    roles = roles_for(settings, inversion, NEGATIVE, PROMPT, NEGATIVE)
    calls: list[int] = []

    def counted(batch: Tensor, *args: Any) -> Tensor:
        calls.append(len(batch))
        return ask_of(moving)(batch, *args)

    dropped = run_branches(moving, counted, inversion.times, [replace(roles[0], wanted=False), roles[1]], rules)
    assert calls == [3, 3, 2]
    stays = run_branches(moving, counted, inversion.times, [replace(roles[0], wanted=True), roles[1]], rules)
    assert calls[3:] == [3, 3, 3]
    assert apart(dropped[EDIT], stays[EDIT]) < TOLERANCE


def test_an_image_model_edits_appearance_frame_by_frame() -> None:
    unet = image_unet(dtype=torch.float64)
    back = inverted(unet, NEGATIVE)
    whole = edited(unet, back, SETTINGS["appearance"])[EDIT]
    second = Inversion(tuple(latent[:, :, 1:2] for latent in back.latents), back.times)
    assert apart(edited(unet, second, SETTINGS["appearance"])[EDIT], whole[:, :, 1:2]) < TOLERANCE


def test_masks_that_mark_everything_are_as_no_masks(moving: nn.Module, inversion: Inversion) -> None:
    everything = UniEditMasks(torch.ones(FRAMES, SIDE, SIDE))
    masked, unmasked = (edited(moving, inversion, SETTINGS["motion"], masks)[EDIT] for masks in (everything, None))
    assert apart(masked, unmasked) < TOLERANCE


# -------------------------------------------------------------------------------------------------- rules as data


def test_the_usual_shares_are_the_steps_of_the_paper() -> None:
    appearance = rules_for(UniEditSettings("appearance"), 50, object_masks())
    assert [rule.steps for rule in appearance] == [range(25), range(25)]
    structure, content, injection, split = rules_for(UniEditSettings("motion"), 50, object_masks())
    assert (structure.steps, content.steps, injection.steps, split.steps) == (range(15), *[range(50)] * 3)
    assert content.layers == split.layers == (10, 11, 12, 13, 14, 15)
    assert isinstance(structure, Rule) and structure.targets == (EDIT, MOTION)
    assert isinstance(injection, Rule) and injection.kind == "temporal" and injection.layers is None
    assert isinstance(split, SplitRule)


def test_without_masks_there_is_no_masked_rule() -> None:
    for mode, count in (("appearance", 1), ("motion", 3)):
        rules = rules_for(UniEditSettings(mode), 50)
        assert len(rules) == count
        assert all(isinstance(rule, Rule) and rule.region is None for rule in rules)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mode": "style"}, "got the mode 'style'; use one of appearance, motion"),
        ({"guidance": 0.0}, "got guidance 0; use 1"),
        ({"guidance": float("nan")}, "got guidance nan; use 1"),
        ({"structure": 1.5}, "got structure 1.5; use a share of the steps"),
        ({"content": -0.1}, "got content -0.1; use a share of the steps"),
        ({"content_from": 17}, "got content_from 17; use 0"),
    ],
)
def test_settings_that_can_not_be_get_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        UniEditSettings(**change)
