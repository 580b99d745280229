"""Clips in overlapping windows: which frames each has, and that averaging them is what it says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from vivid_core.diffusion.ddim import WHOLE
from vivid_core.editors.clip_windows import in_windows, spans, weights


@pytest.mark.parametrize("count", [1, 7, 8, 9, 13, 14, 15, 20, 40])
@pytest.mark.parametrize(("length", "overlap"), [(8, 2), (8, 0), (5, 4)])
def test_windows_hold_every_frame_and_share_what_is_asked(count: int, length: int, overlap: int) -> None:
    found = [range(count)[span] for span in spans(count, length, overlap)]
    assert sorted({frame for window in found for frame in window}) == list(range(count))
    assert all(len(window) == min(length, count) for window in found)
    assert all(len(set(one) & set(other)) >= overlap for one, other in zip(found, found[1:]))
    assert len(found) == max(1, -(-(count - overlap) // (length - overlap)))  # none more than needed


def test_a_frame_counts_more_in_the_middle_of_a_window() -> None:
    assert weights(5).tolist() == [1, 2, 3, 2, 1] and weights(1).tolist() == [1]


def test_a_clip_in_windows_is_the_weighted_mean_of_what_each_says() -> None:
    windows, latents = spans(6, 4, 2), torch.randn(2, 3, 6, 4, 4)

    def ask(given: Tensor, timestep: float, texts: Sequence[Tensor], frames: slice = WHOLE) -> Tensor:
        assert torch.equal(given, latents[:, :, frames])
        return given * (1 if frames.start == 0 else 10)

    found = in_windows(ask, windows)(latents, 5, [])
    shares, first, second = torch.tensor([1.0, 1, 0, 0, 10, 10]), weights(4), weights(4)
    shares[2] = (first[2] + second[0] * 10) / (first[2] + second[0])
    shares[3] = (first[3] + second[1] * 10) / (first[3] + second[1])
    assert torch.allclose(found, latents * shares.view(-1, 1, 1), atol=1e-5)


def test_a_clip_may_be_asked_frame_by_frame() -> None:
    assert spans(3, 1, 0) == [slice(0, 1), slice(1, 2), slice(2, 3)] and spans(1, 1, 0) == [slice(0, 1)]


@pytest.mark.parametrize(
    ("length", "overlap", "sentence"),
    [(0, 0, "Frames at once: got 0; use 1 or more"), (4, 4, "leaves no new frame"), (4, -1, "use 0 to 3")],
)
def test_windows_that_can_not_be_get_one_sentence(length: int, overlap: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        spans(10, length, overlap)
