"""What one window gives is kept, found again and never made twice; its colours don't wander off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import editing_models
import pytest
import torch
from cancelling import CancelAfter, CancelledError
from editing_models import one_thread
from kive_models import (
    STEPS,
    Painter,
    box,
    clip,
    keys_of,
    oracle_engine,
    random_engine,
    request,
    windows_run,
)
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from vivid_core.diffusion.guidance import Guidance
from vivid_core.editors.contract import EditRequest
from vivid_core.editors.drift import GAIN_LIMIT, SHIFT_LIMIT, measured_drift
from vivid_core.editors.engine import Engine, Footprint
from vivid_core.editors.kive import EditOptions, edit_video, propagate
from vivid_core.editors.window_store import FolderStore, MemoryStore, WindowStore
from vivid_core.models.widening import WIDTHS, widen
from vivid_core.runtime import Runtime
from vivid_core.video.composite import outside_difference
from vivid_core.video.keyframes import Keyframe, Keyframes

LARGE = 10**9


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


class Steps(Runtime):
    """Counts the steps that a model really made: those that came with latents to show."""

    def __init__(self) -> None:
        super().__init__()
        self.denoised = 0

    def advance(self, steps: int = 1, preview: Any = None, latent_cfhw: Any = None) -> None:
        self.denoised += latent_cfhw is not None
        super().advance(steps, preview, latent_cfhw)

    @property
    def windows(self) -> int:
        return self.denoised // STEPS


def run(asked: EditRequest, store: WindowStore | None = None, **options: Any) -> tuple[Tensor, int]:
    """Edited frames by the random engine, and how many windows it had to make."""
    runtime = Steps()
    start = propagate if len(asked.keyframes) else edit_video
    done = start(random_engine(), asked, EditOptions(store=store, crop="off", **options), runtime)
    return done.frames_fhwc, runtime.windows


def keyed(changed: int | None = None) -> EditRequest:
    """Keyframes on frames 0, 10 and 20 of 30; one of them another one."""
    pictures = clip(30, seed=9)
    keys = Keyframes(Keyframe(at, 1 - pictures[at] if at == changed else pictures[at]) for at in (0, 10, 20))
    return request(clip(30), box(30), keys)


def test_windows_from_a_store_are_those_of_a_run_without_one_to_the_bit(tmp_path: Path) -> None:
    plain, made = run(keyed())
    assert made == 6
    for store in (MemoryStore(LARGE), FolderStore(tmp_path, LARGE)):
        first, second = run(keyed(), store), run(keyed(), store)
        assert torch.equal(first[0], plain) and torch.equal(second[0], plain)
        assert (first[1], second[1]) == (6, 0)


@pytest.mark.parametrize("changed", (0, 10, 20))
def test_changing_a_keyframe_makes_its_windows_anew_and_no_others(changed: int) -> None:
    store = MemoryStore(LARGE)
    run(keyed(), store)
    again, made = run(keyed(changed), store)
    assert made == 2
    whole, _ = run(keyed(changed))
    assert torch.equal(again, whole)


def test_a_keyframe_that_ends_a_window_too_makes_that_one_anew() -> None:
    frames, mask, store = clip(30), box(30), MemoryStore(LARGE)
    for colour, wanted in ((0.5, 4), (0.6, 2)):
        keys = keys_of(frames, mask, at0=0.2, at16=colour, at24=0.8)
        engine = oracle_engine(ends_on_keys=True)
        propagate(engine, request(frames, mask, keys), EditOptions(crop="off", store=store))
        assert windows_run(engine) == wanted


@pytest.mark.parametrize("killed_at", (1, 3, 4))
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, killed_at: int) -> None:
    asked = request(clip(25), box(25))
    whole, made = run(asked)
    assert made == 3
    store = FolderStore(tmp_path, LARGE)
    with pytest.raises(CancelledError):
        # The bar counts the blend mask and what is put into the clip, too.
        finished = killed_at // STEPS
        steps = 25 + killed_at + (9 if finished else 0)
        edit_video(random_engine(), asked, EditOptions(store=store, crop="off"), runtime=CancelAfter(steps))
    resumed, left = run(asked, FolderStore(tmp_path, LARGE))
    assert torch.equal(resumed, whole)
    assert left == 3 - finished


@pytest.mark.parametrize(
    "change",
    (
        {"seed": 6},
        {"steps": 3},
        {"sampler": "dpm"},
        {"prompt_bld": torch.ones(1, 16, 64)},
        {"negative_bld": torch.ones(1, 16, 64)},
        {"frames_fhwc": clip(9, seed=2)},
        {"edit_mask_fhw": box(9).roll(1, 2)},
    ),
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_answer_makes_a_window_anew(change: dict[str, Any]) -> None:
    # Without guidance the negative prompt would change nothing.
    store, asked = MemoryStore(LARGE), replace(request(clip(9), box(9)), guidance=Guidance(2.0))
    run(asked, store)
    changed = replace(asked, **change)
    again, _ = run(changed, store)
    assert torch.equal(again, run(changed)[0])
    assert not torch.equal(again, run(asked)[0])


def test_another_model_or_another_way_to_match_colours_makes_windows_anew() -> None:
    store, (frames, mask) = MemoryStore(LARGE), (clip(9), box(9))
    asked = request(frames, mask, keys_of(frames, mask, at0=0.4))
    for number, engine in enumerate((oracle_engine(), oracle_engine(0.01), replace(oracle_engine(), identity="b"))):
        for colour_match in (True, False):
            engine_steps(engine)
            propagate(engine, asked, EditOptions(store=store, colour_match=colour_match, crop="off"))
            assert engine_steps(engine) == STEPS, number


def test_the_same_model_is_known_again_in_another_process() -> None:
    store, asked = MemoryStore(LARGE), request(clip(9), box(9))
    engine: Any = random_engine()
    for order in (["a", "b"], ["b", "a"]):  # as diffusers lists them, by the hashes of one process
        config = {**engine.adapter.config, "_use_default_values": order}
        again = replace(engine, adapter=replace(engine.adapter, config=config))
        report = edit_video(again, asked, EditOptions(store=store, crop="off")).report
    assert "1 window kept from before" in report


def engine_steps(engine: Engine) -> int:
    """The steps since it was last asked."""
    painter = engine.transformer
    assert isinstance(painter, Painter)
    steps, painter.calls = painter.calls, 0
    return steps


def test_how_the_edit_is_shown_makes_nothing_anew() -> None:
    store, asked = MemoryStore(LARGE), request(clip(20), box(20))
    run(asked, store)
    assert run(asked, store, feather=0)[1] == 0
    assert run(asked, store, blend_mask_fhw=box(20))[1] == 0


def test_over_many_windows_a_codec_that_shifts_colours_does_not_add_up() -> None:
    frames, mask = clip(33), box(33)
    asked = request(frames, mask, keys_of(frames, mask, at0=0.4))
    shift = 4 / 255

    def drift(colour_match: bool) -> list[float]:
        done = propagate(oracle_engine(shift), asked, EditOptions(crop="off", colour_match=colour_match)).frames_fhwc
        return [float((done[index][mask[index] > 0.5] - 0.4).abs().max()) for index in (5, 13, 21, 29)]

    assert max(drift(True)) < 1e-3
    assert drift(False) == pytest.approx([number * shift for number in (1, 2, 3, 4)], abs=1e-3)


def test_a_large_drift_is_said() -> None:
    frames, mask = clip(9), box(9)
    asked = request(frames, mask, keys_of(frames, mask, at0=0.4))
    report = propagate(oracle_engine(12 / 255), asked, EditOptions(crop="off")).report
    assert "Window 1: its colours came back up to 12 of 255 off its anchor, which was undone." in report
    report = propagate(oracle_engine(40 / 255), asked, EditOptions(crop="off")).report
    assert "came back up to 40 of 255 off its anchor, 24 were undone." in report
    assert "came back" not in propagate(oracle_engine(1 / 255), asked, EditOptions(crop="off")).report


def test_drift_is_undone_exactly_where_it_is_one_of_mean_and_spread() -> None:
    went, mask = clip(2) * 0.5 + 0.2, box(2)
    came = (went - 0.4) * torch.tensor([0.9, 1.0, 1.1]) + 0.4 + torch.tensor([0.02, 0.0, -0.03])
    drift = measured_drift(came, went, mask)
    assert drift is not None and not drift.transform.is_identity
    inside = mask > 0.5
    assert (drift.transform.apply(came)[inside] - went[inside]).abs().max() < 1e-5
    elsewhere = measured_drift(torch.where(inside[..., None], came, 0.0), went, mask)
    assert elsewhere == drift, "only the edit counts"


def test_lost_details_and_faults_are_no_drift() -> None:
    fine = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(4))
    coarse = interpolate(avg_pool2d(fine, 2), scale_factor=2)
    went, blurred = (interpolate(part, scale_factor=4).permute(0, 2, 3, 1) for part in (fine, coarse))
    moved, inside = went.roll(6, 2), box(1) > 0.5
    for came in (blurred, moved):
        drift = measured_drift(came, went, box(1))
        assert drift is not None and drift.transform.scale == pytest.approx((1.0, 1.0, 1.0), abs=1e-4)
        assert (went[inside].std(0) / came[inside].std(0)).max() > 1.05, "by its spread alone it would be corrected"


def test_what_a_model_gets_wrong_at_random_is_corrected_by_little() -> None:
    generator, went, mask = torch.Generator().manual_seed(2), clip(1, side=96), box(1, side=96)
    applied, measured, scales = [], [], []
    for _ in range(30):
        faults = torch.randn(1, 3, 12, 12, generator=generator) * 0.03  # each on one latent's pixels
        came = went + interpolate(faults, scale_factor=8).permute(0, 2, 3, 1)
        drift = measured_drift(came, went, mask)
        assert drift is not None
        applied.append(torch.tensor(drift.shift))
        scales.append(torch.tensor(drift.transform.scale))
        measured.append((went - came)[mask > 0.5].median(0).values)
    assert torch.stack(applied).square().mean() < 0.5 * torch.stack(measured).square().mean()
    assert (torch.stack(scales) == 1).float().mean() > 0.9, "a spread that chance explains is left alone"
    sure = measured_drift(came + 0.05, went, mask)
    assert sure is not None and torch.allclose(torch.tensor(sure.shift), measured[-1] - 0.05, atol=0.01)


def test_a_picture_goes_through_scaled_windows_without_losing_anything() -> None:
    frames = clip(1, side=96).expand(41, -1, -1, -1)
    mask = box(41, side=96)
    key = Keyframe(0, torch.where(mask[0][..., None] > 0.5, clip(1, side=96, seed=3)[0], frames[0]))
    done = propagate(
        oracle_engine(), request(frames, mask, Keyframes([key])), EditOptions(crop="off", colour_match=False)
    )
    assert (done.frames_fhwc[1:] - done.frames_fhwc[1]).abs().max() <= 1 / 65535


def test_the_correction_of_drift_is_bounded_and_needs_something_to_compare() -> None:
    went, mask = clip(1), box(1)
    wild = measured_drift(went * 0.1, went, mask)
    assert wild is not None and wild.large
    corrected = wild.transform.apply(went * 0.1)[mask > 0.5]
    before = (went * 0.1)[mask > 0.5]
    assert (corrected.mean(0) - before.mean(0)).abs().max() <= SHIFT_LIMIT + 1e-6
    assert (corrected.std(0) / before.std(0)).max() <= GAIN_LIMIT + 1e-4
    flat = measured_drift(torch.full_like(went, 0.5), torch.full_like(went, 0.51), mask)
    assert flat is not None and flat.transform.scale == (1.0, 1.0, 1.0)
    assert measured_drift(went, went, torch.zeros_like(mask)) is None


def test_a_codec_that_returns_nan_is_said() -> None:
    with pytest.raises(ValueError, match=r"the VAE returned NaN.*fp32.*\.$"):
        edit_video(oracle_engine(float("nan")), request(clip(5), box(5)), EditOptions(crop="off"))


def test_each_part_is_held_while_it_is_used_with_room_for_what_it_needs() -> None:
    held: list[tuple[Any, int]] = []

    class Holding(Runtime):
        @contextmanager
        def hold(self, *modules: nn.Module, activations: int = 0) -> Iterator[None]:
            held.append((modules, activations))
            yield

    def bytes_of(part: int) -> Any:
        return lambda batch, frames, height, width: part * 10**9 + batch * 10**6 + frames * 10**4 + height + width

    engine = replace(oracle_engine(), footprint=Footprint(bytes_of(1), bytes_of(2), bytes_of(3)))
    sizes = 5 * 10**4 + 96
    for guidance, batch in ((Guidance(1.0), 1), (Guidance(2.0, batched=False), 1), (Guidance(2.0), 2)):
        held.clear()
        edit_video(engine, request(clip(5), box(5), guidance=guidance), EditOptions(crop="off"), runtime=Holding())
        assert held == [
            ((engine.vae,), 2 * 10**9 + 10**6 + sizes),
            ((engine.transformer,), 10**9 + batch * 10**6 + sizes),
            ((engine.vae,), 3 * 10**9 + 10**6 + sizes),
        ]


def family(name: str) -> tuple[Engine, int]:
    """An engine of a released family's architecture, tiny and random, and the width of its texts."""
    from vivid_core.editors.adapters import cogvideox

    model = editing_models.with_random_new_columns(widen(editing_models.text_to_video(name), WIDTHS["resize"]))
    adapter = cogvideox.fun({**model.config, "add_noise_in_inpaint_model": name == "1.0"})
    adapter = replace(adapter, traits=replace(adapter.traits, longest=9, pixels=64 * 96))
    return Engine(adapter, model, editing_models.vae(), None, name), editing_models.TEXT_WIDTH


@pytest.mark.parametrize("name", ("1.0", "1.5"))
def test_released_families_run_with_keyframes_at_both_ends_and_noise_on_their_clip(name: str) -> None:
    engine, width = family(name)
    frames, mask = torch.rand(9, 64, 96, 3), torch.zeros(9, 64, 96)
    mask[:, 20:40, 30:60] = 1
    keys = keys_of(frames, mask, at0=0.3, at8=0.6)
    text = torch.zeros(1, engine.adapter.traits.text_tokens, width)
    asked = replace(request(frames, mask, keys), prompt_bld=text, negative_bld=text)
    done = propagate(engine, asked, EditOptions(crop="off"))
    assert outside_difference(frames, done.frames_fhwc, done.blend_mask_fhw) == 0
    for key in keys:
        assert torch.equal(done.frames_fhwc[key.index], key.image_hwc)
    assert torch.equal(propagate(engine, asked, EditOptions(crop="off")).frames_fhwc, done.frames_fhwc)
