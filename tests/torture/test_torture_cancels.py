"""Every engine, cancelled at its first, a middle and its last step, and while it decodes.

ComfyUI takes it for a cancel, memory is given back, and the next run gives what one gives that was never cancelled.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from harness import engines, probes
from harness.clips import write_film
from harness.engines import CLIP_RUN, RUN, of_pack, returned
from harness.inprocess import Executor, Result

from torture import clips
from torture.cancels import Work, was_interrupted
from vivid_core.models import embedded_sd
from vivid_core.training.sd_world.words import vocabulary

SHAPE = clips.Shape(5, 48, 48, 1)
SD = clips.Shape(3, 32, 32, 1)
MOTION = "embedded, with motion (comes with the pack)"
LOAD = {"motion": "none", "controlnet": "none", "vae": "with the model", "precision": "auto", "prediction": "auto"}
INVERT = {
    "source_prompt": "a red ring", "steps": 3, "megapixels": 0.26, "check": False, "frames_at_once": 3, "overlap": 2,
}  # fmt: skip
PIX2VIDEO = {
    "prompt": "a blue ring", "guidance": 7.5, "order": "outward", "anchor": -1, "feather": 2, "negative": "",
    "attended": "anchor and previous", "first_layer": 7, "update_weight": 0.0122, "update_share": 0.5,
}  # fmt: skip
UNIEDIT = {
    "prompt": "a blue ring", "mode": "appearance", "guidance": 7.5, "structure": -1.0, "masks": "blend only",
    "feather": 2, "word": "", "threshold": 0.4, "negative": "", "content": 1.0, "content_from": 10, "injection": 1.0,
    "background": 0.5, "source": "replay", "roles": "together",
}  # fmt: skip
TRACKED = {"frame": 0, "box": "9, 12, 16, 16", "points": "", "direction": "both", "mask_frames": ""}
NAMES = (
    "VividEditKeyframe", "VividPropagate", "VividEditVideo", "VividEditLongVideo", "VividInvert", "VividPix2Video",
    "VividUniEdit", "VividPreviewPropagation", "VividTrackMask",
)  # fmt: skip
FROZEN = ("VividInvert", "VividPix2Video", "VividUniEdit")
DECODING = (*NAMES[:4], "VividPix2Video", "VividUniEdit")
X264 = 4 / 255  # the encoder doesn't always give the same bits for the same frames
Call = Callable[..., Result]


@pytest.fixture
def call(executor: Executor) -> Call:
    return lambda node_id, **inputs: probes.call(executor, node_id, **inputs)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random weights of both embedded models: what is shipped takes no less time, and may not be there yet."""
    folder = tmp_path_factory.mktemp("cancelled")
    with torch.inference_mode(False):
        model = embedded_sd.build(vocabulary(), 0)
        motion = embedded_sd.new_motion(0)
        embedded_sd.save(replace(model, motion=motion), folder / "sd.safetensors", {})
    return engines.save_embedded(folder / "vivid.safetensors"), folder / "sd.safetensors"


@pytest.fixture
def work(
    call: Call, weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[str], Work]]:
    """A node with all that it needs; what it holds goes when the test ends."""
    for name, path in zip(("embedded", "embedded_sd"), weights):
        monkeypatch.setattr(of_pack(f"vivid_core.models.{name}"), "WEIGHTS", path)
    yield lambda name: (_frozen if name in FROZEN else _masked)(call, name, tmp_path)


def _masked(call: Call, name: str, folder: Path) -> Work:
    frames, mask = clips.frames(SHAPE), clips.mask(SHAPE)
    if name == "VividTrackMask":
        return Work(name, lambda: {"frames": frames, **TRACKED})
    keys = returned(call("VividKeyframes", images=clips.edited(SHAPE)[:1], at_frames="0", strength=1.0))[0]
    if name == "VividPreviewPropagation":
        given = {"frames": frames, "mask": mask, "mode": "propagate", "feather": 2, "keyframes": keys}
        return Work(name, lambda: dict(given))
    engine = engines.engine(call)
    given = {"engine": engine, "mask": mask, **engines.texts(call, engine)}
    if name == "VividEditLongVideo":
        from comfy_api.input_impl import VideoFromFile

        film = write_film(folder / "film.mp4", SHAPE.count, (48, 48))
        given |= {"video": VideoFromFile(str(film)), "plan_only": False}
    else:
        given["frames"] = frames
    given |= {**RUN, "frame": 0} if name == "VividEditKeyframe" else CLIP_RUN
    given |= {"keyframes": keys} if name == "VividPropagate" else {}
    return Work(name, lambda: dict(given), lambda inputs: inputs["engine"].vae.module.first.unproject)


def _frozen(call: Call, name: str, folder: Path) -> Work:
    diffusion = returned(call("VividLoadDiffusion", model=MOTION, **LOAD))[0]
    editor = "Pix2Video" if name == "VividPix2Video" else "UniEdit"
    given = {"diffusion": diffusion, "frames": clips.frames(SD), "editor": editor, **INVERT}
    if name != "VividInvert":
        inversion = returned(call("VividInvert", **given))[0]
        settings = PIX2VIDEO if editor == "Pix2Video" else UNIEDIT
        given = {"diffusion": diffusion, "inversion": inversion, "mask": clips.mask(SD), **settings}
    return Work(name, lambda: dict(given), lambda inputs: inputs["diffusion"].backbone.vae.part.unproject)


def assert_same(name: str, first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
    assert len(first) == len(second) > 0
    slack = X264 if name == "VividEditLongVideo" else 0.0
    assert all(float((one - other).abs().max()) <= slack for one, other in zip(first, second))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_cancelled_at_any_step_ends_as_cancelled_and_the_next_is_whole(
    executor: Executor, work: Callable[[str], Work], name: str
) -> None:
    one = work(name)
    whole = one.whole(executor)
    assert one.steps[-1] >= 2, "there is nothing to cancel"
    for step in one.moments():
        result = one.cancelled_at(executor, step)
        assert was_interrupted(result), (step, result.exception)
    assert_same(name, one.whole(executor), whole)


@pytest.mark.parametrize("name", DECODING)
def test_a_run_that_is_cancelled_while_it_decodes_ends_as_cancelled_and_the_next_is_whole(
    executor: Executor, work: Callable[[str], Work], name: str
) -> None:
    one = work(name)
    whole = one.whole(executor)
    result, calls = one.cancelled_in_decoding(executor)
    assert calls > 0, "nothing was decoded"
    assert was_interrupted(result), result.exception
    assert_same(name, one.whole(executor), whole)


@pytest.mark.parametrize("name", ("VividEditVideo", "VividUniEdit"))
def test_a_cancelled_run_leaves_no_model_in_memory(
    weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, comfy_base: Path, name: str
) -> None:
    for module, path in zip(("embedded", "embedded_sd"), weights):
        monkeypatch.setattr(of_pack(f"vivid_core.models.{module}"), "WEIGHTS", path)
    shelf = of_pack("nodes.comfy_bridge.shared").SHELF
    gc.collect()
    before, executor = shelf.live(), Executor()

    through = functools.partial(probes.call, executor)
    one = (_masked if name == "VividEditVideo" else _frozen)(through, name, tmp_path)
    assert shelf.live() > before
    assert was_interrupted(one.cancelled_at(executor, 1))
    del one, executor, through
    gc.collect()
    assert shelf.live() == before
