"""Pix2Video all at once is Pix2Video frame by frame, in parts, from any anchor and in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import editing_models as models
import pytest
import torch
from branching import CHANNELS, asking, drawn, image_unet, motion_unet, text, times
from harness.naive_pix2video import WAY_UP, Naive
from torch import Tensor

from vivid_core.diffusion.attention_rules import FramePlan, FrameRule, Rule
from vivid_core.diffusion.branches import BranchRun, run_branches
from vivid_core.diffusion.roles import Role
from vivid_core.editors.pix2video import EDIT, Pix2VideoSettings, guided_update, plan_for, rules_for
from vivid_core.models.unet_motion import bypassed

DOUBLE = torch.float64
STEPS, FRAMES, SIDE = 4, 5, 8
PROMPT, NEGATIVE = text(1, DOUBLE), text(2, DOUBLE)
DEPTH = drawn(FRAMES, SIDE, SIDE, seed=4, dtype=DOUBLE).clamp(-1, 1)
START = drawn(1, 4, FRAMES, SIDE, SIDE, seed=5, dtype=DOUBLE)
FORWARD = [(0, None), (1, 0), (2, 1), (3, 2), (4, 3)]
CLOSE = 1e-10


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


def ours(
    settings: Pix2VideoSettings,
    pinned: dict[int, Any] | None = None,
    chunk: int | None = None,
    start: Tensor = START,
) -> Tensor:
    """In lockstep, by a U-Net with a depth channel."""
    unet, keys = image_unet(5, DOUBLE), tuple(pinned or ())
    plan = plan_for(settings, FRAMES, keys)
    correct = guided_update(plan, settings, STEPS, keys)
    role = Role(EDIT, PROMPT, NEGATIVE, settings.guidance, start, pinned=pinned or {}, correct=correct)
    rules = rules_for(settings, plan)
    return run_branches(unet, asking(unet, DEPTH), times(STEPS), [role], rules, chunk=chunk)[EDIT]


def theirs(naive: Naive, order: list[tuple[int, int | None]] = FORWARD, given: Any = None) -> Tensor:
    """Frame by frame."""
    unet = image_unet(5, DOUBLE)
    with torch.no_grad():
        return naive.run(unet, asking(unet, DEPTH), times(STEPS), START, (PROMPT, NEGATIVE), order, given)


def far(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


# Weights this far above the usual one make the update felt within a few steps of a model without training.
STRONG = 0.2
CASES: dict[str, tuple[Pix2VideoSettings, Naive]] = {
    "as in the paper": (Pix2VideoSettings(), Naive(updated=2)),
    "drawn more, in all steps": (
        Pix2VideoSettings(update_weight=STRONG, update_share=1),
        Naive(weight=STRONG, updated=4),
    ),
    "the anchor alone": (
        Pix2VideoSettings(attended=("anchor",), update_weight=0),
        Naive(attended=("anchor",)),
    ),
    "the one before alone": (
        Pix2VideoSettings(attended=("previous",), update_share=0),
        Naive(attended=("previous",)),
    ),
    "itself, too": (
        Pix2VideoSettings(attended=("anchor", "previous", "own"), update_weight=0),
        Naive(attended=("anchor", "previous", "own")),
    ),
    "fewer layers": (
        Pix2VideoSettings(layers=(8, 13), update_weight=0, guidance=2),
        Naive(layers=(WAY_UP[1], WAY_UP[6]), guidance=2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_all_frames_in_lockstep_are_the_frames_made_one_after_the_other(name: str) -> None:
    settings, naive = CASES[name]
    wanted = theirs(naive)
    assert far(ours(settings), wanted) <= CLOSE
    assert far(ours(settings, chunk=2), wanted) <= CLOSE
    assert far(ours(Pix2VideoSettings(update_weight=0, layers=(), guidance=settings.guidance)), wanted) > 1e-4


ORDERS: dict[str, tuple[Pix2VideoSettings, list[tuple[int, int | None]]]] = {
    "from the last to the first": (
        Pix2VideoSettings(order="reverse"),
        [(4, None), (3, 4), (2, 3), (1, 2), (0, 1)],
    ),
    "from the middle to both ends": (Pix2VideoSettings(anchor=2), [(2, None), (3, 2), (4, 3), (1, 2), (0, 1)]),
    "forward, with the anchor in the middle": (
        Pix2VideoSettings(anchor=2, order="forward"),
        [(2, None), (0, None), (1, 0), (3, 2), (4, 3)],
    ),
    "in reverse, with the anchor in the middle": (
        Pix2VideoSettings(anchor=1, order="reverse"),
        [(1, None), (4, None), (3, 4), (2, 3), (0, 1)],
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_any_anchor_and_order_in_any_parts_is_that_order_frame_by_frame(name: str) -> None:
    settings, order = ORDERS[name]
    wanted = theirs(Naive(updated=2), order)
    for chunk in (None, 1, 2, 3):
        assert far(ours(settings, chunk=chunk), wanted) <= CLOSE
    assert far(theirs(Naive(updated=2)), wanted) > 1e-3


def given(seed: int) -> list[Tensor]:
    return [drawn(1, 4, 1, SIDE, SIDE, seed=seed + k, dtype=DOUBLE) for k in range(STEPS + 1)]


def test_a_given_anchor_is_kept_and_the_others_follow_it() -> None:
    pinned = {2: given(70)}
    order = [(2, None), (3, 2), (4, 3), (1, 2), (0, 1)]
    made, wanted = ours(Pix2VideoSettings(), pinned, chunk=2), theirs(Naive(updated=2), order, pinned)
    assert far(made, wanted) <= CLOSE
    assert torch.equal(made[:, :, 2:3], pinned[2][0])
    assert far(ours(Pix2VideoSettings(anchor=2), chunk=2), wanted) > 1e-3


def test_each_of_several_given_frames_is_kept_and_looks_at_itself() -> None:
    pinned = {1: given(70), 3: given(80)}
    order = [(1, None), (2, 1), (3, 2), (4, 3), (0, 1)]
    made, wanted = ours(Pix2VideoSettings(), pinned), theirs(Naive(updated=2), order, pinned)
    assert far(made, wanted) <= CLOSE
    assert all(torch.equal(made[:, :, at : at + 1], pinned[at][0]) for at in pinned)


def test_a_motion_unet_whose_motion_is_bypassed_gives_the_frames_of_its_image_unet() -> None:
    from diffusers import UNet2DConditionModel

    moving = motion_unet(dtype=DOUBLE)
    image = UNet2DConditionModel(
        **{name: moving.config[name] for name in ("block_out_channels", "norm_num_groups", "cross_attention_dim")},
        attention_head_dim=2,
    ).double()
    image.load_state_dict(
        {name: value for name, value in moving.state_dict().items() if ".motion_modules." not in name}
    )
    settings = Pix2VideoSettings(update_weight=STRONG)
    plan = plan_for(settings, FRAMES)
    role = Role(EDIT, PROMPT, NEGATIVE, 4.0, START, correct=guided_update(plan, settings, STEPS))
    rules = rules_for(settings, plan)
    wanted = run_branches(image, asking(image.eval()), times(STEPS), [role], rules)[EDIT]
    with bypassed(moving):
        made = run_branches(moving, asking(moving), times(STEPS), [role], rules, chunk=2)[EDIT]
    assert far(made, wanted) <= CLOSE


@pytest.mark.parametrize(("chunk", "frames_held"), ((None, 0), (1, 2), (2, 2), (4, 2)))
def test_at_most_the_anchor_and_the_frame_before_are_held_and_only_at_one_step(
    chunk: int | None, frames_held: int
) -> None:
    unet, plan = image_unet(), FramePlan.make(FRAMES)
    role = Role(EDIT, text(1), text(2), 3.0, START.float())
    run = BranchRun(unet, asking(unet), times(3), [role], [FrameRule(plan, (EDIT,))], chunk=chunk)
    run.run()
    one_frame = sum((SIDE >> level) ** 2 * CHANNELS[level] for level in (2, 1, 0)) * 3 * 2 * 4  # halves, bytes
    assert run.most_features == frames_held * one_frame and run.context.held_bytes == 0


# ------------------------------------------------------------------------------------------------ the guided update


def test_the_usual_weight_is_the_papers_gradient_step_on_a_frame_of_512_pixels() -> None:
    clean = drawn(1, 4, 2, 64, 64, dtype=DOUBLE).requires_grad_()
    loss = 100 * (clean[:, :, 1] - clean[:, :, 0].detach()).square().mean()
    (slope,) = torch.autograd.grad(loss, clean)
    settings = Pix2VideoSettings()
    update = guided_update(FramePlan.make(2), settings, 50)
    assert update is not None
    latents = drawn(1, 4, 2, 64, 64, seed=1, dtype=DOUBLE)
    moved = update(0, latents, clean.detach())
    assert (moved - (latents - slope)).abs().max() <= 1e-3 * slope.abs().max()
    assert slope.abs().max() > 0.01


def test_the_update_ends_with_its_share_of_the_steps_and_leaves_what_it_was_given() -> None:
    clean, latents = drawn(1, 4, 4, 2, 2, seed=2), drawn(1, 4, 4, 2, 2, seed=3)
    before = latents.clone()
    update = guided_update(FramePlan.make(4, 1), Pix2VideoSettings(), 10, keys=(3,))
    assert update is not None
    moved = update(4, latents, clean)
    assert torch.equal(latents, before) and torch.equal(update(5, latents, clean), latents)
    assert torch.equal(moved[:, :, (1, 3)], latents[:, :, (1, 3)])
    assert torch.allclose(moved[:, :, 0], latents[:, :, 0] - 0.0122 * (clean[:, :, 0] - clean[:, :, 1]))
    assert torch.allclose(moved[:, :, 2], latents[:, :, 2] - 0.0122 * (clean[:, :, 2] - clean[:, :, 1]))
    assert guided_update(FramePlan.make(4), Pix2VideoSettings(update_share=0), 10) is None


# ------------------------------------------------------------------------------------------------ the order of frames


@pytest.mark.parametrize("order", ("outward", "forward", "reverse"))
def test_parts_have_all_frames_once_and_what_a_frame_looks_at_never_later(order: Any) -> None:
    for frames in (1, 2, 7):
        for anchor in (None, *range(frames)):
            plan = FramePlan.make(frames, anchor, order)
            for size in (None, 1, 2, 3, 100):
                parts = [list(range(part.start, part.stop)) for part in plan.parts(size)]
                assert sorted(sum(parts, [])) == list(range(frames))
                assert all(len(part) <= (size or frames) for part in parts)
                done: set[int] = set()
                for part in parts:
                    done |= set(part)
                    assert all(set(plan.seen(frame, ("anchor", "previous"))) <= done for frame in part)
                    assert all(plan.previous(frame) is None or plan.previous(frame) in done for frame in part)


def test_nobody_is_seen_twice_and_the_anchor_sees_itself() -> None:
    plan = FramePlan.make(6, 2)
    both = ("anchor", "previous")
    assert [plan.seen(frame, both) for frame in range(6)] == [(2, 1), (2,), (2,), (2,), (2, 3), (2, 4)]
    assert plan.seen(4, ("previous", "own")) == (3, 4) and plan.seen(2, ("previous", "own")) == (2,)
    assert FramePlan.make(6).anchor == 0 and FramePlan.make(6, order="reverse").anchor == 5


def one_run(*rules: Any, frames: int = 3, chunk: int | None = None) -> None:
    start = drawn(1, 4, frames, SIDE, SIDE)
    roles = [Role(EDIT, text(), start=start), Role("source", text(), start=start)]
    run_branches(image_unet(), asking(image_unet()), times(1), roles, rules, chunk=chunk)


PLAN = FramePlan.make(3)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    (
        (lambda: FramePlan.make(3, 3), "Anchor: got frame 3 of a clip of 3; use 0 to 2"),
        (lambda: PLAN.parts(0), "Frames at once: got 0"),
        (lambda: FrameRule(PLAN, (EDIT,), ()), "no frames to attend to"),
        (lambda: one_run(FrameRule(FramePlan.make(4), (EDIT,))), "for 4 frames, but the clip has 3"),
        (lambda: one_run(FrameRule(PLAN, (EDIT,)), FrameRule(FramePlan.make(3, 1), ("source",))), "different anchors"),
        (
            lambda: one_run(FrameRule(PLAN, (EDIT,)), Rule("spatial", frozenset({"v"}), "source", (EDIT,))),
            "edit would look at keys in two ways",
        ),
        (lambda: Pix2VideoSettings(guidance=0), "got guidance 0"),
        (lambda: Pix2VideoSettings(update_weight=100), "got update weight 100; use 0 .* 0.0122"),
        (lambda: Pix2VideoSettings(update_share=2), "got update share 2"),
        (lambda: Pix2VideoSettings(layers=(16,)), "numbers from 0 to 15"),
        (lambda: Pix2VideoSettings(chunk=0), "0 frames at once"),
    ),
)
def test_what_cannot_be_run_is_said_in_a_sentence(wrong: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert str(caught.value).endswith(".")
