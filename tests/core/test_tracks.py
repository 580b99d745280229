"""Tracks: packed bits come back exactly."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivid_core.masks.tracks import Track, TrackBuilder


def random_masks(objects: int, frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((objects, frames, height, width), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
def test_packed_masks_come_back_exactly_at_any_width(objects, frames, height, width, seed):
    masks = random_masks(objects, frames, height, width, seed)
    track = Track.pack(masks)
    binary = masks > 0.5
    assert torch.equal(track.masks(), binary.any(dim=0).float())
    for row, number in enumerate(track.object_ids):
        assert torch.equal(track.masks([number]), binary[row].float())
        assert torch.equal(track.mask(frames - 1, [number]), binary[row, -1])
    assert track.packed.shape == (objects, frames, height, (width + 7) // 8)


def test_a_part_of_the_track_is_the_part_of_the_whole():
    track = Track.pack(random_masks(2, 6, 5, 11))
    assert torch.equal(track.masks(start=2, stop=5), track.masks()[2:5])
    assert track.masks(start=2).shape == (4, 5, 11) and track.masks().dtype == torch.float32


def test_a_pickled_track_is_the_same_track():
    track = Track.pack(random_masks(2, 3, 5, 11), (4, 9), cuts=(2, 1, 2), corrected=[0])
    again = pickle.loads(pickle.dumps(track))  # noqa: S301 - our own bytes
    assert torch.equal(again.packed, track.packed) and again.object_ids == (4, 9) and again.cuts == (1, 2)
    assert again.size == (5, 11) and again.corrected == (0,) and torch.equal(again.scores, track.scores)


def test_frames_not_set_are_empty_and_score_zero():
    builder = TrackBuilder([1], 4, 3, 9)
    builder.set(1, 2, np.ones((3, 9), bool), 0.75)
    assert builder.get(1, 2).all() and not builder.get(1, 0).any()
    track = builder.build()
    assert track.scores.tolist() == [[0, 0, 0.75, 0]]
    assert [bool(mask.any()) for mask in track.masks()] == [False, False, True, False]


def test_a_builder_takes_over_an_object_of_another_track():
    track = Track.pack(random_masks(2, 3, 5, 11), (4, 9), scores=torch.rand(2, 3))
    builder = TrackBuilder([9, 2], 3, 5, 11)
    builder.keep(track, 9)
    kept = builder.build(memory="anything")
    assert torch.equal(kept.masks([9]), track.masks([9])) and torch.equal(kept.scores[0], track.scores[1])
    assert not kept.masks([2]).any() and kept.memory == "anything"


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda t: t.masks([7]), "got 7, but this track has the objects 1, 2"),
        (lambda t: t.masks([]), "no object"),
        (lambda t: t.masks(start=3), "3 frames"),
        (lambda t: t.masks(start=-1), "3 frames"),
        (lambda t: t.masks(stop=4), "3 frames"),
        (lambda t: t.mask(3), "3 frames"),
        (lambda t: Track.pack(torch.zeros(3, 4, 5)), r"\(3, 4, 5\)"),
        (lambda t: Track.pack(torch.zeros(1, 2, 4, 5), (1, 2)), "must agree"),
        (lambda t: TrackBuilder([1, 1], 2, 3, 4), "its own"),
        (lambda t: TrackBuilder([1], 2, 3, 4).set(1, 0, torch.zeros(3, 5)), "resize the mask"),
        (lambda t: TrackBuilder([1], 2, 4, 5).keep(t, 1), "of the same clip"),
        (lambda t: TrackBuilder([3], 3, 4, 5).keep(t, 3), "got 3, but this track has"),
    ],
)
def test_an_impossible_request_gets_one_sentence(ask, says):
    with pytest.raises(ValueError, match=says):
        ask(Track.pack(torch.zeros(2, 3, 4, 5)))
