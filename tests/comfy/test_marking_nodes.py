"""Mark Object and Mask Health in the real executor: what they give to other nodes, and to the page."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene
import torch
from harness.inprocess import Executor, Result, bridge
from harness.probes import call as call_node
from PIL import Image

STROKE = {"path": [[0.25, 0.5], [0.5, 0.5]], "radius": 0.05, "erase": False}
ON_THE_SQUARE = [54 / 192, 60 / 128, 1]


def mark(frame: int = 0, number: int = 1, **what: Any) -> dict[str, Any]:
    return {"frame": frame, "object": number, "points": [], "box": None, "strokes": [], "painted": False, **what}


def state(*marks: dict[str, Any], clip: Any = None) -> str:
    numbers = sorted({one["object"] for one in marks})
    objects = [{"id": number, "name": ""} for number in numbers]
    return json.dumps({"version": 1, "clip": clip, "objects": objects, "marks": list(marks)})


def marked(call: Callable[..., Result], text: str, frames: torch.Tensor | None = None) -> Result:
    return call("VividPromptEditor", frames=scene.clip() if frames is None else frames, marks=text)


def returned(result: Result) -> list[Any]:
    assert result.ok, result.exception
    return result.outputs["node"]


def refused(result: Result) -> str:
    kind, text = result.exception
    assert not result.ok and kind == "ValueError", (kind, text)
    assert text.endswith(".") and "\n" not in text
    return text


@pytest.fixture
def temp() -> Iterator[Path]:
    """ComfyUI's temp folder, without clips of other tests."""
    import shutil

    import folder_paths

    folder = Path(folder_paths.get_temp_directory())
    for name in ("vivid_clips", "vivid_tracks"):
        shutil.rmtree(folder / name, ignore_errors=True)
    yield folder


def clips(temp: Path) -> list[Path]:
    return sorted((temp / "vivid_clips").iterdir())


def test_marks_become_what_other_nodes_read(call: Callable[..., Result]) -> None:
    text = state(
        mark(3, points=[ON_THE_SQUARE, [0, 0, 0]], box=[0.25, 0.25, 0.5, 0.75]),
        mark(5, painted=True, strokes=[STROKE]),
    )
    prompts, preview, positive, negative, boxes, painted, report, frame = returned(marked(call, text))
    assert [prompt.frame for prompt in prompts] == [3, 5] and frame == 3
    assert json.loads(positive) == [{"x": 54, "y": 60}] and json.loads(negative) == [{"x": 0, "y": 0}]
    assert boxes == {"x": 48, "y": 32, "width": 48, "height": 64}
    assert preview.shape == (2, scene.HEIGHT, scene.WIDTH, 3)
    assert painted.shape == scene.mask().shape
    assert [bool(mask.any()) for mask in painted] == [index == 5 for index in range(scene.COUNT)]
    assert "points on frame 3" in report and "a painted mask on frame 5" in report


def test_without_marks_there_are_no_prompts_and_the_report_says_so(call: Callable[..., Result]) -> None:
    prompts, preview, positive, negative, boxes, painted, report, frame = returned(marked(call, ""))
    assert len(prompts) == 0 and (positive, negative, boxes, frame) == ("[]", "[]", [], 0)
    assert preview.shape[0] == 1 and not bool(painted.any()) and painted.shape == scene.mask().shape
    assert "nothing is marked yet" in report


def test_what_is_marked_is_tracked(call: Callable[..., Result]) -> None:
    """The marks as prompts, and the same as the texts that other packs write, give the same mask."""
    text = state(mark(0, points=[ON_THE_SQUARE, [5 / 192, 5 / 128, 0]]))
    prompts, _, positive, negative, *_ = returned(marked(call, text))
    inputs = {**scene.good_inputs()["VividTrackMask"], "box": ""}
    first = returned(call("VividTrackMask", **inputs, prompts=prompts))[0]
    points = json.dumps({"positive": positive, "negative": negative})
    second = returned(call("VividTrackMask", **{**inputs, "points": points}))[0]
    assert torch.equal(first, second)
    both = ((first > 0.5) & (scene.mask() > 0.5)).sum() / ((first > 0.5) | (scene.mask() > 0.5)).sum()
    assert float(both) > 0.85


def test_boxes_and_painted_masks_go_into_track_mask(call: Callable[..., Result]) -> None:
    box = [26 / 192, 32 / 128, 82 / 192, 88 / 128]
    *_, boxes, painted, _, frame = returned(marked(call, state(mark(0, box=box))))
    inputs = {**scene.good_inputs()["VividTrackMask"], "box": ""}
    by_box = returned(call("VividTrackMask", **{**inputs, "boxes": boxes, "frame": frame}))[0]
    assert torch.equal(by_box, returned(call("VividTrackMask", **{**inputs, "boxes": [[boxes]]}))[0])
    prompts, *_, painted, _, _ = returned(marked(call, state(mark(4, painted=True, strokes=[STROKE]))))
    mask = returned(call("VividTrackMask", **inputs, prompts=prompts))[0]
    assert torch.equal(mask[4], painted[4]), "a painted mask comes back exactly"


def test_nothing_marked_is_one_sentence_in_track_mask(call: Callable[..., Result]) -> None:
    prompts = returned(marked(call, ""))[0]
    inputs = {**scene.good_inputs()["VividTrackMask"], "box": ""}
    refused(call("VividTrackMask", **inputs, prompts=prompts))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no valid JSON"),
        (json.dumps({"version": 9}), "version 9"),
        (state(mark(8, points=[ON_THE_SQUARE])), "object 1 is marked on frame 8, but the clip has only 8 frames"),
        (state(mark(0, points=[[2, 0, 1]])), "object 1 on frame 0 has a point at"),
        (
            state(mark(0, points=[ON_THE_SQUARE]), clip={"frames": 8, "width": 64, "height": 128}),
            "64x128, but these are 192x128",
        ),
    ],
)
def test_marks_that_do_not_fit_are_one_sentence(call: Callable[..., Result], text: str, says: str) -> None:
    assert says in refused(marked(call, text))


def test_the_page_gets_the_frames_even_if_the_marks_are_refused(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them nobody could put the marks right."""
    import server

    monkeypatch.setattr(server.PromptServer, "instance", executor.listener, raising=False)
    text = state(mark(99, points=[ON_THE_SQUARE]))
    result = call_node(executor, "VividPromptEditor", frames=scene.clip(), marks=text)
    assert "frame 99" in refused(result)
    told = [data for name, data in result.messages if name == "executed" and data["node"] == "node"]
    assert len(told) == 1 and told[0]["output"]["vivid_clip"][0]["frames"] == scene.COUNT


def test_another_length_is_a_note(call: Callable[..., Result]) -> None:
    clip = {"frames": 5, "width": scene.WIDTH, "height": scene.HEIGHT, "digest": ""}
    report = returned(marked(call, state(mark(0, points=[ON_THE_SQUARE]), clip=clip)))[6]
    assert "made on a clip of 5 frames and this one has 8" in report


def test_the_page_finds_every_frame_of_the_clip(call: Callable[..., Result], temp: Path) -> None:
    result = marked(call, "")
    returned(result)
    (told,) = result.ui["node"]["vivid_clip"]
    assert (told["frames"], told["width"], told["height"]) == (scene.COUNT, scene.WIDTH, scene.HEIGHT)
    assert told["type"] == "temp" and told["subfolder"] == f"vivid_clips/{told['digest']}"
    for index, frame in enumerate(scene.clip()):
        with Image.open(temp / told["subfolder"] / (told["names"] % index)) as picture:
            assert picture.size == (told["shown_width"], told["shown_height"]) and picture.format == "JPEG"
            shown = torch.from_numpy(np.array(picture)).float() / 255
        assert float((shown - frame).abs().mean()) < 0.08, index
    assert json.loads(json.dumps(result.ui["node"])) == result.ui["node"], "it travels as JSON"


def test_a_large_clip_is_shown_smaller_with_its_own_size_told(call: Callable[..., Result], temp: Path) -> None:
    frames = torch.rand(2, 90, 2560, 3)
    (told,) = marked(call, "", frames).ui["node"]["vivid_clip"]
    assert (told["width"], told["height"]) == (2560, 90)
    assert (told["shown_width"], told["shown_height"]) == (1280, 45)
    with Image.open(temp / told["subfolder"] / "000001.jpg") as picture:
        assert picture.size == (1280, 45)


def test_a_clip_is_written_once_and_a_changed_one_anew(call: Callable[..., Result], temp: Path) -> None:
    returned(marked(call, ""))
    (folder,) = clips(temp)
    first = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    returned(marked(call, state(mark(0, points=[ON_THE_SQUARE]))))
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == first
    returned(marked(call, "", 1 - scene.clip()))
    assert len(clips(temp)) == 2


def test_a_clip_with_a_missing_picture_is_written_again(call: Callable[..., Result], temp: Path) -> None:
    returned(marked(call, ""))
    (clips(temp)[0] / "000003.jpg").unlink()
    returned(marked(call, state(mark(0, points=[ON_THE_SQUARE]))))
    assert (clips(temp)[0] / "000003.jpg").exists()


def test_only_the_newest_clips_are_kept(call: Callable[..., Result], temp: Path) -> None:
    digests = []
    for level in range(6):
        frames = scene.clip() * (1 - 0.1 * level)
        digests.append(marked(call, "", frames).ui["node"]["vivid_clip"][0]["digest"])
        if level == 3:  # asked for again, the first one is new
            assert marked(call, state(mark(0, painted=True))).ok
    assert {folder.name for folder in clips(temp)} == {digests[0], *digests[3:]}


def test_clips_that_take_too_much_room_go_but_never_the_one_in_use(
    call: Callable[..., Result], temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge("clip_files"), "MOST_CLIP_BYTES", 1)
    returned(marked(call, ""))
    returned(marked(call, "", 1 - scene.clip()))
    assert len(clips(temp)) == 1 and len(list(clips(temp)[0].iterdir())) == scene.COUNT


def test_a_cancel_leaves_no_half_clip(executor: Executor, temp: Path) -> None:
    import comfy.model_management

    result = call_node(
        executor,
        "VividPromptEditor",
        lambda done, total: comfy.model_management.interrupt_current_processing(done >= 3),
        frames=scene.clip(),
        marks="",
    )
    assert any(name == "execution_interrupted" for name, _ in result.messages), result.exception
    assert clips(temp) == []


def test_progress_reaches_its_total_for_new_and_known_clips(executor: Executor, temp: Path) -> None:
    for text in ("", state(mark(0, painted=True))):
        steps: list[tuple[int, int]] = []
        inputs = {"frames": scene.clip(), "marks": text}
        result = call_node(
            executor, "VividPromptEditor", lambda done, total, to=steps: to.append((done, total)), **inputs
        )
        assert result.ok and (scene.COUNT, scene.COUNT) in steps


def test_a_temp_folder_that_cannot_be_written_is_one_sentence(call: Callable[..., Result], temp: Path) -> None:
    (temp / "vivid_clips").write_text("in the way")
    try:
        assert "can't be written" in refused(marked(call, ""))
    finally:
        (temp / "vivid_clips").unlink()


def test_the_page_gets_the_tracked_masks_and_their_health(call: Callable[..., Result], temp: Path) -> None:
    inputs = {**scene.good_inputs()["VividTrackMask"], "box": "", "points": ""}
    two = state(mark(0, points=[ON_THE_SQUARE]), mark(0, 5, box=[0.7, 0.05, 0.9, 0.3]))
    prompts = returned(marked(call, two))[0]
    result = call("VividTrackMask", **inputs, prompts=prompts)
    track = returned(result)[1]
    (told,) = result.ui["node"]["vivid_track"]
    (clip,) = marked(call, "").ui["node"]["vivid_clip"]
    assert told["digest"] == clip["digest"] and told["type"] == "temp"
    content = json.loads((temp / told["subfolder"] / told["filename"]).read_text())
    assert (content["version"], content["frames"]) == (1, scene.COUNT)
    assert (content["width"], content["height"]) == (scene.WIDTH, scene.HEIGHT)
    assert [entry["id"] for entry in content["objects"]] == [1, 5]
    for entry in content["objects"]:
        for frame, runs in enumerate(entry["runs"]):
            flat = [index % 2 for index, run in enumerate(runs or [scene.WIDTH * scene.HEIGHT]) for _ in range(run)]
            assert np.array_equal(np.reshape(flat, (scene.HEIGHT, scene.WIDTH)), track.mask(frame, [entry["id"]]))
    assert [each["object_id"] for each in content["health"]["objects"]] == [1, 5]


def test_tracks_of_one_clip_have_files_of_their_own_and_few_are_kept(
    call: Callable[..., Result], temp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge("clip_files"), "MOST_TRACKS", 2)
    names = set()
    for left in (26, 60, 90):
        inputs = {**scene.good_inputs()["VividTrackMask"], "box": f"{left}, 32, 56, 56"}
        names.add(call("VividTrackMask", **inputs).ui["node"]["vivid_track"][0]["filename"])
    assert len(names) == 3
    kept = {file.name for file in (temp / "vivid_tracks").iterdir()}
    assert len(kept) == 2 and kept < names


def test_the_health_of_any_mask_is_told_and_drawn(call: Callable[..., Result]) -> None:
    mask = scene.mask()
    mask[3:5] = 0
    strip, report = returned(call("VividMaskHealth", mask=mask))
    assert strip.ndim == 4 and strip.shape[0] == 1 and strip.shape[-1] == 3
    assert "Lost on frames 3-4. Found again at frame 5." in report


def test_a_track_is_judged_object_by_object(call: Callable[..., Result]) -> None:
    track = returned(call("VividTrackMask", **scene.good_inputs()["VividTrackMask"]))[1]
    strip, report = returned(call("VividMaskHealth", track=track))
    assert strip.shape[0] == 1 and report.startswith("Object 1: seen on")


def test_with_the_frames_a_new_shot_is_no_jump(call: Callable[..., Result]) -> None:
    other = torch.rand(4, scene.HEIGHT, scene.WIDTH, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    frames = torch.cat([scene.clip()[:4], other[:1].expand(4, -1, -1, -1)])
    mask = scene.mask()
    mask[4:] = 0
    mask[4:, 5:105, 100:190] = 1
    assert "Jumps at frame 4" in returned(call("VividMaskHealth", mask=mask))[1]
    report = returned(call("VividMaskHealth", mask=mask, frames=frames))[1]
    assert "New shots begin at frame 4" in report and "Jumps" not in report


@pytest.mark.parametrize("given", ["nothing", "both", "another clip", "a longer track"])
def test_wrong_inputs_of_mask_health_get_one_sentence(call: Callable[..., Result], given: str) -> None:
    track = returned(call("VividTrackMask", **scene.good_inputs()["VividTrackMask"]))[1]
    inputs: dict[str, dict[str, Any]] = {
        "nothing": {},
        "both": {"mask": scene.mask(), "track": track},
        "another clip": {"mask": scene.mask(), "frames": scene.clip()[:5]},
        "a longer track": {"track": track, "frames": scene.clip()[:5]},
    }
    assert "connect" in refused(call("VividMaskHealth", **inputs[given]))


def test_tracks_of_large_clips_are_shown_at_the_size_of_their_pictures(temp: Path) -> None:
    """Each pixel of the small mask is on where most of what it covers is."""
    files = bridge("clip_files")
    package = files.__name__.rsplit(".nodes.", 1)[0]
    tracks = importlib.import_module(f"{package}.vivid_core.masks.tracks")
    health = importlib.import_module(f"{package}.vivid_core.metrics.health")
    mask = torch.zeros(1, 2, 40, 2560)
    mask[0, 0, 8:24, 100:700] = 1
    track = tracks.Track.pack(mask)
    (told,) = files.track_ui(track, torch.rand(2, 40, 2560, 3), health.track_health(track))["vivid_track"]
    content = json.loads((temp / told["subfolder"] / told["filename"]).read_text())
    assert (content["width"], content["height"]) == (1280, 20)
    first, second = content["objects"][0]["runs"]
    flat = [index % 2 for index, run in enumerate(first) for _ in range(run)]
    assert np.array_equal(np.reshape(flat, (20, 1280)), mask[0, 0, ::2, ::2]) and second is None
