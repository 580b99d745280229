"""Trials and measures of the claims about steered models: against loops, and on clips whose worth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from vivid_core.models.embedded import WordTokenizer
from vivid_core.training.claims import steered_looks, steered_measures
from vivid_core.training.claims.steered_measures import judged
from vivid_core.training.claims.steered_trials import (
    PACE,
    TURNING,
    SteeredTrial,
    new_motion,
    one_mover,
    recolouring,
    turned_recolouring,
)
from vivid_core.training.measures import rgb
from vivid_core.training.sd_world.render import render
from vivid_core.training.sd_world.scene import FRAMES, HEADINGS, HELD_OUT_CLIPS, SIDE
from vivid_core.training.sd_world.words import ROUND, vocabulary
from vivid_core.training.world.words import SEEN_PAIRS

KINDS = (recolouring, turned_recolouring, new_motion, one_mover)


def painted(trial: SteeredTrial, colours_f3: Tensor) -> Tensor:
    """The source with its object in a colour of its own in each frame."""
    truth = trial.truth
    return torch.lerp(
        truth.source_fhwc, colours_f3[:, None, None].expand_as(truth.source_fhwc), truth.was_fhw[..., None]
    )


# ---------------------------------------------------------------------------------------------------------- trials


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_is_the_same_each_time_and_asks_for_what_models_learn(kind) -> None:
    words = WordTokenizer(vocabulary())
    trials = [kind(number) for number in range(HELD_OUT_CLIPS)]
    assert trials == [kind(number) for number in range(HELD_OUT_CLIPS)]
    assert len({trial.id for trial in trials}) == HELD_OUT_CLIPS
    for trial in trials:
        assert not words.unknown(trial.caption) and not words.unknown(trial.prompt)
        assert all((thing.shape, thing.colour) in SEEN_PAIRS for thing in trial.target.things)


@pytest.mark.parametrize("kind", [recolouring, turned_recolouring])
def test_a_recolouring_changes_the_colour_and_nothing_else(kind) -> None:
    for number in range(HELD_OUT_CLIPS):
        trial = kind(number)
        before, after = trial.source.things[0], trial.target.things[0]
        assert before.colour != after.colour and replace(after, colour=before.colour) == before
        assert trial.source.backdrop == trial.target.backdrop


def test_what_turns_can_be_seen_to_turn_and_stays_in_the_frame() -> None:
    found = [turned_recolouring(number).source.things[0] for number in range(HELD_OUT_CLIPS)]
    assert {thing.motion for thing in found} == set(TURNING)
    assert not any(thing.motion == "spin" and thing.shape in ROUND for thing in found)
    assert all(border_is_free(thing_mask(turned_recolouring(number))) for number in range(16))


def test_a_new_motion_is_another_one_from_the_same_start_and_stays_in_the_frame() -> None:
    for number in range(HELD_OUT_CLIPS):
        trial = new_motion(number)
        before, after = trial.source.things[0], trial.target.things[0]
        assert after.motion in HEADINGS and after.motion != before.motion
        start = np.zeros(1)
        assert np.allclose(before.centres(start), after.centres(start)) and before.colour == after.colour
        assert np.hypot(*trial.truth.heading) == pytest.approx(1) if number < 4 else True
    assert all(border_is_free(new_motion(number).truth.object_fhw) for number in range(16))


def test_of_two_things_one_moves_and_all_else_stands_still() -> None:
    for number in range(8):
        trial = one_mover(number)
        moving = trial.truth.flow_fhwc.norm(dim=-1) > 1e-3
        assert torch.equal(moving, render(trial.source).mask_fhw(0)[:-1] > 0)
        assert float(render(trial.source).mask_fhw(1).sum()) > 0


def thing_mask(trial: SteeredTrial) -> Tensor:
    return trial.truth.object_fhw


def border_is_free(mask_fhw: Tensor) -> bool:
    inner = mask_fhw[:, 1:-1, 1:-1].sum()
    return bool(mask_fhw.sum() - inner <= 0.05 * inner)


# --------------------------------------------------------------------------------------------- whole clips, known worth


@pytest.mark.parametrize("number", range(4))
def test_the_oracle_of_a_recolouring_is_perfect(number: int) -> None:
    trial = turned_recolouring(number)
    found = judged(trial.truth.oracle_fhwc, trial.truth)
    assert found["colour_error"] == pytest.approx(0, abs=1e-6)
    assert found["prompted"] > 0.999 and found["kept"] < 0.001
    assert found["shape"] > 0.9 and found["away"] < 0.005
    assert found["background"] == 100 and found["flicker"] == pytest.approx(0, abs=1e-3)
    assert found["fade"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("number", range(4))
def test_a_clip_that_was_left_alone_has_the_distance_of_its_colours_as_error(number: int) -> None:
    trial = turned_recolouring(number)
    found = judged(trial.truth.source_fhwc, trial.truth)
    apart = float((rgb(trial.truth.was) - rgb(trial.truth.colour)).norm())
    assert found["colour_error"] == pytest.approx(apart, abs=1e-3)
    assert found["kept"] > 0.99 and found["prompted"] < 0.01 and found["background"] == 100


@pytest.mark.parametrize("number", range(6))
def test_an_object_that_obeys_goes_forward_at_its_pace_and_one_that_does_not_goes_nowhere(number: int) -> None:
    trial = new_motion(number)
    assert judged(trial.truth.oracle_fhwc, trial.truth)["forward"] == pytest.approx(100 * PACE, abs=0.1)
    thing = trial.source.things[0]
    still = replace(trial.source, things=(thing.moving("still", 0.0),))
    assert judged(render(still).frames_fhwc, trial.truth)["forward"] == pytest.approx(0, abs=0.05)
    back = replace(trial.target, things=(replace(trial.target.things[0], pace=-PACE),))
    if border_is_free(torch.from_numpy(render(back).weights_nfhw[0])):
        assert judged(render(back).frames_fhwc, trial.truth)["forward"] == pytest.approx(-100 * PACE, abs=0.1)


def test_a_colour_that_changes_from_frame_to_frame_flickers_by_as_much() -> None:
    trial = turned_recolouring(1)
    colours = rgb(trial.truth.colour).repeat(FRAMES, 1)
    colours[1::2] += torch.tensor([-12.0, 6.0, 0.0]) / 255
    found = judged(painted(trial, colours), trial.truth)
    assert found["flicker"] == pytest.approx(6, abs=0.1)


def test_an_edit_that_fades_says_how_far_its_colour_went_back() -> None:
    trial = turned_recolouring(2)
    new, old = rgb(trial.truth.colour), rgb(trial.truth.was)
    shares = torch.linspace(0, 0.5, FRAMES)[:, None]
    found = judged(painted(trial, torch.lerp(new, old, shares)), trial.truth)
    assert found["fade"] == pytest.approx(255 * 0.5 * float((new - old).norm()), abs=0.5)


def test_noise_on_the_background_alone_has_its_own_psnr() -> None:
    truth = recolouring(3).truth
    noisy = truth.oracle_fhwc + 0.1
    assert judged(noisy, truth)["background"] == pytest.approx(20, abs=1e-3)
    object_only = truth.oracle_fhwc + 0.1 * (truth.object_fhw[..., None] > 0)
    assert judged(object_only, truth)["background"] == 100


def test_a_clip_of_another_size_is_refused_in_one_sentence() -> None:
    truth = recolouring(0).truth
    with pytest.raises(ValueError, match="same clip"):
        judged(truth.oracle_fhwc[:, :32], truth)


def test_a_clip_that_shows_nothing_has_no_colour_no_way_and_no_place() -> None:
    truth = new_motion(0).truth
    found = judged(torch.full_like(truth.oracle_fhwc, 0.45), truth)
    assert found["prompted"] == found["kept"] == found["forward"] == found["shape"] == 0
    assert math.isnan(found["away"])


# ------------------------------------------------------------------------------------------------------ against loops


def test_the_way_is_the_least_squares_line_through_the_frames_that_show_something() -> None:
    places = np.stack([np.linspace(0.2, 0.9, 8), np.linspace(0.5, 0.1, 8)], 1)
    assert np.allclose(steered_measures.slope(places), [0.1, -0.4 / 7])
    places[[1, 4]] = np.nan
    assert np.allclose(steered_measures.slope(places), [0.1, -0.4 / 7])
    rough = places + np.random.default_rng(0).normal(0, 0.02, places.shape)
    seen = np.isfinite(rough).all(1)
    line = np.polyfit(np.arange(8)[seen], rough[seen], 1)[0]
    assert np.allclose(steered_measures.slope(rough), line)
    places[2:] = np.nan
    assert not steered_measures.slope(places).any()


def test_warping_by_the_flow_is_what_a_loop_over_pixels_does() -> None:
    draw = torch.Generator().manual_seed(0)
    clip = torch.rand(3, 9, 11, 3, generator=draw, dtype=torch.float64)
    flow = 3 * torch.rand(2, 9, 11, 2, generator=draw, dtype=torch.float64) - 1.5
    thing = torch.zeros(3, 9, 11, dtype=torch.float64)
    for frame in range(3):
        thing[frame, 2:7, 2 + frame : 8 + frame] = 1
    errors = []
    for frame, down, right in np.ndindex(2, 9, 11):
        x, y = right + float(flow[frame, down, right, 0]), down + float(flow[frame, down, right, 1])
        if not (0 <= x <= 10 and 0 <= y <= 8):
            continue
        later = bilinear(thing[frame + 1, ..., None], x, y)
        if (thing[frame, down, right] == 1 and later > 0.999) or (thing[frame, down, right] == 0 and later < 0.001):
            errors.append(((bilinear(clip[frame + 1], x, y) - clip[frame, down, right]) ** 2).numpy())
    assert len(errors) > 50
    assert steered_measures.warp_mse(clip, flow, thing) == pytest.approx(255**2 * np.mean(errors), rel=1e-6)


def test_the_oracle_of_what_turns_is_carried_by_the_true_flow_and_a_flickering_one_is_not() -> None:
    trial = turned_recolouring(0)
    truth, still = trial.truth, replace(trial.target, backdrop=replace(trial.target.backdrop, pan=(0.0, 0.0)))
    plain = render(still).frames_fhwc
    flow = truth.flow_fhwc * (truth.object_fhw[:-1, ..., None] > 0.5)
    assert steered_measures.warp_mse(plain, flow, truth.object_fhw) == pytest.approx(0, abs=0.01)
    plain[1::2] += 2 / 255
    assert steered_measures.warp_mse(plain, flow, truth.object_fhw) == pytest.approx(4, abs=0.01)


def bilinear(image_hwc: Tensor, x: float, y: float) -> Tensor:
    left, top = min(int(x), image_hwc.shape[1] - 2), min(int(y), image_hwc.shape[0] - 2)
    across, along = x - left, y - top
    upper = (1 - across) * image_hwc[top, left] + across * image_hwc[top, left + 1]
    lower = (1 - across) * image_hwc[top + 1, left] + across * image_hwc[top + 1, left + 1]
    return (1 - along) * upper + along * lower


def test_sharpness_is_the_energy_of_the_laplacian() -> None:
    clip = torch.rand(2, 6, 7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grey, found = 255 * clip.mean(-1).numpy(), []
    for frame, down, right in np.ndindex(2, 4, 5):
        patch = grey[frame, down : down + 3, right : right + 3]
        found.append(patch[0, 1] + patch[1, 0] + patch[1, 2] + patch[2, 1] - 4 * patch[1, 1])
    assert steered_measures.laplacian_energy(clip) == pytest.approx(np.mean(np.square(found)))
    assert steered_measures.laplacian_energy(torch.linspace(0, 1, 8).expand(1, 8, 8)[..., None]) < 1e-6


def test_centres_are_means_of_places_and_nothing_where_next_to_nothing_is() -> None:
    masks = torch.zeros(3, SIDE, SIDE)
    masks[0, 10:20, 30:50] = 1
    masks[1, 0, 0] = 1
    found = steered_measures.centres(masks)
    assert np.allclose(found[0], [40 / SIDE, 15 / SIDE]) and np.isnan(found[1:]).all()


# ------------------------------------------------------------------------------------------------------------ attention


def test_the_map_of_queries_is_their_distance_from_the_frames_mean() -> None:
    query = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2))
    wanted = [[float((q - frame.mean(0)).norm()) for q in frame] for frame in query]
    assert torch.allclose(steered_looks.query_map(query), torch.tensor(wanted))


def test_the_map_of_attention_over_time_is_its_total_variation_from_the_frames_mean() -> None:
    draw = torch.Generator().manual_seed(3)
    query, key = (torch.randn(6, 2, 4, 3, generator=draw) for _ in range(2))
    looks = np.zeros((6, 4, 4))
    for place, head, frame in np.ndindex(6, 2, 4):
        scores = np.array([float(query[place, head, frame] @ key[place, head, other]) * 0.7 for other in range(4)])
        looks[place, frame] += np.exp(scores) / np.exp(scores).sum() / 2
    wanted = np.array([[np.abs(looks[n, f] - looks[:, f].mean(0)).sum() / 2 for n in range(6)] for f in range(4)])
    assert np.allclose(steered_looks.attention_map(query, key, 0.7).numpy(), wanted, atol=1e-6)


def test_a_map_of_the_motion_itself_overlaps_wholly_and_its_opposite_not_at_all() -> None:
    moving = one_mover(0).truth.flow_fhwc.norm(dim=-1)
    tokens = torch.nn.functional.avg_pool2d(moving[:, None], 4)[:, 0]
    share, chance = steered_looks.overlap(tokens, moving)
    assert share == 1 and chance == pytest.approx(float((tokens > steered_looks.MOVES).float().mean()))
    assert steered_looks.overlap(-tokens, moving)[0] < chance
    noise = torch.rand(200, *tokens.shape, generator=torch.Generator().manual_seed(4))
    assert np.mean([steered_looks.overlap(one, moving)[0] for one in noise]) == pytest.approx(chance, abs=0.02)
