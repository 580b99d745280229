"""Load Segmenter and Track Mask with SAM 2 at tiny size, in the real executor."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import segmenters
from harness.engines import of_pack, returned
from harness.inprocess import Executor, Result, bridge
from harness.probes import call as call_node
from torch import Tensor, nn

from vivid_core.models import sam2
from vivid_core.models.families import empty

pytest.importorskip("sam2")

Call = Callable[..., Result]
HEIGHT, WIDTH, COUNT = 40, 56, 12
CLOSE = 1e-5  # the attention that ComfyUI's user chose sums in another order
CLICK = "[[17, 16]]"
TRACK = {"frame": 0, "box": "", "points": CLICK, "direction": "both", "mask_frames": ""}


@pytest.fixture(scope="module")
def folder(comfy_base: Path) -> Iterator[Path]:
    """ComfyUI's folder of segmenters, with tiny ones in it."""
    import folder_paths

    root = Path(folder_paths.get_folder_paths("sam2")[0])
    module = segmenters.tiny_module()
    segmenters.save(module, root / "released" / "model.pt")
    segmenters.save(module, root / "converted" / "model.safetensors")
    segmenters.save(segmenters.tiny_module(seed=1), root / "other" / "model.safetensors")
    folder_paths.filename_list_cache.clear()
    yield root
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder_paths.filename_list_cache.clear()


@pytest.fixture
def load(call: Call, folder: Path) -> Callable[..., Any]:
    def loaded(file: str = "converted/model.safetensors", precision: str = "fp32") -> Any:
        return returned(call("VividLoadSegmenter", file=file, precision=precision))[0]

    return loaded


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return segmenters.clip(COUNT, HEIGHT, WIDTH)


def square(top: int = 8, left: int = 10, side: int = 16) -> Tensor:
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[top : top + side, left : left + side] = 1
    return mask


def marks(*given: tuple[Any, ...], **named: Any) -> Any:
    """Prompts as Mark Object gives them: (frame, object, points, box, mask)."""
    prompts = of_pack("vivid_core.masks.prompts")
    return prompts.Prompts([prompts.Prompt(*each, **named) for each in given])


def by_hand(frames: Tensor, prompts: Any, module: nn.Module | None = None, **named: Any) -> Any:
    """The track of the same module without ComfyUI."""
    session, tracking = of_pack("vivid_core.masks.sam2_session"), of_pack("vivid_core.masks.track_sam2")
    segmenter = session.Sam2Segmenter(module or segmenters.tiny_module(), "by hand")
    return tracking.track_by_segmenter(frames, prompts, segmenter, **named)


def assert_same(track: Any, expected: Any) -> None:
    assert torch.allclose(track.scores, expected.scores, atol=CLOSE, rtol=0)
    assert float((track.masks() != expected.masks()).float().mean()) <= 1e-3
    assert track.object_ids == expected.object_ids and track.corrected == expected.corrected


# ----------------------------------------------------------------------------------------------------------- loading


def test_the_embedded_model_needs_no_file_and_follows_the_object_of_the_demo_clip(call: Call) -> None:
    segmenter, report = returned(call("VividLoadSegmenter", file=bridge("segmenter").EMBEDDED, precision="fp32"))
    assert "plain shapes of Demo Clip" in report
    clip = {"task": "modify", "clip": 0, "frame_count": 9, "side": 96, "group": "seen"}
    *_, frames, shape = returned(call("VividDemoClip", **clip))
    y, x = (int(part.float().mean()) for part in torch.where(shape[0] > 0))
    click = {**TRACK, "points": f"[[{x}, {y}]]"}
    followed = returned(call("VividTrackMask", frames=frames, segmenter=segmenter, **click))[0]
    overlap = float((followed * shape).sum() / torch.maximum(followed, shape).sum())
    assert overlap > 0.6, overlap


def test_the_released_kind_of_file_and_safetensors_give_the_same_weights(
    load: Callable[..., Any], folder: Path
) -> None:
    expected = segmenters.tiny_module().state_dict()
    for file in ("released/model.pt", "converted/model.safetensors"):
        state = load(file).model.module.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("size", sam2.SIZES, ids=lambda size: sam2.SIZES[size]["name"])
def test_a_released_checkpoint_is_known_by_its_shapes_alone(call: Call, folder: Path, size: tuple[int, int]) -> None:
    import folder_paths

    trunk = {name: value for name, value in sam2.SIZES[size].items() if name != "name"}
    config = {"version": "2.1", "image_size": 1024, "trunk": {"embed_dim": size[0], **trunk}}
    widths = {"width": 256, "memory_width": 64, "memory_layers": 4, "memory_feedforward": 2048}
    shapes = {name: tensor.shape for name, tensor in empty(sam2.FAMILY, {**config, **widths}).state_dict().items()}
    # as they were released, but that all values of a tensor share one number on the disk
    weights = {name: torch.full((1,), 0.01).expand(shape) for name, shape in shapes.items()}
    torch.save({"model": weights}, folder / "sam2.1_hiera.pt")
    folder_paths.filename_list_cache.clear()
    made, report = returned(call("VividLoadSegmenter", file="sam2.1_hiera.pt", precision="fp32"))
    assert f"SAM 2.1 {sam2.SIZES[size]['name']}: computes in fp32" in report and "1024x1024" in report
    assert {name: tensor.shape for name, tensor in made.model.module.state_dict().items()} == shapes


def test_the_report_says_which_model_it_is_and_what_fits(call: Call, folder: Path) -> None:
    made, report = returned(call("VividLoadSegmenter", file="released/model.pt", precision="fp32"))
    for words in ("SAM 2.1 of a size of its own", "in fp32", "64x64 pixels", "Memory: ", "fits on the device"):
        assert words in report, report
    assert made.model.role == "segmenter" and len(made.get_models()) == 1


def test_two_loaders_of_one_file_share_its_weights_and_each_setting_has_its_identity(
    load: Callable[..., Any], folder: Path
) -> None:
    first, narrow, other = load(), load(precision="bf16"), load("other/model.safetensors")
    assert first.model.module is narrow.model.module is not other.model.module
    assert first.identity != other.identity
    smaller = {**segmenters.CONFIG, "image_size": 32}
    segmenters.save(segmenters.tiny_module(), folder / "small_pictures" / "model.safetensors", smaller)
    import folder_paths

    folder_paths.filename_list_cache.clear()
    small = load("small_pictures/model.safetensors")
    assert small.identity != first.identity and "32x32 pixels" in small.report()
    (folder / "small_pictures" / "config.json").write_text(json.dumps({"_class_name": "SAM2Base", **segmenters.CONFIG}))
    again = load("small_pictures/model.safetensors", "bf16")
    assert again.model.module.image_size == 64, "the weights alone don't tell which settings they were loaded with"


def test_where_the_device_has_no_bf16_the_report_says_so(load: Callable[..., Any]) -> None:
    made = load(precision="bf16")
    assert made.autocast is None and made.identity == load().identity
    assert "This device does not compute in bf16: the model computes in fp32." in made.report()


# ---------------------------------------------------------------------------------------------------------- tracking


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_an_object_is_followed_as_by_the_same_model_without_comfyui(
    call: Call, load: Callable[..., Any], frames: Tensor, direction: str
) -> None:
    inputs = {**TRACK, "frame": 5, "direction": direction}
    mask, track, report, health = returned(call("VividTrackMask", frames=frames, segmenter=load(), **inputs))
    click = marks((5, 1, ((17 / WIDTH, 16 / HEIGHT, 1),)))
    assert_same(track, by_hand(frames, click, direction=direction))
    assert torch.equal(mask, track.masks()) and bool(mask[5].any())
    seen = {"forward": range(5, COUNT), "backward": range(6), "both": range(COUNT)}[direction]
    assert {place for place in range(COUNT) if float(track.scores[0, place]) > 0} == set(seen)
    assert "full run over 12 frames" in report and "Object 1: " in report
    assert health.ndim == 4 and health.shape[::3] == (1, 3)


def test_points_boxes_masks_and_the_marks_of_the_editor_add_up(
    call: Call, load: Callable[..., Any], frames: Tensor
) -> None:
    inputs = {
        "frame": 1,
        "box": "6, 8, 28, 24",
        "points": '[{"x": 40, "y": 30, "object": 2, "frame": 3}, {"x": 50, "y": 5, "label": 0}]',
        "direction": "both",
        "mask_frames": "7",
        "mask": square()[None],
        "prompts": marks((0, 3, (), (0.5, 0.25, 0.75, 0.75)), (3, 2, ((0.1, 0.9, 0),))),
    }
    _, track, *_ = returned(call("VividTrackMask", frames=frames, segmenter=load(), **inputs))
    together = marks(
        (1, 1, ((50 / WIDTH, 5 / HEIGHT, 0),), (6 / WIDTH, 8 / HEIGHT, 34 / WIDTH, 32 / HEIGHT)),
        (7, 1, (), None, square()),
        (3, 2, ((40 / WIDTH, 30 / HEIGHT, 1), (0.1, 0.9, 0))),
        (0, 3, (), (0.5, 0.25, 0.75, 0.75)),
    )
    assert track.object_ids == (1, 2, 3) and torch.equal(track.mask(7, [1]).float(), square())
    assert_same(track, by_hand(frames, together))
    second = returned(call("VividTrackToMask", track=track, objects="2", start=2, length=3))[0]
    assert torch.equal(second, track.masks([2], 2, 5))


def test_one_more_click_keeps_the_frames_before_and_everything_is_one_word_away(
    call: Call, load: Callable[..., Any], frames: Tensor
) -> None:
    made = load()
    start = ((0, 1, ((0.3, 0.4, 1),)), (4, 1, ((0.8, 0.8, 0),)))
    more = (8, 1, ((0.7, 0.6, 1),))
    inputs = {**TRACK, "points": "", "frames": frames, "segmenter": made}
    _, first, report, *_ = returned(call("VividTrackMask", **inputs, prompts=marks(*start)))
    assert "full run over 12 frames" in report
    _, again, report, *_ = returned(call("VividTrackMask", **inputs, prompts=marks(*start, more)))
    assert "re-track from stored memory: object 1 was run again on frames 5 to 11" in report
    assert torch.equal(again.masks()[:5], first.masks()[:5]) and not torch.equal(again.scores, first.scores)
    assert_same(again, by_hand(frames, marks(*start, more), previous=by_hand(frames, marks(*start))))
    everything = {**inputs, "prompts": marks(*start, more), "rerun": "everything"}
    _, full, report, *_ = returned(call("VividTrackMask", **everything))
    _, fresh, *_ = returned(call("VividTrackMask", **{**everything, "segmenter": load()}))
    assert "full run over 12 frames." in report
    assert torch.equal(full.packed, fresh.packed) and torch.equal(full.scores, fresh.scores)
    assert_same(full, by_hand(frames, marks(*start, more)))


def test_another_clip_or_model_is_run_in_full(call: Call, load: Callable[..., Any], frames: Tensor) -> None:
    made = load()
    returned(call("VividTrackMask", frames=frames, segmenter=made, **TRACK))
    report = returned(call("VividTrackMask", frames=frames.flip(0), segmenter=made, **TRACK))[2]
    assert "full run over 12 frames (the earlier track has another clip)" in report
    report = returned(
        call("VividTrackMask", frames=frames.flip(0), segmenter=load("other/model.safetensors"), **TRACK)
    )[2]
    assert "full run over 12 frames." in report


def test_each_node_goes_on_from_its_own_track_and_few_are_kept(load: Callable[..., Any], frames: Tensor) -> None:
    from comfy_execution.utils import CurrentNodeContext

    made, notes = load(), list[str]()
    before = made.get_ram_usage()
    clicks = {f"node {number}": marks((0, 1, ((0.15 * number, 0.5, 1),))) for number in range(1, 7)}
    for node, click in clicks.items():
        with CurrentNodeContext("prompt", node, None), torch.inference_mode():
            made.track(frames, click, "both", False)
    assert made.get_ram_usage() > before
    for node, click in reversed(clicks.items()):
        with CurrentNodeContext("prompt", node, None), torch.inference_mode():
            track = made.track(frames, click, "both", False, notes)
        assert_same(track, by_hand(frames, click))
    kept = bridge("segmenter").REMEMBERED_TRACKS
    assert ["stays as it was" in note for note in notes] == [True] * kept + [False] * (len(clicks) - kept)


def test_shot_cuts_are_in_the_track_and_in_the_report(call: Call, load: Callable[..., Any]) -> None:
    shots = torch.cat([segmenters.clip(6, seed=0), segmenters.clip(6, seed=5)])
    made = load()
    for points in (CLICK, "[[40, 30]]"):
        _, track, report, _ = returned(
            call("VividTrackMask", frames=shots, segmenter=made, **{**TRACK, "points": points})
        )
        assert track.cuts == (6,) and "New shots begin at frame 6" in report


def test_the_page_is_told_where_it_finds_the_track(
    executor: Executor, load: Callable[..., Any], frames: Tensor
) -> None:
    import folder_paths

    result = call_node(executor, "VividTrackMask", frames=frames, segmenter=load(), **TRACK)
    told = result.ui["node"]["vivid_track"][0]
    path = Path(folder_paths.get_temp_directory()) / told["subfolder"] / told["filename"]
    content = json.loads(path.read_text())
    assert (content["frames"], len(content["objects"])) == (COUNT, 1)
    assert told["digest"] == of_pack("vivid_core.masks.track_plan").clip_digest(frames)


def test_the_model_is_in_comfyuis_memory_like_every_other(call: Call, load: Callable[..., Any], frames: Tensor) -> None:
    import comfy.model_management

    made = load()
    returned(call("VividTrackMask", frames=frames[:2], segmenter=made, **TRACK))
    assert made.model.host in [entry.model.model for entry in comfy.model_management.current_loaded_models]


def test_room_is_made_for_all_marked_frames_that_a_step_looks_at(load: Callable[..., Any]) -> None:
    made = load()
    few, more, most, too_many = (made.segmenter(marked).activations for marked in (1, 10, 16, 50))
    assert 0 < few < more < most == too_many
    smallest = of_pack("vivid_core.models.activations").sam2_image_encoder(1, 64, 64, embed_width=8, element_bytes=4)
    assert few > smallest


def test_progress_counts_every_frame_on_one_bar(executor: Executor, load: Callable[..., Any], frames: Tensor) -> None:
    steps: list[tuple[int, int]] = []
    watch = lambda done, total: steps.append((done, total))  # noqa: E731
    assert call_node(executor, "VividTrackMask", watch, frames=frames, segmenter=load(), **TRACK).ok
    counted = [step for step in steps if step[1]]
    assert len({total for _, total in counted}) == 1 and counted[-1] == (COUNT, COUNT)
    assert [done for done, _ in counted] == sorted(done for done, _ in counted)


@pytest.mark.parametrize("at", [1, 6])
def test_cancel_stops_before_the_next_frame_and_leaves_the_earlier_track(
    executor: Executor, call: Call, load: Callable[..., Any], frames: Tensor, at: int
) -> None:
    import comfy.model_management

    made = load()
    _, first, *_ = returned(call("VividTrackMask", frames=frames, segmenter=made, **TRACK))
    steps: list[int] = []

    def cancel(done: int, total: int) -> None:
        steps.append(done)
        comfy.model_management.interrupt_current_processing(done >= at)

    more = marks((8, 1, ((0.7, 0.6, 1),)))
    result = call_node(executor, "VividTrackMask", cancel, frames=frames, segmenter=made, prompts=more, **TRACK)
    assert not result.ok and any(name == "execution_interrupted" for name, _ in result.messages), result.exception
    assert max(steps) <= at + 1
    _, again, report, _ = returned(call("VividTrackMask", frames=frames, segmenter=made, prompts=more, **TRACK))
    assert "re-track from stored memory" in report
    click = ((0, 1, ((17 / WIDTH, 16 / HEIGHT, 1),)),)
    assert_same(again, by_hand(frames, more.merged(marks(*click)), previous=by_hand(frames, marks(*click))))


def test_without_a_segmenter_the_object_is_followed_by_optical_flow(call: Call, frames: Tensor) -> None:
    inputs = {**TRACK, "frames": frames, "points": "", "prompts": marks((2, 1, (), None, square()))}
    mask, track, report, _ = returned(call("VividTrackMask", **inputs))
    assert track.memory is None and "run" not in report
    assert torch.equal(mask[2], square())


def test_in_bf16_comfyuis_layers_follow_the_object_almost_as_in_fp32(
    call: Call, load: Callable[..., Any], frames: Tensor
) -> None:
    import dataclasses

    made = load()
    narrow = dataclasses.replace(made, autocast=torch.bfloat16, identity="narrow")
    wide, low = (returned(call("VividTrackMask", frames=frames, segmenter=one, **TRACK))[1] for one in (made, narrow))
    assert not torch.equal(wide.scores, low.scores), "it did not compute in bf16"
    assert iou(wide.masks(), low.masks()) > 0.9
    assert all(parameter.dtype == torch.float32 for parameter in made.model.module.parameters())


def iou(first: Tensor, second: Tensor) -> float:
    return float((first * second).sum() / torch.maximum(first, second).sum())


# ---------------------------------------------------------------------------------------------------- what is refused


def sentence(result: Result) -> str:
    kind, text = result.exception
    assert kind == "ValueError" and text.endswith(".") and "\n" not in text, f"{kind}: {text}"
    return text


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"points": ""}, "nothing is marked"),
        ({"prompts": [(99, 1, ((0.5, 0.5, 1),))]}, "frame 99, but the clip has 12 frames"),
        ({"prompts": [(3, 2, (), None, torch.ones(8, 8))]}, "the mask of object 2 on frame 3 is 8x8, but the frames"),
        ({"prompts": [(3, 2, ((0.5, 0.5, 0),))]}, "object 2 has background points only"),
        ({"box": "1, 1, 20, 20", "prompts": [(0, 1, (), (0.5, 0.5, 0.9, 0.9))]}, "two boxes are given for object 1"),
        (
            {"direction": "backward", "prompts": [(6, 1, (), (0.1, 0.1, 0.5, 0.5)), (9, 1, ((0.5, 0.5, 0),))]},
            "never gets there",
        ),
    ],
    ids=["nothing", "no such frame", "another size", "background only", "two boxes", "never reached"],
)
def test_impossible_marks_get_one_sentence(
    call: Call, load: Callable[..., Any], frames: Tensor, inputs: dict[str, Any], words: str
) -> None:
    inputs = {name: marks(*value) if name == "prompts" else value for name, value in inputs.items()}
    assert words in sentence(call("VividTrackMask", frames=frames, segmenter=load(), **{**TRACK, **inputs}))


class Calls:
    """What a pickle with code in it would do."""

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return print, ("this must never run",)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("code.pt", {"model": Calls()}, "holds more than tensors"),
        ("strange.pt", {"a.weight": torch.ones(3)}, "belong to no model known here"),
        ("own_size.pt", None, "of a size that is not known"),
    ],
)
def test_a_file_that_is_no_sam2_gets_one_sentence(
    call: Call, folder: Path, name: str, content: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import folder_paths

    torch.save(segmenters.tiny_module().state_dict() if content is None else content, folder / name)
    folder_paths.filename_list_cache.clear()
    text = sentence(call("VividLoadSegmenter", file=name, precision="fp32"))
    assert text.startswith(name) and words in text
    assert "this must never run" not in capsys.readouterr().out


def test_a_file_that_is_gone_is_named_before_anything_runs(call: Call, folder: Path) -> None:
    result = call("VividLoadSegmenter", file="gone.pt", precision="fp32")
    kind, text = result.exception
    assert kind == "validation" and "gone.pt is not in" in text and "choose one that is." in text


def test_an_empty_folder_says_what_belongs_there_and_that_tracking_works_without(
    call: Call, comfy_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "sam2", ([str(tmp_path)], {".pt"}))
    folder_paths.filename_list_cache.clear()
    listed = bridge("segmenter").segmenter_files()
    assert listed == ["none found", bridge("segmenter").EMBEDDED]
    _, text = call("VividLoadSegmenter", file=listed[0], precision="fp32").exception
    for words in (str(tmp_path), "sam2.1_hiera_large.pt", "optical flow"):
        assert words in text
    folder_paths.filename_list_cache.clear()


def test_without_the_package_the_node_gives_the_command(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "sam2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sam2", None)  # what Python does for a module that is not there
    import folder_paths

    segmenters_of_its_own = folder / "unknown_yet"
    segmenters_of_its_own.mkdir()
    for name in ("model.safetensors", "config.json"):
        (segmenters_of_its_own / name).write_bytes((folder / "other" / name).read_bytes())
    folder_paths.filename_list_cache.clear()
    kind, text = call("VividLoadSegmenter", file="unknown_yet/model.safetensors", precision="fp32").exception
    assert kind == "ModuleNotFoundError"
    assert f'"{sys.executable}" -m pip install --no-build-isolation sam2' in text and "optical flow" in text


def test_the_pack_loads_without_the_package(comfy_base: Path) -> None:
    tests = Path(__file__).resolve().parent.parent
    code = (
        f"import sys, tempfile, pathlib; sys.path.insert(0, {str(tests)!r}); sys.modules['sam2'] = None\n"
        "from harness import inprocess\n"
        "base = pathlib.Path(tempfile.mkdtemp()); inprocess.boot(base); inprocess.load_pack(base)\n"
        "import nodes; print('LOADED', 'VividLoadSegmenter' in nodes.NODE_CLASS_MAPPINGS)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "LOADED True" in done.stdout, done.stderr[-2000:]
