"""Track health on synthetic tracks: motion is no alarm, loss and jumps are."""

import json

import numpy as np
import pytest
import torch

from vivid_core.masks.tracks import Track
from vivid_core.metrics.health import track_health

HEIGHT, WIDTH = 90, 160


def disc(x: float, y: float, radius: float) -> torch.Tensor:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return torch.from_numpy((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).float()


def moving(frames: int = 12, step: float = 9.0) -> torch.Tensor:
    return torch.stack([disc(25 + step * frame, 45, 14) for frame in range(frames)])


def test_fast_motion_is_no_alarm():
    health = track_health(moving(step=9.3))
    (each,) = health.objects
    assert not each.jumps and not each.lost and not health.suggestions
    assert min(each.overlaps[1:]) > 0.9 and each.overlaps[0] is None
    assert "seen on all 12 frames" in health.text() and "Nothing to correct." in health.text()


def test_areas_are_parts_of_the_frame():
    mask = moving(3)
    each = track_health(mask).objects[0]
    assert each.areas == pytest.approx([float(frame.mean()) for frame in mask])
    assert each.area_ratios[0] is None and each.area_ratios[1] == pytest.approx(1, abs=0.02)


def test_a_lost_object_is_a_span_and_is_found_again():
    mask = moving()
    mask[4:7] = 0
    health = track_health(mask)
    assert health.lost == ((4, 6),) and health.objects[0].found_again == (7,)
    assert "Lost on frames 4-6. Found again at frame 7." in health.text()
    assert health.suggestions == ("add a click or a box at frame 4, if the object is visible there",)


def test_full_occlusion_is_seen_within_two_frames():
    """A wall slides over the object; a tracker that keeps the last sliver is not believed either."""
    mask = torch.stack([disc(80, 45, 20)] * 14)
    for frame in range(14):
        mask[frame, :, : 40 + 6 * frame] = 0  # covered completely from frame 11 on
    mask[11:, 45, 101] = 1
    ((first, last),) = track_health(mask).lost
    assert abs(first - 11) <= 2 and last == 13


def test_a_low_score_is_lost_even_with_a_mask():
    assert track_health(moving(), scores=[1.0] * 5 + [0.0] * 2 + [0.8] * 5).lost == ((5, 6),)


def test_an_object_that_is_lost_at_the_start_needs_a_click_near_where_it_is_known():
    mask = moving()
    mask[:5] = 0
    health = track_health(mask)
    assert health.lost == ((0, 4),) and "frame 4" in health.suggestions[0] and not health.objects[0].found_again


def test_a_jump_of_the_area_is_reported_with_its_frame():
    mask = moving()
    mask[6:] = torch.stack([disc(25 + 9 * frame, 45, 24) for frame in range(6, 12)])
    (jump,) = track_health(mask).objects[0].jumps
    assert jump.frame == 6 and jump.area_ratio == pytest.approx((24 / 14) ** 2, rel=0.05)
    assert "check frame 6 (its area is 2.9 times the one before)" in track_health(mask).text()


def test_a_change_of_shape_is_reported():
    mask = moving()
    mask[6:] = 0
    mask[6:, 42:48, 20:122] = 1
    (jump,) = track_health(mask).objects[0].jumps
    assert jump.frame == 6 and jump.overlap < 0.5
    assert "its shape changes at once" in track_health(mask).text()


def test_nothing_is_compared_across_a_cut():
    mask = torch.cat([moving(6), torch.stack([disc(40, 40, 30)] * 6)])
    health = track_health(mask, cuts=[6])
    assert not health.objects[0].jumps and health.objects[0].overlaps[6] is None
    assert health.cuts == (6,) and "New shots begin at frame 6." in health.text()
    mask[6:] = 0
    assert "frame 6 (a new shot begins there)" in track_health(mask, cuts=[6]).suggestions[0]


def test_objects_of_a_track_are_judged_one_by_one():
    first, second = moving(), torch.stack([disc(80, 70, 10)] * 12)
    second[8:] = 0
    track = Track.pack(torch.stack([first, second]), (2, 5), corrected=[0])
    health = track_health(track)
    assert [each.object_id for each in health.objects] == [2, 5]
    assert health.lost == ((8, 11),) and health.text().startswith("Object 2: seen on all 12 frames")
    assert "Object 5: seen on 8 of 12 frames" in health.text()


def test_no_click_is_asked_for_where_the_user_already_gave_a_mask():
    mask = moving()
    mask[4:7] = 0
    assert not track_health(Track.pack(mask[None], corrected=[5])).suggestions


def test_an_object_that_is_never_seen_is_reported():
    health = track_health(torch.zeros(4, 9, 9))
    assert health.lost == ((0, 3),) and "lost on all 4 frames" in health.text()
    assert "frame 0" in health.suggestions[0]


def test_the_report_is_plain_data():
    mask = moving()
    mask[4:7] = 0
    again = json.loads(track_health(mask, scores=torch.ones(12)).json())
    assert again["objects"][0]["lost"] == [[4, 6]] and len(again["objects"][0]["areas"]) == 12


def test_many_alarms_stay_a_short_text():
    mask = torch.stack([disc(80, 45, 8 if frame % 2 else 20) for frame in range(40)])
    text = track_health(mask).text()
    assert "and 34 more" in text and text.count("check frame") == 5


def test_scores_for_another_number_of_frames_are_refused():
    with pytest.raises(ValueError, match="got 3 scores for 12 masks"):
        track_health(moving(), scores=[1, 1, 1])
