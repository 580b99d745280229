"""A still picture as a clip: where each pixel comes from, against formulas and pictures that are known everywhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vivid_core.editors.camera_motion import CameraPath, camera_motion


def waves(height: int, width: int, right: float = 0.0, down: float = 0.0, zoom: float = 1.0) -> Tensor:
    """A smooth picture [1, H, W, 3] of slow waves, known between its pixels: as seen from `zoom` times as near, with
    the middle moved by parts of the width and height."""
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) / height - 0.5) / zoom + 0.5 + down
    x = ((torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5) / zoom + 0.5 + right
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    channels = [torch.sin(2 * math.pi * (a * grid_x + b * grid_y)) for a, b in ((3, 1), (0.5, 2), (2, -2))]
    return (0.5 + 0.4 * torch.stack(channels, -1)).float()[None]


def inner(clip_fhwc: Tensor, margin: int = 8) -> Tensor:
    """Without the rim, where the picture's edge is repeated."""
    return clip_fhwc[:, margin:-margin, margin:-margin]


def test_a_camera_that_stands_still_gives_the_picture_to_the_bit() -> None:
    picture = torch.rand(1, 24, 40, 3)
    frames, mask, fastest = camera_motion(picture, CameraPath(5, zoom=1.0))
    assert torch.equal(frames, picture.expand(5, -1, -1, -1)) and torch.equal(mask, torch.ones(5, 24, 40))
    assert fastest == 0


def test_one_frame_of_a_zoom_is_the_picture_itself() -> None:
    picture = torch.rand(1, 24, 40, 3)
    assert torch.equal(camera_motion(picture, CameraPath(1)).frames_fhwc, picture)


def test_a_zoom_in_begins_with_the_whole_picture_and_a_zoom_out_ends_with_it() -> None:
    picture = torch.rand(1, 24, 40, 3)
    closer = camera_motion(picture, CameraPath(4, zoom=1.25, ease="even")).frames_fhwc
    away = camera_motion(picture, CameraPath(4, zoom=0.8, ease="even")).frames_fhwc
    assert torch.equal(closer[0], picture[0]) and torch.equal(away[-1], picture[0])
    assert (closer - away.flip(0)).abs().max() < 1e-5


@pytest.mark.parametrize("ease", ["even", "eased"])
def test_every_frame_shows_what_a_camera_would_see(ease: str) -> None:
    path = CameraPath(5, zoom=1.2, pan_x=0.1, pan_y=-0.05, ease=ease)
    frames = camera_motion(waves(96, 128), path).frames_fhwc
    near = 1 / 0.9  # from which both ends of a pan of a tenth lie inside
    for index, frame in enumerate(frames):
        share = index / 4
        share = share if ease == "even" else 3 * share**2 - 2 * share**3
        expected = waves(96, 128, 0.1 * (share - 0.5), -0.05 * (share - 0.5), near * 1.2**share)
        assert (inner(frame[None]) - inner(expected)).abs().max() < 2e-3


def test_the_pan_goes_the_way_and_as_far_as_it_is_told() -> None:
    picture = torch.zeros(1, 50, 100, 3)
    picture[:, 24:26, 49:51] = 1
    frames = camera_motion(picture, CameraPath(2, zoom=1.0, pan_x=0.08, ease="even")).frames_fhwc
    columns = torch.arange(100) + 0.5
    before, after = ((frame.mean((0, 2)) * columns).sum() / frame.mean((0, 2)).sum() for frame in frames)
    assert before - after == pytest.approx(8 / 0.92, abs=0.1)  # the view goes right, so the picture goes left


def test_a_view_never_leaves_the_picture() -> None:
    for path in (CameraPath(9, 1.3, 0.08, 0.02), CameraPath(9, 0.7, -0.5, 0.5), CameraPath(9, 1.0, 0.0, -0.3)):
        for zoom, x, y in path.views():
            assert min(x, y) - 0.5 / zoom > -1e-9 and max(x, y) + 0.5 / zoom < 1 + 1e-9


def test_eased_motion_starts_and_ends_slower_than_even_motion() -> None:
    steps = {
        ease: [abs(b.zoom - a.zoom) for a, b in zip(views, views[1:])]
        for ease in ("even", "eased")
        for views in [CameraPath(9, ease=ease).views()]
    }
    assert steps["eased"][0] < steps["even"][0] and steps["eased"][-1] < steps["even"][-1]
    assert steps["eased"][4] > steps["even"][4]


def test_the_mask_moves_with_what_it_marks() -> None:
    picture, mask = torch.zeros(1, 60, 80, 3), torch.zeros(1, 60, 80)
    picture[:, 20:30, 50:70], mask[:, 20:30, 50:70] = 1, 1
    frames, moved, _ = camera_motion(picture, CameraPath(4, 1.3, 0.1, 0.05), mask)
    assert ((frames[..., 0] > 0.5) != (moved > 0.5)).float().mean() < 0.01
    assert moved.min() >= 0 and moved.max() <= 1


def test_the_fastest_pixel_is_told_in_pixels_a_frame() -> None:
    even = camera_motion(waves(32, 64), CameraPath(5, 1.0, pan_x=0.2, ease="even"))
    assert even.fastest == pytest.approx(0.2 * 64 / 0.8 / 4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": 0}, "got 0 frames; use 1 to"),
        ({"zoom": 3.0}, "got a zoom of 3; use 0.5 to 2"),
        ({"pan_x": 0.6}, "got a pan of 0.6 to the right and 0 down"),
        ({"pan_y": float("nan")}, "got a pan of 0 to the right and nan down"),
        ({"ease": "fast"}, "got the speed 'fast'; use one of even, eased"),
    ],
)
def test_a_path_that_can_not_be_is_refused_in_one_sentence(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CameraPath(**change)


def test_a_clip_instead_of_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="got 3 pictures, but it makes a clip of one"):
        camera_motion(torch.rand(3, 8, 8, 3), CameraPath())


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="got masks of 8x9 for frames of 8x8"):
        camera_motion(torch.rand(1, 8, 8, 3), CameraPath(), torch.rand(1, 9, 8))
