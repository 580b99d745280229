"""The README's table of what fits on a card is what Estimate Cost's own code computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vivid_core import fits
from vivid_core.cost_report import Estimate

README = Path(__file__).resolve().parents[2] / "README.md"
GIGABYTE = 2**30


@pytest.fixture(scope="module")
def smallest() -> Estimate:
    return fits.estimated(fits.MODELS[0])


def test_the_readme_shows_what_the_command_prints() -> None:
    text = README.read_text()
    assert "make fits" in text and "computed" in text
    assert fits.table() in text, "run make fits and put its table into the README"


def test_the_sizes_are_those_of_the_released_models(smallest: Estimate) -> None:
    assert smallest.weights["transformer"] == pytest.approx(2 * 1.7e9, rel=0.05)
    assert smallest.weights["text encoder"] == pytest.approx(2 * 4.76e9, rel=0.01)
    assert (smallest.frames, smallest.windows) == (49, 1)


@pytest.mark.parametrize(
    "weights, room, gigabytes, says",
    [
        (6.0, 1.0, 8, "whole"),
        (6.0, 1.3, 8, "streamed (98% stays)"),
        (20.0, 3.6, 8, "streamed (18% stays)"),
        (1.0, 7.3, 8, "no"),
    ],
)
def test_a_card_holds_all_or_streams_or_does_not_do(
    smallest: Estimate, weights: float, room: float, gigabytes: int, says: str
) -> None:
    found = replace(
        smallest,
        weights={"transformer": int(weights * GIGABYTE), "text encoder": 0},
        room={"transformer": int(room * GIGABYTE)},
    )
    assert fits.verdict(found, gigabytes) == says


def test_only_a_large_text_encoder_is_streamed_where_the_rest_fits(smallest: Estimate) -> None:
    found = replace(
        smallest,
        weights={"transformer": GIGABYTE, "text encoder": 10 * GIGABYTE},
        room={"transformer": GIGABYTE},
    )
    assert fits.verdict(found, 8) == "streamed (text encoder)"
