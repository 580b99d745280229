"""The strip: everything that the report says is in the picture, at its place, however long the clip is."""

from __future__ import annotations

import pytest
import torch

from vivid_core.masks.tracks import Track
from vivid_core.metrics import drawing
from vivid_core.metrics.charts import POOR
from vivid_core.metrics.health import track_health
from vivid_core.metrics.health_strip import FAIR, GOOD, LOST, health_strip
from vivid_core.metrics.marked import object_colour


def track(count: int, lost: tuple[int, int] | None = None, jump: int | None = None, objects: int = 1) -> Track:
    masks = torch.zeros(objects, count, 20, 30)
    masks[:, :, 4:12, 5:15] = 1
    if jump is not None:
        masks[0, jump:, 4:18, 5:25] = 1
    if lost is not None:
        masks[0, lost[0] : lost[1] + 1] = 0
    return Track.pack(masks)


def places(strip: torch.Tensor, colour: tuple[int, int, int], head: int = 90) -> torch.Tensor:
    """The columns that hold a colour below the heading, with the legend left out."""
    return ((strip[0, head:] * 255 - torch.tensor(colour)).abs().amax(-1) < 3).any(0).nonzero().reshape(-1)


@pytest.mark.parametrize("count", [1, 2, 48, 1000, 5000])
def test_a_strip_is_a_picture_for_the_graph_at_any_length(count: int) -> None:
    one = track(count)
    strip = health_strip(track_health(one), one)
    assert strip.shape[0] == 1 and strip.shape[2:] == (1280, 3) and strip.shape[1] % 2 == 0
    assert strip.dtype == torch.float32 and 0 <= float(strip.min()) <= float(strip.max()) <= 1


@pytest.mark.parametrize("count", [40, 1000])
def test_lost_frames_are_marked_where_they_are(count: int) -> None:
    first, last = count // 4, count // 2 - 1
    found = places(health_strip(track_health(track(count, (first, last)))), LOST)
    assert float(found.min()) / 1280 == pytest.approx(0.25, abs=0.05)
    assert float(found.max()) / 1280 == pytest.approx(0.5, abs=0.05)
    assert len(places(health_strip(track_health(track(count))), LOST)) == 0


def test_a_single_lost_frame_of_a_long_clip_can_still_be_seen() -> None:
    found = places(health_strip(track_health(track(5000, (2500, 2500)))), LOST)
    assert 2 <= len(found) <= 6


def test_a_jump_is_marked_where_it_is_and_only_if_there_is_one() -> None:
    whole = track_health(track(100, jump=75))
    found = places(health_strip(whole), FAIR, head=120)
    assert len(whole.objects[0].jumps) == 1 and abs(float(found.float().mean()) / 1280 - 0.76) < 0.03
    masks = track(100).masks()
    assert len(places(health_strip(track_health(masks)), FAIR)) == 0


def test_there_is_a_band_for_each_object_in_its_colour() -> None:
    three = health_strip(track_health(track(10, objects=3)))
    assert three.shape[1] - health_strip(track_health(track(10, objects=2))).shape[1] > 80
    assert all(len(places(three, object_colour(number))) > 600 for number in (1, 2, 3))


def test_confidence_is_shown_if_there_is_any_from_red_to_green() -> None:
    sure = Track.pack(track(50).masks()[None], scores=torch.linspace(0, 1, 50)[None])
    strip = health_strip(track_health(sure))
    assert float(places(strip, POOR).min()) < 120 and float(places(strip, GOOD).max()) > 1200
    unsure = health_strip(track_health(track(50).masks()))
    assert len(places(unsure, GOOD)) < 60, "only the word"


def test_the_worst_confidence_of_a_pixel_is_shown_in_long_clips() -> None:
    scores = torch.ones(1, 6000)
    scores[0, 3000] = 0.3  # not lost
    strip = health_strip(track_health(Track.pack(track(6000).masks()[None], scores=scores)))
    shade = drawing.mixed(POOR, FAIR, 0.6)
    assert len(places(strip, shade)) >= 1


def test_cuts_and_given_frames_are_marked() -> None:
    masks = track(40).masks()[None]
    plain, full = Track.pack(masks), Track.pack(masks, cuts=[20], corrected=[10])
    with_marks = health_strip(track_health(full), full)
    without = health_strip(track_health(plain), plain)
    assert with_marks.shape == without.shape
    changed = (with_marks - without)[0, 90:].abs().amax((0, 2)).nonzero().reshape(-1)
    assert {round(float(column) / 1280, 1) for column in changed} <= {0.3, 0.5}
    assert len(places(with_marks, drawing.KEY, head=120)) >= 5


def test_a_strip_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="got a width of 200 pixels"):
        health_strip(track_health(track(3)), width=200)
