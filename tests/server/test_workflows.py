"""The shipped workflows in API form, over HTTP and the websocket, on a real video file."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from harness import sd, segmenters, tiny
from harness.clips import BOX, FRAMES, HEIGHT, WIDTH
from harness.prompts import (
    API_FORMS,
    Prompt,
    handing_out_the_keyframe,
    ids_of,
    marks_text,
    set_inputs,
    shipped,
    upstream,
    with_json_of_measures,
    with_tiny_native_models,
)
from harness.server import Run, Server, saved_files
from PIL import Image, ImageOps

FORMS = sorted(API_FORMS.glob("*.json"))
MEASURED = [path for path in FORMS if ids_of(shipped(path.stem), "VividMeasureEdit")]
FROM_A_FILE = [path for path in MEASURED if ids_of(shipped(path.stem), "LoadVideo")]
EMBEDDED = "embedded (comes with the pack)"


def on_the_small_clip(path: Path) -> Prompt:
    """A shipped workflow on what is here: a small clip, and the embedded model in place of every other."""
    prompt = shipped(path.stem)
    set_inputs(prompt, "LoadVideo", file="clip.mp4")
    if ids_of(prompt, "VividPromptEditor"):
        set_inputs(prompt, "VividPromptEditor", marks=marks_text(WIDTH, HEIGHT, BOX))
    else:
        set_inputs(prompt, "VividTrackMask", box=BOX, frame=0)
    if ids_of(prompt, "VividLoadEngine"):
        set_inputs(prompt, "VividLoadEngine", model=EMBEDDED)
        set_inputs(prompt, "VividTrainLora", steps=2, batch=2)
        for editor in ("VividEditKeyframe", "VividPropagate", "VividEditVideo", "VividEditLongVideo"):
            set_inputs(prompt, editor, steps=4)
    set_inputs(prompt, "KSampler", steps=2)
    set_inputs(prompt, "VividInvert", steps=4)
    for control in ("VividVaceControl", "VividInpaintConditioning"):
        set_inputs(prompt, control, size="frames")
    return with_tiny_native_models(prompt)


def edit_outside(prompt: Prompt, server: Server) -> None:
    """What a user does between two runs of the external editor's workflow: edit the saved keyframe, load it."""
    run = server.run(handing_out_the_keyframe(prompt))
    (saved,) = (path for path in saved_files(server, run) if path.suffix == ".png")
    ImageOps.invert(Image.open(saved).convert("RGB")).save(server.base / "input" / "inverted_keyframe.png")
    set_inputs(prompt, "LoadImage", image="inverted_keyframe.png")


def bring_flow_model(prompt: Prompt, server: Server) -> None:
    """What a user does who wants RAFT: a file in its folder. Here its weights are random."""
    from torchvision.models.optical_flow import raft_small

    folder = server.base / "models" / "optical_flow"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(raft_small().state_dict(), folder / "raft_small.pth")
    set_inputs(prompt, "VividLoadFlow", model="raft_small.pth", updates=2)


def bring_segmenter(prompt: Prompt, server: Server) -> None:
    """What a user does who wants SAM 2, likewise with random weights, of a size that was never released."""
    file = server.base / "models" / "sam2" / "tiny" / "model.safetensors"
    segmenters.save(segmenters.tiny_module(), file)
    set_inputs(prompt, "VividLoadSegmenter", file="tiny/model.safetensors")


def bring_diffusion(prompt: Prompt, server: Server) -> None:
    """What a user does who wants Stable Diffusion, with random weights: its files in their folders."""
    models = server.base / "models"
    sd.save_checkpoint(models / "checkpoints" / "tiny.safetensors")
    sd.motion().save_pretrained(models / "animatediff_models" / "tiny")
    sd.controlnet().save_pretrained(models / "controlnet" / "tiny")
    tiny.BY_NAME["depth_anything"].make().save_pretrained(models / "geometry_estimation" / "tiny")
    (loader,) = ids_of(prompt, "VividLoadDiffusion")
    chosen = {name: "tiny/" for name in ("motion", "controlnet") if prompt[loader]["inputs"][name] != "none"}
    set_inputs(prompt, "VividLoadDiffusion", model="tiny.safetensors", **chosen)
    set_inputs(prompt, "VividLoadDepth", file="tiny/")
    set_inputs(prompt, "VividEstimateDepth", side=140)
    set_inputs(prompt, "VividInvert", steps=2, megapixels=0.01)


def paint_mask(prompt: Prompt, server: Server) -> None:
    """What a user does in the mask editor: a part of the picture becomes transparent."""
    picture = Image.new("RGBA", (96, 64), (40, 90, 200, 255))
    picture.paste((40, 90, 200, 0), (30, 20, 60, 50))
    picture.save(server.base / "input" / "painted.png")
    set_inputs(prompt, "LoadImage", image="painted.png")


def pick_the_try(prompt: Prompt, server: Server) -> None:
    """What a user does on a keyframe board after the first run: use the try that it shows."""
    (board,) = ids_of(prompt, "VividKeyframeBoard")
    (shown,) = server.run(upstream(prompt, board)).outputs[board]["vivid_board"]
    picks = {str(shown["candidates"][0]["frame"]): shown["added"]}
    state = {"version": 1, "id": shown["id"], "picks": picks, "pins": []}
    set_inputs(prompt, "VividKeyframeBoard", board=json.dumps(state))


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[dict[str, Any], Run]]:
    return {}


def run_once(server: Server, path: Path, runs: dict[str, tuple[Prompt, Run]]) -> tuple[Prompt, Run]:
    if path.stem not in runs:
        prompt = on_the_small_clip(path)
        if path in MEASURED:
            prompt, _ = with_json_of_measures(prompt)
        if ids_of(prompt, "LoadImage"):
            (edit_outside if path in MEASURED else paint_mask)(prompt, server)
        if ids_of(prompt, "VividLoadFlow"):
            bring_flow_model(prompt, server)
        if ids_of(prompt, "VividLoadSegmenter"):
            bring_segmenter(prompt, server)
        if any("embedded" not in prompt[at]["inputs"]["model"] for at in ids_of(prompt, "VividLoadDiffusion")):
            bring_diffusion(prompt, server)
        if ids_of(prompt, "VividTrainLora"):
            (sample,) = ids_of(prompt, "VividSaveSample")
            server.run(upstream(prompt, sample))
        if ids_of(prompt, "VividKeyframeBoard"):
            pick_the_try(prompt, server)
        runs[path.stem] = prompt, server.run(prompt)
    return runs[path.stem]


def saved_video(server: Server, prompt: Prompt, run: Run) -> Path:
    (saver,) = ids_of(prompt, "SaveVideo")
    (video,) = saved_files(server, Run("", outputs={saver: run.outputs[saver]}))
    return video


def decoded(path: Path) -> np.ndarray:
    """The frames of a video as float [F, H, W, 3] in 0..255."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def test_there_are_workflows() -> None:
    assert len(FORMS) >= 17 and len(MEASURED) >= 13 and len(FROM_A_FILE) >= 8


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_shipped_workflow_runs_to_its_end(server: Server, runs: dict[str, Any], path: Path) -> None:
    prompt, run = run_once(server, path, runs)
    assert run.ending == "execution_success", run.error
    # ComfyUI leaves out what ends in an input that it refuses, and calls the rest a success.
    ends = [key for kind in ("SaveVideo", "SaveImage", "PreviewAny") for key in ids_of(prompt, kind)]
    assert ends and not [key for key in ends if key not in run.outputs]


@pytest.mark.parametrize("path", FROM_A_FILE, ids=lambda path: path.stem)
def test_it_saves_a_video_of_the_same_length_and_size_with_its_sound(
    server: Server, runs: dict[str, Any], path: Path
) -> None:
    prompt, run = run_once(server, path, runs)
    video = saved_video(server, prompt, run)
    assert decoded(video).shape == (FRAMES, HEIGHT, WIDTH, 3)
    with av.open(str(video)) as container:
        assert len(container.streams.audio) == 1


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_outside_the_blend_mask_nothing_changed_but_inside_something_did(
    server: Server, runs: dict[str, Any], path: Path
) -> None:
    prompt, run = run_once(server, path, runs)
    measures = json.loads(run.outputs["json of measures"]["text"][0])
    assert measures["bit_exact_outside"] and measures["summary"]["outside_difference"]["worst"] == 0
    if path not in FROM_A_FILE:
        return
    change = np.abs(decoded(saved_video(server, prompt, run)) - decoded(server.base / "input" / "clip.mp4")).mean(-1)
    assert change.max() > 30, "the edit is not to be seen"
    assert (change > 20).mean() < 0.4, "far more than the object changed"


def tracking(frames: int = 16) -> dict[str, Any]:
    return {
        "load": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}},
        "parts": {"class_type": "GetVideoComponents", "inputs": {"video": ["load", 0]}},
        "many": {"class_type": "RepeatImageBatch", "inputs": {"image": ["parts", 0], "amount": frames // FRAMES}},
        "track": {
            "class_type": "VividTrackMask",
            "inputs": {
                "frames": ["many", 0], "frame": 0, "box": BOX, "points": "", "direction": "both", "mask_frames": "",
            },
        },
        "show": {"class_type": "MaskPreview", "inputs": {"mask": ["track", 0]}},
    }  # fmt: skip


def test_progress_counts_up_to_its_total_and_previews_and_the_report_arrive(server: Server) -> None:
    run = server.run(tracking(32))
    assert run.ending == "execution_success", run.error
    steps = [data["value"] / data["max"] for data in run.of("progress") if data.get("node") == "track"]
    assert len(steps) >= 3, "newer cores send only some of the steps"
    assert steps == sorted(steps) and steps[-1] == 1, "one bar, from its start to its end"
    assert any(Image.open(BytesIO(preview)).width > 0 for preview in run.previews if preview), "no preview"
    assert any("frame" in text.lower() for text in run.texts), "the report is shown on the node"


def test_cancel_over_http_stops_the_run_and_the_server_goes_on(server: Server) -> None:
    steps_after = []
    asked = False

    def cancel(name: str, data: dict[str, Any]) -> None:
        nonlocal asked
        if name == "progress" and data.get("node") == "track":
            if asked:
                steps_after.append(data["value"])
            elif data["value"] >= 5:
                asked = True
                server.post("/interrupt", {})

    run = server.run(tracking(480), on_event=cancel)
    assert asked and run.ending == "execution_interrupted"
    assert len(steps_after) < 240, "a quarter of the work: what was done while the request was on its way"
    assert server.run(tracking(16)).ending == "execution_success"


def test_a_wrong_input_arrives_as_one_sentence_on_its_node(server: Server) -> None:
    prompt = tracking()
    prompt["track"]["inputs"]["box"] = "500, 500, 20, 20"
    run = server.run(prompt)
    (error,) = run.of("execution_error")
    assert error["node_id"] == "track" and error["exception_type"] == "ValueError"
    assert "192x128" in error["exception_message"]


@pytest.mark.parametrize("content", [b"", b"this is no video", None], ids=["empty", "text", "cut off"])
def test_a_corrupt_video_fails_before_our_nodes_run_and_leaves_nothing_behind(
    server: Server, content: bytes | None
) -> None:
    if content is None:
        content = (server.base / "input" / "clip.mp4").read_bytes()[:3000]
    (server.base / "input" / "broken.mp4").write_bytes(content)
    saved = sorted((server.base / "output").rglob("*.mp4"))
    prompt = tracking()
    prompt["load"]["inputs"]["file"] = "broken.mp4"
    try:
        run = server.run(prompt)
        assert run.ending == "execution_error"
        assert not run.of("executed")
    except ValueError as refused:  # newer cores look into the file while they validate
        assert "broken.mp4" in str(refused)
    assert sorted((server.base / "output").rglob("*.mp4")) == saved


def test_the_page_gets_our_help_pages_templates_and_translations(server: Server) -> None:
    info = server.get("/object_info")
    ours = sorted(name for name in info if name.startswith("Vivid"))
    assert len(ours) >= 10
    templates = server.get("/workflow_templates")
    assert {path.stem for path in FORMS} <= set(templates["vivid-video-edit"])
    for name in ours:
        page = server.get(f"/extensions/vivid-video-edit/docs/{name}.md").decode()
        assert "## Inputs" in page and "## Outputs" in page, name
    assert set(ours) <= set(server.get("/i18n")["en"]["nodeDefs"])
