"""The editing nodes on the embedded model's architecture with random weights, through the real executor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import engines
from harness.engines import CLIP_RUN, RUN, clip, mask, of_pack, returned
from harness.inprocess import Executor, Result, bridge
from harness.probes import call as call_node
from test_bad_input import IMAGE_FAULTS, MASK_FAULTS, assert_sentence

Call = Callable[..., Result]
NODES = ("VividEditKeyframe", "VividPropagate", "VividEditVideo")
LONG = 17  # two windows of the embedded model, which share a frame


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return engines.save_embedded(tmp_path_factory.mktemp("embedded") / "embedded_vivid.safetensors")


@pytest.fixture
def made(call: Call, random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An embedded engine."""
    monkeypatch.setattr(of_pack("vivid_core.models.embedded"), "WEIGHTS", random_weights)
    return engines.engine(call)


@pytest.fixture
def good(call: Call, made: Any) -> Callable[..., dict[str, Any]]:
    """Inputs with which a node runs."""
    texts = engines.texts(call, made)

    def inputs(node_id: str, count: int = engines.COUNT, **changes: Any) -> dict[str, Any]:
        common = {"engine": made, "frames": clip(count), "mask": mask(count), **texts}
        if node_id == "VividEditKeyframe":
            return {**common, **RUN, "frame": 0, **changes}
        if node_id == "VividPropagate":
            common["keyframes"] = keyframe(call, clip(count)[0] * 0.5, "0")
        return {**common, **CLIP_RUN, **changes}

    return inputs


def keyframe(call: Call, image_hwc: torch.Tensor, at: str) -> Any:
    return returned(call("VividKeyframes", images=image_hwc[None], at_frames=at, strength=1.0))[0]


def store_files() -> set[Path]:
    import folder_paths

    return set(Path(folder_paths.get_output_directory(), "vivid_windows").glob("*.safetensors"))


# ------------------------------------------------------------------------------------------------------ what comes out


@pytest.mark.parametrize("node_id", NODES)
def test_outside_the_mask_nothing_changes_and_inside_something_does(
    call: Call, good: Callable[..., dict[str, Any]], node_id: str
) -> None:
    inputs = good(node_id, feather=0)
    edited = returned(call(node_id, **inputs))[0]
    frames, inside = inputs["frames"][: len(edited)], inputs["mask"][: len(edited)] > 0.5
    assert torch.equal(edited[~inside], frames[~inside])
    assert not torch.equal(edited[inside], frames[inside])


def test_the_edited_frame_is_a_keyframe_that_comes_back_to_the_bit(
    call: Call, good: Callable[..., dict[str, Any]]
) -> None:
    image, keys, report = returned(call("VividEditKeyframe", **good("VividEditKeyframe", frame=-4)))
    assert keys.indices == (engines.COUNT - 4,) and image.shape == (1, engines.SIDE, engines.SIDE, 3)
    assert "1 frame" in report
    frames, blend, report = returned(call("VividPropagate", **good("VividPropagate", keyframes=keys)))
    assert torch.equal(frames[-4], image[0]) and blend.shape == frames.shape[:3]
    assert "keyframe 5" in report


def test_a_single_image_belongs_to_the_frame_that_is_named(call: Call, good: Callable[..., dict[str, Any]]) -> None:
    whole, one = (good("VividEditKeyframe", frame=6) for _ in range(2))
    one.update(frames=one["frames"][6:7], mask=one["mask"][6:7])
    from_clip, alone = (returned(call("VividEditKeyframe", **inputs)) for inputs in (whole, one))
    assert torch.equal(from_clip[0], alone[0]) and from_clip[1].indices == alone[1].indices == (6,)


def test_the_seed_decides(call: Call, good: Callable[..., dict[str, Any]]) -> None:
    first, same, other = (
        returned(call("VividEditVideo", **good("VividEditVideo", count=5, seed=seed)))[0] for seed in (3, 3, 4)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_a_long_clip_is_edited_in_chained_windows(call: Call, good: Callable[..., dict[str, Any]]) -> None:
    frames, _, report = returned(call("VividEditVideo", **good("VividEditVideo", LONG)))
    assert len(frames) == LONG and "2 windows of 2 steps" in report


def test_zero_means_what_the_model_is_used_with() -> None:
    editing = of_pack("nodes.editing")
    adapters = of_pack("vivid_core.editors.adapters.cogvideox")
    config = {"use_rotary_positional_embeddings": True, "sample_frames": 49, "sample_height": 60, "sample_width": 90}
    config |= {"patch_size": 2, "in_channels": 33, "max_text_seq_length": 226, "patch_size_t": None}
    traits = adapters.vivid(config).traits
    usual = editing.settings_of(traits, seed=1, steps=0, guidance=0.0, sampler="auto")
    assert usual == {"seed": 1, "steps": None, "guidance": None, "sampler": None}
    changed = editing.settings_of(traits, seed=1, steps=7, guidance=3.0, sampler="auto")["guidance"]
    assert changed.scale == 3 and changed.dynamic
    assert not editing.settings_of(traits, seed=1, steps=7, guidance=3.0, sampler="ddim")["guidance"].dynamic


def test_a_blend_mask_says_where_something_may_change(call: Call, good: Callable[..., dict[str, Any]]) -> None:
    blend = torch.zeros_like(mask())
    blend[:, :20, :20] = 0.5
    inputs = good("VividEditVideo", blend_mask=blend)
    frames, changed, _ = returned(call("VividEditVideo", **inputs))
    assert torch.equal(frames[changed == 0], inputs["frames"][changed == 0])
    assert torch.equal(changed, blend)


# -------------------------------------------------------------------------------------------------- progress and resume


@pytest.mark.parametrize("node_id", NODES)
def test_progress_counts_up_once_and_reaches_its_total(
    executor: Executor, good: Callable[..., dict[str, Any]], node_id: str
) -> None:
    steps: list[tuple[int, int]] = []
    result = call_node(executor, node_id, lambda done, total: steps.append((done, total)), **good(node_id))
    assert result.ok, result.exception
    assert len({total for _, total in steps}) == 1, "one bar"
    done = [value for value, _ in steps]
    assert done == sorted(done) and done[-1] == steps[-1][1] > 2


def test_latents_are_shown_while_they_are_made(
    call: Call, good: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import latent_preview
    from comfy.cli_args import args

    method = latent_preview.LatentPreviewMethod.Latent2RGB
    monkeypatch.setattr(args, "preview_method", method)
    monkeypatch.setattr(latent_preview, "default_preview_method", method, raising=False)  # newer cores begin with it
    shown: list[Any] = []
    runtime = bridge("progress").ComfyRuntime
    monkeypatch.setattr(
        runtime, "_latent_image", lambda self, latent, show=runtime._latent_image: shown.append(show(self, latent))
    )
    returned(call("VividEditKeyframe", **good("VividEditKeyframe")))
    assert len(shown) == RUN["steps"]
    assert all(kind == "JPEG" and image.size == (12, 12) for kind, image, _ in shown)


def test_the_colours_of_a_preview_are_those_of_the_picture(made: Any) -> None:
    with made.running() as (core, runtime), torch.inference_mode(), runtime.hold(core.vae):
        shown = bridge("previews").fitted_format(core.adapter, core.vae, core.vae_place)
        picture = clip(1)[None]
        latents = core.adapter.encode(picture, core.vae, core.vae_place)[0, 0]
    factors, bias = torch.tensor(shown.latent_rgb_factors), torch.tensor(shown.latent_rgb_factors_bias)
    guess = ((latents.permute(1, 2, 0) @ factors + bias) + 1) / 2
    small = torch.nn.functional.avg_pool2d(picture[0, 0].permute(2, 0, 1), 4).permute(1, 2, 0)
    assert float((guess - small).abs().mean()) < 0.03


def test_a_stopped_run_goes_on_and_gives_what_a_whole_run_gives(
    executor: Executor, call: Call, good: Callable[..., dict[str, Any]]
) -> None:
    import comfy.model_management

    inputs = good("VividEditVideo", LONG, seed=11, resume=True)
    before = store_files()

    def stop(done: int, total: int) -> None:
        if len(store_files() - before) == 1:  # the second window has begun
            comfy.model_management.interrupt_current_processing()

    stopped = call_node(executor, "VividEditVideo", stop, **inputs)
    assert not stopped.ok and len(store_files() - before) == 1
    resumed, _, report = returned(call("VividEditVideo", **inputs))
    assert "1 window of 2 steps, 1 window kept from before" in report
    whole = returned(call("VividEditVideo", **{**inputs, "resume": False}))[0]
    assert torch.equal(resumed, whole)


def test_a_changed_keyframe_runs_its_own_windows_only(call: Call, good: Callable[..., dict[str, Any]]) -> None:
    def run(second: float) -> str:
        frames = clip(LONG)
        keys = keyframe(call, frames[0] * 0.5, "0").merged(keyframe(call, frames[9] * second, "9"))
        inputs = good("VividPropagate", LONG, keyframes=keys, seed=12, resume=True)
        return returned(call("VividPropagate", **inputs))[2]

    assert "kept" not in run(0.5)
    assert "1 window of 2 steps, 1 window kept from before" in run(0.6)


def test_a_full_device_says_what_to_lower(made: Any) -> None:
    with pytest.raises(torch.OutOfMemoryError, match="lower the window or the size of the frames"), made.running():
        raise torch.OutOfMemoryError("CUDA out of memory")


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("node_id", NODES)
@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_wrong_images_get_one_sentence(
    call: Call, good: Callable[..., dict[str, Any]], node_id: str, fault: str
) -> None:
    inputs = good(node_id)
    assert_sentence(call(node_id, **{**inputs, "frames": IMAGE_FAULTS[fault](inputs["frames"])}))


@pytest.mark.parametrize("node_id", NODES)
@pytest.mark.parametrize("fault", [*MASK_FAULTS, "empty", "another size", "another length"])
def test_wrong_masks_get_one_sentence(
    call: Call, good: Callable[..., dict[str, Any]], node_id: str, fault: str
) -> None:
    inputs = good(node_id)
    wrong = {"empty": torch.zeros_like, "another size": lambda one: one[:, 1:], "another length": lambda one: one[1:]}
    assert_sentence(call(node_id, **{**inputs, "mask": {**MASK_FAULTS, **wrong}[fault](inputs["mask"])}))


@pytest.mark.parametrize("node_id", NODES)
def test_texts_of_another_encoder_get_one_sentence(
    call: Call, good: Callable[..., dict[str, Any]], node_id: str
) -> None:
    for wrong in ([[torch.zeros(1, 77, 768), {}]], [], [[torch.zeros(1, 16, 64), {}]] * 2):
        text = assert_sentence(call(node_id, **good(node_id, positive=wrong)))
        assert "Encode Prompt" in text


@pytest.mark.parametrize("node_id", NODES)
@pytest.mark.parametrize("socket", ["positive", "negative"])
def test_a_text_that_is_no_number_is_named_and_not_the_model(
    call: Call, good: Callable[..., dict[str, Any]], node_id: str, socket: str
) -> None:
    broken = torch.zeros(1, 16, 64)
    broken[0, 3, 5] = float("nan")
    text = assert_sentence(call(node_id, **good(node_id, **{socket: [[broken, {}]]})))
    assert f"{socket}: the text holds NaN" in text


@pytest.mark.parametrize("node_id", NODES)
@pytest.mark.parametrize(
    ("changes", "words"),
    [({"sampler": "unipc"}, "dpm"), ({"steps": 1001}, "steps"), ({"seed": -1}, "seed")],
    ids=["sampler", "steps", "seed"],
)
def test_wrong_settings_get_one_sentence(
    call: Call, good: Callable[..., dict[str, Any]], node_id: str, changes: dict[str, Any], words: str
) -> None:
    result = call(node_id, **good(node_id, **changes))
    kind, text = result.exception
    assert not result.ok and kind in ("ValueError", "validation") and words in text.lower(), text


def test_a_frame_outside_the_clip_gets_one_sentence(call: Call, good: Callable[..., dict[str, Any]]) -> None:
    for frame in (engines.COUNT, -engines.COUNT - 1):
        text = assert_sentence(call("VividEditKeyframe", **good("VividEditKeyframe", frame=frame)))
        assert f"use 0 to {engines.COUNT - 1}" in text


def test_wrong_keyframes_get_one_sentence(call: Call, good: Callable[..., dict[str, Any]]) -> None:
    outside, squeezed = keyframe(call, clip()[0], "9"), keyframe(call, clip()[0][:, ::2], "0")
    for keys, words in ((outside, "9 frames"), (squeezed, "aspect")):
        assert words in assert_sentence(call("VividPropagate", **good("VividPropagate", keyframes=keys)))


@pytest.mark.parametrize("node_id", NODES)
def test_one_frame_odd_sizes_and_an_alpha_channel_run(
    call: Call, good: Callable[..., dict[str, Any]], node_id: str
) -> None:
    inputs = good(node_id)
    one = {"frames": inputs["frames"][:1], "mask": inputs["mask"][:1]}
    odd = {"frames": inputs["frames"][:, :-1, :-3], "mask": inputs["mask"][:, :-1, :-3]}
    if node_id == "VividPropagate":
        odd["keyframes"] = keyframe(call, odd["frames"][0] * 0.5, "0")
    with_alpha = {"frames": torch.cat([inputs["frames"], inputs["frames"][..., :1]], dim=-1)}
    for change in (one, odd, with_alpha):
        edited = returned(call(node_id, **{**inputs, **change}))[0]
        assert edited.shape[1:] == (*change["frames"].shape[1:3], 3)
