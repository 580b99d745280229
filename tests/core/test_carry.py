"""Carrying a frame's pixels through scenes whose motion is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import Scene, make_scene

from vivid_core.masks.carry import Carried, carry
from vivid_core.runtime import Runtime

SIZE = {"width": 224, "height": 168}


def map_errors(scene: Scene, reference: int, frames: list[Carried]) -> list[float]:
    """Mean distance in pixels from the true map, over the visible object, frame by frame."""
    errors = []
    for carried in frames:
        left, top, right, bottom = carried.box
        truth = scene.true_map(reference, carried.index)[top:bottom, left:right]
        seen = scene.masks_fhw[carried.index, top:bottom, left:right].numpy() > 0.5
        if seen.any():
            errors.append(float(np.linalg.norm(carried.map_xy - truth, axis=-1)[seen].mean()))
    return errors


@pytest.mark.parametrize("motion", ["still", "translation", "rotation", "scaling", "mixed"])
@pytest.mark.parametrize("seed", range(2))
def test_the_map_stays_within_a_pixel_where_the_object_is_seen(motion: str, seed: int) -> None:
    scene = make_scene(seed, motion, **SIZE)
    errors = map_errors(scene, 0, list(carry(scene.frames_fhwc, 0, scene.masks_fhw[0], range(1, 48))))
    assert len(errors) == 47 and np.mean(errors) < 0.75 and max(errors) < 1.0


def test_the_map_holds_backwards_and_on_frames_larger_than_the_working_size() -> None:
    scene = make_scene(3, "mixed", 16, 720, 540)
    errors = map_errors(scene, 15, list(carry(scene.frames_fhwc, 15, scene.masks_fhw[15], range(14, -1, -1))))
    assert max(errors) < 1.0


def test_the_map_holds_beside_something_that_hides_a_part() -> None:
    scene = make_scene(1, "translation", occluder="partial", **SIZE)
    frames = list(carry(scene.frames_fhwc, 0, scene.whole_fhw[0], range(1, 48)))
    assert np.mean(map_errors(scene, 0, frames)) < 1.0


def test_confidence_is_high_where_seen_and_low_where_hidden() -> None:
    scene = make_scene(2, "translation", occluder="partial", **SIZE)
    seen, hidden = [], []
    for carried in carry(scene.frames_fhwc, 0, scene.whole_fhw[0], range(1, 48)):
        left, top, right, bottom = carried.box
        whole = scene.whole_fhw[carried.index, top:bottom, left:right].numpy() > 0.5
        visible = scene.masks_fhw[carried.index, top:bottom, left:right].numpy() > 0.5
        assert carried.confidence.min() >= 0 and carried.confidence.max() <= 1
        seen.append(carried.confidence[visible].mean())
        if (whole & ~visible).sum() > 100:
            hidden.append(carried.confidence[whole & ~visible].mean())
    assert np.mean(seen) > 0.9 and len(hidden) > 10 and np.mean(hidden) < 0.15


def test_a_hidden_object_keeps_moving() -> None:
    scene = make_scene(1, "translation", occluder="full", object_size=0.15)
    hidden = [index for index in range(48) if not bool(scene.masks_fhw[index].any())]
    for carried in carry(scene.frames_fhwc, 0, scene.whole_fhw[0], range(1, max(hidden) + 1)):
        if carried.index in hidden:
            left, top, right, bottom = carried.box
            whole = scene.whole_fhw[carried.index, top:bottom, left:right].numpy() > 0.5
            truth = scene.true_map(0, carried.index)[top:bottom, left:right]
            assert np.linalg.norm(carried.map_xy - truth, axis=-1)[whole].mean() < 6
            assert carried.visible < 0.05


def test_known_masks_are_where_the_confidence_is() -> None:
    scene = make_scene(4, "mixed", 12, **SIZE)
    known = scene.masks_fhw.clone()
    known[:, :, : SIZE["width"] // 2] = 0
    for carried in carry(scene.frames_fhwc, 0, scene.masks_fhw[0], range(1, 12), known):
        left, top, right, bottom = carried.box
        assert carried.confidence[known[carried.index, top:bottom, left:right].numpy() == 0].max(initial=0) < 0.5


def test_a_fading_light_does_not_lose_the_object() -> None:
    scene = make_scene(5, "translation", 24, **SIZE)
    frames = scene.frames_fhwc * torch.linspace(1, 0.5, 24)[:, None, None, None]
    carried = list(carry(frames, 0, scene.masks_fhw[0], range(1, 24)))
    assert carried[-1].visible > 0.8 and max(map_errors(scene, 0, carried)) < 1.5


def test_the_reference_itself_is_the_identity() -> None:
    scene = make_scene(0, "still", 1, **SIZE)
    (carried,) = carry(scene.frames_fhwc, 0, scene.masks_fhw[0], [0])
    left, top, right, bottom = carried.box
    assert np.abs(carried.map_xy - scene.true_map(0, 0)[top:bottom, left:right]).max() < 1e-3
    assert np.array_equal(carried.mask > 0.5, scene.masks_fhw[0, top:bottom, left:right].numpy() > 0.5)


def test_the_same_inputs_give_the_same_maps() -> None:
    scene = make_scene(6, "mixed", 6, **SIZE)
    first, second = (list(carry(scene.frames_fhwc, 0, scene.masks_fhw[0], range(1, 6))) for _ in range(2))
    assert all(np.array_equal(a.map_xy, b.map_xy) for a, b in zip(first, second))


def test_an_empty_mask_is_refused_in_one_sentence() -> None:
    scene = make_scene(0, "still", 2, **SIZE)
    with pytest.raises(ValueError, match="the mask on frame 1 is empty"):
        next(carry(scene.frames_fhwc, 1, torch.zeros(168, 224), [0]))


def test_each_frame_advances_the_bar_and_a_cancel_passes_through() -> None:
    class Cancelling(Runtime):
        def advance(self, steps: int = 1, preview: object = None) -> None:
            self.done += steps
            if self.done == 3:
                raise InterruptedError

    scene = make_scene(0, "translation", 10, **SIZE)
    runtime = Cancelling()
    with pytest.raises(InterruptedError):
        list(carry(scene.frames_fhwc, 0, scene.masks_fhw[0], range(1, 10), runtime=runtime))
    assert runtime.done == 3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 3), (33, 17), (64, 480)])
def test_odd_and_tiny_frames_are_carried(width: int, height: int) -> None:
    frames = torch.rand(3, height, width, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(height, width)
    assert len(list(carry(frames, 0, mask, [1, 2]))) == 2
