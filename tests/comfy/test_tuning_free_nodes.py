"""Invert Clip, Pix2Video, UniEdit and Camera Motion in the real executor, on the embedded model with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.engines import of_pack, returned
from harness.inprocess import Executor, Result
from harness.probes import GIVE, TAKE, Shelf
from harness.probes import call as call_node
from test_bad_input import IMAGE_FAULTS, MASK_FAULTS, assert_sentence
from torch import Tensor, nn

from vivid_core.models import embedded_sd
from vivid_core.training.sd_world.words import vocabulary

Call = Callable[..., Result]
COUNT, SIDE, STEPS = 4, 32, 2
MOTION, DEPTH, CONTROL = (
    f"embedded, {what} (comes with the pack)" for what in ("with motion", "sees depth", "with a depth ControlNet")
)
LOAD = {"motion": "none", "controlnet": "none", "vae": "with the model", "precision": "auto", "prediction": "auto"}
INVERT = {
    "source_prompt": "a red ring",
    "editor": "UniEdit",
    "steps": STEPS,
    "megapixels": 0.26,
    "check": False,
    "frames_at_once": 3,
    "overlap": 2,
}
PIX2VIDEO = {
    "prompt": "a blue ring",
    "guidance": 7.5,
    "order": "outward",
    "anchor": -1,
    "feather": 2,
    "negative": "",
    "attended": "anchor and previous",
    "first_layer": 7,
    "update_weight": 0.0122,
    "update_share": 0.5,
}
UNIEDIT = {
    "prompt": "a blue ring",
    "mode": "appearance",
    "guidance": 7.5,
    "structure": -1.0,
    "masks": "blend only",
    "feather": 2,
    "word": "",
    "threshold": 0.4,
    "negative": "",
    "content": 1.0,
    "content_from": 10,
    "injection": 1.0,
    "background": 0.5,
    "source": "replay",
    "roles": "together",
}
EDITORS = {"VividPix2Video": PIX2VIDEO, "VividUniEdit": UNIEDIT}
of_both = pytest.mark.parametrize("node_id", EDITORS)


def frames(count: int = COUNT, height: int = SIDE, width: int = SIDE) -> Tensor:
    ramp = torch.linspace(0.1, 0.6, width).view(1, 1, width, 1)
    return ramp.repeat(count, height, 1, 3) * torch.linspace(0.6, 1, count).view(-1, 1, 1, 1)


def mask(count: int = COUNT, height: int = SIDE, width: int = SIDE) -> Tensor:
    marked = torch.zeros(count, height, width)
    marked[:, 8:20, 10:24] = 1
    return marked


def depth(count: int = COUNT) -> Tensor:
    return torch.linspace(0, 1, SIDE).view(1, SIDE, 1, 1).repeat(count, 1, SIDE, 3)


def shaken(module: nn.Module) -> nn.Module:
    """With weights that are nowhere zero, so that each part has a say."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return module.eval()


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("embedded_sd") / "embedded_sd.safetensors"
    with torch.inference_mode(False):
        model = embedded_sd.build(vocabulary(), 0)
        shaken(model.unet)
        deep = embedded_sd.depth_tensors(shaken(embedded_sd.with_depth_channel(model.unet)))
        control = shaken(embedded_sd.new_controlnet(model.unet, 0))
        motion = shaken(embedded_sd.new_motion(0))
        embedded_sd.save(replace(model, motion=motion, depth=deep, controlnet=control), path, {})
    return path


@pytest.fixture(autouse=True)
def weights(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_pack("vivid_core.models.embedded_sd"), "WEIGHTS", random_weights)


@pytest.fixture(scope="module")
def made() -> dict[Any, Any]:
    """Models and inversions that several tests use."""
    return {}


@pytest.fixture
def load(call: Call, made: dict[Any, Any]) -> Callable[[str], Any]:
    def loaded(model: str = MOTION) -> Any:
        if model not in made:
            made[model] = returned(call("VividLoadDiffusion", model=model, **LOAD))[0]
        return made[model]

    return loaded


@pytest.fixture
def invert(call: Call, load: Callable[[str], Any], made: dict[Any, Any]) -> Callable[..., list[Any]]:
    """What Invert Clip returns."""

    def inverted(model: str = MOTION, **changes: Any) -> list[Any]:
        inputs = {"diffusion": load(model), "frames": frames(), **INVERT, **changes}
        key = None if changes.keys() - {"editor"} else (model, inputs["editor"])
        if key is None or key not in made:
            made[key] = returned(call("VividInvert", **inputs))
        return made[key]

    return inverted


@pytest.fixture
def good(load: Callable[[str], Any], invert: Callable[..., list[Any]]) -> Callable[..., dict[str, Any]]:
    """Inputs with which an editor runs; `inverted` changes those of Invert Clip."""

    def inputs(node_id: str, model: str = MOTION, inverted: dict[str, Any] | None = None, **changes: Any) -> Any:
        editor = {"editor": "Pix2Video" if node_id == "VividPix2Video" else "UniEdit"}
        inversion = invert(model, **{**editor, **(inverted or {})})[0]
        return {"diffusion": load(model), "inversion": inversion, "mask": mask(), **EDITORS[node_id], **changes}

    return inputs


# ------------------------------------------------------------------------------------------------------ what comes out


@of_both
def test_outside_the_mask_nothing_changes_and_inside_something_does(call, good, node_id):
    inputs = good(node_id)
    edited, blend, report, *_ = returned(call(node_id, **inputs))
    assert torch.equal(edited[blend == 0], frames()[blend == 0]) and (blend == 0).any()
    assert not torch.allclose(edited[mask() > 0.5], frames()[mask() > 0.5], atol=1e-3)
    assert "Largest difference outside the blend mask: 0." in report


@of_both
def test_the_same_inputs_give_the_same_clip_to_the_bit(call, good, node_id):
    first, second = (returned(call(node_id, **good(node_id)))[0] for _ in range(2))
    assert torch.equal(first, second)


def test_motion_shows_what_the_motion_reference_does_and_appearance_has_none(call, good):
    appearance = returned(call("VividUniEdit", **good("VividUniEdit")))
    assert len(appearance) == 4  # frames, blend mask, report, reconstruction
    moved = returned(call("VividUniEdit", **good("VividUniEdit", mode="motion", masks="mask")))
    assert len(moved) == 6 and moved[4].shape == frames().shape
    assert torch.equal(moved[5], mask())
    assert "motion reference" in moved[2] and "without savings" in moved[2]


def test_a_word_finds_the_object_in_the_source_prompt(call, good):
    _, _, _, _, found = returned(call("VividUniEdit", **good("VividUniEdit", masks="word", word="red ring")))
    assert found.shape == (COUNT, SIDE, SIDE) and 0 < found.mean() < 1


@pytest.mark.parametrize("model", [MOTION, DEPTH, CONTROL])
def test_pix2video_takes_every_kind_of_model(call, good, model):
    given = {} if model == MOTION else {"depth": depth()}
    made = returned(call("VividPix2Video", **good("VividPix2Video", model, given)))
    assert len(made) == (4 if model == MOTION else 5)
    if given:
        assert made[4].shape[0] == COUNT and torch.equal(made[4][..., 0], made[4][..., 1])
        assert made[4].min() == 0 and made[4].max() == 1


def test_a_keyframe_comes_back_exactly_and_changes_its_neighbours(call, good):
    picture = frames()[2] * 0.2
    keys = returned(call("VividKeyframes", images=picture[None], at_frames="2", strength=1.0))[0]
    whole = {"mask": torch.ones(COUNT, SIDE, SIDE)}
    keyed = returned(call("VividPix2Video", **good("VividPix2Video", keyframes=keys, **whole)))[0]
    alone = returned(call("VividPix2Video", **good("VividPix2Video", **whole)))[0]
    assert torch.equal(keyed[2], picture)
    assert not torch.allclose(keyed[3], alone[3], atol=1e-4)


def test_a_crop_of_the_subject_is_edited_and_stitched_back(call, good):
    wide, marked = frames(COUNT, 48, 70), mask(COUNT, 48, 70)
    settings = {"mode": "static", "padding": 0.25, "multiple": 16, "megapixels": 0.0}
    cropped, cropped_mask, stitch = returned(call("VividCropSubject", frames=wide, mask=marked, **settings))
    inputs = good("VividUniEdit", inverted={"frames": cropped}, mask=cropped_mask)
    edited = returned(call("VividUniEdit", **inputs))[0]
    settings = {"feather": 0, "colour_match": "none", "blend": "feather"}
    given = {"original": wide, "edited": edited, "edit_mask": cropped_mask, "stitch": stitch}
    stitched, difference, _ = returned(call("VividStitch", **given, **settings))
    assert difference == 0 and not torch.equal(stitched, wide)


def test_frames_that_the_model_can_not_take_are_resized_and_that_is_said(call, good):
    inputs = good("VividUniEdit", inverted={"frames": frames(COUNT, 45, 61)}, mask=mask(COUNT, 45, 61))
    edited, _, report, *_ = returned(call("VividUniEdit", **inputs))
    assert edited.shape == (COUNT, 45, 61, 3)
    assert "Frames of 61x45, resized to 64x32 for the model and back." in report


def test_a_clip_longer_than_the_motion_modules_take_goes_in_windows(call, good):
    inputs = good("VividUniEdit", inverted={"frames": frames(11)}, mask=mask(11), mode="motion", masks="mask")
    edited, _, report, *_ = returned(call("VividUniEdit", **inputs))
    assert len(edited) == 11 and "makes 8 frames at once, so the 11 frames go in 2 windows" in report


def test_the_reconstruction_and_its_error_are_reported(invert):
    _, reconstruction, report = invert(check=True)
    assert reconstruction.shape == frames().shape and "Reconstruction error: " in report


def graph_of(prompt: str) -> dict[str, Any]:
    """Load, invert, edit by `prompt`."""
    return {
        "clip": {"class_type": GIVE, "inputs": {"key": "clip"}},
        "load": {"class_type": "VividLoadDiffusion", "inputs": {"model": MOTION, **LOAD}},
        "invert": {"class_type": "VividInvert", "inputs": {"diffusion": ["load", 0], "frames": ["clip", 0], **INVERT}},
        "edit": {
            "class_type": "VividUniEdit",
            "inputs": {"diffusion": ["load", 0], "inversion": ["invert", 0], **UNIEDIT, "prompt": prompt},
        },
        "take": {"class_type": TAKE, "inputs": {"value": ["edit", 0], "key": "edited"}},
    }


def test_another_prompt_does_not_invert_again(executor: Executor):
    Shelf.given["clip"] = frames()
    made, cached = [], []
    for prompt in ("a blue ring", "a green circle"):
        result = executor.run(graph_of(prompt))
        assert result.ok, result.exception
        made.append(Shelf.taken.pop("edited"))
        cached.append(next(data["nodes"] for event, data in result.messages if event == "execution_cached"))
    Shelf.given.clear()
    assert "invert" not in cached[0] and {"load", "invert"} <= set(cached[1]) and "edit" not in cached[1]
    assert not torch.equal(*made)


@of_both
def test_progress_counts_up_once_and_reaches_its_total(executor: Executor, good, node_id):
    steps: list[tuple[int, int]] = []
    inputs = good(node_id)
    assert call_node(executor, node_id, lambda done, total: steps.append((done, total)), **inputs).ok
    assert len({total for _, total in steps}) == 1, "one bar"
    done = [value for value, _ in steps]
    assert done == sorted(done) and done[-1] == steps[-1][1] > 2


@of_both
def test_a_stopped_run_leaves_the_models_processors_as_they_were(executor: Executor, good, node_id):
    import comfy.model_management

    inputs = good(node_id)
    unet = inputs["diffusion"].backbone.unet
    before = dict(unet.attn_processors)

    def stop(done: int, total: int) -> None:
        if done == 1:
            comfy.model_management.interrupt_current_processing()

    assert not call_node(executor, node_id, stop, **inputs).ok
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())
    assert call_node(executor, node_id, **inputs).ok


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_wrong_frames_get_one_sentence(call, load, fault):
    assert_sentence(call("VividInvert", diffusion=load(MOTION), frames=IMAGE_FAULTS[fault](frames()), **INVERT))


@of_both
@pytest.mark.parametrize("fault", [*MASK_FAULTS, "empty", "another size", "another length"])
def test_wrong_masks_get_one_sentence(call, good, node_id, fault):
    wrong = {"empty": torch.zeros_like, "another size": lambda one: one[:, 1:], "another length": lambda one: one[1:]}
    assert_sentence(call(node_id, **good(node_id, mask={**MASK_FAULTS, **wrong}[fault](mask()))))


@of_both
def test_no_guidance_gets_one_sentence(call, good, node_id):
    assert "use 1 (the prompt alone" in assert_sentence(call(node_id, **good(node_id, guidance=0.0)))


@of_both
def test_an_inversion_for_the_other_editor_gets_one_sentence(call, good, node_id):
    other = "UniEdit" if node_id == "VividPix2Video" else "Pix2Video"
    assert "input editor of Invert Clip" in assert_sentence(call(node_id, **good(node_id, inverted={"editor": other})))


@of_both
def test_an_inversion_by_another_model_gets_one_sentence(call, good, load, node_id):
    inputs = {**good(node_id), "diffusion": load(CONTROL)}
    assert "inverted with another model" in assert_sentence(call(node_id, **inputs))


@pytest.mark.parametrize("model", [DEPTH, CONTROL])
def test_missing_depth_gets_one_sentence(call, load, model):
    text = assert_sentence(call("VividInvert", diffusion=load(model), frames=frames(), **INVERT))
    assert "connect the depth of the clip" in text


def test_depth_for_a_model_that_sees_none_gets_one_sentence(call, load):
    inputs = {"diffusion": load(MOTION), "frames": frames(), "depth": depth(), **INVERT}
    assert "can't see depth" in assert_sentence(call("VividInvert", **inputs))


def test_depth_of_another_clip_gets_one_sentence(call, load):
    inputs = {"diffusion": load(DEPTH), "frames": frames(), "depth": depth(COUNT + 1), **INVERT}
    assert "got 5 pictures for 4 frames" in assert_sentence(call("VividInvert", **inputs))


def test_a_new_motion_without_motion_modules_gets_one_sentence(call, good):
    inputs = good("VividUniEdit", DEPTH, {"depth": depth()}, mode="motion")
    assert "no motion modules" in assert_sentence(call("VividUniEdit", **inputs))


@pytest.mark.parametrize("changes", [{"masks": "word", "word": "cube"}, {"masks": "mask", "mask": None}])
def test_an_object_that_is_not_told_gets_one_sentence(call, good, changes):
    inputs = {name: value for name, value in good("VividUniEdit", **changes).items() if value is not None}
    assert_sentence(call("VividUniEdit", **inputs))


def test_an_anchor_outside_of_the_clip_gets_one_sentence(call, good):
    assert "use 0 to 3" in assert_sentence(call("VividPix2Video", **good("VividPix2Video", anchor=9)))


# ------------------------------------------------------------------------------------------------------ Camera Motion

CAMERA = {"frame_count": 5, "zoom": 1.1, "pan_x": 0.0, "pan_y": 0.0, "speed": "eased"}


def test_a_still_picture_becomes_a_clip_that_begins_with_it(call):
    picture = torch.rand(1, 30, 40, 3)
    clip, moved, report = returned(call("VividCameraMotion", image=picture, mask=mask(1, 30, 40), **CAMERA))
    assert clip.shape == (5, 30, 40, 3) and torch.equal(clip[0], picture[0])
    assert torch.equal(moved[0], mask(1, 30, 40)[0]) and moved[-1].sum() > moved[0].sum()
    assert report.startswith("5 frames; the picture moves by up to ")


@pytest.mark.parametrize("fault", [*IMAGE_FAULTS, "a clip"])
def test_wrong_pictures_get_one_sentence(call, fault):
    wrong = {**IMAGE_FAULTS, "a clip": lambda one: one.repeat(3, 1, 1, 1)}[fault](torch.rand(1, 30, 40, 3))
    assert_sentence(call("VividCameraMotion", image=wrong, **CAMERA))
