"""Every node with every wrong input: one helpful sentence, raised as ValueError, or a correction that is documented."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scene
import torch
from harness.inprocess import Result

IMAGES = [
    ("VividTrackMask", "frames"),
    ("VividPromptEditor", "frames"),
    ("VividMaskHealth", "frames"),
    ("VividCropSubject", "frames"),
    ("VividStitch", "original"),
    ("VividStitch", "edited"),
    ("VividKeyframes", "images"),
    ("VividKeyframeBoard", "frames"),
    ("VividKeyframeBoard", "candidate"),
    ("VividPreviewPropagation", "frames"),
    ("VividMeasureEdit", "original"),
    ("VividMeasureEdit", "edited"),
    ("VividCompare", "original"),
    ("VividCompare", "edited"),
    ("VividCompareEngines", "original"),
    ("VividCompareEngines", "edited_2"),
]
MASKS = [
    ("VividTrackMask", "mask"),
    ("VividMaskHealth", "mask"),
    ("VividRepairMask", "mask"),
    ("VividRepairMask", "overrides"),
    ("VividAugmentMask", "mask"),
    ("VividCropSubject", "mask"),
    ("VividStitch", "edit_mask"),
    ("VividStitch", "blend_mask"),
    ("VividKeyframes", "masks"),
    ("VividPreviewPropagation", "mask"),
    ("VividMeasureEdit", "edit_mask"),
    ("VividMeasureEdit", "blend_mask"),
    ("VividCompare", "mask"),
    ("VividCompareEngines", "edit_mask"),
    ("VividCompareEngines", "blend_mask"),
]
# No second clip that they could disagree with.
ALONE = {("VividTrackMask", "frames"), ("VividPromptEditor", "frames"), ("VividKeyframes", "images")} | {
    ("VividKeyframeBoard", "frames"),  # its candidates are of single frames
    ("VividKeyframeBoard", "candidate"),
}
MASKS_ALONE = {("VividRepairMask", "mask"), ("VividAugmentMask", "mask")}
# Masks of some frames only: their number is checked against the frame numbers, not against the clip.
MASKS_OF_SOME_FRAMES = {("VividTrackMask", "mask"), ("VividRepairMask", "overrides"), ("VividKeyframes", "masks")}
EMPTY_IS_LEGAL = {
    ("VividTrackMask", "mask"): "says that the object is not on that frame",
    ("VividRepairMask", "overrides"): "says that the object is not on that frame",
    ("VividMaskHealth", "mask"): "reports that the object is nowhere",
    ("VividCompare", "mask"): "draws no outline",
}


def poisoned(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def poison(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[-1, 3, 5] = value
        return tensor

    return poison


IMAGE_FAULTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "no frames": lambda frames: frames[:0],
    "NaN": poisoned(float("nan")),
    "infinite": poisoned(float("inf")),
    "above 1": poisoned(255.0),
    "below 0": poisoned(-0.5),
    "two channels": lambda frames: frames[..., :2],
    "rank 3": lambda frames: frames[0],
}
MASK_FAULTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "no masks": lambda mask: mask[:0],
    "NaN": poisoned(float("nan")),
    "above 1": poisoned(255.0),
    "below 0": poisoned(-0.5),
    "rank 5": lambda mask: mask[None, None],
}


def inputs_with(node_id: str, name: str) -> tuple[dict[str, Any], torch.Tensor]:
    """Good inputs of the node, and the tensor that stands (or could stand) at `name`."""
    inputs = scene.good_inputs()[node_id]
    if node_id == "VividRepairMask" and name == "overrides":
        inputs.update(overrides=scene.mask()[:1], override_frames="0")
    if node_id == "VividKeyframes" and name == "masks":
        inputs["masks"] = scene.mask()[:1]
    if node_id == "VividTrackMask" and name == "mask":
        inputs.update(mask=scene.mask()[:1], mask_frames="0", box="")
    return inputs, inputs.get(name, scene.mask())


def assert_sentence(result: Result) -> str:
    """The run failed with a ValueError that a user can act on."""
    kind, text = result.exception
    assert not result.ok, "this input must not pass"
    assert kind == "ValueError", f"{kind}: {text}"
    assert len(text) > 40 and text.rstrip().endswith("."), f"says too little: {text}"
    assert "Traceback" not in text and "tensor(" not in text, text
    return text


@pytest.mark.parametrize(("node_id", "name"), IMAGES)
@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_wrong_images_get_one_sentence(call: Callable[..., Result], node_id: str, name: str, fault: str) -> None:
    inputs, good = inputs_with(node_id, name)
    inputs[name] = IMAGE_FAULTS[fault](good)
    assert_sentence(call(node_id, **inputs))


@pytest.mark.parametrize(("node_id", "name"), MASKS)
@pytest.mark.parametrize("fault", MASK_FAULTS)
def test_wrong_masks_get_one_sentence(call: Callable[..., Result], node_id: str, name: str, fault: str) -> None:
    inputs, good = inputs_with(node_id, name)
    inputs[name] = MASK_FAULTS[fault](good)
    assert_sentence(call(node_id, **inputs))


@pytest.mark.parametrize(("node_id", "name"), [pair for pair in IMAGES if pair not in ALONE])
def test_clips_of_different_length_get_one_sentence(call: Callable[..., Result], node_id: str, name: str) -> None:
    inputs, good = inputs_with(node_id, name)
    inputs[name] = good[:-2]
    text = assert_sentence(call(node_id, **inputs))
    assert str(scene.COUNT) in text and str(scene.COUNT - 2) in text


@pytest.mark.parametrize(("node_id", "name"), [pair for pair in MASKS if pair not in MASKS_ALONE])
def test_masks_of_different_length_get_one_sentence(call: Callable[..., Result], node_id: str, name: str) -> None:
    inputs, good = inputs_with(node_id, name)
    inputs[name] = good.repeat(3, 1, 1) if (node_id, name) in MASKS_OF_SOME_FRAMES else good[:-2]
    assert_sentence(call(node_id, **inputs))


@pytest.mark.parametrize(("node_id", "name"), [pair for pair in IMAGES if pair not in ALONE])
def test_clips_of_different_size_get_one_sentence(call: Callable[..., Result], node_id: str, name: str) -> None:
    inputs, good = inputs_with(node_id, name)
    inputs[name] = good[:, :-16]
    text = assert_sentence(call(node_id, **inputs))
    assert str(scene.HEIGHT) in text and str(scene.HEIGHT - 16) in text


@pytest.mark.parametrize(("node_id", "name"), [pair for pair in MASKS if pair not in MASKS_ALONE])
def test_masks_of_different_size_get_one_sentence(call: Callable[..., Result], node_id: str, name: str) -> None:
    inputs, good = inputs_with(node_id, name)
    inputs[name] = good[:, :-16]
    text = assert_sentence(call(node_id, **inputs))
    assert str(scene.HEIGHT) in text and str(scene.HEIGHT - 16) in text


@pytest.mark.parametrize(("node_id", "name"), MASKS)
def test_masks_that_mark_nothing_get_one_sentence(call: Callable[..., Result], node_id: str, name: str) -> None:
    inputs, good = inputs_with(node_id, name)
    inputs[name] = torch.zeros_like(good)
    result = call(node_id, **inputs)
    if (node_id, name) in EMPTY_IS_LEGAL:
        assert result.ok or result.exception[0] == "ValueError", result.exception
    else:
        assert_sentence(result)


@pytest.mark.parametrize(("node_id", "name"), IMAGES)
def test_an_alpha_channel_is_dropped_and_said(
    call: Callable[..., Result], caplog: pytest.LogCaptureFixture, node_id: str, name: str
) -> None:
    inputs, good = inputs_with(node_id, name)
    inputs[name] = torch.cat([good, torch.full_like(good[..., :1], 0.5)], dim=-1)
    with caplog.at_level(logging.INFO, logger="vivid"):
        result = call(node_id, **inputs)
    assert result.ok, result.exception
    assert "alpha channel" in caplog.text


@pytest.mark.parametrize("node_id", [name for name in scene.good_inputs() if name != "VividTrackToMask"])
def test_a_clip_of_one_frame_runs(call: Callable[..., Result], node_id: str) -> None:
    inputs = {
        name: value[:1] if isinstance(value, torch.Tensor) else value
        for name, value in scene.good_inputs()[node_id].items()
    }
    result = call(node_id, **inputs)
    assert result.ok, result.exception


@pytest.mark.parametrize("node_id", [name for name in scene.good_inputs() if name != "VividTrackToMask"])
def test_odd_sizes_run(call: Callable[..., Result], node_id: str) -> None:
    inputs = {
        name: value[:, :-1, :-3] if isinstance(value, torch.Tensor) else value
        for name, value in scene.good_inputs()[node_id].items()
    }
    result = call(node_id, **inputs)
    assert result.ok, result.exception


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("points", "[{"),
        ("points", '[{"x": 5}]'),
        ("points", '{"hello": 1}'),
        ("points", '[{"x": "a", "y": 3}]'),
        ("points", '[{"x": 5000, "y": 3}]'),
        ("points", '[{"x": 5, "y": 3, "frame": 99}]'),
        ("points", '[{"x": NaN, "y": 3}]'),
        ("box", "10, 20, 30"),
        ("box", "a, b, c, d"),
        ("box", "10, 20, 0, 5"),
        ("box", "5000, 5000, 10, 10"),
        ("frame", 99),
        ("frame", -99),
        ("box", ""),
    ],
)
def test_wrong_marks_get_one_sentence(call: Callable[..., Result], name: str, text: Any) -> None:
    assert_sentence(call("VividTrackMask", **{**scene.good_inputs()["VividTrackMask"], name: text}))


@pytest.mark.parametrize("text", ["", "0, 1", "x", "0.5"])
def test_wrong_keyframe_numbers_get_one_sentence(call: Callable[..., Result], text: str) -> None:
    assert_sentence(call("VividKeyframes", images=scene.key_image(), at_frames=text, strength=1.0))


def keys(call: Callable[..., Result], at: str = "0", **inputs: Any) -> Any:
    (made,) = call(
        "VividKeyframes", **{"images": scene.key_image(), "at_frames": at, "strength": 1.0, **inputs}
    ).outputs["node"]
    return made


def test_two_keyframes_on_one_frame_get_one_sentence(call: Callable[..., Result]) -> None:
    twice = call("VividKeyframes", images=scene.key_image(), at_frames="0", strength=1.0, previous=keys(call))
    assert "frame 0" in assert_sentence(twice)


TAKERS = ["VividPreviewPropagation", "VividStitch", "VividMeasureEdit", "VividCompare"]


def inputs_for_keys(node_id: str) -> dict[str, Any]:
    inputs = scene.good_inputs()[node_id]
    return {**inputs, "mode": "propagate"} if node_id == "VividPreviewPropagation" else inputs


@pytest.mark.parametrize("node_id", TAKERS)
@pytest.mark.parametrize("at", ["8", "-9", "500"])
def test_keyframes_outside_the_clip_get_one_sentence(call: Callable[..., Result], node_id: str, at: str) -> None:
    text = assert_sentence(call(node_id, **inputs_for_keys(node_id), keyframes=keys(call, at)))
    assert "8 frames" in text


@pytest.mark.parametrize("node_id", TAKERS)
def test_keyframes_of_another_aspect_get_one_sentence(call: Callable[..., Result], node_id: str) -> None:
    squeezed = keys(call, images=scene.key_image()[:, :, ::2])
    assert "aspect" in assert_sentence(call(node_id, **inputs_for_keys(node_id), keyframes=squeezed))


@pytest.mark.parametrize("node_id", TAKERS)
def test_keyframes_of_another_size_but_the_same_aspect_are_resized_and_said(
    call: Callable[..., Result], caplog: pytest.LogCaptureFixture, node_id: str
) -> None:
    small = keys(call, images=scene.key_image()[:, ::2, ::2])
    with caplog.at_level(logging.INFO, logger="vivid"):
        result = call(node_id, **inputs_for_keys(node_id), keyframes=small)
    assert result.ok, result.exception
    assert node_id == "VividCompare" or "resized from 96x64 to 192x128" in caplog.text


def test_propagation_without_keyframes_gets_one_sentence(call: Callable[..., Result]) -> None:
    inputs = {**scene.good_inputs()["VividPreviewPropagation"], "mode": "propagate"}
    assert "Set Keyframes" in assert_sentence(call("VividPreviewPropagation", **inputs))


def test_a_keyframe_whose_mask_is_empty_gets_one_sentence(call: Callable[..., Result]) -> None:
    inputs = inputs_for_keys("VividPreviewPropagation")
    inputs["mask"][0] = 0
    assert "frame 0" in assert_sentence(call("VividPreviewPropagation", **inputs, keyframes=keys(call))).lower()


def test_wrong_parts_of_a_track_get_one_sentence(call: Callable[..., Result]) -> None:
    track = call("VividTrackMask", **scene.good_inputs()["VividTrackMask"]).outputs["node"][1]
    for wrong in ({"objects": "7"}, {"objects": "x"}, {"start": 99}, {"start": 6, "length": 9}):
        assert_sentence(
            call("VividTrackToMask", **{"track": track, "objects": "all", "start": 0, "length": 0, **wrong})
        )


def test_a_stitch_of_another_clip_gets_one_sentence(call: Callable[..., Result]) -> None:
    crop = scene.good_inputs()["VividCropSubject"]
    stitch = call("VividCropSubject", **{**crop, "frames": crop["frames"][:5], "mask": crop["mask"][:5]}).outputs[
        "node"
    ][2]
    assert_sentence(call("VividStitch", **scene.good_inputs()["VividStitch"], stitch=stitch))


def test_an_unwritable_temp_folder_gets_one_sentence(
    call: Callable[..., Result], comfy_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import folder_paths

    in_the_way = comfy_base / "a file where a folder should be"
    in_the_way.write_text("")
    monkeypatch.setattr(folder_paths, "temp_directory", str(in_the_way / "temp"))
    assert str(in_the_way) in assert_sentence(call("VividCompare", **scene.good_inputs()["VividCompare"]))
