"""RAFT as a family, and its flow: torchvision's own class, called directly, is the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.live_memory import peak_of_forward
from safetensors.torch import save_file
from scenes import make_scene, texture
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.optical_flow import raft_large, raft_small

from vivid_core.editors.flow_warp import propagate_by_flow
from vivid_core.editors.removal import remove_by_flow
from vivid_core.masks.flow import INVERSE_SEARCH, Bytes, Floats, FlowEstimator, dense_flow, luminance, resampled
from vivid_core.masks.prompts import Prompt, Prompts
from vivid_core.masks.track import track_by_flow
from vivid_core.models import raft
from vivid_core.models.families import check_family, detect, empty, fill, open_family
from vivid_core.models.files import open_weights, read_tensors
from vivid_core.models.raft_flow import RaftFlow
from vivid_core.runtime import Runtime
from vivid_core.video.keyframes import Keyframe, Keyframes

MAKERS: dict[str, Callable[[], nn.Module]] = {"large": raft_large, "small": raft_small}
each_size = pytest.mark.parametrize("size", MAKERS)


def made(size: str = "small", seed: int = 0) -> nn.Module:
    """torchvision's model with random weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = MAKERS[size]()
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)  # or evaluation mode would make no difference
    return module.eval().requires_grad_(False)


def saved(module: nn.Module, path: Path) -> Path:
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return path


def textured(seed: int, width: int, height: int) -> Bytes:
    return (texture(np.random.default_rng(seed), width, height) * 255).astype(np.uint8)


def pair(width: int, height: int) -> tuple[Bytes, Bytes]:
    """A picture, and the same moved by a little."""
    first = textured(0, width, height)
    return first, resampled(first, np.array([[1, 0, -3], [0, 1, 2]], np.float64), width, height)


def as_images(*pictures: Bytes) -> Tensor:
    """[N, 3, h, w] in -1..1, as torchvision's transform has it."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255 * 2 - 1


def last_flow(module: nn.Module, first: Tensor, second: Tensor, updates: int = 12) -> Floats:
    """[N, h, w, 2] by the class itself."""
    return module(first, second, num_flow_updates=updates)[-1].permute(0, 2, 3, 1).numpy()


def refusal(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    return text


# -------------------------------------------------------------------------------------------------------- the family


@each_size
@pytest.mark.parametrize("name", ["own.pth", "own.safetensors"])
def test_a_published_file_gives_the_same_module(tmp_path: Path, size: str, name: str) -> None:
    theirs = made(size)
    files, family = open_family(saved(theirs, tmp_path / name), {"raft"})
    assert family is raft.FAMILY and family.config(files) == {"size": size}
    ours = empty(family, family.config(files))
    fill(ours, family.convert(read_tensors(files)), name)
    assert raft.size_of(ours) == size and type(ours) is type(theirs)
    state = ours.state_dict()
    assert state.keys() == theirs.state_dict().keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in theirs.state_dict().items())


def test_a_size_that_torchvision_does_not_have_is_refused(tmp_path: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in made().state_dict().items()}
    tensors["feature_encoder.conv.weight"] = torch.zeros(64, 96, 1, 1)
    save_file(tensors, tmp_path / "own.safetensors")
    files = open_weights(tmp_path / "own.safetensors")
    text = refusal(check_family(files, {"raft"}).config, files)
    assert "own.safetensors" in text and "64 features" in text and "raft_small" in text


def test_the_original_layout_is_known_and_refused(tmp_path: Path) -> None:
    torch.save({"module.fnet.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "raft-things.pth")
    text = refusal(detect, open_weights(tmp_path / "raft-things.pth"))
    assert "raft-things.pth is a RAFT model in its original layout" in text and "raft_large_C_T_SKHT_V2" in text


def test_another_model_in_its_place_is_named(tmp_path: Path) -> None:
    text = refusal(open_family, saved(made(), tmp_path / "raft_small.pth"), {"sam2"})
    assert "raft_small.pth is a RAFT flow model, but this input needs a SAM 2 model" in text


@pytest.mark.parametrize(
    ("size", "pictures", "height", "width"),
    [("large", 2, 480, 480), ("large", 2, 128, 128), ("large", 4, 272, 480), ("large", 2, 960, 960)]
    + [("small", 2, 480, 480), ("small", 2, 128, 480), ("small", 2, 272, 480), ("small", 2, 960, 960)],
)
def test_a_forward_gets_the_memory_that_it_needs(size: str, pictures: int, height: int, width: int) -> None:
    shape = (pictures, 3, height, width)
    inputs = {"image1": torch.empty, "image2": torch.empty}
    needed = peak_of_forward(made(size), lambda: {name: of(shape) for name, of in inputs.items()}, torch.float32)
    estimate = raft.activation_bytes(size, pictures, height, width)
    assert needed <= estimate <= 1.35 * needed


# ---------------------------------------------------------------------------------------------------------- its flow


@each_size
def test_flow_is_that_of_torchvisions_class(size: str) -> None:
    module, (first, second) = made(size), pair(160, 136)
    there, back = RaftFlow(module, Runtime()).both_ways(first, second)
    together = last_flow(module, as_images(first, second), as_images(second, first))
    assert np.array_equal(there, together[0]) and np.array_equal(back, together[1])
    alone = [last_flow(module, as_images(a), as_images(b))[0] for a, b in ((first, second), (second, first))]
    assert np.abs(there - alone[0]).max() < 1e-3 and np.abs(back - alone[1]).max() < 1e-3
    assert np.abs(there - back).max() > 1e-3, "the two directions are different"


@pytest.mark.parametrize(("width", "height"), [(131, 200), (50, 37), (1, 1), (129, 128)])
def test_other_sizes_are_padded_by_their_edges_and_cut_again(width: int, height: int) -> None:
    module, (first, second) = made(), pair(width, height)
    there, _ = RaftFlow(module, Runtime(), updates=2).both_ways(first, second)
    more = [max(128, -(-side // 8) * 8) - side for side in (width, height)]
    sides = (more[0] // 2, more[0] - more[0] // 2, more[1] // 2, more[1] - more[1] // 2)
    images = functional.pad(as_images(first, second), sides, mode="replicate")
    whole = last_flow(module, images, images.flip(0), 2)[0]
    assert there.shape == (height, width, 2)
    assert np.array_equal(there, whole[sides[2] : sides[2] + height, sides[0] : sides[0] + width])


def test_long_pictures_are_shrunk_and_their_flow_is_in_their_own_pixels() -> None:
    module, (first, second) = made(), pair(400, 300)
    there, _ = RaftFlow(module, Runtime(), longest_side=200, updates=2).both_ways(first, second)
    small = [np.round(picture.reshape(150, 2, 200, 2, 3).mean((1, 3))).astype(np.uint8) for picture in (first, second)]
    expected, _ = RaftFlow(module, Runtime(), updates=2).both_ways(*small)
    assert there.shape == (300, 400, 2)
    blocks = there.reshape(150, 2, 200, 2, 2).mean((1, 3))
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(blocks[inner] - 2 * expected[inner]).max() < 0.1 * np.abs(expected).max()


def test_the_updates_count() -> None:
    module, pictures = made(), pair(128, 128)
    few, many = (RaftFlow(module, Runtime(), updates=count).both_ways(*pictures)[0] for count in (1, 3))
    assert np.abs(few - many).max() > 1e-3


def test_the_module_is_held_for_each_pair_and_keeps_nothing() -> None:
    class Held(Runtime):
        held: list[tuple[Any, int]] = []

        @contextmanager
        def hold(self, *modules: nn.Module, activations: int = 0) -> Iterator[None]:
            self.held.append((modules, activations))
            yield

    module, runtime = made(), Held()
    RaftFlow(module, runtime, updates=1).both_ways(*pair(130, 100))
    assert runtime.held == [((module,), raft.activation_bytes("small", 2, 128, 136))]
    assert not module.corr_block.corr_pyramid, "the correlations are larger than the weights"


def test_wrong_pictures_and_broken_weights_get_one_sentence() -> None:
    estimator = RaftFlow(made(), Runtime(), updates=1)
    assert "160x128 and 128x128" in refusal(estimator.both_ways, textured(0, 160, 128), textured(0, 128, 128))
    estimator.module.feature_encoder.conv.bias.fill_(float("nan"))
    assert "gives no numbers" in refusal(estimator.both_ways, *pair(128, 128))


# ------------------------------------------------------------------------------------------- in place of the default


def test_the_default_is_inverse_search_both_ways() -> None:
    first, second = pair(150, 110)
    there, back = INVERSE_SEARCH.both_ways(first, second)
    assert np.array_equal(there, dense_flow(luminance(first), luminance(second)))
    assert np.array_equal(back, dense_flow(luminance(second), luminance(first)))
    assert np.abs(there[20:-20, 20:-20].mean((0, 1)) - (3, -2)).max() < 0.15


class Watched:
    """The default, with what it was asked."""

    def __init__(self, wrong: float = 0.0) -> None:
        self.calls, self._wrong = 0, wrong

    def both_ways(self, first: Bytes, second: Bytes) -> tuple[Floats, Floats]:
        self.calls += 1
        assert first.dtype == np.uint8 and first.shape == second.shape and first.shape[2] == 3
        there, back = INVERSE_SEARCH.both_ways(first, second)
        return there + np.float32(self._wrong), back


def results(flow: FlowEstimator | None) -> list[Tensor]:
    """A track, a propagation and a removal."""
    scene = make_scene(1, "translation", 8, width=160, height=120)
    frames, mask = scene.frames_fhwc, scene.masks_fhw
    more: dict[str, Any] = {} if flow is None else {"flow": flow}
    key = Keyframe(2, frames[2] * torch.tensor([1.0, 0.5, 0.5]))
    track = track_by_flow(frames, Prompts([Prompt(2, mask_hw=mask[2])]), **more)
    return [
        track.scores,
        propagate_by_flow(frames, mask, Keyframes([key]), **more).frames_fhwc,
        remove_by_flow(frames, mask, **more).frames_fhwc,
    ]


def test_what_follows_motion_asks_the_flow_that_it_is_given() -> None:
    watched = Watched()
    default, same, wrong = results(None), results(watched), results(Watched(wrong=9.0))
    assert watched.calls >= 3 * 7, "each of the three looks at every pair of frames"
    assert all(torch.equal(one, other) for one, other in zip(default, same))
    assert not torch.equal(default[0], wrong[0]) and not torch.equal(default[1], wrong[1])


def test_even_a_model_without_sense_leaves_the_background_alone() -> None:
    scene = make_scene(1, "translation", 4, width=130, height=100)
    flow = RaftFlow(made(), Runtime(), updates=1)
    result = remove_by_flow(scene.frames_fhwc, scene.masks_fhw, flow=flow)
    outside = result.blend_mask_fhw == 0
    assert bool(outside.any()) and torch.equal(result.frames_fhwc[outside], scene.frames_fhwc[outside])
