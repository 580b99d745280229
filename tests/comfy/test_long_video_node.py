"""Edit Long Video through the real executor: VIDEO in, a file out, on every core that the pack supports."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from harness import engines
from harness.clips import write_film
from harness.engines import CLIP_RUN, SIDE, mask, of_pack, returned
from harness.inprocess import Executor, Result
from harness.probes import call as call_node
from test_bad_input import assert_sentence

Call = Callable[..., Result]
NODE = "VividEditLongVideo"
COUNT = 17  # two windows of the embedded model, which share a frame


@pytest.fixture(scope="session")
def weights_for_long_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engines.save_embedded(tmp_path_factory.mktemp("embedded") / "embedded_vivid.safetensors")


@pytest.fixture
def inputs(
    call: Call, weights_for_long_videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, Any]:
    """Inputs with which the node runs, on a file with sound."""
    monkeypatch.setattr(of_pack("vivid_core.models.embedded"), "WEIGHTS", weights_for_long_videos)
    made = engines.engine(call)
    path = write_film(tmp_path / "film.mp4", COUNT, (SIDE, SIDE), sound="aac")
    run = {**CLIP_RUN, "plan_only": False, **engines.texts(call, made)}
    return {"engine": made, "video": video_of(path), "mask": mask(COUNT), **run}


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The frames as they went into the encoder, one tensor for each file."""
    module, found = of_pack("vivid_core.editors.long_video"), list[torch.Tensor]()
    write = module.write_video

    def spied(path: Any, frames: Any, *rest: Any, **named: Any) -> None:
        given: list[torch.Tensor] = []
        write(path, (given.append(frame.clone()) or frame for frame in frames), *rest, **named)
        found.append(torch.stack(given))

    monkeypatch.setattr(module, "write_video", spied)
    return found


def video_of(path: Any) -> Any:
    from comfy_api.input_impl import VideoFromFile

    return VideoFromFile(str(path) if isinstance(path, Path) else path)


def frames_of(video: Any) -> torch.Tensor:
    return torch.stack(list(of_pack("vivid_core.video.reading").read_frames(video.get_stream_source()))).float() / 255


def keyframe(call: Call, image_hwc: torch.Tensor, at: int) -> Any:
    return returned(call("VividKeyframes", images=image_hwc[None], at_frames=str(at), strength=1.0))[0]


def files_in_temp() -> set[Path]:
    import folder_paths

    return set(Path(folder_paths.get_temp_directory()).glob("*"))


def test_a_file_becomes_a_file_that_save_video_stores(call: Call, inputs: dict[str, Any], tmp_path: Path) -> None:
    before = frames_of(inputs["video"])
    video, report = returned(call(NODE, **inputs))
    after = frames_of(video)
    assert after.shape == before.shape and video.get_components().audio is not None
    inside = torch.nn.functional.max_pool2d(mask(COUNT)[:, None], 13, 1, 6)[:, 0] > 0
    assert (after - before)[~inside].abs().mean() < 4 / 255 < (after - before)[mask(COUNT) > 0.5].abs().mean()
    assert "17 frames, 2 windows of 2 steps" in report
    assert "Largest difference outside the blend mask: 0." in report and "Not kept" not in report
    video.save_to(str(tmp_path / "saved.mp4"))
    assert torch.equal(frames_of(video_of(tmp_path / "saved.mp4")), after)


def test_with_keyframes_and_a_track_the_frames_are_those_of_propagate_edit(
    call: Call, inputs: dict[str, Any], encoded: list[torch.Tensor]
) -> None:
    frames, masks = frames_of(inputs["video"]), inputs.pop("mask")
    keys = keyframe(call, frames[12] * 0.5, 12)
    plain = {name: value for name, value in inputs.items() if name not in ("video", "plan_only")}
    whole = returned(call("VividPropagate", **plain, frames=frames, mask=masks, keyframes=keys))[0]
    track = of_pack("vivid_core.masks.tracks").Track.pack(masks[None])
    returned(call(NODE, **inputs, track=track, keyframes=keys))
    assert torch.equal(encoded[0], whole)


def test_a_plan_makes_nothing_and_lets_nothing_follow(call: Call, inputs: dict[str, Any]) -> None:
    inputs["keyframes"] = keyframe(call, frames_of(inputs["video"])[3] * 0.5, 3)
    before = files_in_temp()
    result = call(NODE, **{**inputs, "plan_only": True})
    (report,) = returned(result)  # the video is blocked
    assert files_in_temp() == before
    for words in (
        "17 frames of 48x48, 24 a second",
        "3 windows",
        "keyframes: 3",
        "Tokens:",
        "Memory:",
        "Disk:",
        "Time",
    ):
        assert words in report, words
    assert "Window 1: frames 3 to 0, backward, from keyframe 3." in report


def test_a_stopped_run_leaves_no_file_and_goes_on(
    executor: Executor, call: Call, inputs: dict[str, Any], encoded: list[torch.Tensor]
) -> None:
    import comfy.model_management
    import folder_paths

    store = Path(folder_paths.get_output_directory(), "vivid_windows")
    inputs.update(resume=True, seed=77)
    kept, temp = set(store.glob("*.safetensors")), files_in_temp()

    def stop(done: int, total: int) -> None:
        if len(set(store.glob("*.safetensors")) - kept) == 1:  # the second window has begun
            comfy.model_management.interrupt_current_processing()

    assert not call_node(executor, NODE, stop, **inputs).ok
    assert files_in_temp() == temp
    _, report = returned(call(NODE, **inputs))
    assert "1 window of 2 steps, 1 window kept from before" in report
    returned(call(NODE, **{**inputs, "resume": False}))
    resumed, whole = encoded
    assert torch.equal(resumed, whole)


def test_videos_in_memory_are_used_from_there(call: Call, inputs: dict[str, Any], encoded: list[torch.Tensor]) -> None:
    from comfy_api.input_impl import VideoFromComponents
    from comfy_api.util import VideoComponents

    data = io.BytesIO(Path(inputs["video"].get_stream_source()).read_bytes())
    for one in (inputs["video"], video_of(data)):
        returned(call(NODE, **{**inputs, "video": one}))
    audio = {"waveform": torch.rand(1, 2, 44100) * 0.1, "sample_rate": 44100}
    parts = VideoComponents(images=frames_of(inputs["video"]), audio=audio, frame_rate=Fraction(25, 2))  # type: ignore[arg-type]
    video, report = returned(call(NODE, **{**inputs, "video": VideoFromComponents(parts)}))
    assert video.get_frame_rate() == Fraction(25, 2) and video.get_components().audio is not None
    from_file, from_bytes, from_parts = encoded
    assert torch.equal(from_file, from_bytes) and torch.equal(from_file, from_parts)


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV can't write a rotation")
@pytest.mark.parametrize("degrees", (90, 180))
def test_masks_made_from_the_cores_own_frames_fit_a_turned_video(
    call: Call, inputs: dict[str, Any], tmp_path: Path, degrees: int
) -> None:
    path = write_film(tmp_path / "phone.mp4", 5, (96, SIDE), rotation=degrees)
    video = video_of(path)
    shown = video.get_components().images  # older cores don't turn them
    marked = torch.zeros(shown.shape[:3])
    marked[:, 8:28, 8:28] = 1
    edited = returned(call(NODE, **{**inputs, "video": video, "mask": marked}))[0]
    after = edited.get_components().images
    assert after.shape == shown.shape
    changed = (after - shown).abs().mean(-1)
    assert changed[:, 8:28, 8:28].mean() > 3 * changed[:, :, 44:].mean()
    assert frames_of(edited).shape == frames_of(video).shape, "players show it as before"


def test_a_part_of_a_file_is_what_the_core_takes_it_for(call: Call, inputs: dict[str, Any]) -> None:
    if not hasattr(inputs["video"], "as_trimmed"):
        pytest.skip("this core can't trim a video")
    part = inputs["video"].as_trimmed(4 / 24, 9 / 24)
    edited, _ = returned(call(NODE, **{**inputs, "video": part, "mask": mask(9)}))
    assert frames_of(edited).shape[0] == part.get_components().images.shape[0] == 9


def test_progress_reaches_its_end(executor: Executor, inputs: dict[str, Any]) -> None:
    steps: list[tuple[int, int]] = []
    assert call_node(executor, NODE, lambda done, total: steps.append((done, total)), **inputs).ok
    assert steps[-1][0] == steps[-1][1] == 2 * 2 + COUNT


@pytest.mark.parametrize(
    ("changes", "words"),
    (
        ({"mask": None}, "neither a mask nor a track"),
        ({"mask": mask(COUNT - 1)}, "16 masks for 17 frames"),
        ({"mask": torch.zeros(COUNT, SIDE, SIDE)}, "mask is empty"),
        ({"mask": mask(COUNT)[:, 1:]}, "got masks of 48x47 for a video of 48x48"),
        ({"mask": torch.full((1, SIDE, SIDE), float("nan"))}, "NaN"),
        ({"video": "text"}, "this can't be opened as a video"),
        ({"video": "missing"}, "there is no such file"),
        ({"blend_mask": mask(3)}, "3 masks for 17 frames"),
    ),
)
def test_what_can_not_be_run_gets_one_sentence_and_leaves_nothing(
    call: Call, inputs: dict[str, Any], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    (tmp_path / "text").write_text("no video" * 100)
    given = {**inputs, **changes}
    if isinstance(given["video"], str):
        given["video"] = video_of(tmp_path / given["video"])
    before = files_in_temp()
    result = call(NODE, **{name: value for name, value in given.items() if value is not None})
    assert words in assert_sentence(result)
    assert files_in_temp() == before


def test_a_mask_and_a_track_together_are_refused(call: Call, inputs: dict[str, Any]) -> None:
    track = of_pack("vivid_core.masks.tracks").Track.pack(mask(COUNT)[None])
    assert "both a mask and a track" in assert_sentence(call(NODE, **inputs, track=track))
