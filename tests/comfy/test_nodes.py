"""The nodes in the real executor: what they return, how they count, how they stop."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
import scene
import torch
from harness.inprocess import Executor, Result
from harness.probes import call as call_node

WITH_LOOPS = [
    name for name in scene.good_inputs() if name not in ("VividTrackToMask", "VividKeyframes", "VividKeyframeBoard")
]


def iou(first: torch.Tensor, second: torch.Tensor) -> float:
    first, second = first > 0.5, second > 0.5
    return float((first & second).sum() / (first | second).sum())


def returned(result: Result) -> list[Any]:
    assert result.ok, result.exception
    return result.outputs["node"]


def keyframes(call: Callable[..., Result], images: torch.Tensor, at_frames: str) -> Any:
    return returned(call("VividKeyframes", images=images, at_frames=at_frames, strength=1.0))[0]


@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"box": "", "points": '[{"x": 54, "y": 60}, {"x": 5, "y": 5, "label": 0}]'},
        {"box": "", "points": "", "boxes": {"x": 26, "y": 32, "width": 56, "height": 56}},
        {"box": "", "mask": scene.mask()[:1]},
        {"box": "", "mask": scene.mask()[-1:], "mask_frames": "-1"},
    ],
    ids=["box", "points", "bounding box", "mask", "mask on the last frame"],
)
def test_an_object_is_tracked_from_any_kind_of_mark(call: Callable[..., Result], marks: dict[str, Any]) -> None:
    mask, _, report, health = returned(call("VividTrackMask", **{**scene.good_inputs()["VividTrackMask"], **marks}))
    assert mask.shape == scene.mask().shape and mask.dtype == torch.float32
    assert iou(mask, scene.mask()) > 0.85
    assert report and health.ndim == 4 and health.shape[::3] == (1, 3)


def test_corrections_come_back_exactly(call: Callable[..., Result]) -> None:
    painted = torch.zeros(2, scene.HEIGHT, scene.WIDTH)
    painted[0, 40:70, 30:60] = 1
    painted[1, 50:85, 50:90] = 1
    inputs = {**scene.good_inputs()["VividTrackMask"], "box": "", "mask": painted, "mask_frames": "1, 5"}
    mask = returned(call("VividTrackMask", **inputs))[0]
    assert torch.equal(mask[1], painted[0]) and torch.equal(mask[5], painted[1])


def test_a_track_gives_back_its_objects_and_parts(call: Callable[..., Result]) -> None:
    two = {"points": '[{"x": 54, "y": 60, "object": 1}, {"x": 150, "y": 20, "object": 2}]', "box": ""}
    mask, track, *_ = returned(call("VividTrackMask", **{**scene.good_inputs()["VividTrackMask"], **two}))
    first, second, both, part = (
        returned(call("VividTrackToMask", track=track, objects=objects, start=start, length=length))[0]
        for objects, start, length in (("1", 0, 0), ("2", 0, 0), ("all", 0, 0), ("1", 2, 3))
    )
    assert torch.equal(both, mask)
    assert torch.equal(torch.maximum(first, second), mask)
    assert torch.equal(part, first[2:5])


def test_the_edit_mask_holds_the_mask_and_the_blend_mask_holds_the_edit_mask(call: Callable[..., Result]) -> None:
    for mode in ("original", "expand", "hull", "box", "hull+expand", "box+expand"):
        edit, blend = returned(call("VividAugmentMask", **{**scene.good_inputs()["VividAugmentMask"], "mode": mode}))
        assert bool((edit >= scene.mask()).all()) and set(edit.unique().tolist()) == {0.0, 1.0}
        assert bool((blend >= edit).all()) and torch.equal(blend == 1, edit == 1)


def test_a_crop_goes_out_and_comes_back_to_the_bit(call: Callable[..., Result]) -> None:
    inputs = scene.good_inputs()["VividCropSubject"]
    for mode in ("static", "follow"):
        crop, crop_mask, stitch = returned(call("VividCropSubject", **{**inputs, "mode": mode}))
        assert crop.shape[1] % 16 == crop.shape[2] % 16 == 0 and crop.shape[:3] == crop_mask.shape
        stitched, difference, report = returned(
            call("VividStitch", **{**scene.good_inputs()["VividStitch"], "edited": crop, "stitch": stitch})
        )
        assert torch.equal(stitched, scene.clip()) and difference == 0
        assert "bit-exact" in report


def test_the_edit_lands_inside_and_nothing_changes_outside(call: Callable[..., Result]) -> None:
    stitched, difference, _ = returned(call("VividStitch", **{**scene.good_inputs()["VividStitch"], "feather": 0}))
    inside = scene.mask() == 1
    assert torch.equal(stitched[inside], scene.edited()[inside])
    assert torch.equal(stitched[~inside], scene.clip()[~inside]) and difference == 0


def test_an_edited_keyframe_reaches_every_frame(call: Callable[..., Result]) -> None:
    inputs = {**scene.good_inputs()["VividPreviewPropagation"], "mode": "propagate", "feather": 0}
    frames, blend, _ = returned(
        call("VividPreviewPropagation", **inputs, keyframes=keyframes(call, scene.key_image(), "0"))
    )
    inside = scene.mask() == 1
    assert torch.equal(frames[~inside], scene.clip()[~inside]) and torch.equal(blend, scene.mask())
    assert torch.equal(frames[0][inside[0]], scene.key_image()[0][inside[0]]), "the keyframe is kept to the bit"
    assert float((frames - scene.edited())[inside].abs().mean()) < 0.05
    assert float((frames - scene.clip())[inside].abs().mean()) > 0.1


def test_keyframes_counted_from_the_end_and_chained_are_the_same_as_at_once(call: Callable[..., Result]) -> None:
    images = scene.edited()[[0, -1]]
    first = keyframes(call, images[:1], "0")
    chained = returned(call("VividKeyframes", images=images[1:], at_frames="-1", strength=1.0, previous=first))[0]
    inputs = {**scene.good_inputs()["VividPreviewPropagation"], "mode": "propagate"}
    both = [
        returned(call("VividPreviewPropagation", **inputs, keyframes=keys))[0]
        for keys in (chained, keyframes(call, images, "0, 7"))
    ]
    assert torch.equal(*both)


def test_a_removed_object_shows_what_other_frames_saw(call: Callable[..., Result]) -> None:
    frames, blend, report = returned(call("VividPreviewPropagation", **scene.good_inputs()["VividPreviewPropagation"]))
    outside = blend == 0
    assert torch.equal(frames[outside], scene.clip()[outside])
    inside = scene.mask() == 1
    assert float((frames - scene.clip())[inside].abs().mean()) > 0.08, "the object is still there"
    assert "%" in report


def test_keyframes_that_a_removal_does_not_use_are_named(call: Callable[..., Result]) -> None:
    inputs = scene.good_inputs()["VividPreviewPropagation"]
    plain = returned(call("VividPreviewPropagation", **inputs))
    given = returned(call("VividPreviewPropagation", **inputs, keyframes=keyframes(call, scene.clip()[:1] / 2, "0")))
    assert "keyframes are not used" in given[2] and "keyframes are not used" not in plain[2]
    assert torch.equal(plain[0], given[0])


def test_measures_of_an_untouched_clip_are_zero(call: Callable[..., Result]) -> None:
    inputs = {**scene.good_inputs()["VividMeasureEdit"], "edited": scene.clip()}
    report, text, difference, chart, sheet = returned(call("VividMeasureEdit", **inputs))
    assert difference == 0 and "bit-exact" in report and '"bit_exact_outside": true' in text
    assert all(picture.ndim == 4 and picture.shape[-1] == 3 for picture in (chart, sheet))


def test_a_change_outside_the_mask_is_found_and_named(call: Callable[..., Result]) -> None:
    inputs = scene.good_inputs()["VividMeasureEdit"]
    inputs["edited"][3, 0, 0, 1] += 0.25
    report, _, difference, *_ = returned(call("VividMeasureEdit", **inputs))
    assert difference == pytest.approx(0.25, abs=1e-6) and "frame 3" in report


def test_the_comparison_is_a_video_of_the_clips_length(call: Callable[..., Result]) -> None:
    video, sheet = returned(call("VividCompare", **scene.good_inputs()["VividCompare"]))
    parts = video.get_components()
    assert parts.images.shape[0] == scene.COUNT and float(parts.frame_rate) == 12
    assert sheet.ndim == 4 and sheet.shape[0] == 1


@pytest.mark.parametrize("node_id", WITH_LOOPS)
def test_progress_counts_up_once_and_reaches_its_total(executor: Executor, node_id: str) -> None:
    steps: list[tuple[int, int]] = []
    result = call_node(
        executor, node_id, lambda done, total: steps.append((done, total)), **scene.good_inputs()[node_id]
    )
    assert result.ok, result.exception
    assert len({total for _, total in steps}) == 1, "one bar"
    done = [value for value, _ in steps]
    assert done == sorted(done) and done[-1] == steps[-1][1]
    assert len(set(done)) >= scene.COUNT, "at least one step for each frame"


@pytest.mark.parametrize("node_id", WITH_LOOPS)
@pytest.mark.parametrize("at", [1, scene.COUNT])
def test_cancel_stops_before_the_next_frame(executor: Executor, node_id: str, at: int) -> None:
    import comfy.model_management

    steps: list[int] = []

    def cancel(done: int, total: int) -> None:
        steps.append(done)
        if done >= at:
            comfy.model_management.interrupt_current_processing(True)

    result = call_node(executor, node_id, cancel, **scene.good_inputs()[node_id])
    assert not result.ok
    assert any(name == "execution_interrupted" for name, _ in result.messages), result.exception
    assert steps[-1] <= at + 1, "it went on after the cancel"


def test_a_cancelled_comparison_leaves_no_file_behind(executor: Executor) -> None:
    from pathlib import Path

    import comfy.model_management
    import folder_paths

    def files() -> set[Path]:
        return set(Path(folder_paths.get_temp_directory()).glob("vivid_compare*"))

    before = files()
    call_node(
        executor,
        "VividCompare",
        lambda done, total: comfy.model_management.interrupt_current_processing(done >= 3),
        **scene.good_inputs()["VividCompare"],
    )
    assert files() == before


@pytest.mark.parametrize("node_id", list(scene.good_inputs()))
def test_the_same_inputs_give_the_same_output(executor: Executor, node_id: str) -> None:
    if node_id == "VividTrackToMask":
        pytest.skip("it has no inputs of its own; see the tests of tracks")
    if node_id == "VividKeyframeBoard":
        pytest.skip("it collects: what it says depends on what it has; see the tests of boards")
    first, second = (returned(call_node(executor, node_id, **scene.good_inputs()[node_id])) for _ in range(2))
    for one, other in zip(first, second):
        if isinstance(one, torch.Tensor):
            assert torch.equal(one, other)
        elif isinstance(one, str | float):
            assert one == other


def test_a_missing_opencv_is_said_with_the_command_that_installs_it(
    call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)  # what Python does for a module that is not there
    result = call("VividTrackMask", **scene.good_inputs()["VividTrackMask"])
    kind, text = result.exception
    assert not result.ok and kind == "ModuleNotFoundError"
    assert f'"{sys.executable}" -m pip install numpy transformers opencv-python-headless' in text
    monkeypatch.undo()
    assert call("VividTrackMask", **scene.good_inputs()["VividTrackMask"]).ok


def test_what_was_corrected_is_logged(call: Callable[..., Result], caplog: pytest.LogCaptureFixture) -> None:
    inputs = {**scene.good_inputs()["VividCropSubject"], "mask": scene.mask()[:1]}
    with caplog.at_level(logging.INFO, logger="vivid"):
        returned(call("VividCropSubject", **inputs))
    assert "one mask was given for 8 frames" in caplog.text
