"""The recipe, the samples that it makes of the world, and the measures with which the results are judged."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from vivid_core.masks.augment import MODES, size_verdict
from vivid_core.training.draws import Draws
from vivid_core.training.measures import (
    MATCH,
    Score,
    Truth,
    codec_answer,
    mean_fill,
    mean_score,
    painted,
    painted_mask,
    references,
    rgb,
    score,
    static_copy,
)
from vivid_core.training.tasks import (
    DELETION,
    ENTITY,
    PASTE_MOTIONS,
    Recipe,
    SamplePlan,
    finished,
    plan_step,
    stacked,
    with_first_frame_known,
)
from vivid_core.training.world import words
from vivid_core.training.world.render import FRAMES, SIDE, render
from vivid_core.training.world.samples import world_sample
from vivid_core.training.world.scene import Scene, draw_scene
from vivid_core.training.world.trials import trial, trials

VIDEOS = Recipe(images_per_video=0, video_batch=40)
STEPS = 2000


def video_plans(count: int, **changes: object) -> list[SamplePlan]:
    return [replace(plan, **changes) for plan in plan_step(replace(VIDEOS, video_batch=count), 5, 0)]


def close(found: float, expected: float, trials_made: int) -> bool:
    """Within four standard deviations of a binomial share."""
    return abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / trials_made)


def test_the_default_recipe_is_the_papers() -> None:
    recipe = Recipe(image_batch=4, video_batch=4)
    steps = [plan_step(recipe, 0, step) for step in range(STEPS)]
    assert close(sum(plans[0].is_image for plans in steps) / STEPS, 10 / 11, STEPS)
    plans = [plan for step in steps for plan in step]
    assert close(sum(plan.task == ENTITY for plan in plans) / len(plans), 3 / 4, len(plans))
    assert close(sum(plan.drops_text for plan in plans) / len(plans), 0.1, len(plans))
    videos = [plan for plan in plans if not plan.is_image]
    assert close(sum(plan.is_keyed for plan in videos) / len(videos), 0.5, len(videos))
    for field, choices in (
        ("mask_mode", MODES),
        ("caption_length", words.CAPTION_LENGTHS),
        ("paste_motion", PASTE_MOTIONS),
    ):
        counts = Counter(getattr(plan, field) for plan in plans)
        assert set(counts) == set(choices)
        assert all(close(count / len(plans), 1 / len(choices), len(plans)) for count in counts.values())


def test_a_step_is_all_images_or_all_videos_and_images_have_no_keyframe() -> None:
    for step in range(200):
        plans = plan_step(Recipe(image_batch=5, video_batch=3), 1, step)
        assert len({plan.is_image for plan in plans}) == 1
        assert len(plans) == (5 if plans[0].is_image else 3)
        assert not any(plan.is_image and plan.is_keyed for plan in plans)


def test_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    recipe = Recipe()
    assert plan_step(recipe, 3, 17) == plan_step(recipe, 3, 17)
    assert plan_step(recipe, 3, 17) != plan_step(recipe, 3, 18)
    assert plan_step(recipe, 3, 17) != plan_step(recipe, 4, 17)


def test_ratios_can_be_nothing_or_everything() -> None:
    only = Recipe(images_per_video=0, entities_per_deletion=0, keyframe_share=1, text_dropout=0, mask_modes=("box",))
    for plan in plan_step(only, 0, 0):
        assert not plan.is_image and plan.task == DELETION and plan.is_keyed and not plan.drops_text
        assert plan.mask_mode == "box"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"keyframe_share": 1.5}, "keyframe_share"),
        ({"text_dropout": -0.1}, "text_dropout"),
        ({"images_per_video": -1}, "images_per_video"),
        ({"entities_per_deletion": float("inf")}, "entities_per_deletion is inf"),
        ({"entities_per_deletion": float("nan")}, "entities_per_deletion"),
        ({"video_batch": 0}, "video_batch"),
        ({"clips": 0}, "clips"),
        ({"mask_modes": ("sphere",)}, "sphere"),
        ({"caption_lengths": ()}, "caption_lengths"),
    ],
)
def test_an_impossible_recipe_is_refused_by_name(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_a_finished_sample_has_the_plans_keyframe_and_text() -> None:
    plan = video_plans(1, is_keyed=True, drops_text=True)[0]
    mask_fhw = torch.ones(3, 4, 4)
    done = finished(plan, "clip", torch.zeros(3, 4, 4, 3), mask_fhw, "a caption")
    assert done.caption == "" and done.edit_mask_fhw[0].sum() == 0 and done.edit_mask_fhw[1:].min() == 1
    assert mask_fhw.min() == 1, "the given mask stays as it was"
    plain = finished(replace(plan, is_keyed=False, drops_text=False), "clip", torch.zeros(3, 4, 4, 3), mask_fhw, "text")
    assert plain.caption == "text" and plain.edit_mask_fhw.min() == 1
    assert with_first_frame_known(mask_fhw[:1]).sum() == 0


def test_samples_of_the_world_are_the_same_from_the_same_plan() -> None:
    for plan in video_plans(6):
        first, second = world_sample(plan), world_sample(plan)
        assert torch.equal(first.frames_fhwc, second.frames_fhwc)
        assert torch.equal(first.edit_mask_fhw, second.edit_mask_fhw)
        assert first.caption == second.caption and first.id == second.id


@pytest.mark.parametrize("side", [48, 64])
def test_samples_pass_the_papers_size_filter_and_stack(side: int) -> None:
    samples = [world_sample(plan, side) for plan in video_plans(30, is_keyed=False)]
    frames, masks, captions = stacked(samples)
    assert frames.shape == (30, FRAMES, side, side, 3) and masks.shape == (30, FRAMES, side, side)
    assert frames.min() >= 0 and frames.max() <= 1 and set(masks.unique().tolist()) == {0.0, 1.0}
    assert all(size_verdict(sample.edit_mask_fhw) is None for sample in samples)
    assert len(captions) == 30


def test_an_image_is_one_frame_of_the_clip() -> None:
    for plan in video_plans(10, is_keyed=False, task=ENTITY, mask_mode="original"):
        image = world_sample(replace(plan, is_image=True))
        assert image.frames_fhwc.shape == (1, SIDE, SIDE, 3)
        candidates = [draw_scene(Draws(f"train/{plan.clip}", attempt)) for attempt in range(20)]
        frame = round(plan.moment * (FRAMES - 1))
        assert any(torch.equal(image.frames_fhwc[0], render(one).frames_fhwc[frame]) for one in candidates)


def test_a_mask_holds_what_its_caption_says() -> None:
    plans = video_plans(40, task=ENTITY, is_keyed=False, drops_text=False, caption_length="short", mask_mode="original")
    for sample in map(world_sample, plans):
        colour = sample.caption.split()[0]
        inside = sample.frames_fhwc[sample.edit_mask_fhw > 0.5]
        near = (inside - rgb(colour)).abs().amax(-1) < 0.02
        assert near.double().mean() > 0.5, sample.caption


def test_a_training_sample_never_shows_or_names_an_unseen_pair() -> None:
    for number in range(1500):
        for one in draw_scene(Draws(f"train/{number}", 0)).entities:
            assert one.pair not in words.UNSEEN_PAIRS


def test_a_deletions_hole_shows_backdrop_in_what_is_to_be_painted() -> None:
    plans = video_plans(40, task=DELETION, is_keyed=False, drops_text=False)
    for plan in plans:
        sample = world_sample(plan)
        assert sample.caption == words.DELETION_CAPTION
        candidates = [draw_scene(Draws(f"train/{plan.clip}", attempt)) for attempt in range(20)]
        scene = next(one for one in candidates if torch.equal(render(one).frames_fhwc, sample.frames_fhwc))
        bare = render(Scene(scene.backdrop, ())).frames_fhwc
        hole = sample.edit_mask_fhw > 0.5
        untouched = (sample.frames_fhwc == bare).all(-1)[hole]
        assert untouched.double().mean() >= 0.95


def centroids(mask_fhw: torch.Tensor) -> np.ndarray:
    return np.array([np.argwhere(mask_hw.numpy() > 0.5).mean(0) for mask_hw in mask_fhw])[:, ::-1]


def test_a_hole_that_is_glued_to_the_backdrop_moves_as_that_does() -> None:
    plans = video_plans(
        30, task=DELETION, is_keyed=False, paste_motion="background", mask_mode="original", drops_text=False
    )
    agreeing = 0
    for plan in plans:
        sample = world_sample(plan)
        candidates = [draw_scene(Draws(f"train/{plan.clip}", attempt)) for attempt in range(20)]
        scene = next(one for one in candidates if torch.equal(render(one).frames_fhwc, sample.frames_fhwc))
        moved = np.diff(centroids(sample.edit_mask_fhw)[[0, -1]], axis=0)[0] / (FRAMES - 1) / SIDE
        agreeing += bool(np.abs(moved - np.array(scene.backdrop.pan)).max() < 0.004)
    assert agreeing >= 25  # the others turned round at the border


# --- measures ---------------------------------------------------------------------------------------------------


def truth_of_a_square() -> Truth:
    """A red square of 8x8 in a mask of 16x16, on grey, in 3 frames of 32x32."""
    backdrop = torch.full((3, 32, 32, 3), 0.4)
    weight = torch.zeros(3, 32, 32)
    weight[:, 12:20, 12:20] = 1
    mask = torch.zeros(3, 32, 32)
    mask[:, 8:24, 8:24] = 1
    return Truth(torch.where(weight[..., None] > 0.5, rgb("red"), backdrop), backdrop, weight, mask, "red")


def test_the_oracle_itself_is_perfect() -> None:
    truth = truth_of_a_square()
    assert score(truth.oracle_fhwc, truth) == Score(1, 1, 1, 100)


def test_a_shifted_square_scores_by_its_overlap() -> None:
    truth = truth_of_a_square()
    shifted = torch.roll(truth.oracle_fhwc, 2, dims=2)
    found = score(shifted, truth)
    assert found.iou == pytest.approx(6 / 10)
    assert found.background == pytest.approx(1 - 8 / (256 - 100))  # one column of the two is the rim, not judged
    assert found.colour == pytest.approx(48 / 64)  # grey is nearest to green, not to red


def test_another_colour_is_no_hit() -> None:
    truth = truth_of_a_square()
    blue = torch.where(truth.weight_fhw[..., None] > 0.5, rgb("blue"), truth.backdrop_fhwc)
    found = score(blue, truth)
    assert found.colour == 0 and found.iou == 0 and found.background == 1


def test_what_lies_outside_the_mask_does_not_count() -> None:
    truth = truth_of_a_square()
    spoilt = truth.oracle_fhwc.clone()
    spoilt[:, :8] = rgb("red")
    assert score(spoilt, truth) == Score(1, 1, 1, 100)


def test_a_pixel_matches_up_to_the_bound() -> None:
    truth = truth_of_a_square()
    assert score(truth.oracle_fhwc + MATCH * 0.99, truth).background == 1
    assert score(truth.oracle_fhwc + MATCH * 1.01, truth).background == 0


def test_psnr_in_the_mask_is_that_of_its_definition() -> None:
    truth = truth_of_a_square()
    assert score(truth.oracle_fhwc + 0.1, truth).psnr == pytest.approx(20, abs=1e-4)


def test_a_given_keyframe_is_not_judged() -> None:
    truth = truth_of_a_square()
    edited = truth.oracle_fhwc.clone()
    edited[0] = 0
    assert score(edited, truth, first=1) == Score(1, 1, 1, 100)
    assert score(edited, truth).iou < 1


def test_a_deletion_has_neither_shape_nor_colour() -> None:
    truth = trial("delete", "seen", 0).truth()
    found = score(truth.oracle_fhwc, truth)
    assert math.isnan(found.iou) and math.isnan(found.colour)
    assert found.background == 1 and found.psnr == 100
    assert not bool(painted(truth.oracle_fhwc, truth.backdrop_fhwc, None).any())


def test_clips_of_another_size_are_refused() -> None:
    truth = truth_of_a_square()
    with pytest.raises(ValueError, match="same clip"):
        score(truth.oracle_fhwc[:2], truth)


def test_a_mean_leaves_out_what_has_no_meaning() -> None:
    both = mean_score([Score(1.0, math.nan, 0.5, 20), Score(0.5, math.nan, 1.0, 30)])
    assert both.iou == 0.75 and both.background == 0.75 and both.psnr == 25 and math.isnan(both.colour)


def test_trivial_answers_keep_to_the_mask_and_score_as_they_should() -> None:
    truth = truth_of_a_square()
    filled = mean_fill(truth.oracle_fhwc, truth.edit_mask_fhw)
    assert torch.allclose(filled, truth.backdrop_fhwc)
    assert score(filled, truth).iou == 0 and score(filled, truth).background == 1
    whole = painted_mask(truth.oracle_fhwc, truth.edit_mask_fhw, "red")
    assert score(whole, truth).iou == pytest.approx(64 / 256) and score(whole, truth).background == 0
    assert (whole[truth.edit_mask_fhw == 0] == truth.oracle_fhwc[truth.edit_mask_fhw == 0]).all()


def test_a_static_copy_is_right_where_nothing_moves() -> None:
    truth = truth_of_a_square()
    source = truth.backdrop_fhwc
    assert score(static_copy(source, truth.edit_mask_fhw, truth.oracle_fhwc[0]), truth) == Score(1, 1, 1, 100)


def test_the_codecs_limit_is_the_oracle_seen_through_it_in_the_mask() -> None:
    truth = truth_of_a_square()
    shown = codec_answer(truth, lambda frames_fhwc: frames_fhwc * 0.9)
    inside = truth.edit_mask_fhw > 0.5
    assert torch.equal(shown[inside], truth.oracle_fhwc[inside] * 0.9)
    assert torch.equal(shown[~inside], truth.oracle_fhwc[~inside])


@pytest.mark.parametrize("task", ["modify", "add", "delete"])
def test_references_stand_beside_every_figure_and_keep_to_the_mask(task: str) -> None:
    one = trial(task, "seen", 0)
    source_fhwc, truth = one.source_fhwc(), one.truth()
    answers = references(source_fhwc, truth, lambda frames_fhwc: frames_fhwc)
    assert set(answers) >= {"codec limit", "nothing done", "mean fill"}
    assert ("whole mask" in answers) == ("static copy" in answers) == (task != "delete")
    for answer in answers.values():
        outside = truth.edit_mask_fhw == 0
        assert torch.equal(answer[outside], truth.oracle_fhwc[outside])
    assert score(answers["codec limit"], truth).psnr == 100


def test_no_trivial_answer_comes_near_the_goals() -> None:
    painted_whole = [
        score(painted_mask(one.source_fhwc(), (truth := one.truth()).edit_mask_fhw, truth.colour or ""), truth)
        for one in trials("modify", "seen", 24)
    ]
    assert mean_score(painted_whole).iou < 0.7 and mean_score(painted_whole).background == 0
    filled = []
    for one in trials("delete", "seen", 24):
        truth = one.truth()
        filled.append(score(mean_fill(one.source_fhwc(), truth.edit_mask_fhw), truth))
    assert mean_score(filled).psnr < 25 and mean_score(filled).background < 0.7
