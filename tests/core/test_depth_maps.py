"""Depth on its way to a model: from any node's pictures, in one scale for each frame or for the clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vivid_core.editors.depth_maps import depth_of, normalised


def ramps() -> torch.Tensor:
    """Two frames with depth from 0 to 1 and from 2 to 6."""
    ramp = torch.linspace(0, 1, 12).reshape(3, 4)
    return torch.stack([ramp, 2 + 4 * ramp])


def test_each_frame_is_stretched_to_the_whole_range_and_a_clip_as_one() -> None:
    depth = ramps()
    by_frame, by_clip = (normalised(depth, (3, 4), scale) for scale in ("frame", "clip"))
    assert torch.allclose(by_frame[0], depth[0]) and torch.allclose(by_frame[1], depth[0])
    assert torch.allclose(by_clip, depth / 6)


def test_one_frame_is_as_the_pipeline_of_stable_diffusions_depth_model_makes_it() -> None:
    from diffusers import StableDiffusionDepth2ImgPipeline

    depth = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) * 7 - 2
    made = StableDiffusionDepth2ImgPipeline.prepare_depth_map(
        _Sized(), torch.zeros(1, 3, 64, 64), depth, 1, False, torch.float32, torch.device("cpu")
    )
    assert torch.allclose(2 * normalised(depth, (8, 8)) - 1, made[:, 0], atol=1e-6)


class _Sized:
    """What that method wants of its pipeline where depth is given: how large latents are."""

    vae_scale_factor = 8


def test_a_new_scale_and_a_shift_of_depth_change_nothing() -> None:
    depth = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(0))
    for scale in ("frame", "clip"):
        first, second = (normalised(one, (8, 10), scale) for one in (depth, 100 * depth - 7))
        assert torch.allclose(first, second, atol=1e-4)
        assert first.min() == 0 and first.max() == 1 and first.shape == (3, 8, 10)


def test_the_ends_are_those_of_what_the_model_sees_and_not_of_single_pixels() -> None:
    depth = torch.zeros(1, 16, 16)
    depth[:, :, 8:], depth[0, 3, 3] = 1, 50
    assert normalised(depth, (16, 16)).max() == 1 and normalised(depth, (16, 16))[0, 8, 12] == pytest.approx(1 / 50)
    assert normalised(depth, (2, 2)).max() == 1 and normalised(depth, (2, 2)).min() == 0


def test_what_is_flat_is_in_the_middle() -> None:
    depth = torch.stack([torch.full((4, 4), 3.0), ramps()[1].repeat(2, 1)[:4]])
    assert (normalised(depth, (4, 4))[0] == 0.5).all()
    assert (normalised(depth[:1].repeat(2, 1, 1), (4, 4), "clip") == 0.5).all()


def test_pictures_of_any_node_are_depth_by_their_brightness() -> None:
    pictures = ramps()[:1, ..., None].expand(-1, -1, -1, 3).contiguous()
    assert torch.allclose(depth_of(pictures, 1), ramps()[:1])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    (
        (lambda: depth_of(torch.zeros(2, 4, 4, 3), 3), "got 2 pictures for 3 frames"),
        (lambda: normalised(torch.zeros(1, 2, 2), (2, 2), "video"), "'video'; use frame or clip"),  # type: ignore[arg-type]
        (lambda: normalised(torch.full((1, 2, 2), float("nan")), (2, 2)), "NaN"),
    ),
)
def test_depth_that_does_not_fit_is_told_of(wrong: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert str(caught.value).endswith(".")
