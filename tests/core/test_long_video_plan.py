"""The plan of a long video says what the run then does: the windows, the tokens that the model sees, bytes on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from editing_models import one_thread
from kive_models import box, clip, keys_of, random_engine, request
from test_cost import FIVE_B, LATER, WAN
from torch import Tensor

from vivid_core.cost import Flops, Rates, run_flops, window_tokens
from vivid_core.editors.adapters.cogvideox import fun
from vivid_core.editors.adapters.wan_vace import wan_vace
from vivid_core.editors.engine import Footprint
from vivid_core.editors.footage import Footage, tensor_footage
from vivid_core.editors.kive import EditOptions, prepared
from vivid_core.editors.kive_run import KiveRun
from vivid_core.editors.long_video import in_order
from vivid_core.editors.window_store import FolderStore
from vivid_core.long_video_plan import plan_text
from vivid_core.runtime import Runtime
from vivid_core.video.writing import Showing, Timing


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


def planned(store: FolderStore | None = None, **options: Any) -> tuple[Footage, KiveRun]:
    frames, mask = clip(40), box(40)
    footage = Footage(frames, (30,), Fraction(24))
    settings = EditOptions(crop="off", store=store, cuts=(30,), **options)
    return footage, prepared(random_engine(), request(frames, mask, keys_of(frames, mask, at12=0.4)), settings, [])


def numbers_after(word: str, text: str) -> list[int]:
    (line,) = (line for line in text.splitlines() if line.startswith(word))
    return [int(found.replace(",", "")) for found in re.findall(r"[\d,]*\d", line)]


def test_tokens_of_the_released_models_are_those_that_they_are_known_for() -> None:
    assert window_tokens(fun(FIVE_B), FIVE_B, 49, (480, 720)) == 13 * 30 * 45 + 226
    later = {**LATER, "sample_frames": 85}
    assert window_tokens(fun(later), later, 85, (768, 1344)) == 11 * 48 * 84 + 226
    assert window_tokens(wan_vace(WAN), WAN, 81, (480, 832)) == 21 * 30 * 52


def test_the_tokens_of_a_plan_are_those_that_the_model_sees() -> None:
    footage, run = planned()
    text = plan_text(random_engine(), footage, run)
    seen: list[int] = []
    transformer: Any = random_engine().transformer

    def count(module: Any, inputs: Any, named: Any) -> None:
        tensors: list[Tensor] = [one for one in (*inputs, *named.values()) if isinstance(one, Tensor) and one.ndim == 3]
        seen.append(sum(one.shape[1] for one in tensors))

    hook = transformer.transformer_blocks[0].register_forward_pre_hook(count, with_kwargs=True)
    try:
        for _ in run.made(Runtime(), []):
            pass
    finally:
        hook.remove()
    calls = len(seen) // len(run.windows)
    largest, whole, steps = numbers_after("Tokens:", text)[:3]
    assert steps == run.request.steps
    assert largest == max(seen) and whole == sum(seen) // calls


def test_the_plan_names_every_window_and_its_bytes_on_disk(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, 10**9)
    footage, run = planned(store)
    text = plan_text(random_engine(), footage, run)
    assert "40 frames of 48x48, 24 a second, 1.6667 s; 2 shots, 7 windows of up to 9 frames; keyframes: 12." in text
    assert text.count("Window ") == 7 and "Window 6: frames 30 to 38, forward, from the text alone." in text
    list(in_order(run, tmp_path / "waiting", Runtime(), []))
    on_disk = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    waiting = sum(path.stat().st_size for path in (tmp_path / "waiting").glob("*.safetensors"))
    said = [float(found) * 1e6 for found in re.findall(r"([\d.]+) MB", text.split("Disk:")[1].splitlines()[0])]
    assert said[0] == pytest.approx(on_disk, rel=0.1)
    assert 0 < waiting <= said[1] * 1.05


def test_time_and_memory_are_those_of_the_windows() -> None:
    footage, run = planned()
    engine = replace(random_engine(), footprint=Footprint(lambda batch, frames, height, width: frames * 10**9))
    text = plan_text(engine, footage, run, Rates(1e9, 1e9), "on a slow machine")
    config: Any = engine.transformer.config
    work = Flops()
    for window in run.windows:
        work += run_flops(engine.adapter, config, [window.length], run.size_of(window), 2, run.request.guidance.active)
    assert f"at the least: {work.total / 1e9:.2g} s" in text or f"at the least: {work.total / 1e9:.0f} s" in text
    assert "beside them 9.0 GB for the largest window" in text and "on a slow machine" in text
    assert "Time" not in plan_text(engine, footage, run)


def test_uneven_frames_and_what_is_lost_are_said() -> None:
    footage, run = planned()
    uneven = Showing(Timing(Fraction(1, 10), list(range(40)), 100))
    text = plan_text(random_engine(), replace(footage, showing=uneven, lost=("subtitles",), held=9), run)
    assert "unevenly, on average 24 a second, 10 s" in text
    assert "Not kept of the video: subtitles." in text
    assert f"9 decoded frames take {9 * 48 * 48 * 3 / 1e6:.1f} MB at the most" in text


def test_a_video_in_which_the_keyframes_are_all_there_is_needs_nothing() -> None:
    frames, mask = clip(2), box(2)
    keys = keys_of(frames, mask, at0=0.4, at1=0.5)
    run = prepared(random_engine(), request(frames, mask, keys), EditOptions(crop="off"), [])
    text = plan_text(random_engine(), tensor_footage(frames, Fraction(24)), run)
    assert "0 windows" in text and numbers_after("Tokens:", text)[:2] == [0, 0]
    assert torch.equal(torch.stack(list(in_order(run, Path("unused"), Runtime(), [])))[1], list(keys)[1].image_hwc)
