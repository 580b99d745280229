"""The health report on planted faults: nearly all are found, and honest motion is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from planted import COUNT, clean, jumped, lost, swapped

from vivid_core.masks.tracks import Track
from vivid_core.metrics.health import ObjectHealth, track_health
from vivid_core.training.draws import Draws
from vivid_core.training.world.render import render
from vivid_core.training.world.scene import draw_scene

SEEDS = 30


def alarms(each: ObjectHealth) -> set[int]:
    """The frames on which the report says that something is wrong."""
    return {jump.frame for jump in each.jumps} | {
        frame for first, last in each.lost for frame in range(first, last + 1)
    }


@pytest.mark.parametrize("plant", [lost, swapped, jumped])
def test_planted_faults_are_found_where_they_are(plant: Callable[[int], tuple[torch.Tensor, int]]) -> None:
    found = 0
    for seed in range(SEEDS):
        mask_fhw, fault = plant(seed)
        found += any(abs(frame - fault) <= 1 for frame in alarms(track_health(mask_fhw).objects[0]))
    assert found >= 0.95 * SEEDS


def test_objects_that_move_turn_hide_and_leave_are_no_alarm() -> None:
    tracks, alarmed, frames = 0, 0, 0
    for kind in ("free", "hidden", "leaving"):
        for seed in range(SEEDS // 2):
            each = track_health(clean(seed, kind)).objects[0]
            # that it is out of the picture is true, and no alarm
            wrong = {jump.frame for jump in each.jumps} if kind == "leaving" else alarms(each)
            tracks, alarmed, frames = tracks + 1, alarmed + bool(wrong), frames + len(wrong)
    assert alarmed <= 0.05 * tracks and frames <= 0.01 * tracks * COUNT


def test_in_the_embedded_world_swaps_are_found_and_true_masks_raise_no_alarm() -> None:
    """Its objects hide each other and leave the picture, and their masks are exact."""
    tracks, alarmed, swaps, found = 0, 0, 0, 0
    for number in range(60):
        weights_nfhw = render(draw_scene(Draws("health", number)), 64, 24).weights_nfhw
        masks = [torch.from_numpy(weights_fhw > 0.5).float() for weights_fhw in weights_nfhw]
        masks = [mask for mask in masks if float(mask[10:14].sum((1, 2)).min()) > 12]
        for one in masks:
            tracks, alarmed = tracks + 1, alarmed + bool(track_health(one).objects[0].jumps)
            for other in (mask for mask in masks if mask is not one):
                swap = torch.cat([one[:12], other[12:]])
                swaps, found = swaps + 1, found + bool(alarms(track_health(swap).objects[0]) & {11, 12, 13})
    assert tracks > 80 and alarmed <= 0.05 * tracks
    assert swaps > 80 and found >= 0.95 * swaps


@pytest.mark.parametrize("plant", [swapped, jumped])
def test_the_frames_before_a_fault_raise_no_alarm(plant: Callable[[int], tuple[torch.Tensor, int]]) -> None:
    false = sum(
        any(frame < fault - 1 for frame in alarms(track_health(mask).objects[0]))
        for mask, fault in (plant(seed) for seed in range(SEEDS // 2))
    )
    assert false <= 0.05 * SEEDS / 2


def test_a_leap_to_a_twin_elsewhere_is_found_and_named() -> None:
    """Neither area nor shape tells: only the place does."""
    mask = torch.zeros(20, 60, 200)
    for frame in range(20):
        left = 10 + 3 * frame + (90 if frame >= 12 else 0)
        mask[frame, 20:40, left : left + 20] = 1
    (jump,) = track_health(mask).objects[0].jumps
    assert jump.frame == 12 and jump.leap == pytest.approx(90 / 20) and jump.overlap == 1
    assert "check frame 12 (it leaps by 4.5 times its size)" in track_health(mask).text()


@pytest.mark.parametrize("turn", [4, 10, 17])
def test_fast_objects_may_start_turn_and_stop(turn: int) -> None:
    mask = torch.zeros(20, 30, 900)
    place = 300
    for frame in range(20):
        mask[frame, 10:20, place : place + 10] = 1
        place += 30 if 2 <= frame < turn else -15 if 4 <= frame < 17 else 0
    assert not track_health(mask).suggestions


def test_an_object_that_jitters_by_half_its_size_is_no_leap_but_a_far_one_is() -> None:
    draw = torch.Generator().manual_seed(1)
    places = torch.randint(80, 86, (30,), generator=draw)
    mask = torch.zeros(30, 20, 300)
    for frame, place in enumerate(places.tolist()):
        mask[frame, 5:15, place : place + 10] = 1
    assert not track_health(mask).objects[0].jumps
    mask[15] = 0
    mask[15, 5:15, 270:280] = 1
    assert {jump.frame for jump in track_health(mask).objects[0].jumps} == {15, 16}


def test_a_mask_that_flickers_between_two_twins_is_reported_each_time() -> None:
    mask = torch.zeros(24, 20, 300)
    for frame in range(24):
        left = 30 if frame % 4 < 2 else 150
        mask[frame, 5:15, left : left + 10] = 1
    assert [jump.frame for jump in track_health(mask).objects[0].jumps] == list(range(2, 24, 2))


def test_nothing_leaps_across_a_cut() -> None:
    mask = torch.zeros(8, 40, 200)
    mask[:4, 10:20, 10:20] = 1
    mask[4:, 10:20, 170:180] = 1
    assert track_health(mask).objects[0].jumps[0].frame == 4
    assert not track_health(mask, cuts=[4]).objects[0].jumps


def test_an_object_that_comes_into_the_picture_grows_without_an_alarm() -> None:
    mask = torch.zeros(12, 40, 60)
    for frame in range(1, 12):
        mask[frame, 10:30, : 7 * frame if frame < 4 else 24] = 1
    each = track_health(mask).objects[0]
    assert each.lost == ((0, 0),) and not each.jumps


def test_each_object_of_a_track_is_judged_by_its_own_motion() -> None:
    mask = torch.zeros(2, 16, 40, 200)
    for frame in range(16):
        mask[0, frame, 5:15, 10 * frame : 10 * frame + 10] = 1
        left = 40 if frame < 8 else 120
        mask[1, frame, 25:35, left : left + 10] = 1
    first, second = track_health(Track.pack(mask)).objects
    assert not first.jumps and [jump.frame for jump in second.jumps] == [8]
