"""Following objects through scenes whose every mask is known."""

from __future__ import annotations

import pytest
import torch
from scenes import Scene, make_scene, mean_overlap, overlap

from vivid_core.masks.prompts import Prompt, Prompts
from vivid_core.masks.track import track_by_flow
from vivid_core.masks.tracks import Track
from vivid_core.runtime import Runtime

SIZE = {"width": 224, "height": 168}
SEEDS = range(10)


def tracked(scene: Scene, *references: int, direction: str = "both", notes: list[str] | None = None) -> Track:
    prompts = Prompts(Prompt(index, mask_hw=scene.masks_fhw[index]) for index in references)
    return track_by_flow(scene.frames_fhwc, prompts, direction, notes=notes)


@pytest.mark.parametrize("motion", ["translation", "rotation", "scaling"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_moving_object_is_followed(motion: str, seed: int) -> None:
    scene = make_scene(seed, motion, **SIZE)
    track = tracked(scene, 0)
    assert mean_overlap(track.masks(), scene.masks_fhw) >= 0.9
    assert float(track.scores.min()) > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_seen_of_a_partly_hidden_object_is_followed(seed: int) -> None:
    scene = make_scene(seed, "translation", occluder="partial", **SIZE)
    assert mean_overlap(tracked(scene, 0).masks(), scene.masks_fhw) >= 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hidden_object_is_reported_within_two_frames_and_found_again(seed: int) -> None:
    scene = make_scene(seed, "translation", occluder="full", object_size=0.15)
    track = tracked(scene, 0)
    share = scene.masks_fhw.sum((1, 2)) / scene.whole_fhw.sum((1, 2))
    hidden = [index for index in range(48) if share[index] == 0]
    lost = [index for index in range(48) if track.scores[0, index] == 0]
    assert abs(lost[0] - hidden[0]) <= 2 and set(hidden[2:]) <= set(lost)
    assert all(share[index] < 0.25 for index in lost)
    assert not bool(track.masks()[lost].any())
    assert mean_overlap(track.masks()[lost[-1] + 2 :], scene.masks_fhw[lost[-1] + 2 :]) > 0.85


@pytest.mark.parametrize("seed", range(3))
def test_an_object_is_followed_backwards_and_from_the_middle(seed: int) -> None:
    scene = make_scene(seed, "mixed", **SIZE)
    for reference in (47, 24):
        assert mean_overlap(tracked(scene, reference).masks(), scene.masks_fhw) >= 0.9


def test_corrections_come_back_exactly_and_pull_their_neighbours() -> None:
    scene = make_scene(0, "translation", 24, **SIZE)
    painted = scene.masks_fhw.clone()
    painted[12] = torch.roll(painted[12], 3, 0)
    prompts = Prompts(Prompt(index, mask_hw=painted[index]) for index in (0, 12, 23))
    track = track_by_flow(scene.frames_fhwc, prompts)
    for index in (0, 12, 23):
        assert torch.equal(track.masks()[index], painted[index])
    assert track.corrected == (0, 12, 23)
    assert overlap(track.masks()[13], torch.roll(scene.masks_fhw[13], 3, 0)) > 0.9
    assert mean_overlap(track.masks(), scene.masks_fhw) > 0.93


def test_an_empty_mask_as_correction_says_that_the_object_is_not_here() -> None:
    scene = make_scene(1, "translation", 12, **SIZE)
    empty = Prompt(6, mask_hw=torch.zeros(168, 224))
    track = track_by_flow(scene.frames_fhwc, Prompts([Prompt(0, mask_hw=scene.masks_fhw[0]), empty]))
    assert not bool(track.masks()[6:].any()) and mean_overlap(track.masks()[:6], scene.masks_fhw[:6]) > 0.9


def test_nothing_is_followed_across_a_cut() -> None:
    first, second = make_scene(0, "mixed", 12, **SIZE), make_scene(50, "mixed", 12, **SIZE)
    frames = torch.cat([first.frames_fhwc, second.frames_fhwc])
    notes: list[str] = []
    track = track_by_flow(frames, Prompts([Prompt(3, mask_hw=first.masks_fhw[3])]), notes=notes)
    assert track.cuts == (12,) and not bool(track.masks()[12:].any()) and bool((track.scores[0, 12:] == 0).all())
    assert mean_overlap(track.masks()[:12], first.masks_fhw) > 0.9
    assert "frame 12" in notes[0] and "12 to 23" in notes[1]


@pytest.mark.parametrize(("direction", "empty"), [("forward", range(6)), ("backward", range(7, 12))])
def test_a_direction_leaves_the_other_side_empty(direction: str, empty: range) -> None:
    scene = make_scene(2, "translation", 12, **SIZE)
    masks = tracked(scene, 6, direction=direction).masks()
    followed = [index for index in range(12) if index not in empty]
    assert not bool(masks[list(empty)].any())
    assert mean_overlap(masks[followed], scene.masks_fhw[followed]) > 0.9


def test_two_objects_are_followed_apart() -> None:
    scene = make_scene(3, "translation", 12, **SIZE)
    still = torch.zeros(168, 224)
    still[10:40, 10:40] = 1
    prompts = Prompts([Prompt(0, 1, mask_hw=scene.masks_fhw[0]), Prompt(0, 7, mask_hw=still)])
    track = track_by_flow(scene.frames_fhwc, prompts)
    assert track.object_ids == (1, 7)
    assert mean_overlap(track.masks([1]), scene.masks_fhw) > 0.9


def test_an_object_that_leaves_the_frame_is_lost() -> None:
    scene = make_scene(0, "still", 1, **SIZE)
    wide = torch.cat([scene.frames_fhwc[0], make_scene(9, "still", 1, **SIZE).frames_fhwc[0]], 1)
    frames = torch.stack([wide[:, 10 * index : 10 * index + 224] for index in range(22)])
    track = track_by_flow(frames, Prompts([Prompt(0, mask_hw=scene.masks_fhw[0])]))
    assert float(track.scores[0, 5]) > 0.8 and float(track.scores[0, -1]) == 0 and not bool(track.masks()[-1].any())


def test_a_box_is_enough_to_start() -> None:
    scene = make_scene(4, "translation", 6, **SIZE)
    frames = scene.frames_fhwc * 0.4
    frames += 0.6 * scene.masks_fhw[..., None] * torch.tensor([1.0, 0.2, 0.1])
    rows, columns = scene.masks_fhw[0].any(1).nonzero()[:, 0], scene.masks_fhw[0].any(0).nonzero()[:, 0]
    box = (columns[0] / 224, rows[0] / 168, (columns[-1] + 1) / 224, (rows[-1] + 1) / 168)
    track = track_by_flow(frames, Prompts([Prompt(0, box=tuple(float(value) for value in box))]))
    assert mean_overlap(track.masks(), scene.masks_fhw) > 0.9


def test_one_frame_and_odd_sizes_are_followed() -> None:
    frames = torch.rand(3, 37, 51, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(37, 51)
    mask[10:20, 10:30] = 1
    for count in (1, 3):
        track = track_by_flow(frames[:count], Prompts([Prompt(0, mask_hw=mask)]))
        assert track.frame_count == count and torch.equal(track.masks()[0], mask)


def test_the_bar_fills_up() -> None:
    scene = make_scene(5, "translation", 10, **SIZE)
    runtime = Runtime()
    prompts = Prompts(Prompt(index, mask_hw=scene.masks_fhw[index]) for index in (0, 9))
    track_by_flow(scene.frames_fhwc, prompts, runtime=runtime)
    assert runtime.done == runtime.total > 0


def test_nothing_marked_and_an_unknown_direction_are_refused() -> None:
    scene = make_scene(0, "still", 2, **SIZE)
    with pytest.raises(ValueError, match="nothing is marked"):
        track_by_flow(scene.frames_fhwc, Prompts())
    with pytest.raises(ValueError, match="every mask given is empty"):
        track_by_flow(scene.frames_fhwc, Prompts([Prompt(0, mask_hw=torch.zeros(168, 224))]))
    with pytest.raises(ValueError, match='the direction "up"'):
        tracked(scene, 0, direction="up")
