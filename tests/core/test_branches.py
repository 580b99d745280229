"""Roles that share attention by rules: what one row at a time with explicit softmax gives, in both modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import editing_models as models
import pytest
import torch
from branching import (
    CONTENT,
    DOUBLE,
    FRAMES,
    KV,
    MOTION,
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
    text,
    times,
)
from rule_reference import reference
from torch import Tensor

from vivid_core.diffusion.attention_rules import AnyRule, Region, Rule, SplitRule
from vivid_core.diffusion.branches import Mode, run_branches
from vivid_core.diffusion.roles import Role

both_modes = pytest.mark.parametrize("mode", ("lockstep", "sequential"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with models.one_thread():
        yield


def replayed(name: str, seed: int) -> Role:
    stored = [clip(10 * seed + k) for k in range(STEPS + 1)]
    return Role(name, text(seed, DOUBLE), text(9, DOUBLE), stored=stored, wanted=False)


RULES: dict[str, tuple[AnyRule, ...]] = {
    "UniEdit's three together": (STRUCTURE, CONTENT, MOTION),
    "blended by a region": (
        Rule("spatial", QK, "source", ("edit",), region=Region(marked())),
        Rule("spatial", V, "motion", ("edit",), region=Region(marked(), inside=False)),
        Rule("temporal", QK, "motion", ("edit",), region=Region(marked(1))),
    ),
    "one after the other on the same values, and values over time": (
        Rule("spatial", V, "source", ("edit",), region=Region(marked())),
        Rule("spatial", V, "motion", ("edit",), (3, 9), region=Region(marked(1))),
        Rule("temporal", V, "source", ("edit",), (0, 7, 41)),
    ),
    "beside the own keys, where there is a prompt": (
        Rule("spatial", KV, "source", ("edit",), (7, 8, 15), joins=True, halves="prompted"),
        Rule("spatial", KV, "source", ("edit",), (1, 5, 9), region=Region(marked(), inside=False), joins=True),
        Rule("temporal", KV, "motion", ("edit",), (5, 20, 37), region=Region(marked()), joins=True),
    ),
    "in two parts": (
        MOTION,
        SplitRule("temporal", ("edit",), marked(), marked(1), (5, 20, 37)),
        SplitRule("spatial", ("edit", "motion"), marked(), marked(), (2, 6, 12)),
    ),
}


def three(first: Callable[[str, int], Role] = role) -> list[Role]:
    return [role("edit", 2, 4.0), first("source", 1), role("motion", 3, 2.0, wanted=False)]


@pytest.fixture(scope="module")
def plain() -> Tensor:
    return run(three(), ())["edit"]


@pytest.mark.parametrize("name", RULES)
def test_rules_give_in_both_modes_what_one_row_at_a_time_with_explicit_softmax_gives(name: str, plain: Tensor) -> None:
    roles, rules = three(), RULES[name]
    wanted = reference(motion_unet(dtype=DOUBLE), times(STEPS), roles, rules)
    for made in (run(roles, rules, "lockstep"), run(roles, rules, "sequential")):
        assert set(made) == {"edit", "source"}
        assert all((made[one] - wanted[one]).abs().max() <= 1e-10 * wanted[one].abs().max() for one in made)
        assert (made["edit"] - plain).abs().max() > 1e-5 * plain.abs().max()


def test_a_source_that_replays_shows_its_stored_latents() -> None:
    roles, rules = three(replayed), RULES["UniEdit's three together"]
    wanted = reference(motion_unet(dtype=DOUBLE), times(STEPS), roles, rules)["edit"]
    for made in (run(roles, rules, "lockstep"), run(roles, rules, "sequential")):
        assert (made["edit"] - wanted).abs().max() <= 1e-10 * wanted.abs().max()
        assert set(made) == {"edit"}


@both_modes
def test_to_take_from_oneself_under_another_name_changes_nothing(mode: Mode) -> None:
    twin = [role("edit", 2), role("source", 2), role("motion", 2)]
    unmasked = (STRUCTURE, CONTENT, MOTION, Rule("spatial", KV, "source", ("motion",), (9,), joins=True))
    made, plain = run(twin, unmasked, mode), run(twin[:1], ())
    assert all((made[name] - plain["edit"]).abs().max() <= 1e-10 * plain["edit"].abs().max() for name in made)


@both_modes
def test_an_image_unet_in_parts_of_the_clip_gives_the_same(mode: Mode) -> None:
    unet, roles = image_unet(dtype=DOUBLE), three()
    rules = (STRUCTURE, CONTENT, Rule("spatial", V, "motion", ("edit",), (3,), region=Region(marked())))
    whole, parts = (
        run_branches(unet, asking(unet), times(STEPS), roles, rules, mode=mode, chunk=chunk) for chunk in (None, 2)
    )
    assert all((whole[name] - parts[name]).abs().max() <= 1e-10 * whole[name].abs().max() for name in whole)


WINDOWS = ((slice(0, 2), torch.tensor([1.0, 3.0])), (slice(1, 3), torch.tensor([1.0, 2.0])))


def test_noise_is_averaged_where_windows_of_a_clip_overlap() -> None:
    seen = drawn(1, 4, FRAMES, SIDE, SIDE, seed=1)
    ask, line, unet = asking(motion_unet()), times(1), motion_unet()
    first, last = (ask(seen[:, :, at], line.timestep(1), [text(1)]) for at, _ in WINDOWS)
    middle = (3 * first[:, :, 1] + last[:, :, 0]) / 4
    eps = torch.stack([first[:, :, 0], middle, last[:, :, 1]], dim=2)
    made = run_branches(unet, ask, line, [Role("edit", text(1), start=seen)], windows=WINDOWS)["edit"]
    assert torch.allclose(made, line.down(1, seen, eps), rtol=1e-5, atol=1e-5)


def test_windows_are_the_same_in_both_modes_and_rules_see_their_own_frames_of_masks() -> None:
    rules = (*RULES["blended by a region"], CONTENT)
    together, after = (run(three(), rules, mode, windows=WINDOWS)["edit"] for mode in ("lockstep", "sequential"))
    assert (together - after).abs().max() <= 1e-10 * together.abs().max()
    short = [
        role(name, seed, scale, start=clip(seed)[:, :, :2]) for name, seed, scale in (("edit", 2, 4), ("source", 1, 3))
    ]
    masked = Rule("spatial", QK, "source", ("edit",), region=Region(marked()))
    cut = Rule("spatial", QK, "source", ("edit",), region=Region(marked()[:2]))
    only_first = ((slice(0, 2), torch.ones(2)), (slice(2, 3), torch.ones(1)))
    wanted = run(short, (cut,))["edit"]
    made = run(three(), (masked,), windows=only_first)["edit"][:, :, :2]
    assert (made - wanted).abs().max() <= 1e-10 * wanted.abs().max()
