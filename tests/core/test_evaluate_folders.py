"""Folders of clips in three layouts: what they ask for is read, and what can't be used says why in its own row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from harness.evaluating import add_line, clip, folder_of, mask, named, write_images
from safetensors.torch import save_file

from vivid_core.evaluate.cases import Case, Cut, load_case, read_cases
from vivid_core.training.tasks import DELETION, ENTITY
from vivid_core.training.world.words import DELETION_CAPTION
from vivid_core.video.composite import feather_outside
from vivid_core.video.writing import write_video

HEADER = "Video name,Our GT caption,Style Change Caption,Object Change Caption,Background Change Caption\n"


def tgve(folder: Path, *lines: str) -> Path:
    write_images(folder / "DAVIS_480p" / "480p_frames" / "dot", clip())
    (folder / "table.csv").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8-sig")
    return folder


def published(folder: Path) -> Path:
    video = folder / "00000012"
    (video / "local_caption" / "v2").mkdir(parents=True)
    write_video(video / "source_video.mp4", iter(clip()), 12, crf=0)
    for name in ("instance0002_ori_mask", "remove0000_rectangle_mask"):
        white = (one[..., None].expand(-1, -1, 3) for one in mask())
        write_video(video / f"mask_clip0000_{name}.mp4", white, 12, crf=0)
    (video / "local_caption" / "v2" / "local_caption_clip0000_instance0002.txt").write_text("a red\ndot")
    return folder


def test_a_clip_of_the_index_is_loaded_to_the_bit_with_its_mask_and_the_blend_mask_around_it(tmp_path: Path) -> None:
    loaded = load_case(read_cases(folder_of(tmp_path))[0], Cut())
    assert torch.equal(loaded.frames_fhwc, clip()) and torch.equal(loaded.edit_mask_fhw, mask(12))
    assert torch.equal(loaded.blend_mask_fhw, feather_outside(mask(12), 8))
    assert (loaded.case.caption, loaded.case.task) == ("a dot 0", ENTITY)


def test_a_deletion_has_the_papers_sentence_for_a_caption(tmp_path: Path) -> None:
    last = read_cases(folder_of(tmp_path))[-1]
    assert (last.caption, last.task, load_case(last, Cut()).removes) == (DELETION_CAPTION, DELETION, True)


def test_folders_named_as_vivid_10m_are_read(tmp_path: Path) -> None:
    cases = named(read_cases(published(tmp_path)))
    assert {name: case.caption for name, case in cases.items()} == {
        "00000012/clip0000/instance0002": "a red dot",
        "00000012/clip0000/remove0000": DELETION_CAPTION,
    }
    loaded = load_case(cases["00000012/clip0000/instance0002"], Cut())
    assert torch.equal(loaded.edit_mask_fhw, mask()) and loaded.fps == 12
    assert (loaded.frames_fhwc - clip()).abs().mean() < 0.02


def test_a_published_video_without_masks_or_with_an_entity_without_caption_says_so(tmp_path: Path) -> None:
    folder = published(tmp_path)
    (folder / "00000012" / "local_caption" / "v2" / "local_caption_clip0000_instance0002.txt").unlink()
    (folder / "00000013").mkdir()
    write_video(folder / "00000013" / "source_video.mp4", iter(clip()), 12)
    faults = {case.name: case.fault for case in read_cases(folder)}
    assert "has no caption" in faults["00000012/clip0000/instance0002"] and "has no mask" in faults["00000013"]
    assert faults["00000012/clip0000/remove0000"] == ""


def test_tgves_table_gives_a_case_for_each_caption_and_the_whole_frame_without_a_mask(tmp_path: Path) -> None:
    folder = tgve(
        tmp_path, "DAVIS Videos:,,,,", "dot,a dot,an oil painting of a dot,a square,a dot on the moon", ",,,,"
    )
    cases = read_cases(folder)
    assert [case.name for case in cases] == ["dot/style", "dot/object", "dot/background"]
    assert cases[1].caption == "a square" and cases[1].mask is None
    loaded = load_case(cases[1], Cut())
    assert torch.equal(loaded.frames_fhwc, clip()) and bool((loaded.edit_mask_fhw == 1).all())


def test_tgves_clips_may_have_masks_beside_their_frames(tmp_path: Path) -> None:
    folder = tgve(tmp_path, "dot,a dot,a painting,a square,the moon")
    write_images(folder / "DAVIS_480p" / "480p_masks" / "dot", mask())
    assert torch.equal(load_case(read_cases(folder)[0], Cut()).edit_mask_fhw, mask())


def test_tgves_videos_count_where_there_are_no_frames(tmp_path: Path) -> None:
    folder = tgve(tmp_path, "film,a film,a painting,a square,the moon")
    (folder / "videvo_480p" / "480p_videos").mkdir(parents=True)
    write_video(folder / "videvo_480p" / "480p_videos" / "film.mp4", iter(clip()), 24)
    assert load_case(read_cases(folder)[0], Cut()).frames_fhwc.shape == clip().shape


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gone,a,b,c,d", "has no frames"),
        ("../dot,a,b,c,d", "is no name of a video"),
        ("/etc/passwd,a,b,c,d", "is no name of a video"),
        ("dot,a,,,", "has no caption"),
    ],
)
def test_a_row_of_tgve_that_cannot_be_used_says_why(tmp_path: Path, line: str, said: str) -> None:
    cases = read_cases(tgve(tmp_path, line, "dot,a dot,b,c,d"))
    assert said in cases[0].fault and cases[0].fault.endswith(".")
    assert [case.fault for case in cases[-3:]] == ["", "", ""]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "is no JSON"),
        ("[" * 100_000, "line 3 is no JSON"),
        ('{"clip": 1' + "0" * 5000 + "}", "line 3 is no JSON"),
        ({"name": "x", "clip": "grey.safetensors", "mask": "grey.safetensors", "caption": "a"}, "got 1 channels"),
        ({"name": "x", "clip": "a.mp4"}, 'must be an object with "clip" and "mask"'),
        ({"name": "x", "clip": "a.mp4", "mask": "a.mp4"}, "there is no caption"),
        ({"name": "x", "clip": "a.mp4", "mask": "a.mp4", "caption": "a dot"}, "there is no such clip"),
        ({"name": "x", "clip": "noise.mp4", "mask": "noise.mp4", "caption": "a dot"}, "noise.mp4"),
        (
            {"name": "x", "clip": "samples/dot 0.safetensors", "mask": "short", "caption": "a dot"},
            "its mask has 2 of 48x32",
        ),
        ({"name": "x", "clip": "samples/dot 0.safetensors", "mask": "empty", "caption": "a dot"}, "the mask is empty"),
    ],
)
def test_a_line_that_cannot_be_used_says_why_and_the_others_are_read(tmp_path: Path, line: object, said: str) -> None:
    folder = folder_of(tmp_path, 2)
    write_images(folder / "short", mask()[:2])
    write_images(folder / "empty", torch.zeros_like(mask()))
    levels = (mask() * 255).to(torch.uint8)
    save_file({"frames": levels, "mask": levels.clone()}, folder / "grey.safetensors")
    (folder / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    add_line(folder, line)
    *good, bad = read_cases(folder)
    with pytest.raises(ValueError, match=said) as raised:
        load_case(bad, Cut())
    assert "\n" not in str(raised.value)
    assert all(load_case(case, Cut()).identity for case in good)


def test_cases_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 2)
    line = {"name": "dot 0", "clip": "samples/dot 0.safetensors", "mask": "samples/dot 0.safetensors", "caption": "a"}
    add_line(folder, line)
    assert [case.name for case in read_cases(folder)] == ["dot 0", "dot 1", "dot 0 (2)"]


def test_what_is_no_folder_of_clips_is_refused(tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "gone", "is no folder"), (tmp_path, "holds no clips")):
        with pytest.raises(ValueError, match=said):
            read_cases(folder)
    with pytest.raises(ValueError, match="choose one of short, medium, long"):
        read_cases(tmp_path, "longer")


def test_a_cut_takes_every_second_frame_and_shrinks_clip_and_mask_alike(tmp_path: Path) -> None:
    case = read_cases(folder_of(tmp_path))[0]
    loaded = load_case(case, Cut(frames=2, every=2, side=24))
    assert loaded.frames_fhwc.shape == (2, 16, 24, 3) and loaded.edit_mask_fhw.shape == (2, 16, 24)
    assert torch.equal(load_case(case, Cut(every=2)).frames_fhwc, clip()[::2])
    assert torch.equal(loaded.edit_mask_fhw, mask(12)[0:3:2, ::2, ::2])
    with pytest.raises(ValueError, match="1 or more for every"):
        Cut(every=0)


def test_two_clips_have_the_same_identity_only_if_everything_is_the_same(tmp_path: Path) -> None:
    case = read_cases(folder_of(tmp_path))[0]
    others = [Case(**{**case.__dict__, "caption": "b"}), Case(**{**case.__dict__, "task": DELETION})]
    loaded = [load_case(one, Cut()) for one in (case, case, *others)] + [load_case(case, Cut(feather=4))]
    assert loaded[0].identity == loaded[1].identity
    assert len({one.identity for one in loaded}) == 4
