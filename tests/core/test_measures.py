"""Measures of an edit against plain loops and exact cases."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vivid_core.metrics.consistency import drift, region_colours, ring_flicker
from vivid_core.metrics.measures import MEASURES
from vivid_core.metrics.preservation import background_preservation
from vivid_core.metrics.report import EditMeasures, measure_edit
from vivid_core.runtime import Runtime
from vivid_core.video.composite import outside_change
from vivid_core.video.keyframes import Keyframe, Keyframes

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def disc(height: int, width: int, x: float, y: float, radius: float) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (((columns - x) ** 2 + (rows - y) ** 2) <= radius**2).float()


def moving_scene(frames: int = 6, height: int = 40, width: int = 56) -> tuple[Tensor, Tensor]:
    """A smooth, moving picture and the mask of a disc that moves over it."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    waves = [torch.stack([x * 3 + t * 0.05, y * 5 + t * 0.1, x * 2 + y * 3], -1) for t in range(frames)]
    clip = 0.5 + 0.3 * torch.sin(torch.stack(waves))
    return clip, torch.stack([disc(height, width, 18 + 2 * t, 20, 9) for t in range(frames)])


def tinted(clip: Tensor, mask: Tensor, colour: tuple[float, float, float] = (1.3, 0.7, 0.6)) -> Tensor:
    return torch.where(mask[..., None] > 0, (clip * torch.tensor(colour)).clamp(0, 1), clip)


@given(SIZES, st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_bp_is_the_masked_mean_change_of_a_plain_loop(size: tuple[int, int, int], seed: int) -> None:
    original, edited, mask = noise(seed, *size, 3), noise(seed + 1, *size, 3), noise(seed + 2, *size)
    change = weight = 0.0
    for f, y, x in np.ndindex(*size):
        kept = 1 - float(mask[f, y, x])
        change += kept * sum(abs(float(original[f, y, x, c]) - float(edited[f, y, x, c])) for c in range(3)) / 3
        weight += kept
    assert background_preservation(original, edited, mask) == pytest.approx(255 * change / weight, rel=1e-5)


def test_bp_ignores_what_happens_inside_the_mask() -> None:
    clip, mask = moving_scene()
    assert background_preservation(clip, tinted(clip, mask), mask) == 0
    assert background_preservation(clip, clip + 10 / 255, mask) == pytest.approx(10, abs=1e-3)


def test_bp_is_not_defined_when_everything_is_masked() -> None:
    clip = noise(0, 2, 4, 4, 3)
    assert math.isnan(background_preservation(clip, clip, torch.ones(2, 4, 4)))


@given(SIZES, st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_outside_difference_is_the_largest_change_where_the_mask_is_exactly_zero(
    size: tuple[int, int, int], seed: int
) -> None:
    original, edited = noise(seed, *size[1:], 3), noise(seed + 1, *size[1:], 3)
    mask = noise(seed + 2, *size[1:]) * (noise(seed + 3, *size[1:]) > 0.5)
    expected = 0.0
    for y, x in np.ndindex(*size[1:]):
        if mask[y, x] == 0:
            expected = max(expected, *(abs(float(edited[y, x, c] - original[y, x, c])) for c in range(3)))
    assert outside_change(original, edited, mask) == expected


def test_the_smallest_possible_change_outside_is_not_bit_exact() -> None:
    clip, mask = moving_scene()
    edited = clip.clone()
    edited[3, 0, 0, 1] = torch.nextafter(edited[3, 0, 0, 1], torch.tensor(1.0))
    measures = measure_edit(clip, edited, mask)
    assert 0 < measures.outside_maximum < 1e-6
    assert not measures.bit_exact and measures.worst("outside_difference")[1] == 3
    assert "bit-exact" not in measures.text()


def flicker_by_loops(original: Tensor, edited: Tensor, masks: Tensor, ring: int) -> float:
    before, now = (mask.numpy() > 0.5 for mask in masks)
    changes: tuple[list[float], list[float]] = ([], [])
    for y, x in np.ndindex(*now.shape):
        around = now[max(y - ring, 0) : y + ring + 1, max(x - ring, 0) : x + ring + 1]
        if around.all() or not around.any() or before[y, x] != now[y, x]:
            continue
        for clip, values in zip((original, edited), changes):
            values.append(float((clip[1, y, x] - clip[0, y, x]).abs().double().mean()))
    return max(0.0, 255 * float(np.mean(changes[1]) - np.mean(changes[0]))) if changes[0] else math.nan


@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_ring_flicker_is_the_excess_change_of_a_plain_loop(height: int, width: int, seed: int, ring: int) -> None:
    original, edited = noise(seed, 2, height, width, 3) * 0.5, noise(seed + 1, 2, height, width, 3)
    masks = torch.stack([disc(height, width, height / 2 + t, width / 2, height / 3) for t in range(2)])
    expected = flicker_by_loops(original, edited, masks, ring)
    measured = ring_flicker((original[0], original[1]), (edited[0], edited[1]), (masks[0], masks[1]), ring)
    assert measured == pytest.approx(expected, abs=1e-3, nan_ok=True)


def test_a_pulsing_edit_flickers_and_a_steady_one_does_not() -> None:
    clip = noise(3, 1, 40, 56, 3).mul(0.5).expand(6, -1, -1, -1)
    mask = disc(40, 56, 28, 20, 9).expand(6, -1, -1)
    steady = measure_edit(clip, tinted(clip, mask), mask)
    pulse = torch.tensor([1.0, 1.3, 1.0, 1.3, 1.0, 1.3]).view(6, 1, 1, 1)
    pulsing = measure_edit(clip, torch.where(mask[..., None] > 0, clip * pulse, clip), mask)
    assert steady.worst("flicker")[0] == 0
    assert min(pulsing.flicker[1:]) > 2
    assert math.isnan(pulsing.flicker[0])


def test_region_colours_are_mean_and_deviation_in_lab() -> None:
    image, mask = noise(5, 12, 15, 3), noise(6, 12, 15)
    lab = cv2.cvtColor(image.numpy(), cv2.COLOR_RGB2Lab)
    chosen = np.array([lab[y, x] for y, x in np.ndindex(12, 15) if mask[y, x] > 0.5], np.float64)
    colours = region_colours(image, mask)
    assert colours == pytest.approx(np.concatenate([chosen.mean(0), chosen.std(0)]), abs=1e-3)
    assert region_colours(image, torch.zeros(12, 15)) is None


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_drift_is_the_distance_to_everything_the_keyframe_promises(seed: int) -> None:
    original, edited, original_at_key, edited_at_key = np.random.default_rng(seed).normal(size=(4, 6))
    shares = np.linspace(0, 1, 2001)[:, None]
    promised = edited_at_key + shares * (original - original_at_key)
    nearest = np.linalg.norm(promised - edited, axis=1).min()
    assert drift(original, edited, original_at_key, edited_at_key) == pytest.approx(nearest, abs=1e-3)


def test_drift_grows_with_the_distance_from_the_keyframe_and_restarts_at_the_next() -> None:
    clip = torch.full((9, 16, 16, 3), 0.4)
    mask = torch.ones(9, 16, 16)
    away = torch.tensor([0, 1, 2, 3, 4, 3, 2, 1, 0]).view(9, 1, 1, 1) * torch.tensor([0.04, 0.0, -0.04])
    measures = measure_edit(clip, clip + away, mask, keyframes=Keyframes([Keyframe(0, clip[0]), Keyframe(-1, clip[8])]))
    assert measures.drift[0] == measures.drift[8] == 0
    assert list(measures.drift[:5]) == sorted(measures.drift[:5]) and measures.drift[4] > 5
    assert measures.key_indices == measures.drift_from == (0, 8)


def test_a_keyframe_that_was_not_kept_shows_as_drift_on_its_own_frame() -> None:
    clip, mask = moving_scene()
    key = tinted(clip, mask)[2]
    assert measure_edit(clip, clip, mask, keyframes=Keyframes([Keyframe(2, key)])).drift[2] > 5
    assert measure_edit(clip, tinted(clip, mask), mask, keyframes=Keyframes([Keyframe(2, key)])).drift[2] == 0


def test_a_keyframes_own_mask_leaves_the_rest_of_its_frame_as_it_was() -> None:
    clip, mask = moving_scene()
    half = mask[2].clone()
    half[:, :22] = 0
    edited = torch.where((half * mask)[..., None] > 0, tinted(clip, mask), clip)
    keys = Keyframes([Keyframe(2, tinted(clip, mask)[2], half)])
    assert measure_edit(clip, edited, mask, keyframes=keys).drift[2] == 0


def test_without_keyframes_drift_starts_at_the_first_masked_frame() -> None:
    clip, mask = moving_scene()
    mask[:2] = 0
    measures = measure_edit(clip, tinted(clip, mask), mask)
    assert measures.drift_from == (2,) and measures.key_indices == ()
    assert math.isnan(measures.drift[0]) and measures.drift[2] == 0
    assert "frame 2" in measures.text()


def test_an_unedited_clip_scores_exactly_zero_on_everything() -> None:
    clip, mask = moving_scene()
    measures = measure_edit(clip, clip.clone(), mask)
    best = {measure.key: 1 if measure.higher_is_better else 0 for measure in measures.shown}
    assert {key: measures.worst(key)[0] for key in best} == best and len(best) == 8
    assert all(measures.verdict(measure) in ("bit-exact", "good") for measure in measures.shown)
    assert "bit-exact" in measures.text()


def test_the_blend_mask_keeps_the_feather_out_of_the_outside_difference() -> None:
    clip, mask = moving_scene()
    blend = torch.stack([disc(40, 56, 18 + 2 * t, 20, 12) for t in range(6)])
    edited = tinted(clip, blend)
    assert measure_edit(clip, edited, mask, blend).bit_exact
    without = measure_edit(clip, edited, mask)
    assert not without.bit_exact and "Connect the blend mask" in without.text()


def test_json_has_stable_keys_and_no_nan() -> None:
    clip, mask = moving_scene()
    mask[4] = 0
    result = json.loads(measure_edit(clip, tinted(clip, mask), mask).json(), parse_constant=pytest.fail)
    assert list(result) == [
        "frames", "width", "height", "masked_frames", "mask_share", "keyframes", "drift_from", "blend_mask",
        "bit_exact_outside", "summary", "per_frame", "caption", "source_caption", "models", "scores",
    ]  # fmt: skip
    keys = [
        "outside_difference", "background", "seam", "flicker", "drift", "warp_inside", "warp_outside",
        "motion_fidelity", "text_alignment", "temporal_consistency",
    ]  # fmt: skip
    assert list(result["summary"]) == list(result["per_frame"]) == keys
    assert list(result["summary"]["seam"]) == ["mean", "worst", "worst_frame", "unit", "verdict"]
    assert result["per_frame"]["seam"][4] is None and len(result["per_frame"]["seam"]) == 6
    assert result["frames"] == 6 and result["masked_frames"] == 5


def test_the_text_has_one_line_for_each_measure_with_verdict_mean_and_worst_frame() -> None:
    clip, mask = moving_scene()
    measures = measure_edit(clip, tinted(clip, mask), mask)
    lines = measures.text().split("\n\n")[1].splitlines()
    assert [measure.key for measure in measures.shown] == [measure.key for measure in MEASURES if not measure.needs] + [
        "warp_inside", "warp_outside", "motion_fidelity",
    ]  # fmt: skip
    for line, measure in zip(lines, measures.shown, strict=True):
        assert line.startswith(f"{measure.label}: {measures.verdict(measure)}. Mean ") and "  " not in line
    worst, at_frame = measures.worst("seam")
    assert f"worst {worst:.2f} at frame {at_frame} (dE)" in lines[2]
    assert "Mean 0, worst 0 (0..1)" in lines[0]


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_clips_are_measured(frames: int) -> None:
    clip, mask = moving_scene(frames)
    measures = measure_edit(clip, tinted(clip, mask), mask, keyframes=Keyframes([Keyframe(0, tinted(clip, mask)[0])]))
    assert measures.frame_count == frames and measures.mean("seam") > 0
    assert math.isnan(measures.motion_fidelity[0]) and len(measures.warp_inside) == frames
    assert json.loads(measures.json())["summary"]["flicker"]["verdict"] == ("not measured" if frames == 1 else "good")


def test_progress_counts_every_frame_once_in_each_pass_and_a_cancel_passes_through() -> None:
    class Stopped(Exception):
        pass

    class Cancelled(Runtime):
        def advance(self, steps: int = 1, preview: object = None) -> None:
            super().advance(steps)
            if self.done == 2:
                raise Stopped

    clip, mask = moving_scene()
    runtime = Runtime()
    measure_edit(clip, clip, mask, runtime=runtime, flow=None)
    assert (runtime.done, runtime.total) == (6, 6)
    measure_edit(clip, clip, mask, runtime=runtime)
    assert (runtime.done, runtime.total) == (12, 12)
    with pytest.raises(Stopped):
        measure_edit(clip, clip, mask, runtime=Cancelled())


def test_an_alpha_channel_and_a_single_mask_are_accepted_and_said() -> None:
    clip, mask = moving_scene()
    notes: list[str] = []
    edited = torch.cat([clip, torch.ones(6, 40, 56, 1)], -1)
    assert measure_edit(clip, edited, mask[0], notes=notes).bit_exact
    assert len(notes) == 2 and "alpha" in notes[0] and "one mask" in notes[1]


def wrong_inputs() -> dict[str, tuple[dict[str, object], str]]:
    clip, mask = moving_scene()
    broken = clip.clone()
    broken[3, 0, 0, 0] = math.nan
    return {
        "other length": ({"edited_fhwc": clip[:4]}, "4 frames"),
        "other size": ({"edited_fhwc": clip[:, :20]}, "56x20"),
        "mask of another length": ({"edit_mask_fhw": mask[:3]}, "3 masks"),
        "mask of another size": ({"edit_mask_fhw": mask[:, :20]}, "56x20"),
        "blend mask of another size": ({"blend_mask_fhw": mask[:, :20]}, "Blend mask"),
        "empty mask": ({"edit_mask_fhw": mask * 0}, "empty"),
        "NaN": ({"edited_fhwc": broken}, "frame 3 holds NaN"),
        "values outside 0..1": ({"original_fhwc": clip * 255}, "0..1"),
        "no frames": ({"original_fhwc": clip[:0]}, "no frames"),
        "keyframe outside": ({"keyframes": Keyframes([Keyframe(6, clip[0])])}, "0..5"),
        "keyframe of another aspect": ({"keyframes": Keyframes([Keyframe(0, clip[0, :20])])}, "aspect"),
    }


@pytest.mark.parametrize("case", list(wrong_inputs()))
def test_wrong_input_gets_one_helpful_sentence(case: str) -> None:
    clip, mask = moving_scene()
    changed, hint = wrong_inputs()[case]
    inputs = {"original_fhwc": clip, "edited_fhwc": clip, "edit_mask_fhw": mask, **changed}
    with pytest.raises(ValueError, match=hint):
        measure_edit(**inputs)  # type: ignore[arg-type]


def test_a_measure_where_higher_is_better_is_judged_by_its_lowest_value_and_lower_limit() -> None:
    clip, mask = moving_scene()
    measures = replace(measure_edit(clip, clip, mask), motion_fidelity=(math.nan, 0.9, 0.5, 1.0, 0.6, 1.0))
    fidelity = next(measure for measure in MEASURES if measure.key == "motion_fidelity")
    assert measures.worst("motion_fidelity") == (0.5, 2)
    assert measures.verdict(fidelity) == "fair" and measures.worst_frames() == {2: "worst motion fidelity"}
    assert fidelity.verdict(0.9) == "good" and fidelity.verdict(0.69) == "poor"


def test_the_frames_to_look_at_are_the_worst_of_what_is_not_good() -> None:
    clip, mask = moving_scene()
    good = measure_edit(clip, clip, mask, flow=None)
    assert good.worst_frames() == {}
    bad = replace(good, seam=(0.0, 9.0, 4.0, 1.0, 0.0, 0.0), drift=(0.0, 20.0, 0.0, 0.0, 0.0, 0.0))
    assert replace(bad, flicker=(math.nan, 0, 0, 0, 3.0, 0)).worst_frames() == {
        1: "worst seam, keyframe drift", 4: "worst ring flicker",
    }  # fmt: skip


def test_measures_cannot_be_changed_afterwards() -> None:
    clip, mask = moving_scene(1)
    measures = measure_edit(clip, clip, mask)
    assert isinstance(measures, EditMeasures)
    with pytest.raises(AttributeError):
        measures.width = 3  # type: ignore[misc]
