"""Runs of roles: without rules as diffusers makes them, asked no more than needed, and nothing left behind."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import editing_models as models
import pytest
import torch
from branching import (
    AS_RELEASED,
    CONTENT,
    DOUBLE,
    FRAMES,
    KV,
    MOTION,
    OF_MOTION,
    QK,
    SIDE,
    STEPS,
    STRUCTURE,
    V,
    asking,
    clip,
    drawn,
    image_unet,
    marked,
    motion_unet,
    role,
    run,
    single,
    text,
    times,
)
from cancelling import CancelAfter, CancelledError
from rule_reference import reference
from torch import Tensor

from vivid_core.diffusion.attention_rules import AnyRule, Region, Rule, SplitRule
from vivid_core.diffusion.branches import Mode, most_rows, run_branches
from vivid_core.diffusion.ddim import WHOLE, Ask, invert
from vivid_core.diffusion.roles import Role, RolePlan, Row
from vivid_core.runtime import Runtime

both_modes = pytest.mark.parametrize("mode", ("lockstep", "sequential"))
WINDOWS = ((slice(0, 2), torch.ones(2)), (slice(1, 3), torch.ones(2)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


# ---------------------------------------------------------------------------------------- without rules: diffusers


def diffusers_scheduler(noise: Any) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule=noise.betas,
        beta_start=noise.start,
        beta_end=noise.end,
        steps_offset=noise.offset,
        set_alpha_to_one=noise.first_alpha is not None,
        clip_sample=False,
    )


def sampled(pipeline: Any, latents: Tensor, **more: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        height=8 * latents.shape[-2],
        width=8 * latents.shape[-1],
        num_inference_steps=4,
        guidance_scale=5.0,
        latents=latents.clone(),
        prompt_embeds=text(1),
        negative_prompt_embeds=text(2),
        output_type="latent",
        **more,
    )


@both_modes
def test_without_rules_a_clip_is_that_of_animatediffs_pipeline(mode: Mode) -> None:
    from diffusers import AnimateDiffPipeline

    unet, start = motion_unet(), drawn(1, 4, 5, 8, 16, seed=3)
    pipeline = AnimateDiffPipeline(None, None, None, unet, None, diffusers_scheduler(OF_MOTION))
    theirs = sampled(pipeline, start, num_frames=5).frames
    roles = [Role("edit", text(1), text(2), 5.0, start=start)]
    ours = run_branches(unet, asking(unet), times(4, OF_MOTION), roles, mode=mode)["edit"]
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@both_modes
def test_rules_that_never_act_leave_the_clip_as_animatediffs_pipeline_makes_it(mode: Mode) -> None:
    unet, start = motion_unet(), drawn(1, 4, 5, 8, 16, seed=3)
    roles = [
        Role("edit", text(1), text(2), 5.0, start=start),
        Role("source", text(3), start=drawn(1, 4, 5, 8, 16, seed=4)),
    ]
    never = (
        Rule("spatial", QK, "source", ("edit",), steps=range(0)),
        Rule("temporal", V, "source", ("edit",), layers=()),
    )
    plain, made = (run_branches(unet, asking(unet), times(4), roles, rules, mode=mode) for rules in ((), never))
    assert all(torch.equal(plain[name], made[name]) for name in plain)


def test_without_rules_frames_are_the_images_of_stable_diffusions_pipeline() -> None:
    from diffusers import StableDiffusionPipeline

    unet, start = image_unet(), drawn(1, 4, 2, 8, 16, seed=3)
    scheduler = diffusers_scheduler(AS_RELEASED)
    pipeline = StableDiffusionPipeline(None, None, None, unet, scheduler, None, None, requires_safety_checker=False)
    theirs = torch.stack([sampled(pipeline, start[:, :, at]).images for at in range(2)], dim=2)
    ours = run_branches(unet, asking(unet), times(4), [Role("edit", text(1), text(2), 5.0, start=start)])["edit"]
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


# ------------------------------------------------------------------------------------------ which roles, how often


class Counting:
    """Asks, and notes how many rows each call had."""

    def __init__(self, ask: Ask) -> None:
        self.ask, self.rows = ask, []

    def __call__(
        self, latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE
    ) -> Tensor:
        self.rows.append(len(latents))
        return self.ask(latents, timestep, texts, frames)


def rows_asked(roles: Sequence[Role], rules: Sequence[AnyRule], mode: Mode = "lockstep") -> list[int]:
    """In a run of three steps."""
    unet = motion_unet()
    ask = Counting(asking(unet))
    run_branches(unet, ask, times(3), roles, rules, mode=mode)
    assert max(ask.rows) == most_rows(roles, rules, 3, mode)
    return ask.rows


def test_a_source_is_dropped_from_the_step_on_from_which_no_rule_needs_it() -> None:
    early = (Rule("spatial", QK, "source", ("edit",), steps=range(2)),)
    assert rows_asked([single("edit", 1), single("source", 2, wanted=False)], early) == [4, 4, 2]
    assert rows_asked([single("edit", 1), single("source", 2, wanted=True)], early) == [4, 4, 4]
    late = (Rule("spatial", QK, "source", ("edit",), steps=range(1, 2)),)
    assert rows_asked([single("edit", 1), single("source", 2, wanted=False)], late) == [4, 4, 2]
    stored = [drawn(1, 4, FRAMES, SIDE, SIDE, seed=k) for k in range(4)]
    assert rows_asked([single("edit", 1), single("source", 2, stored=stored, wanted=False)], late) == [2, 4, 2]
    assert rows_asked([single("edit", 1), single("source", 2, wanted=False)], ()) == [2, 2, 2]


def test_sequential_asks_sources_first_and_one_role_at_a_time() -> None:
    roles = [single("edit", 1), single("motion", 2, wanted=False), single("source", 3, wanted=False)]
    rules = (Rule("spatial", QK, "source", ("edit", "motion"), steps=range(2)), MOTION)
    assert RolePlan.make(roles, rules, 3).asked == (
        ("source", "motion", "edit"),
        ("source", "motion", "edit"),
        ("motion", "edit"),
    )
    assert rows_asked(roles, rules, "sequential") == [2, 2, 2, 2, 2, 2, 2, 2]


def test_a_source_with_one_text_in_both_halves_is_asked_once_and_gives_the_same() -> None:
    start, same = clip(1), text(7, DOUBLE)
    once = Role("source", same, same.clone(), 3.0, start=start)
    nearly = Role("source", same, same + 1e-15, 3.0, start=start)  # another text, though not for any model
    rules = (Rule("spatial", QK, "source", ("edit",)),)
    assert [len(RolePlan.make([role("edit", 2), one], rules, 2).rows["source"]) for one in (once, nearly)] == [1, 2]
    made, wanted = (run([role("edit", 2), one], rules)["edit"] for one in (once, nearly))
    assert (made - wanted).abs().max() <= 1e-10 * wanted.abs().max()


def test_a_role_with_one_text_that_takes_from_two_halves_keeps_two() -> None:
    same = text(7, DOUBLE)
    roles = [Role("edit", same, same, 3.0, start=clip(2)), role("source", 1)]
    rules = (Rule("spatial", V, "source", ("edit",)),)
    assert RolePlan.make(roles, rules, STEPS).rows["edit"] == (Row("edit", False), Row("edit", True))
    wanted = reference(motion_unet(dtype=DOUBLE), times(STEPS), roles, rules)
    assert (run(roles, rules)["edit"] - wanted["edit"]).abs().max() <= 1e-10 * wanted["edit"].abs().max()
    assert RolePlan.make(roles, (), STEPS).rows["edit"] == (Row("edit"),)


def test_guidance_of_one_asks_the_prompt_alone() -> None:
    assert rows_asked([single("edit", 1, 1.0)], ()) == [1, 1, 1]


def test_a_source_that_is_replayed_from_an_inversion_comes_back_to_the_bit() -> None:
    unet, latents = motion_unet(), drawn(1, 4, FRAMES, SIDE, SIDE)
    inversion = invert(asking(unet), latents, text(), times(STEPS))
    source = Role.replay("source", inversion, text(), wanted=True)
    rules = (Rule("spatial", V, "source", ("edit",)),)
    made = run_branches(unet, asking(unet), times(STEPS), [single("edit", 1), source], rules)
    assert torch.equal(made["source"], latents) and made["edit"].std() > 0


def test_pinned_frames_have_their_given_latents_at_every_time() -> None:
    unet, seen = motion_unet(), []
    stored = [drawn(1, 4, 1, SIDE, SIDE, seed=60 + k) for k in range(STEPS + 1)]

    def noting(latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        seen.append(latents[:, :, 1:2])
        return asking(unet)(latents, timestep, texts, frames)

    edit = single("edit", 1, pinned={1: stored})
    made = run_branches(unet, noting, times(STEPS), [edit])["edit"]
    assert all(torch.equal(batch[row], stored[STEPS - step][0]) for step, batch in enumerate(seen) for row in (0, 1))
    assert torch.equal(made[:, :, 1:2], stored[0]) and not torch.equal(made[:, :, :1], stored[0])


def test_latents_can_be_corrected_after_each_step_in_view_of_what_it_points_at() -> None:
    unet, steps = motion_unet(), []

    def halfway(step: int, latents: Tensor, clean: Tensor) -> Tensor:
        steps.append(step)
        return (latents + clean) / 2

    edit = single("edit", 1, 1.0, correct=halfway)
    made = run_branches(unet, asking(unet), times(2), [edit])["edit"]
    latents, line = edit.at(2), times(2)
    for k in (2, 1):
        eps = asking(unet)(latents, line.timestep(k), [text(1)])
        latents = (line.down(k, latents, eps) + line.clean(k, latents, eps)) / 2
    assert torch.allclose(made, latents, rtol=1e-5, atol=1e-5) and steps == [0, 1]


# ------------------------------------------------------------------------------------------- nothing is left behind


class StandIn:
    """A processor that some other code has put on a layer, and that isn't any of diffusers'."""

    def __init__(self, own: Any) -> None:
        self.inner, self.calls = own, 0

    def __call__(self, *given: Any, **named: Any) -> Tensor:
        self.calls += 1
        return self.inner(*given, **named)


@both_modes
@pytest.mark.parametrize("how", ("done", "an error", "a cancel", "a wrong rule"))
def test_the_unets_own_processors_are_back_whatever_happens(how: str, mode: Mode) -> None:
    unet, calls = motion_unet(), 0
    layer = unet.get_submodule("up_blocks.2.attentions.0.transformer_blocks.0.attn1")
    stand_in = StandIn(layer.processor)
    layer.set_processor(stand_in)
    before = unet.attn_processors
    rules = [STRUCTURE, CONTENT, MOTION] + [Rule("spatial", V, "source", ("edit",), (99,))] * (how == "a wrong rule")

    def ask(latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        nonlocal calls
        calls += 1
        if how == "an error" and calls == 2:
            raise KeyError("in the middle")
        return asking(unet)(latents, timestep, texts, frames)

    roles = [single("edit", 1), single("motion", 2), single("source", 3)]
    runtime = CancelAfter(1) if how == "a cancel" else Runtime()
    try:
        run_branches(unet, ask, times(STEPS), roles, rules, runtime, mode=mode)
        outcome: type[BaseException] | None = None
    except (KeyError, CancelledError, ValueError) as error:
        outcome = type(error)
    after = unet.attn_processors
    layer.set_processor(stand_in.inner)
    expected = {"done": None, "an error": KeyError, "a cancel": CancelledError, "a wrong rule": ValueError}
    assert outcome is expected[how]
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)
    assert "wrong" in how or calls > 0


def test_layers_without_an_active_rule_are_answered_by_their_own_processor() -> None:
    unet = motion_unet()
    layer = unet.get_submodule("up_blocks.2.attentions.0.transformer_blocks.0.attn1")  # layer 10
    stand_in = StandIn(layer.processor)
    layer.set_processor(stand_in)
    try:
        rules = (Rule("spatial", V, "source", ("edit",), (10,), range(1, 2)),)
        run_branches(unet, asking(unet), times(3), [single("edit", 1), single("source", 2)], rules)
    finally:
        layer.set_processor(stand_in.inner)
    assert stand_in.calls == 2


class Weighing(Runtime):
    """Notes how many bytes of tensors are alive at the end of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[int] = []

    def advance(self, steps: int = 1, *_: Any, **__: Any) -> None:
        super().advance(steps)
        if steps:
            gc.collect()
            tensors = {one.data_ptr(): one for one in gc.get_objects() if type(one) is Tensor}
            self.alive.append(sum(one.untyped_storage().nbytes() for one in tensors.values()))


@pytest.fixture
def only_new_objects() -> Iterator[None]:
    """So that the collector does not go through everything that was ever imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@both_modes
@pytest.mark.usefixtures("only_new_objects")
def test_no_features_are_kept_from_one_step_to_the_next(mode: Mode) -> None:
    unet, runtime = image_unet(), Weighing()
    roles = [single("edit", 1), single("motion", 2), single("source", 3)]
    rules = (Rule("spatial", QK, "source", ("edit", "motion")), Rule("spatial", V, "motion", ("edit",)))
    run_branches(unet, asking(unet), times(4), roles, rules, runtime, mode=mode, chunk=2)
    assert len(runtime.alive) == 4
    assert max(runtime.alive[1:]) - min(runtime.alive[1:]) <= 4096  # features of one layer are more


# ------------------------------------------------------------------------------------------------ runtime, sentences


class Showing(Runtime):
    def __init__(self) -> None:
        super().__init__()
        self.previews: list[Tensor] = []

    def advance(self, steps: int = 1, preview: Any = None, latent_cfhw: Callable[[], Tensor] | None = None) -> None:
        super().advance(steps)
        if latent_cfhw is not None:
            self.previews.append(latent_cfhw())


def test_each_step_counts_one_and_shows_what_the_wanted_role_points_at() -> None:
    runtime, unet = Showing(), motion_unet()
    runtime.begin(STEPS)
    source = single("source", 3, stored=[drawn(1, 4, FRAMES, SIDE, SIDE, seed=k) for k in range(STEPS + 1)])
    rules = (Rule("spatial", V, "source", ("edit",)),)
    made = run_branches(unet, asking(unet), times(STEPS), [source, single("edit", 1, 1.0)], rules, runtime)
    assert runtime.done == STEPS and len(runtime.previews) == STEPS
    assert (runtime.previews[-1] - made["edit"][0]).abs().max() <= 0.1 * made["edit"].abs().max()


def broken(latents: Tensor, timestep: int | float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
    return latents * float("nan")


def quick(*roles: Role, rules: Sequence[AnyRule] = (), chunk: int | None = None, unet: Any = None) -> None:
    unet = unet or motion_unet()
    run_branches(unet, asking(unet), times(1), roles or (single("edit", 1), single("source", 2)), rules, chunk=chunk)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    (
        (lambda: single("edit", 1, 0.0), "Guidance: got 0; use 1"),
        (lambda: Role("edit", text(), None, 4.0, start=clip(1)), "needs a negative prompt"),
        (lambda: Role("edit", text()), "start from or latents to replay"),
        (lambda: Rule("spatial", frozenset(), "source", ("edit",)), "name some of q, k and v"),
        (lambda: Rule("spatial", V, "source", ("edit",), joins=True), "joined together"),
        (lambda: Rule("spatial", V, "edit", ("edit",)), "take from itself"),
        (lambda: quick(single("edit", 1), rules=(CONTENT,)), "one for source, but the roles are edit"),
        (lambda: quick(single("edit", 1), single("edit", 2)), "a name of its own"),
        (
            lambda: quick(rules=(Rule("spatial", V, "source", ("edit",), (16,)),)),
            "spatial layer 16; this",
        ),
        (
            lambda: quick(rules=(Rule("temporal", V, "source", ("edit",)),), unet=image_unet()),
            "load a motion adapter",
        ),
        (lambda: quick(rules=(Rule("temporal", V, "source", ("edit",)),), chunk=2), "attention over time"),
        (
            lambda: quick(rules=(Rule("spatial", V, "source", ("edit",), region=Region(torch.ones(2, 8, 8))),)),
            "got 2 frames for a clip of 3",
        ),
        (
            lambda: quick(
                rules=(
                    SplitRule("spatial", ("edit",), marked(), marked()),
                    Rule("spatial", KV, "source", ("edit",), (4,), joins=True),
                )
            ),
            "two ways in one layer",
        ),
        (
            lambda: quick(rules=(CONTENT, Rule("spatial", V, "edit", ("source",)))),
            "in a circle",
        ),
        (
            lambda: quick(single("edit", 1), Role("source", text(), start=drawn(1, 4, 2, SIDE, SIDE))),
            "latents of edit .*source .*same clip",
        ),
        (
            lambda: run_branches(motion_unet(), broken, times(1), [single("edit", 1)], windows=WINDOWS[:1]),
            "no window has frame 2",
        ),
        (lambda: quick(rules=(CONTENT,), unet=torch.nn.Linear(2, 2)), "Stable Diffusion 1.x and 2.x"),
        (lambda: run_branches(motion_unet(), broken, times(2), [single("edit", 1)]), "NaN"),
    ),
)
def test_what_cannot_be_run_is_said_in_a_sentence(wrong: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert str(caught.value).endswith(".") and str(caught.value).count(". ") == 0
