"""The world of the embedded Stable Diffusion: what is rendered, its depth, flow and words, and what reads it back."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
import torch

from vivid_core.models.embedded import TEXT_TOKENS, WordTokenizer
from vivid_core.training.draws import Draws
from vivid_core.training.sd_trials import moves_as
from vivid_core.training.sd_world.recognise import colour_masks, iou, seen, seen_of
from vivid_core.training.sd_world.render import coverage, flow, render
from vivid_core.training.sd_world.samples import NO_CAPTION, draw_batch, draw_ways
from vivid_core.training.sd_world.scene import (
    FRAMES,
    HELD_OUT_CLIPS,
    SIDE,
    SDScene,
    Thing,
    draw_scene,
    held_out,
    ways_of,
)
from vivid_core.training.sd_world.words import MOTIONS, thing_words, vocabulary
from vivid_core.training.world.outlines import outline
from vivid_core.training.world.words import COLOURS, UNSEEN_PAIRS

PACES = {"spin": 0.25, "grow": 0.06, "shrink": 0.06, "still": 0.0}


def scene_of(motion: str, shape: str = "square", angle: float = 0.3) -> SDScene:
    """One thing in the middle of a plain scene."""
    thing = Thing(shape, "red", "small", 0.17, (0.5, 0.5), angle, 0.6, motion, PACES.get(motion, 0.03), 0.0)
    return replace(held_out(0), things=(thing,))


def with_two_things() -> SDScene:
    return next(scene for number in range(HELD_OUT_CLIPS) if len((scene := held_out(number)).things) == 2)


def test_no_held_out_scene_is_among_the_first_thousand_that_are_trained() -> None:
    trained = [draw_scene(Draws("sd/train/0/images", number)) for number in range(1000)]
    assert not {held_out(number) for number in range(HELD_OUT_CLIPS)} & set(trained)


def test_things_stay_in_the_frame_and_pairs_that_are_held_out_never_appear() -> None:
    times = np.arange(FRAMES, dtype=np.float64)
    for number in range(300):
        for thing in draw_scene(Draws("any", number)).things:
            reach = (thing.radius * thing.scales(times))[:, None]
            centres = thing.centres(times)
            assert (centres - reach >= -1e-9).all() and (centres + reach <= 1 + 1e-9).all()
            assert (thing.shape, thing.colour) not in UNSEEN_PAIRS


@pytest.mark.parametrize("shape", ["square", "triangle", "cross", "ring"])
def test_coverage_is_the_part_of_a_pixel_that_lies_inside_the_turned_outline(shape: str) -> None:
    thing, fine, side = scene_of("still", shape, angle=0.7).things[0], 24, 32
    along = (np.arange(side * fine) + 0.5) / (side * fine)
    right, down = np.meshgrid(along - 0.5, along - 0.5)
    turned = (right + 1j * down) * np.exp(-0.7j) / thing.radius
    inside = outline(shape, turned.real, turned.imag) < 0
    truth = inside.reshape(side, fine, side, fine).mean((1, 3))
    assert np.abs(coverage(thing, side, np.zeros(1))[0] - truth).max() < 0.3  # a corner is rounder than it should be
    assert abs(coverage(thing, side, np.zeros(1))[0].sum() - truth.sum()) < 0.03 * truth.sum()


def test_a_clip_is_its_backdrop_and_its_things_by_their_weights() -> None:
    scene = with_two_things()
    shown, bare = render(scene), render(replace(scene, things=())).frames_fhwc
    weights = torch.from_numpy(shown.weights_nfhw)[..., None]
    colours = torch.tensor([COLOURS[one.colour] for one in scene.things]) / 255
    mixed = (weights * colours[:, None, None, None]).sum(0) + (1 - weights.sum(0)) * bare
    assert (mixed - shown.frames_fhwc).abs().max() < 1.5 / 255


@pytest.mark.parametrize("motion", MOTIONS)
def test_flow_takes_each_pixel_of_a_thing_to_where_the_same_part_of_it_is_next(motion: str) -> None:
    scene = scene_of(motion)
    thing, found = scene.things[0], flow(scene)
    times = np.arange(FRAMES, dtype=np.float64)
    centres = thing.centres(times) @ np.array([1, 1j]) * SIDE
    size = thing.radius * thing.scales(times) * np.exp(1j * thing.angles(times))
    rows, columns = np.nonzero(render(scene).weights_nfhw[0, 2] > 0.5)
    here = columns + 0.5 + 1j * (rows + 0.5)
    there = centres[3] + (here - centres[2]) * size[3] / size[2]
    moved = found[2, rows, columns] @ np.array([1, 1j])
    assert np.abs(there - here - moved).max() < 1e-3


def test_the_backdrop_flows_by_its_pan() -> None:
    scene = replace(held_out(0), things=())
    scene = replace(scene, backdrop=replace(scene.backdrop, pan=(0.02, -0.01)))
    assert np.allclose(flow(scene), np.array([0.02, -0.01]) * SIDE, atol=1e-5)
    first, second = render(
        replace(scene, backdrop=replace(scene.backdrop, slope=(0, 0), pan=(1 / SIDE, 0)))
    ).levels_fhwc[:2]
    assert np.abs(first[:, :-1].astype(int) - second[:, 1:]).max() <= 1


def test_the_nearer_thing_hides_the_other_and_depth_says_so() -> None:
    behind = replace(scene_of("still").things[0], near=0.5)
    front = replace(behind, near=0.7, colour="blue", radius=0.1)
    scene = replace(scene_of("still"), things=(behind, front))
    shown, middle = render(scene), SIDE // 2
    assert float(shown.near_fhw[0, middle, middle]) == pytest.approx(0.7)
    assert float(shown.near_fhw[0, middle, middle - 9]) == pytest.approx(0.5)
    assert seen_of(shown.frames_fhwc[0], "blue") is not None
    bare = render(replace(scene, things=())).near_fhw[0, :, 0]
    assert (np.diff(bare) > 0).all() and bare.max() < behind.near
    assert shown.depth_fhw.amin((1, 2)).eq(0).all() and shown.depth_fhw.amax((1, 2)).eq(1).all()


def test_what_grows_comes_nearer() -> None:
    near = render(scene_of("grow")).near_fhw[:, SIDE // 2, SIDE // 2]
    assert (np.diff(near) > 0).all()


@pytest.mark.parametrize("motion", MOTIONS)
def test_another_motion_begins_with_the_very_same_frame(motion: str) -> None:
    scene = scene_of("left")
    other = replace(scene, things=(scene.things[0].moving(motion, PACES.get(motion, 0.03)),))
    shown, changed = render(scene), render(other)
    assert np.abs(shown.levels_fhwc[0].astype(int) - changed.levels_fhwc[0]).max() <= 1
    assert np.allclose(shown.near_fhw[0], changed.near_fhw[0], atol=1e-5)


def test_every_caption_is_made_of_known_words_and_fits_the_text_encoder() -> None:
    tokenizer = WordTokenizer(vocabulary())
    captions = [held_out(number).caption() for number in range(HELD_OUT_CLIPS)]
    assert max(len(tokenizer.split(caption)) for caption in captions) <= TEXT_TOKENS
    assert not [word for caption in captions for word in tokenizer.unknown(caption)]
    scene = with_two_things()
    assert " and " in scene.caption() and scene.backdrop.texture in scene.caption()
    plain = scene.caption(motion=False, size=False, texture=False)
    assert plain == " and ".join(f"a {one.colour} {one.shape}" for one in scene.things)


def test_a_motion_that_is_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="flying"):
        thing_words("red", "ring", motion="flying")


def test_a_batch_follows_from_its_number_and_tells_motion_only_when_asked() -> None:
    first, again, other = (draw_batch(0, "images", step, 12) for step in (3, 3, 4))
    assert torch.equal(first.frames_bcfhw, again.frames_bcfhw) and first.captions == again.captions
    assert not torch.equal(first.frames_bcfhw, other.frames_bcfhw)
    assert first.frames_bcfhw.shape == (12, 3, 1, SIDE, SIDE) and first.depth_bfhw.shape == (12, 1, SIDE, SIDE)
    said = " ".join(first.captions + other.captions)
    assert not [phrase for phrase in MOTIONS.values() if phrase in said]
    moving = draw_batch(0, "motion", 0, 6, FRAMES, motion_said=1.0)
    told = [caption for caption in moving.captions if caption]
    assert told and all(any(phrase in caption for phrase in MOTIONS.values()) for caption in told)
    many = [caption for step in range(60) for caption in draw_batch(1, "images", step, 8).captions]
    assert abs(sum(caption == "" for caption in many) / len(many) - NO_CAPTION) < 0.05


def test_scenes_in_several_ways_begin_with_one_frame_and_differ_in_the_word_for_their_motion_alone() -> None:
    batch, other = (draw_ways(0, "motion", step, 12, 3) for step in (3, 4))
    assert torch.equal(batch.frames_bcfhw, draw_ways(0, "motion", 3, 12, 3).frames_bcfhw)
    assert batch.frames_bcfhw.shape == (36, 3, FRAMES, SIDE, SIDE) and batch.captions != other.captions
    told = 0
    for row in range(0, 36, 3):
        clips, captions = batch.frames_bcfhw[row : row + 3], batch.captions[row : row + 3]
        assert (clips[:, :, 0] - clips[:1, :, 0]).abs().max() <= 2.01 / 255
        assert all((clips[one] - clips[two]).abs().max() > 0.2 for one, two in ((0, 1), (0, 2), (1, 2)))
        without = {reduce(lambda said, motion: said.replace(motion, "moves"), MOTIONS.values(), c) for c in captions}
        assert len(without) == 1 and len(set(captions)) in (1, 3)
        told += len(set(captions)) == 3
        assert len(set(captions)) == 3 or captions[0] == ""
    assert told >= 8


def test_wherever_it_goes_a_thing_that_begins_near_the_middle_stays_in_sight() -> None:
    for number in range(100):
        draws = Draws("ways", number)
        for way in ways_of(draw_scene(draws), 6, draws):
            ends = way.things[-1].centres(np.array([0.0, FRAMES - 1.0]))
            assert (ends > 0).all() and (ends < 1).all()


def test_colour_shape_and_place_of_every_held_out_thing_are_read_back_from_the_pixels() -> None:
    for number in range(HELD_OUT_CLIPS):
        scene = replace(held_out(number), things=held_out(number).things[-1:])
        thing, shown = scene.things[0], render(scene, frames=1, start=3.5)
        found = seen(shown.frames_fhwc[0])
        assert found is not None and (found.colour, found.shape) == (thing.colour, thing.shape), number
        assert iou(found.mask_hw, shown.mask_fhw(0)[0]) > 0.85


def test_a_bare_backdrop_shows_nothing_of_any_colour() -> None:
    for number in range(HELD_OUT_CLIPS):
        frames = render(replace(held_out(number), things=()), frames=1).frames_fhwc
        assert seen(frames[0]) is None
        assert all(float(mask.mean()) < 0.01 for mask in colour_masks(frames[0]).values())


def test_a_true_clip_moves_as_its_word_says_and_as_no_other() -> None:
    told = [motion for motion in MOTIONS if motion != "spin"]
    for motion in told:
        clip = render(scene_of(motion)).frames_fhwc
        assert [word for word in told if moves_as(clip, word, "red")] == [motion]
    with pytest.raises(ValueError, match="spin"):
        moves_as(clip, "spin", "red")


def test_masks_overlap_by_their_intersection_over_their_union() -> None:
    first, second = torch.zeros(4, 4), torch.zeros(4, 4)
    assert iou(first, second) == 1
    first[:2], second[1:3] = 1, 1
    assert iou(first, second) == pytest.approx(4 / 12)
