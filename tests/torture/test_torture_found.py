"""What the random graphs have found, each as a test of its own: settings that a link brings, and that no widget has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import sd, tiny
from harness.engines import of_pack

from torture import clips
from torture.judge import NO_SENTENCE
from vivid_core.checks import check_number
from vivid_core.diffusion.guidance import Guidance
from vivid_core.editors.inverted import pixels_of
from vivid_core.editors.pix2video import Pix2VideoSettings
from vivid_core.masks.augment import drawn_expansion
from vivid_core.models.depth_frames import DepthFrames
from vivid_core.models.families import check_family
from vivid_core.models.files import open_weights
from vivid_core.models.raft_flow import RaftFlow
from vivid_core.runtime import Runtime
from vivid_core.training.checkpoints import log_line, read_checkpoint, write_checkpoint
from vivid_core.training.sample_files import write_sample
from vivid_core.video.crop import plan_crop
from vivid_core.video.feather import feather_outside
from vivid_core.whole_files import whole_file

NAN, INF, HUGE = float("nan"), float("inf"), 10**30
SHAPE = clips.Shape(2, 32, 40, 1)
PIX2VIDEO = {
    "guidance": 7.5, "order": "outward", "anchor": -1, "first_layer": 7, "update_weight": 0.01, "update_share": 0.5,
}  # fmt: skip


def sentence(do: Callable[[], Any]) -> str:
    with pytest.raises(ValueError) as raised:
        do()
    text = str(raised.value)
    assert text.endswith(".") and "\n" not in text and not NO_SENTENCE.search(text), text
    return text


@pytest.mark.parametrize(
    ("do", "words"),
    [
        *(
            (lambda value=value: check_number(value, 1, 9, "Frames"), "Frames: got")
            for value in (0, 10, NAN, INF, HUGE)
        ),
        *((lambda value=value: Guidance(value), "Guidance: got") for value in (NAN, INF, -INF, -1e308)),
        *((lambda value=value: Pix2VideoSettings(guidance=value), "got guidance") for value in (NAN, INF)),
        *((lambda value=value: RaftFlow(torch.nn.Identity(), Runtime(), "cpu", value), "side") for value in (-1, HUGE)),
        *((lambda value=value: RaftFlow(torch.nn.Identity(), Runtime(), updates=value), "upd") for value in (0, HUGE)),
        (lambda: Pix2VideoSettings(order="nothing"), "got the order"),  # type: ignore[arg-type]
        *((lambda value=value: pixels_of(value), "megapixels") for value in (NAN, INF, -1.0)),
        *((lambda value=value: feather_outside(clips.mask(SHAPE), value), "radius of") for value in (NAN, INF, HUGE)),
        *((lambda value=value: drawn_expansion("expand", value), "seed: got") for value in (-1, 2**64, HUGE)),
        *((lambda value=value: plan_crop(clips.mask(SHAPE), multiple=value), "multiple") for value in (0, 2**63, HUGE)),
    ],
)
def test_a_number_that_no_widget_has_gets_one_sentence(do: Callable[[], Any], words: str) -> None:
    assert words in sentence(do)


def test_a_file_of_no_known_model_is_told_what_is_of_use_here(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"bias": torch.zeros(2)}, tmp_path / "x.safetensors")
    text = sentence(lambda: check_family(open_weights(tmp_path / "x.safetensors"), {"raft"}))
    assert "RAFT" in text and "T5" not in text and len(text) < 200


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_of_a_file_that_can_not_be_written_nothing_is_left(tmp_path: Path, fault: Exception) -> None:
    (tmp_path / "one").write_text("before")

    def write() -> None:
        with whole_file(tmp_path / "one", RuntimeError) as unfinished:
            unfinished.write_text("half")
            raise fault

    assert "free some space" in sentence(write)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_cancel_while_a_file_is_written_stays_a_cancel_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "one") as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_comes_back_and_one_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {"step": 3, "made_with": "{}"})
    state = read_checkpoint(tmp_path, "{}")
    assert state is not None and state["step"] == 3 and len(list(tmp_path.iterdir())) == 1
    assert "can't be written" in sentence(lambda: write_checkpoint(tmp_path / "none", {"step": 4}))
    assert "can't be written" in sentence(lambda: log_line(tmp_path / "none", 3, 0.5))


def test_a_sample_whose_folder_was_taken_by_a_file_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "one.safetensors.part").mkdir()
    given = (clips.frames(SHAPE), clips.mask(SHAPE), ("a ring", "", ""))
    assert "can't be written" in sentence(lambda: write_sample(tmp_path, "one", *given, exact=True))


def test_a_choice_that_is_not_offered_gets_one_sentence(comfy_base: Path, tmp_path: Path) -> None:
    made = functools.partial(of_pack("nodes.pix2video")._settings, **PIX2VIDEO)
    assert made(attended="anchor").attended == ("anchor",)
    assert "choose one of anchor" in sentence(lambda: made(attended="x"))
    save = of_pack("nodes.training").SaveSample.execute
    texts = dict.fromkeys(("caption_short", "caption_medium", "caption_long", "dataset", "name"), "one")
    given = {"frames": clips.frames(SHAPE), "mask": clips.mask(SHAPE), "file_format": "exact", **texts}
    assert "task: got 'x'" in sentence(lambda: save(task="x", **given))
    loading = of_pack("nodes.comfy_bridge.diffusion_loading")
    file = sd.save_checkpoint(tmp_path / "tiny.safetensors")
    assert "got the prediction 'x'" in sentence(
        lambda: loading.load_diffusion(loading.DiffusionFiles(model=file, prediction="x"))
    )


def test_a_layer_that_no_model_has_gets_one_sentence(comfy_base: Path) -> None:
    made = functools.partial(of_pack("nodes.pix2video")._settings, attended="anchor")
    assert made(**{**PIX2VIDEO, "first_layer": 15}).layers == (15,)
    for layer in (-1, 16, HUGE, -HUGE):
        text = sentence(lambda layer=layer: made(**{**PIX2VIDEO, "first_layer": layer}))  # type: ignore[misc]
        assert "Pix2Video, first_layer" in text and "use 0 to 15" in text


def test_numbers_that_no_training_has_get_one_sentence(comfy_base: Path) -> None:
    check = of_pack("nodes.training")._check_numbers
    check(steps=1000000, rank=1, learning_rate=0.0, batch=0, seed=0, frame_count=1024)
    assert "learning_rate: got nan; use 0 to 1." in sentence(lambda: check(learning_rate=NAN))
    for name in ("steps", "rank", "batch", "seed", "frame_count"):
        for value in (-1, 2**31, HUGE):
            text = sentence(lambda name=name, value=value: check(**{name: value}))  # type: ignore[misc]
            assert text.startswith(f"Train VIVID LoRA, {name}: got {value};")


def test_the_range_in_a_sentence_can_be_typed_again() -> None:
    assert sentence(lambda: check_number(-1, 0, 2**64 - 1, "Seed")) == f"Seed: got -1; use 0 to {2**64 - 1}."


def test_an_optical_flow_that_could_not_run_is_not_loaded(comfy_base: Path, tmp_path: Path) -> None:
    load = of_pack("nodes.comfy_bridge.flow").load_flow
    assert "longest_side: got -1" in sentence(lambda: load(tmp_path / "none.pth", -1, 12))
    assert "updates: got 0" in sentence(lambda: load(tmp_path / "none.pth", 480, 0))


def test_a_clip_of_the_demo_that_would_fill_all_memory_gets_one_sentence(comfy_base: Path) -> None:
    make = of_pack("nodes.demo").DemoClip.execute
    for counts in ((2**63, 48), (9, 2**63), (0, 48), (9, -16)):
        text = sentence(lambda counts=counts: make("modify", 0, *counts, "seen"))  # type: ignore[misc]
        assert "Demo Clip" in text and "use" in text


def test_a_side_that_no_picture_has_gets_one_sentence() -> None:
    for side in (-1, 0, 2**63, HUGE):
        frames = DepthFrames(torch.nn.Identity(), Runtime(), side=side)
        assert "Estimate Depth, side" in sentence(lambda frames=frames: frames.size_for(32, 40))  # type: ignore[misc]


def test_frames_without_height_get_one_sentence_from_the_depth_node(comfy_base: Path, tmp_path: Path) -> None:
    tiny.BY_NAME["depth_anything"].make().save_pretrained(tmp_path / "depth")
    depth = of_pack("nodes.comfy_bridge.depth").load_depth(tmp_path / "depth", "fp32")
    assert "at least 1 pixel" in sentence(lambda: depth.estimate(torch.zeros(2, 0, 32, 3), 140, []))
