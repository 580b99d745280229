"""A folder of clips as training data: what is saved comes back, and what can't be trained on is said with its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vivid_core.diffusion import schedulers
from vivid_core.editors.contract import Traits
from vivid_core.training.dataset import Dataset, open_dataset
from vivid_core.training.draws import Draws
from vivid_core.training.pasting import LEAST_BACKGROUND, background_share, pasted_mask
from vivid_core.training.sample_files import INDEX, index_lines, write_sample
from vivid_core.training.tasks import DELETION, ENTITY, Recipe, SamplePlan, plan_step
from vivid_core.training.world.words import DELETION_CAPTION

HEIGHT, WIDTH, COUNT = 32, 48, 9
TRAITS = Traits("tiny", "Tiny", schedulers.cogvideox(), 9, HEIGHT * WIDTH, 16, "none", 4)
PLAN = SamplePlan(0, ENTITY, False, "original", "short", False, False, "foreground", 0.0, 7)
CAPTIONS = ("a dot", "a grey dot", "a grey dot moving right")


def frames(seed: int = 0, count: int = COUNT, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    """Noise of whole levels, softened so that a codec can keep it."""
    drawn = torch.rand(count, 3, size[0] // 8, size[1] // 8, generator=torch.Generator().manual_seed(seed))
    clip = torch.nn.functional.interpolate(drawn, size, mode="bilinear").permute(0, 2, 3, 1)
    return (clip * 255).round() / 255


def mask(count: int = COUNT, size: tuple[int, int] = (HEIGHT, WIDTH), left: int = 4) -> Tensor:
    """A square of a quarter of the height, which goes right by a pixel in each frame."""
    side = size[0] // 4
    marked = torch.zeros(count, *size)
    for index in range(count):
        marked[index, side : 2 * side, left + index : left + index + side] = 1
    return marked


def saved(folder: Path, count: int = 1, **given: Any) -> Dataset:
    for number in range(count):
        write_sample(folder, f"dot {number}", frames(number), mask(left=4 + 8 * number), CAPTIONS, **given)
    return open_dataset(folder, TRAITS)


def test_a_sample_saved_exactly_comes_back_to_the_bit(tmp_path: Path) -> None:
    sample = saved(tmp_path, exact=True)(PLAN)
    assert torch.equal(sample.frames_fhwc, frames()) and torch.equal(sample.edit_mask_fhw, mask())
    assert (sample.id, sample.caption) == ("dot 0", "a dot")


def test_a_sample_saved_as_video_keeps_its_mask_exactly_and_its_clip_nearly(tmp_path: Path) -> None:
    sample = saved(tmp_path)(PLAN)
    assert torch.equal(sample.edit_mask_fhw, mask())
    assert (sample.frames_fhwc - frames()).abs().mean() < 0.02


def test_folders_of_images_are_clips_too(tmp_path: Path) -> None:
    from PIL import Image

    for kind, clip in (("clip", frames()), ("mask", mask()[..., None].expand(-1, -1, -1, 3))):
        (tmp_path / kind).mkdir()
        for number, image in enumerate(clip):
            Image.fromarray((image.numpy() * 255).round().astype(np.uint8)).save(tmp_path / kind / f"{number}.png")
    write_index(tmp_path, {"clip": "clip", "mask": "mask", "caption": "a dot"})
    sample = open_dataset(tmp_path, TRAITS)(replace(PLAN, caption_length="long"))
    assert torch.equal(sample.frames_fhwc, frames()) and torch.equal(sample.edit_mask_fhw, mask())
    assert sample.caption == "a dot"


def write_index(folder: Path, *lines: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / INDEX).write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines))


def test_the_same_name_replaces_and_missing_captions_are_the_nearest(tmp_path: Path) -> None:
    write_sample(tmp_path, "one", frames(), mask(), ("old", "", ""), exact=True)
    write_sample(tmp_path, "one", frames(), mask(), ("", "medium", ""), exact=True)
    data = open_dataset(tmp_path, TRAITS)
    told = [data(replace(PLAN, caption_length=length)).caption for length in ("short", "medium", "long")]
    assert len(data.entries) == 1 and told == ["medium"] * 3
    assert data.captions == {"medium", DELETION_CAPTION, ""}


def test_a_sample_saved_again_in_the_other_form_leaves_no_old_files(tmp_path: Path) -> None:
    def files() -> set[str]:
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("one.*")}

    for _ in range(2):
        write_sample(tmp_path, "one", frames(), mask(), CAPTIONS, exact=True)
        assert files() == {"samples/one.safetensors"}
        write_sample(tmp_path, "one", frames(), mask(), CAPTIONS)
        assert files() == {"clips/one.mp4", "masks/one.mp4"}


def test_a_caption_may_hold_any_line_break_that_unicode_knows(tmp_path: Path) -> None:
    write_sample(tmp_path, "one", frames(), mask(), ("a red\u2028fox\x85", "", ""), exact=True)
    write_sample(tmp_path, "two", frames(), mask(), ("a fox\nin\rsnow", "", ""), exact=True)
    assert [entry.captions["short"] for entry in open_dataset(tmp_path, TRAITS).entries] == [
        "a red\u2028fox",
        "a fox\nin\rsnow",
    ]
    assert len(index_lines(tmp_path)) == 2


def test_keyframes_and_dropped_texts_follow_the_plan(tmp_path: Path) -> None:
    sample = saved(tmp_path, exact=True)(replace(PLAN, is_keyed=True, drops_text=True))
    assert sample.caption == "" and not sample.edit_mask_fhw[0].any() and sample.edit_mask_fhw[1:].any()


def test_an_image_is_the_frame_at_its_moment(tmp_path: Path) -> None:
    sample = saved(tmp_path, exact=True)(replace(PLAN, is_image=True, moment=0.5))
    assert torch.equal(sample.frames_fhwc, frames()[4:5]) and torch.equal(sample.edit_mask_fhw, mask()[4:5])


@pytest.mark.parametrize("mode", ("original", "expand", "hull", "box", "hull+expand", "box+expand"))
def test_every_mask_mode_covers_the_object(tmp_path: Path, mode: str) -> None:
    sample = saved(tmp_path, exact=True)(replace(PLAN, mask_mode=mode))
    assert (sample.edit_mask_fhw >= mask()).all()


def test_clips_of_other_sizes_and_lengths_are_fitted_around_the_mask(tmp_path: Path) -> None:
    size = (64, 200)
    write_sample(tmp_path, "wide", frames(0, 5, size), mask(5, size, left=150), CAPTIONS, exact=True)
    write_sample(tmp_path, "long", frames(1, 40), mask(40, left=0), CAPTIONS, exact=True)
    write_sample(tmp_path, "usual", frames(1), mask(), CAPTIONS, exact=True)
    data = open_dataset(tmp_path, TRAITS)
    assert (data.height, data.width, data.frames) == (HEIGHT, WIDTH, COUNT)
    wide, long = data(PLAN), data(replace(PLAN, clip=1))
    assert wide.frames_fhwc.shape == long.frames_fhwc.shape == (COUNT, HEIGHT, WIDTH, 3)
    assert wide.edit_mask_fhw[0].sum() == pytest.approx(64, rel=0.3)  # 16 x 16 pixels at half the size
    assert torch.equal(wide.frames_fhwc[4], wide.frames_fhwc[8])
    start = next(i for i in range(40) if torch.equal(frames(1, 40)[i], long.frames_fhwc[0]))
    assert torch.equal(long.frames_fhwc, frames(1, 40)[start : start + COUNT])
    assert torch.equal(long.edit_mask_fhw, mask(40, left=0)[start : start + COUNT])


def test_a_plan_always_gives_the_same_sample(tmp_path: Path) -> None:
    one, other = saved(tmp_path, 3, exact=True), open_dataset(tmp_path, TRAITS)
    for plan in plan_step(Recipe(image_batch=8, video_batch=8), 0, 3):
        first, second = one(plan), other(plan)
        assert first.id == second.id and first.caption == second.caption
        assert torch.equal(first.frames_fhwc, second.frames_fhwc)
        assert torch.equal(first.edit_mask_fhw, second.edit_mask_fhw)


@pytest.mark.parametrize("motion", ("foreground", "background"))
def test_deletions_are_made_on_the_background_of_ones_own_clips(tmp_path: Path, motion: str) -> None:
    data, made = saved(tmp_path, 3, exact=True), 0
    for seed in range(20):
        clip = seed % 3
        sample = data(replace(PLAN, task=DELETION, paste_motion=motion, seed=seed, clip=clip))
        if sample.caption == DELETION_CAPTION:
            made += 1
            number = int(sample.id.split()[1])
            assert torch.equal(sample.frames_fhwc, frames(number))
            assert background_share(sample.edit_mask_fhw, mask(left=4 + 8 * number)) >= LEAST_BACKGROUND
    assert made >= 10


def test_a_saved_deletion_needs_no_caption_and_is_used_as_it_is(tmp_path: Path) -> None:
    write_sample(tmp_path, "wall", frames(), mask(), task=DELETION, exact=True)
    data = open_dataset(tmp_path, TRAITS)
    recipe = data.recipe(Recipe())
    assert recipe.entities_per_deletion == 0
    sample = data(replace(PLAN, task=DELETION))
    assert sample.caption == DELETION_CAPTION and torch.equal(sample.edit_mask_fhw, mask())


def test_single_images_alone_train_no_videos(tmp_path: Path) -> None:
    write_sample(tmp_path, "still", frames(count=1), mask(1), CAPTIONS, exact=True)
    data = open_dataset(tmp_path, TRAITS)
    recipe = data.recipe(Recipe(image_batch=2))
    assert data.frames == 1
    assert all(plan.is_image for step in range(30) for plan in plan_step(recipe, 0, step))
    assert data(replace(PLAN, is_image=True)).frames_fhwc.shape[0] == 1


def moving_background(by: tuple[float, float]) -> Tensor:
    """A texture that moves by so many pixels right and down in each frame."""
    down, right = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    clip = [
        0.5 + 0.25 * torch.sin((right - by[0] * t) / 5) * torch.cos((down - by[1] * t) / 7)
        + 0.2 * torch.sin((right - by[0] * t + 2 * (down - by[1] * t)) / 11)
        for t in range(COUNT)
    ]  # fmt: skip
    return torch.stack(clip)[..., None].expand(-1, -1, -1, 3).contiguous()


def test_a_mask_that_is_glued_to_the_background_moves_as_it_does() -> None:
    clip, foreground = moving_background((1.5, -1.0)), torch.zeros(COUNT, 96, 128)
    donor = torch.zeros(COUNT, 96, 128)
    donor[:, 30:60, 40:80] = 1
    pasted = pasted_mask(clip, foreground, donor, "background", Draws("test", 0))
    assert pasted is not None
    places = [one.nonzero().float().mean(0) for one in pasted]
    moved = (places[-1] - places[0]) / (COUNT - 1)
    assert moved.tolist() == pytest.approx([-1.0, 1.5], abs=0.15)
    assert pasted.sum((1, 2)).tolist() == pytest.approx([float(pasted[0].sum())] * COUNT, rel=0.1)


def test_a_pasted_mask_that_moves_by_itself_keeps_its_own_motion() -> None:
    clip, foreground = moving_background((0, 0)), torch.zeros(COUNT, 96, 128)
    donor = mask(5, (96, 128), left=0)
    pasted = pasted_mask(clip, foreground, donor, "foreground", Draws("test", 1))
    assert pasted is not None
    columns = torch.stack([one.nonzero()[:, 1].float().mean() for one in pasted])
    steps = columns.diff()
    assert (steps[:4] > 0).all() and (steps[4:] < 0).all()  # five frames forwards, then back


def test_there_is_no_place_where_all_is_foreground() -> None:
    clip = moving_background((0, 0))
    donor = mask(COUNT, (96, 128))
    assert pasted_mask(clip, torch.ones(COUNT, 96, 128), donor, "foreground", Draws("test", 0)) is None
    assert pasted_mask(clip, torch.zeros(COUNT, 96, 128), 0 * donor, "foreground", Draws("test", 0)) is None


def test_folders_named_as_vivid_10m_was_published_are_read(tmp_path: Path) -> None:
    from vivid_core.video.files import write_video

    video = tmp_path / "00000012"
    (video / "local_caption" / "v2").mkdir(parents=True)
    write_video(video / "source_video.mp4", iter(frames()), 24, crf=0)
    for name in ("instance0002_ori_mask", "instance0002_rectangle_mask", "remove0000_ori_mask"):
        write_video(
            video / f"mask_clip0000_{name}.mp4", (one[..., None].expand(-1, -1, 3) for one in mask()), 24, crf=0
        )
    (video / "local_caption" / "v2" / "local_caption_clip0000_instance0002.txt").write_text("a grey\ndot\n")
    data = open_dataset(tmp_path, TRAITS)
    assert [entry.task for entry in data.entries] == [ENTITY, DELETION]
    sample = data(PLAN)
    assert sample.caption == "a grey dot" and torch.equal(sample.edit_mask_fhw, mask())
    (video / "local_caption" / "v2" / "local_caption_clip0000_instance0002.txt").unlink()
    with pytest.raises(ValueError, match="instance0002_ori_mask.mp4 has no caption"):
        open_dataset(tmp_path, TRAITS)


GOOD = {"clip": "samples/dot 0.safetensors", "mask": "samples/dot 0.safetensors", "captions": {"short": "a dot"}}


@pytest.mark.parametrize(
    ("line", "sentence"),
    (
        ("{", "line 2 is no JSON"),
        ([1], "line 2 must be an object"),
        ({"clip": "a.mp4"}, 'line 2 must be an object with "clip" and "mask"'),
        ({**GOOD, "captions": {"short": 3}}, 'line 2: "captions" must be'),
        ({**GOOD, "captions": {}}, "line 2: .*there is no caption"),
        ({**GOOD, "task": "replace"}, "line 2: .*the task 'replace'"),
        ({**GOOD, "clip": "gone.mp4"}, "line 2: .*gone.mp4: there is no such clip"),
        ({**GOOD, "mask": "short.safetensors"}, "line 2: .*its mask has 5 of 48x32"),
        ({**GOOD, "mask": "broken.safetensors"}, "line 2: .*broken.safetensors: the file is damaged"),
    ),
)
def test_a_wrong_line_gets_one_sentence_with_its_number(tmp_path: Path, line: Any, sentence: str) -> None:
    saved(tmp_path, exact=True)
    write_sample(tmp_path / "other", "short", frames(count=5), mask(5), CAPTIONS, exact=True)
    (tmp_path / "other" / "samples" / "short.safetensors").rename(tmp_path / "short.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    write_index(tmp_path, GOOD, line)
    with pytest.raises(ValueError, match=sentence) as raised:
        open_dataset(tmp_path, TRAITS)
    assert str(raised.value).startswith(str(tmp_path / INDEX)) and str(raised.value).endswith(".")


@pytest.mark.parametrize(
    ("change", "sentence"),
    (
        (lambda given: given | {"name": "../up"}, "got the name '../up'"),
        (lambda given: given | {"captions": ("", " ", "")}, "there is no caption"),
        (lambda given: given | {"mask_fhw": torch.zeros(COUNT, HEIGHT, WIDTH)}, "the mask is empty"),
        (lambda given: given | {"mask_fhw": torch.zeros(COUNT, 4, 4)}, "masks of 4x4"),
        (lambda given: given | {"frames_fhwc": given["frames_fhwc"] * 255}, "must lie in 0..1"),
        (lambda given: given | {"task": "other"}, "the task 'other'"),
    ),
)
def test_a_sample_that_cant_be_trained_on_is_not_saved(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], sentence: str
) -> None:
    given = {"name": "dot", "frames_fhwc": frames(), "mask_fhw": mask(), "captions": CAPTIONS}
    with pytest.raises(ValueError, match=sentence):
        write_sample(tmp_path, **change(given))
    assert not list(tmp_path.iterdir())


def test_a_folder_without_samples_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no dataset.*Save Training Sample"):
        open_dataset(tmp_path, TRAITS)
    write_index(tmp_path, "")
    with pytest.raises(ValueError, match="names no samples"):
        open_dataset(tmp_path, TRAITS)


def test_masks_that_are_too_small_are_said_when_there_is_nothing_else(tmp_path: Path) -> None:
    tiny = torch.zeros(COUNT, HEIGHT, WIDTH)
    tiny[:, 3, 3] = 1
    write_sample(tmp_path, "speck", frames(), tiny, CAPTIONS, exact=True)
    with pytest.raises(ValueError, match="none of 20 samples had a mask that can be trained on"):
        open_dataset(tmp_path, TRAITS)(PLAN)
